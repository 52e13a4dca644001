"""The two ways in which a command ends badly and says why in a line."""


class UsageError(Exception):
    """What was asked for cannot be done: exit code 2, nothing was written."""


class RunError(Exception):
    """The work began and could not be finished: exit code 1."""
