"""Files that are not decoded: what they are is said, by the header or the decoder."""

import contextlib
import io
import struct
import warnings
import zlib

import image_samples as samples
import pytest
from image_samples import photo, saved
from situations import situation
from test_decoding import decode_all, rows

from scalenet_tf import decoding
from scalenet_tf.decoding.formats import MAX_PIXELS

AREA = "image formats"
RUNS = b"\x0d\5\0\0" * 9 + b"\0\1"
OWN_MASKS = samples.masks(0xFF, 0xFF00, 0xFF0000)
MASKS_565 = samples.masks(0xF800, 0x7E0, 0x1F)

REFUSED = {
    "WebP": saved(photo(), "WEBP"),
    "TIFF": saved(photo(), "TIFF"),
    "AVIF": b"\0\0\0\x20ftypavif\0\0\0\0avifmif1miaf",
    "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
    "JPEG XL": b"\xff\x0a\xfa\x7f\x01\x90\x08\x06\x01\0",
    "JPEG XL in a container": b"\0\0\0\x0cJXL \r\n\x87\n",
    "JPEG 2000": saved(photo(), "JPEG2000"),
    "ICO": saved(photo(), "ICO"),
    "PSD": b"8BPS\0\1" + bytes(20),
    "TGA": saved(photo(), "TGA"),
    "PCX": saved(photo(), "PCX"),
    "PNM": saved(photo(), "PPM"),
    "QOI": saved(photo(), "QOI"),
    "DDS": saved(photo(), "DDS"),
    "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n",
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
    "OpenEXR": b"\x76\x2f\x31\x01\2\0\0\0",
    "HTML page named .jpg": b"<!DOCTYPE html><html><title>404</title></html>",
    "pointer of Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:0",
    "PDF": b"%PDF-1.7\n",
    "ZIP archive": b"PK\3\4" + bytes(20),
    "film (MP4)": b"\0\0\0\x18ftypmp42\0\0\0\0",
    "empty file": b"",
    "text": b"a,b\n1,2\n",
    "JPEG, 12 bits a channel": samples.jpeg_frame(0xC1, precision=12),
    "JPEG, lossless": samples.jpeg_frame(0xC3),
    "JPEG, hierarchical": samples.jpeg_frame(0xC5),
    "JPEG-LS": samples.jpeg_frame(0xF7),
    "BMP, 8 bits, run-length encoding": samples.bmp(
        8,
        palette=samples.palette(256),
        compression=1,
        content=b"\x0d\5\0\0" * 9 + b"\0\1",
    ),
    "BMP, 4 bits, run-length encoding": samples.bmp(
        4,
        palette=samples.palette(16),
        compression=2,
        content=b"\x0d\5\0\0" * 9 + b"\0\1",
    ),
    "BMP, 16 bits": samples.bmp(16),
    "BMP, 16 bits, bit fields": samples.bmp(16, compression=3, masks=MASKS_565),
    "BMP, 32 bits, bit fields of its own": samples.bmp(
        32, compression=3, masks=OWN_MASKS
    ),
    "BMP, header of OS/2": samples.os2_bmp(),
    "BMP, JPEG inside": samples.bmp(24, compression=4),
    "PNG of zero width": samples.rgb_png(width=0),
    "BMP of zero height": samples.bmp(24, height=0),
    "GIF without a frame": saved(photo(), "GIF")[: 13 + 768] + b";",
    "GIF, 10 x 8 pixels on a canvas of 60000 x 60000": samples.gif((60_000, 60_000)),
    "JPEG, header cut off": saved(photo(), "JPEG")[:100],
    "JPEG without an image": b"\xff\xd8\xff\xd9",
}


def refusal(data):
    with pytest.raises(decoding.ImageFormatError) as info:
        decoding.read_header(io.BytesIO(data))
    assert decoding.why_undecodable(data) == str(info.value)
    return str(info.value)


@pytest.fixture(scope="module")
def decoded():
    """All files at once."""
    return decode_all(REFUSED)


@pytest.mark.parametrize("name", rows(REFUSED))
def test_what_is_not_decoded_is_named(name, decoded, outcome):
    assert decoded[name] is None
    message = refusal(REFUSED[name])
    if "which is not decoded" in message:
        assert name.split(",")[0].split(" in ")[0] in message
        assert "JPEG" in message or "PNG" in message
    outcome(f"refused: {message}")


@situation(AREA, "JPEG, arithmetic coding")
def test_what_old_decoders_lack_is_refused(outcome):
    outcome(f"refused: {refusal(samples.jpeg_frame(0xC9))}")


@situation(AREA, "PNG, 196 megapixels")
def test_large_images_are_images(outcome):
    data = samples.rgb_png(width=14_000, height=14_000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        header = decoding.read_header(io.BytesIO(data))
    assert header == decoding.ImageHeader("PNG", 14_000, 14_000)
    outcome("accepted, without a warning")


@situation(AREA, "PNG, 300 megapixels")
def test_the_limit_is_named(outcome):
    side = 17_400
    assert (MAX_PIXELS, side**2 > MAX_PIXELS) == (2**28, True)
    message = refusal(samples.rgb_png(width=side, height=side))
    assert "17400 x 17400" in message
    assert "268,435,456" in message
    outcome(f"refused: {message}")


@situation(AREA, "JPEG of few bytes that declares 169 megapixels")
def test_a_jpeg_that_would_be_grey(outcome):
    data = bytearray(saved(photo(), "JPEG"))
    start = data.index(b"\xff\xc0")
    data[start + 5 : start + 9] = (13_000).to_bytes(2, "big") * 2
    outcome(f"refused: {refusal(bytes(data))}")


def huge(form):
    """A small file that declares 13,000 x 13,000 pixels."""
    data = bytearray(saved(photo(), form))
    frame = data.find(b",", 13 + 768)
    *starts, layout = {
        "PNG": (16, 20, ">I"),
        "BMP": (18, 22, "<i"),
        "GIF": (frame + 5, frame + 7, "<H"),
    }[form]
    for start in starts:
        struct.pack_into(layout, data, start, 13_000)
    if form == "PNG":
        struct.pack_into(">I", data, 29, zlib.crc32(data[12:29]))
    return bytes(data)


def test_declared_sizes_take_no_memory():
    before = peak()
    images = decode_all({form: huge(form) for form in ("PNG", "BMP", "GIF")})
    assert set(images.values()) == {None}
    assert peak() - before < 300  # 507 if an image had all of its pixels


def peak():
    """Most memory of this process so far, in MB."""
    with open("/proc/self/status") as file:
        (line,) = (line for line in file if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def test_headers_of_files_by_path_of_any_type(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(samples.jpeg_exif(6))
    expected = decoding.ImageHeader("JPEG", samples.HEIGHT, samples.WIDTH, 6)
    for source in (path, str(path), bytes(path)):
        assert decoding.read_header(source) == expected
    with pytest.raises(FileNotFoundError):
        decoding.read_header(tmp_path / "none.png")


@pytest.mark.parametrize("form", ["JPEG", "PNG", "BMP", "GIF"])
def test_damaged_headers_end_in_no_other_error(form):
    data = saved(photo(), form)
    for length in range(min(len(data), 900)):
        for changed in (data[:length], data[:length] + b"\xff\0" + data[length + 2 :]):
            with contextlib.suppress(decoding.ImageFormatError):
                assert decoding.read_header(io.BytesIO(changed)).format == form
