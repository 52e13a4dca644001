"""Small folders of images, made by tests: every file has bytes of its own."""

import functools
import io
import os
import zlib

import numpy as np
from PIL import Image


@functools.cache
def encoded(number, kind="PNG", size=(8, 8)):
    """An image, of random pixels that its number decides."""
    pixels = np.random.default_rng(number).integers(0, 255, (*size, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def add(folder, names, kind="PNG"):
    """Adds an image of each name; no two paths have the same bytes."""
    os.makedirs(folder, exist_ok=True)
    for name in names:
        number = zlib.crc32(os.fsencode(f"{folder}/{name}"))
        with open(os.path.join(folder, name), "wb") as file:
            file.write(encoded(number, kind))


def make(root, classes=("a", "b"), count=6):
    """A folder with a sub-folder a class, images 0.png and so on; its path."""
    for name in classes:
        add(os.path.join(root, name), [f"{number}.png" for number in range(count)])
    return str(root)


def names_of(source, split):
    """The names of a split's files, relative to the dataset's folder."""
    indices = source.open_split(split).indices
    return [source.images.files[number].name for number in indices]


def sizes_of(source):
    """Images in each split, as text: "train 5, validation 1"."""
    parts = {name: source.open_split(name).size for name in source.split_names}
    return ", ".join(f"{n} {size}" for n, size in parts.items() if n != "all")
