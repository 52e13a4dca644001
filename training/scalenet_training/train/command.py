"""Trains a ScaleNet, or a ResNet twin, and leaves the run in a folder.

The same command run again resumes the run.
"""

import os
from collections.abc import Sequence

from scalenet_training.cli.recipes import TrainingCommand, parse_training
from scalenet_training.devices.cluster import is_chief
from scalenet_training.devices.processor import use_onednn
from scalenet_training.settings.training import TrainConfig

SETTINGS = (TrainConfig,)


def main(arguments: Sequence[str], program: str) -> None:
    """Runs the command line."""
    command = TrainingCommand(TrainConfig, lambda config: config.run_folder)
    config, decided = parse_training(command, __doc__, arguments, program)
    use_onednn(config.batch_size, os.environ)
    if is_chief(os.environ, config.strategy):
        print(decided, flush=True)

    from scalenet_training.runs.run_folder import RunFolder
    from scalenet_training.runs.summary import describe_end
    from scalenet_training.train.loop import train_and_evaluate

    train_and_evaluate(config, config.run_folder)
    if is_chief(os.environ, config.strategy):
        print(describe_end(RunFolder(config.run_folder)))
