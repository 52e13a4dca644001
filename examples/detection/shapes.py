"""Pictures of discs, squares and triangles with their boxes, drawn from a seed."""

import numpy as np
from PIL import Image, ImageDraw

CLASSES = ("disc", "square", "triangle")
SIDE = 128  # of a picture, in pixels
MOST = 5  # shapes of a picture
SMALLEST, LARGEST = 14, 72  # sides of a shape, in pixels
OVERLAP = 0.2  # of the smaller of two shapes, at most
DRAWN_LARGER = 4  # and reduced afterwards, for smooth edges


def picture(seed: int, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A picture, which depends on nothing but its seed and number.

    Returns:
        Pixels `(128, 128, 3)` uint8; boxes `(5, 4)` float32 as y1, x1, y2, x2 in
        pixels; labels `(5,)` int32. Rows without a shape are -1.
    """
    generator = np.random.default_rng([seed, number])
    boxes = _places(generator, int(generator.integers(1, MOST + 1)))
    labels = generator.integers(len(CLASSES), size=len(boxes))
    low, high = generator.uniform(0, 255, (2, 3))
    ramp = np.linspace(0, 1, SIDE)[:, None, None]
    back = low + (high - low) * (ramp if generator.random() < 0.5 else ramp[:, 0][None])
    back = np.broadcast_to(back, (SIDE, SIDE, 3))
    for box, label in zip(boxes, labels, strict=True):
        mask = _mask(CLASSES[label], box)[:, :, None]
        # A colour that can be told from what is behind it.
        inside = back[mask[:, :, 0] > 0.5].mean(axis=0)
        color = (inside + generator.uniform(60, 195, 3)) % 255
        back = back * (1 - mask) + color * mask
    pixels = np.clip(back + generator.normal(0, 12, back.shape), 0, 255)
    return (
        pixels.astype(np.uint8),
        _filled(boxes, np.float32),
        _filled(labels, np.int32),
    )


def pictures(
    seed: int, first: int, count: int
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Pictures `first` to `first + count - 1` of a seed, as a batch."""
    pixels, boxes, labels = zip(
        *(picture(seed, first + index) for index in range(count)), strict=True
    )
    return np.stack(pixels), {"boxes": np.stack(boxes), "labels": np.stack(labels)}


def _places(generator: np.random.Generator, count: int) -> np.ndarray:
    """Boxes that overlap little."""
    boxes: list[np.ndarray] = []
    while len(boxes) < count:
        side = np.exp(generator.uniform(np.log(SMALLEST), np.log(LARGEST)))
        corner = generator.uniform(0, SIDE - side, 2)
        box = np.concatenate([corner, corner + side])
        if all(_common(box, other) < OVERLAP for other in boxes):
            boxes.append(box)
        elif generator.random() < 0.1:
            count -= 1  # no place is left, perhaps
    return np.array(boxes)


def _common(one: np.ndarray, other: np.ndarray) -> float:
    """Area in common, over that of the smaller box."""
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    areas = [np.prod(box[2:] - box[:2]) for box in (one, other)]
    return float(np.prod(np.maximum(sides, 0)) / min(areas))


def _mask(shape: str, box: np.ndarray) -> np.ndarray:
    """How much of each pixel the shape covers."""
    large = Image.new("L", (SIDE * DRAWN_LARGER, SIDE * DRAWN_LARGER))
    top, left, bottom, right = (DRAWN_LARGER * box).tolist()
    draw = ImageDraw.Draw(large)
    match shape:
        case "disc":
            draw.ellipse((left, top, right, bottom), fill=255)
        case "square":
            draw.rectangle((left, top, right, bottom), fill=255)
        case "triangle":
            middle = (left + right) / 2
            draw.polygon([(middle, top), (right, bottom), (left, bottom)], fill=255)
    return np.asarray(large.reduce(DRAWN_LARGER), np.float64) / 255


def _filled(rows: np.ndarray, dtype: type) -> np.ndarray:
    filled = np.full((MOST, *rows.shape[1:]), -1, dtype)
    filled[: len(rows)] = rows
    return filled
