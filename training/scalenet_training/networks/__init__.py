"""The network that a command starts from or has saved."""
