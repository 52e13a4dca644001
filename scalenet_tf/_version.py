"""Version of the package, apart so that it can be read without TensorFlow."""

__version__ = "0.1.0"
