"""Where version 0.1.0 had `open_source`, for scripts that were written for it."""

from scalenet_training.data.sources import open_source

__all__ = ["open_source"]
