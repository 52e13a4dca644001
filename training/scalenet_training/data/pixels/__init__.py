"""Changes of an image's pixels, after it was cropped and before it is normalised."""
