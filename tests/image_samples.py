"""Image files of every kind, made here: by Pillow, or byte by byte where it cannot."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 24, 32
ADAM7 = (
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)),
    *((0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
)


def pixels(*shape, dtype=np.uint8):
    """Noise, the same every time."""
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, shape, dtype)


def photo(mode="RGB", size=(WIDTH, HEIGHT)):
    """A picture without symmetry and with soft edges, as photographs have."""
    image = Image.fromarray(pixels(4, 5, 3)).resize(size, Image.Resampling.BICUBIC)
    return image.convert(mode)


def saved(image, form, **options):
    """The content of a file that Pillow writes."""
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def exif(value, order=">", kind=3, before=b""):
    """Exif's data with an orientation, in a byte order, as SHORT (3) or LONG (4)."""
    mark = {">": b"MM", "<": b"II"}[order]
    number = struct.pack(order + "HH", value, 0) if kind == 3 else None
    number = number or struct.pack(order + "I", value)
    fields = before + struct.pack(order + "HHI", 0x112, kind, 1) + number
    count = struct.pack(order + "H", len(fields) // 12)
    return mark + struct.pack(order + "HI", 42, 8) + count + fields + bytes(4)


def segment(marker, content):
    """A segment of a JPEG."""
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def jpeg_with(*segments, data=None):
    """A JPEG with segments, (marker, content), after the one of JFIF."""
    data = data or saved(photo(), "JPEG")
    start = 4 + int.from_bytes(data[4:6], "big")
    added = b"".join(segment(*parts) for parts in segments)
    return data[:start] + added + data[start:]


def jpeg_exif(value, **options):
    """A JPEG with an orientation."""
    return jpeg_with((0xE1, b"Exif\0\0" + exif(value, **options)))


def jpeg_frame(marker, precision=8, channels=3):
    """A JPEG whose frame is declared to be of another kind."""
    data = bytearray(saved(photo(), "JPEG"))
    start = data.index(b"\xff\xc0")
    data[start + 1], data[start + 4], data[start + 9] = marker, precision, channels
    return bytes(data)


def cmyk(transform=None):
    """A JPEG of four channels; with Adobe's `transform`, or without its segment."""
    data = saved(photo("CMYK"), "JPEG", quality=95)
    start = data.index(b"\xff\xee")
    if transform is None:
        return data[:start] + data[start + 16 :]
    return data[: start + 15] + bytes([transform]) + data[start + 16 :]


def chunk(name, content):
    """A chunk of a PNG."""
    check = struct.pack(">I", zlib.crc32(name + content))
    return struct.pack(">I", len(content)) + name + content + check


def png(rows, depth, colours, *before, width=WIDTH, height=HEIGHT, **places):
    """A PNG of rows of bytes; chunks `before` the pixels and `after` them."""
    header = struct.pack(
        ">IIBBBBB", width, height, depth, colours, 0, 0, places.get("interlaced", 0)
    )
    content = zlib.compress(b"".join(b"\0" + bytes(row) for row in rows))
    parts = (chunk(b"IHDR", header), *before, chunk(b"IDAT", content))
    end = (*places.get("after", ()), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join((*parts, *end))


def rgb_png(*before, **places):
    """A PNG with chunks."""
    rows = np.asarray(photo()).reshape(HEIGHT, -1)
    return png(rows, 8, 2, *before, **places)


def interlaced_png():
    """A PNG by Adam7."""
    image = np.asarray(photo())
    passes = (image[top::down, left::right] for left, top, right, down in ADAM7)
    rows = [row.reshape(-1) for part in passes for row in part]
    return png(rows, 8, 2, interlaced=1)


def bmp(bits, width=13, height=9, palette=b"", masks=b"", **fields):
    """A BMP of noise, of any header."""
    row = (width * bits + 31) // 32 * 4
    content = fields.get("content", pixels(abs(height) * row).tobytes())
    size = fields.get("header", 40)
    start = 14 + size + len(masks) + len(palette)
    header = struct.pack(
        "<IiiHHIIiiII",
        *(size, width, height, 1, bits, fields.get("compression", 0)),
        *(len(content), 2835, 2835, fields.get("colours", 0), 0),
    ) + bytes(size - 40)
    file = b"BM" + struct.pack("<IHHI", start + len(content), 0, 0, start)
    return file + header + masks + palette + content


def palette(colours, bytes_each=4):
    """A palette of noise."""
    table = pixels(colours, bytes_each)
    table[:, 3:] = 0
    return table.tobytes()


def os2_bmp():
    """A BMP of OS/2, which has a shorter header."""
    file = b"BM" + struct.pack("<IHHI", 0, 0, 0, 26 + 768)
    header = struct.pack("<IHHHH", 12, 13, 9, 1, 8)
    return file + header + palette(256, 3) + pixels(9 * 16).tobytes()


def masks(*values):
    """Bit fields."""
    return struct.pack(f"<{len(values)}I", *values)


def gif(screen=(20, 16), corner=(4, 3), transparent=None, background=2):
    """A GIF with a frame of 10 x 8 pixels anywhere on its canvas."""
    frame = Image.new("P", (10, 8))
    frame.putdata((pixels(80) % 4).tolist())
    frame.putpalette([10, 20, 30, 200, 0, 0, 0, 200, 0, 0, 0, 200] + [0] * 12)
    data = saved(frame, "GIF")
    colours = 13 + 3 * (2 << (data[10] & 7))
    start = data.index(b",", colours)
    head = data[:6] + struct.pack("<HHBBB", *screen, data[10], background, 0)
    control = b""
    if transparent is not None:
        control = b"!\xf9\x04\1\0\0" + bytes([transparent]) + b"\0"
    place = b"," + struct.pack("<HH", *corner)
    return head + data[13:colours] + control + place + data[start + 5 :]
