"""What the header of an image file says, before anything is decoded."""

from scalenet_tf.decoding import ImageFormatError, ImageHeader, read_header

__all__ = ["ImageFormatError", "ImageHeader", "read_header"]
