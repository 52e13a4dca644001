"""Orientation by Exif: wherever a file has it, and in parts of images."""

import io

import image_samples as samples
import numpy as np
import pytest
import tensorflow as tf
from image_samples import photo, saved
from PIL import Image
from test_decoding import decode_all, rows, viewed

from scalenet_tf import decoding

XMP = b'<rdf:Description tiff:Orientation="6"/>'
STORED = (samples.HEIGHT, samples.WIDTH)
TURNED = STORED[::-1]

FILES = {
    **{f"JPEG, Exif orientation {n}": samples.jpeg_exif(n) for n in range(1, 9)},
    **{
        f"PNG, Exif orientation {n}": samples.rgb_png(
            samples.chunk(b"eXIf", samples.exif(n))
        )
        for n in range(1, 9)
    },
    "JPEG, Exif of the other byte order": samples.jpeg_exif(6, order="<"),
    "JPEG, Exif with a 32-bit orientation": samples.jpeg_exif(8, kind=4),
    "JPEG, Exif with other fields first": samples.jpeg_exif(
        5, before=bytes.fromhex("010f00020000000441004200")
    ),
    "JPEG, Exif after a large colour profile": samples.jpeg_with(
        *[
            (0xE2, b"ICC_PROFILE\0" + bytes([n, 3]) + b"\xff\xda" * 30_000)
            for n in (1, 2)
        ],
        (0xE1, b"Exif\0\0" + samples.exif(6)),
    ),
    "JPEG, Exif after XMP": samples.jpeg_with(
        (0xE1, b"http://ns.adobe.com/xap/1.0/\0<x/>"),
        (0xE1, b"Exif\0\0" + samples.exif(7)),
    ),
    "JPEG, Exif without JFIF": b"\xff\xd8"
    + samples.segment(0xE1, b"Exif\0\0" + samples.exif(6))
    + saved(photo(), "JPEG")[20:],
    "JPEG, orientation that is none (9)": samples.jpeg_exif(9),
    "JPEG, Exif that is cut off": samples.jpeg_with((0xE1, b"Exif\0\0MM\0\x2a\0\0")),
    "JPEG, the word Exif in a comment": samples.jpeg_with((0xFE, b"Exif\0\0MM")),
    "JPEG, progressive, Exif orientation 6": samples.jpeg_with(
        (0xE1, b"Exif\0\0" + samples.exif(6)),
        data=saved(photo(), "JPEG", progressive=True),
    ),
    "PNG, Exif of the other byte order": samples.rgb_png(
        samples.chunk(b"eXIf", samples.exif(6, order="<"))
    ),
    "PNG, Exif after the pixels": samples.rgb_png(
        after=[samples.chunk(b"eXIf", samples.exif(6))]
    ),
}


ELSEWHERE = {
    "JPEG, orientation in XMP alone": samples.jpeg_with(
        (0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP)
    ),
    "PNG, orientation in XMP alone": samples.rgb_png(
        samples.chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)
    ),
    "PNG, orientation in a raw profile alone": samples.rgb_png(
        samples.chunk(
            b"tEXt",
            b"Raw profile type exif\0\nexif\n      38\n"
            + (b"Exif\0\0" + samples.exif(6)).hex().encode(),
        )
    ),
}


@pytest.fixture(scope="module")
def decoded():
    """All files at once."""
    return decode_all(FILES | ELSEWHERE)


@pytest.mark.parametrize("name", rows(FILES))
def test_images_are_as_pillow_turns_them(name, decoded, outcome):
    data, image = FILES[name], decoded[name]
    expected = viewed(data)
    assert image.shape == expected.shape
    assert np.abs(image.astype(int) - expected).mean() <= 0.1
    header = decoding.read_header(io.BytesIO(data))
    assert (header.height, header.width) == image.shape[:2]
    with Image.open(io.BytesIO(data)) as file:
        is_stored = np.array_equal(np.asarray(file.convert("RGB")), expected)
    outcome("decoded as it is stored" if is_stored else "decoded as Pillow turns it")


@pytest.mark.parametrize("name", rows(ELSEWHERE))
def test_orientation_elsewhere_is_passed_over(name, decoded, outcome):
    assert viewed(ELSEWHERE[name]).shape[:2] == TURNED
    assert decoded[name].shape[:2] == STORED
    header = decoding.read_header(io.BytesIO(ELSEWHERE[name]))
    assert (header.height, header.width) == STORED
    outcome("decoded as it is stored, as browsers do; Pillow turns it")


LARGE = photo(size=(200, 120))
WINDOWS = ((0, 0, 100, 90), (17, 30, 61, 40), (50, 3, 9, 99))


def turned_file(form, orientation):
    tag = Image.Exif()
    tag[0x112] = orientation
    return saved(LARGE, form, exif=tag)


@pytest.fixture(scope="module")
def parts():
    """(form, orientation) -> the whole image and its parts, as a graph decodes them."""
    decode = tf.function(
        lambda data, window: decoding.decode_part(data, lambda _: window),
        input_signature=[tf.TensorSpec((), tf.string), tf.TensorSpec((4,), tf.int32)],
    )
    files = {(f, n): turned_file(f, n) for f in ("JPEG", "PNG") for n in range(1, 9)}
    images = decode_all(files)
    return {
        key: (images[key].astype(int), [decode(data, w).numpy() for w in WINDOWS])
        for key, data in files.items()
    }


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_a_part_is_a_slice_of_the_whole(form, parts):
    for orientation in range(1, 9):
        whole, found = parts[form, orientation]
        for (top, left, height, width), part in zip(WINDOWS, found, strict=True):
            difference = np.abs(part - whole[top : top + height, left : left + width])
            assert difference.shape == part.shape
            if form == "PNG":
                assert difference.max() == 0
            else:
                inner = difference[8:-8, 8:-8]
                assert inner.size == 0 or inner.max() == 0
                assert difference.mean() <= 0.5


def test_the_part_is_chosen_by_the_sides_that_are_shown():
    def all_but_a_pixel(sides):
        return tf.concat([[0, 0], sides - 1], 0)

    for data, (height, width) in (
        (samples.jpeg_exif(1), STORED),
        (FILES["JPEG, Exif orientation 6"], TURNED),
        (FILES["PNG, Exif orientation 8"], TURNED),
    ):
        part = decoding.decode_part(data, all_but_a_pixel)
        assert part.shape == (height - 1, width - 1, 3)
