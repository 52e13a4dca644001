"""Where version 0.1.0 had `train_and_evaluate`, for scripts written for it."""

from scalenet_training.train.loop import train_and_evaluate

__all__ = ["train_and_evaluate"]
