"""Where version 0.1.0 had `TrainConfig`, for scripts that were written for it."""

from scalenet_training.settings.training import TrainConfig

__all__ = ["TrainConfig"]
