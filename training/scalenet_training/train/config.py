"""Where rooms and scripts find the settings of a training run."""

from scalenet_training.settings.groups import StrategyName
from scalenet_training.settings.training import TrainConfig

__all__ = ["StrategyName", "TrainConfig"]
