"""Searches where the neurons of a network should be, at a fixed cost in MACs.

Every trial is a network that costs what --target-macs says. The same command run again
goes on with the search. Several processes share a search as KerasTuner's chief and
workers do (docs/tuning.md).
"""

from scalenet_training import cli
from scalenet_training.tune.config import TuneConfig


def main() -> None:
    """Runs the command line."""
    config = cli.parse(TuneConfig, __doc__)

    from scalenet_training.tune.tuning import tune

    if not tune(config):
        cli.start_again()


if __name__ == "__main__":
    cli.run(main)
