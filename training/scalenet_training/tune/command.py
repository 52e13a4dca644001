"""Searches where the neurons of a network should be, at a fixed cost in MACs.

Every trial is a network that costs what --target-macs says. The same command run again
goes on with the search. Several processes share a search as KerasTuner's chief and
workers do (docs/tuning.md).
"""

from collections.abc import Sequence

from scalenet_training.cli.running import parse
from scalenet_training.tune.config import TuneConfig

SETTINGS = (TuneConfig,)


def main(arguments: Sequence[str], program: str) -> None:
    """Runs the command line."""
    config = parse(TuneConfig, __doc__, arguments, program)

    from scalenet_training.tune.tuning import tune

    tune(config)
