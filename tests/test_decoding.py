"""Pixels of image files of every kind, against Pillow's."""

import io
import zlib

import image_samples as samples
import numpy as np
import pytest
import tensorflow as tf
from image_samples import photo, saved
from PIL import Image, ImageChops, ImageOps
from situations import situation

from scalenet_tf import decoding

AREA = "image formats"
STANDARD_MASKS = samples.masks(0xFF0000, 0xFF00, 0xFF)
LARGE = b"a" * 3_000_000  # more than Pillow unpacks of a text or a profile

LOSSLESS = {
    "PNG, RGB": lambda: saved(photo(), "PNG"),
    "PNG, grey, 1 bit": lambda: samples.png(samples.pixels(24, 4), 1, 0),
    "PNG, grey, 2 bits": lambda: samples.png(samples.pixels(24, 8), 2, 0),
    "PNG, grey, 4 bits": lambda: samples.png(samples.pixels(24, 16), 4, 0),
    "PNG, grey, 8 bits": lambda: saved(photo("L"), "PNG"),
    "PNG, RGB, 16 bits": lambda: samples.png(samples.pixels(24, 192), 16, 2),
    "PNG, RGB and alpha, 16 bits": lambda: samples.png(samples.pixels(24, 256), 16, 6),
    "PNG, grey and alpha": lambda: samples.png(samples.pixels(24, 64), 8, 4),
    "PNG, RGB and alpha": lambda: samples.png(samples.pixels(24, 128), 8, 6),
    "PNG, palette, 1 bit": lambda: saved(photo().quantize(2), "PNG", bits=1),
    "PNG, palette, 2 bits": lambda: saved(photo().quantize(4), "PNG", bits=2),
    "PNG, palette, 4 bits": lambda: saved(photo().quantize(16), "PNG", bits=4),
    "PNG, palette, 8 bits": lambda: saved(photo().quantize(200), "PNG"),
    "PNG, palette with transparency": lambda: saved(
        photo().quantize(16), "PNG", transparency=3
    ),
    "PNG, one transparent colour": lambda: saved(photo("L"), "PNG", transparency=100),
    "PNG, interlaced": samples.interlaced_png,
    "PNG, animated": lambda: saved(
        photo(), "PNG", save_all=True, append_images=[photo().rotate(180)]
    ),
    "PNG, gamma of another screen": lambda: samples.rgb_png(
        samples.chunk(b"gAMA", (100_000).to_bytes(4, "big"))
    ),
    "GIF": lambda: saved(photo(), "GIF"),
    "GIF, grey": lambda: saved(photo("L"), "GIF"),
    "GIF, interlaced": lambda: saved(photo(), "GIF", interlace=True),
    "GIF, animated": lambda: saved(
        photo(), "GIF", save_all=True, append_images=[photo().rotate(180)], loop=0
    ),
    "GIF, transparent": lambda: samples.gif((10, 8), (0, 0), transparent=1),
    "GIF, frame smaller than its canvas": samples.gif,
    "GIF, transparent frame smaller than its canvas": lambda: samples.gif(
        transparent=1
    ),
    "GIF, frame beyond its canvas": lambda: samples.gif((8, 6)),
    "BMP, palette, 1 bit": lambda: samples.bmp(1, palette=samples.palette(2)),
    "BMP, palette, 4 bits": lambda: samples.bmp(4, palette=samples.palette(16)),
    "BMP, palette, 8 bits": lambda: saved(photo().quantize(200), "BMP"),
    "BMP, palette of 5 colours, 8 bits": lambda: samples.bmp(
        8, palette=samples.palette(5), colours=5
    ),
    "BMP, grey": lambda: saved(photo("L"), "BMP"),
    "BMP, 24 bits": lambda: saved(photo(), "BMP"),
    "BMP, 32 bits": lambda: samples.bmp(32),
    "BMP, 32 bits, standard bit fields": lambda: samples.bmp(
        32, compression=3, masks=STANDARD_MASKS
    ),
    "BMP, first row on top, palette": lambda: samples.bmp(
        4, height=-9, palette=samples.palette(16)
    ),
    "BMP, first row on top, 24 bits": lambda: samples.bmp(24, height=-9),
    "BMP, header of version 5": lambda: samples.bmp(24, header=124),
}
JPEG = {
    "JPEG, 4:4:4": lambda: saved(photo(), "JPEG", subsampling=0),
    "JPEG, 4:2:2": lambda: saved(photo(), "JPEG", subsampling=1),
    "JPEG, 4:2:0": lambda: saved(photo(), "JPEG", subsampling=2),
    "JPEG, grey": lambda: saved(photo("L"), "JPEG"),
    "JPEG, progressive": lambda: saved(photo(), "JPEG", progressive=True),
    "JPEG, RGB without conversion": lambda: saved(photo(), "JPEG", keep_rgb=True),
    "JPEG, restart markers": lambda: saved(photo(), "JPEG", restart_marker_rows=1),
    "JPEG, CMYK of Adobe, inverted": lambda: samples.cmyk(0),
    "JPEG, YCCK of Adobe": lambda: samples.cmyk(2),
    "JPEG, several pictures (MPO)": lambda: saved(
        photo(), "MPO", save_all=True, append_images=[photo().rotate(180)]
    ),
    "JPEG, bytes after its end": lambda: saved(photo(), "JPEG") + bytes(100),
    "JPEG, large colour profile": lambda: saved(photo(), "JPEG", icc_profile=LARGE),
}


GREY_16 = samples.pixels(24, 32, dtype=np.uint16)
LARGE_CHUNKS = {
    f"PNG, huge {kind}": lambda name=name: samples.rgb_png(
        samples.chunk(name, name + b"\0\0" + zlib.compress(LARGE))
    )
    for kind, name in (("text", b"zTXt"), ("colour profile", b"iCCP"))
}
WHOLE = {
    "JPEG": JPEG["JPEG, 4:2:0"],
    "JPEG, progressive": JPEG["JPEG, progressive"],
    "PNG": LOSSLESS["PNG, RGB"],
    "PNG, interlaced": samples.interlaced_png,
    "BMP": LOSSLESS["BMP, palette, 8 bits"],
    "GIF": LOSSLESS["GIF"],
    "GIF, animated": LOSSLESS["GIF, animated"],
}
FILES = {
    **{name: make() for name, make in (LOSSLESS | JPEG | LARGE_CHUNKS).items()},
    "PNG, grey, 16 bits": saved(Image.fromarray(GREY_16), "PNG"),
    "JPEG, CMYK without Adobe's mark": samples.cmyk(),
}


def rows(names, suffix=""):
    return [
        pytest.param(name, id=name, marks=situation(AREA, name + suffix))
        for name in names
    ]


def decode_all(files):
    """Name -> pixels, by the decoder as a graph has it; `None` where it fails."""
    decode = tf.function(
        decoding.decode_image, input_signature=[tf.TensorSpec((), tf.string)]
    )

    def attempt(data):
        try:
            return decode(data).numpy()
        except tf.errors.InvalidArgumentError:
            return None

    return {name: attempt(data) for name, data in files.items()}


@pytest.fixture(scope="module")
def decoded():
    """All files at once: a new seed makes TensorFlow build its functions anew."""
    return decode_all(FILES)


def viewed(data):
    """What Pillow shows."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def assert_header_agrees(name, image):
    header = decoding.read_header(io.BytesIO(FILES[name]))
    assert header.format == name[: len(header.format)]
    assert (header.height, header.width) == image.shape[:2]


@pytest.mark.parametrize("name", rows(LOSSLESS))
def test_lossless_images_equal_pillow(name, decoded, outcome):
    image = decoded[name]
    np.testing.assert_array_equal(image, viewed(FILES[name]))
    assert len(np.unique(image)) > 1
    assert_header_agrees(name, image)
    outcome("decoded; equals Pillow exactly")


@pytest.mark.parametrize("name", rows(JPEG))
def test_jpegs_equal_pillow_within_a_grey_level(name, decoded, outcome):
    image, expected = decoded[name], viewed(FILES[name])
    assert image.shape == expected.shape
    difference = np.abs(image.astype(int) - expected)
    assert difference.mean() <= 0.1  # TensorFlow's default has 0.9
    assert difference.max() <= 4
    assert_header_agrees(name, image)
    outcome("decoded; within 1 grey level of Pillow on average")


@pytest.mark.parametrize("name", rows(["PNG, grey, 16 bits"]))
def test_the_higher_eight_of_sixteen_bits(name, decoded, outcome):
    # Pillow's conversion makes everything above 255 white.
    np.testing.assert_array_equal(decoded[name], np.stack([GREY_16 >> 8] * 3, -1))
    outcome("decoded; the higher 8 bits, as a viewer shows")


@pytest.mark.parametrize("name", rows(["JPEG, CMYK without Adobe's mark"]))
def test_cmyk_without_adobes_mark_is_not_inverted(name, decoded, outcome):
    with Image.open(io.BytesIO(FILES[name])) as image:  # which Pillow has inverted
        expected = np.asarray(ImageChops.invert(image).convert("RGB"))
    assert np.abs(decoded[name].astype(int) - expected).mean() <= 1
    outcome("decoded; not inverted, where Pillow inverts it all the same")


@pytest.mark.parametrize("name", rows(LARGE_CHUNKS))
def test_chunks_that_pillow_refuses(name, decoded, outcome):
    with pytest.raises(ValueError, match="too large"):
        viewed(FILES[name])
    np.testing.assert_array_equal(decoded[name], np.asarray(photo()))
    assert_header_agrees(name, decoded[name])
    outcome("decoded; Pillow refuses it")


@pytest.fixture(scope="module")
def cut_off():
    """Files that end early, anywhere."""
    files = {}
    for name, make in WHOLE.items():
        data = make()
        for length in (*range(0, len(data), max(1, len(data) // 40)), len(data) - 40):
            files[name, length] = data[:length]
    return decode_all(files)


@pytest.mark.parametrize("name", rows(WHOLE, ", cut off anywhere"))
def test_what_is_cut_off_is_never_a_grey_picture(name, cut_off, outcome):
    data = WHOLE[name]()
    images = [image for (file, _), image in cut_off.items() if file == name]
    whole = [image for image in images if image is not None]
    for image in whole:
        np.testing.assert_array_equal(image, viewed(data))
    assert len(images) - len(whole) > 10
    why = f"refused: {decoding.why_undecodable(data[:-40])}"
    outcome(f"{why}; decoded where the first frame is whole" if whole else why)


def test_eager_and_graph_are_the_same(decoded):
    for name in ("GIF, animated", "JPEG, grey", "BMP, palette, 4 bits"):
        eager = decoding.decode_image(FILES[name])
        np.testing.assert_array_equal(eager, decoded[name])


def test_batches_are_plain_where_all_images_are():
    turned = samples.jpeg_exif(6)
    jpeg, png, gif = (FILES[n] for n in ("JPEG, 4:2:0", "PNG, RGB", "GIF"))
    for files, expected in (
        ([jpeg, jpeg], True),
        ([png, png], True),
        ([jpeg, turned], False),
        ([jpeg, gif], False),
        ([jpeg, png], False),
    ):
        assert bool(decoding.are_plain(tf.constant(files))) is expected
