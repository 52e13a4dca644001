"""Command lines of `train`, read into settings without training."""

import shlex

import pytest
from scalenet_training.cli.recipes import TrainingCommand, parse_training
from scalenet_training.cli.running import run
from scalenet_training.settings.training import TrainConfig


def decided(line):
    """The settings of a command line, and what is said of them."""
    command = TrainingCommand(TrainConfig, lambda config: config.run_folder)
    return parse_training(command, "Trains.", shlex.split(line), "train.py")


def refused(line, capsys):
    """The message of a command line that is refused."""
    with pytest.raises(SystemExit) as left:
        run(lambda: decided(line), (TrainConfig,), shlex.split(line))
    assert left.value.code == 2
    return capsys.readouterr().err
