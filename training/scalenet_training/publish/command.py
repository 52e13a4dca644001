"""Puts the network of a run, exports and a model card into one folder.

The folder appears whole or not at all, with the SHA-256 of its files. Nothing is
uploaded.
"""

from collections.abc import Sequence

from scalenet_training.cli.running import parse
from scalenet_training.publish.config import PublishConfig
from scalenet_training.text import printable

SETTINGS = (PublishConfig,)


def main(arguments: Sequence[str], program: str) -> None:
    """Runs the command line."""
    config = parse(PublishConfig, __doc__, arguments, program)

    from scalenet_training.publish.publishing import publish

    for name in publish(config):
        print(printable(name))
