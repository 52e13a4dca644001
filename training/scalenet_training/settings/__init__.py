"""What commands can be told: bounds, groups of options, the settings of a training.

Imports no TensorFlow. The settings of the other commands stand beside their work.
"""

from scalenet_training.settings.base import Settings

__all__ = ["Settings"]
