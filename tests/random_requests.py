"""Random requests to the signatures of an export, right ones and wrong ones."""

import math

import numpy as np

SIDES = (0, 1, 2, 3, 4, 7, 31, 32, 33, 64, 300, 10_000)
TYPES = ["?", "b", "u1", "i2", "i4", "i8", "f2", "f4", "f8", "c8", "S", "O"]
VALUES = (0, 1, -1, 0.5, 3, 255, -1000, 1e-42, 1e30, 3e38, np.inf, -np.inf, np.nan)
MOST_VALUES = 500_000  # of a request, so that it is soon made and sent
LIMIT = 2**24 // 32**2  # images of 32 x 32 pixels


class RandomRequests:
    """Makes requests for networks of 32 x 32 pixels, and of any size from 2 up.

    Args:
        seed: Decides all of them.
        files: Encoded images to take and to damage.
        highest: The root mean square above which an image is refused.
    """

    def __init__(self, seed, files, highest):
        self.rng = np.random.default_rng(seed)
        self.files = files
        self.highest = highest

    def __iter__(self):
        """Yields model, signature, values, and whether they must be answered."""
        makers = {
            "serving_default": self.normalized,
            "features": self.normalized,
            "serving_uint8": self.pixels,
            "serving_bytes": self.encoded,
        }
        while True:
            model = self.pick(("tiny", "any size"))
            signature = self.pick(tuple(makers))
            values = self.pick((makers[signature],) * 3 + (self.anything,))(model)
            yield model, signature, values, self.is_right(model, signature, values)

    def pick(self, options):
        return options[self.rng.integers(len(options))]

    def normalized(self, model):
        side = self.pick((32, 32, 5, 70)) if model == "any size" else 32
        shape = self.spoilt_shape((self.pick((1, 1, 2, 5)), side, side, 3))
        images = self.rng.standard_normal(shape).astype(np.float32)
        if images.size and self.rng.random() < 0.3:
            images.flat[self.rng.integers(images.size)] = self.pick(VALUES)
        with np.errstate(invalid="ignore", over="ignore"):
            return images * np.float32(self.pick((1, 1, 1, 0, 60)))

    def pixels(self, _):
        sides = self.pick((1, 2, 30, 40, 1000)), self.pick((1, 2, 30, 40, 3000))
        shape = self.spoilt_shape((self.pick((1, 2, 5)), *sides, 3))
        return self.rng.integers(0, 256, shape, np.uint8)

    def encoded(self, _):
        count = self.pick((1, 1, 2, 4, 9, LIMIT + 1))
        if count > LIMIT:
            return np.full(count, self.pick((b"", self.files[0])), object)
        shape = self.spoilt_shape((count,))
        files = np.empty(shape, object)
        for index in np.ndindex(shape):
            files[index] = self.file()
        return files

    def file(self):
        data = bytearray(self.pick(self.files))
        change = self.rng.integers(6)
        if change == 1:
            del data[self.rng.integers(len(data)) :]
        elif change == 2:
            for place in self.rng.integers(len(data), size=5):
                data[place] = self.rng.integers(256)
        elif change == 3:
            del data[: self.rng.integers(len(data))]
        elif change == 4:
            data = self.rng.bytes(self.rng.integers(2000))
        elif change == 5:  # a right beginning and then nothing right
            data[self.rng.integers(4, 40) :] = self.rng.bytes(200)
        return bytes(data)

    def anything(self, _):
        kind = np.dtype(self.pick(TYPES))
        shape = [self.pick(SIDES) for _ in range(self.rng.integers(7))]
        while math.prod(shape) > MOST_VALUES:
            shape[np.argmax(shape)] = 1
        values = np.full(shape, self.pick((0, 1, 100)))
        if kind.kind in "SO":
            return np.full(shape, self.pick((b"", b"x", self.files[0])), object)
        return values.astype(kind)

    def spoilt_shape(self, shape):
        """The shape; or with another size, a dimension more, or one less."""
        shape, change = list(shape), self.rng.integers(8)
        place = self.rng.integers(len(shape))
        if change == 0:
            shape[place] = self.pick(SIDES)
        elif change == 1:
            shape.insert(place, self.pick((0, 1, 3)))
        elif change == 2:
            del shape[place]
        while math.prod(shape) > MOST_VALUES:
            shape[np.argmax(shape)] = 1
        return tuple(shape)

    def is_right(self, model, signature, values):
        if signature == "serving_bytes":
            return (
                values.dtype == object
                and values.ndim == 1
                and 1 <= len(values) <= LIMIT
            )
        if values.ndim != 4 or values.shape[3] != 3 or not values.size:
            return False
        count, height, width, _ = values.shape
        if signature == "serving_uint8":
            resized = count * 36**2 * max(height, width) / min(height, width)
            right = values.dtype == np.uint8
            return right and count <= LIMIT and resized <= 2**25
        sides = (height, width)
        fits = min(sides) >= 2 if model == "any size" else sides == (32, 32)
        if values.dtype != np.float32 or not fits or count * height * width > 2**24:
            return False
        squares = np.square(values, dtype=np.float64)
        return bool(squares.mean() <= self.highest**2)


def random_json(rng, depth=0):
    """A body of a REST request: JSON of any kind, mostly lists of numbers."""
    kind = rng.integers(8) if depth < 6 else 0
    if kind >= 4:
        return [random_json(rng, depth + 1) for _ in range(rng.integers(4))]
    if kind == 3:
        keys = ("b64", "images", "image_bytes", "")
        return {
            keys[rng.integers(len(keys))]: random_json(rng, depth + 1)
            for _ in range(rng.integers(3))
        }
    values = (0, -1, 0.5, 10**30, 10**400, 1e308, True, None, "", "a", "/9j/4AAQ")
    return values[rng.integers(len(values))]
