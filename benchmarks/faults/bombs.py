"""Files that promise more than they hold, or hold more than they seem to: refused, in bounded memory.

A case is a function of the folder it may write to, and returns (what came of it, what is wrong).
"""

import functools
import io
import json
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from benchmarks.faults import originals
from benchmarks.faults.readers import HOW, LOADED, REFUSED, attempt
from fmnist_jax import data, weights
from fmnist_jax.data import idx, images

Case = Callable[[Path], tuple[str, str]]
HUGE = 65500  # a side, whose square no memory holds
ZEROS = 2**28


def _refused(load: Callable, path: Path) -> tuple[str, str]:
    _, problem = attempt(load, str(path))
    return (LOADED, "loaded what should be refused") if problem is None else (REFUSED, problem)


def _idx(content: Callable[[], bytes], place: Path) -> tuple[str, str]:
    path = place / "bomb.gz"
    path.write_bytes(content())
    return _refused(lambda: idx.read_idx(path), path)


def _sparse_idx(place: Path) -> tuple[str, str]:
    path = place / "sparse"
    with path.open("wb") as file:
        file.write(struct.pack(">BBBBI", 0, 0, 8, 1, 2**32 - 1))
        file.truncate(2**32 + 7)  # takes no room
    outcome = _refused(lambda: idx.read_idx(path), path)
    path.unlink()
    return outcome


def refused_image(name: str, content: Callable[[], bytes], place: Path) -> tuple[str, str]:
    """An image that no way of reading it may load."""
    path, made = place / name, content()
    path.write_bytes(made)
    tried = [_refused(lambda: images.header(path), path)]
    tried += [_refused(lambda how=how: images.decode(made, str(path), *how), path) for how in HOW]
    return next((one for one in tried if one[1]), tried[0])


def _sparse_image(place: Path) -> tuple[str, str]:
    root = originals.image_folder(place / "sparse_folder")
    path = root / "Test" / "apple" / "large.png"
    with path.open("wb") as file:
        file.truncate(images.MAX_BYTES + 1)
    outcome = _refused(lambda: data.load("folder", data_dir=str(root)), path)
    shutil.rmtree(root)
    return outcome


def _loaded(content: Callable[[], bytes], place: Path) -> tuple[str, str]:
    """What may be loaded, in one size."""
    found, problem = attempt(lambda: images.decode(content(), "an image", 3, 28), "an image")
    if problem is not None:
        return REFUSED, problem
    return LOADED, "" if found.shape == (28, 28, 3) else "loaded in another size"


def _weights(name: str, content: Callable[[], bytes], place: Path) -> tuple[str, str]:
    path = place / name
    path.write_bytes(content())
    return _refused(lambda: weights.load(str(path), originals.wanted()), path)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, *chunks: bytes) -> bytes:
    """A PNG of a true header, more chunks, and hardly any pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = _chunk(b"IDAT", zlib.compress(bytes(100)))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + b"".join(chunks) + pixels + _chunk(b"IEND", b"")


def _zeros_in(kind: bytes) -> bytes:
    return png(7, 6, _chunk(kind, b"x\0\0" + _deflated(zlib.MAX_WBITS)))


def _deflated(wbits: int, first: bytes = b"") -> bytes:
    """ZEROS zeros behind some bytes, made without all of them in memory."""
    made = zlib.compressobj(1, wbits=wbits)
    parts = [made.compress(first), *(made.compress(bytes(2**20)) for _ in range(ZEROS // 2**20)), made.flush()]
    return b"".join(parts)


def _patched(name: str, mark: bytes, offset: int, new: bytes) -> bytes:
    """An original with bytes written so far behind a mark."""
    content = bytearray(originals.images()[name])
    at = content.index(mark) + offset
    content[at : at + len(new)] = new
    return bytes(content)


def _tiff(name: str, sides: int = 0, circle: bool = False) -> bytes:
    """A TIFF with other sides, or whose directory of pages leads back to itself."""
    content = bytearray(originals.images()[name])
    (first,) = struct.unpack_from("<I", content, 4)
    (entries,) = struct.unpack_from("<H", content, first)
    for at in range(first + 2, first + 2 + 12 * entries, 12):
        (tag,) = struct.unpack_from("<H", content, at)
        if sides and tag in (256, 257):
            struct.pack_into("<HII", content, at + 2, 4, 1, sides)
    if circle:
        struct.pack_into("<I", content, first + 2 + 12 * entries, first)
    return bytes(content)


def black(width: int, height: int) -> bytes:
    """A sound PNG of a few kilobytes."""
    buffer = io.BytesIO()
    Image.new("1", (width, height)).save(buffer, "PNG")
    return buffer.getvalue()


def _safetensors(header: bytes, body: bytes = b"", length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + body


def _large_tensor() -> bytes:
    tensor = {"dtype": "F32", "shape": [2**31, 2**31], "data_offsets": [0, 4]}
    return _safetensors(json.dumps({"fc.bias": tensor}).encode(), bytes(4))


def _zip() -> bytes:
    """What is called a state dict, and is a few kilobytes that inflate to ZEROS bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        with file.open("archive/data.pkl", "w") as member:
            for _ in range(ZEROS // 2**20):
                member.write(bytes(2**20))
        file.writestr("archive/version", "3\n")
    return buffer.getvalue()


def _gz() -> bytes:
    return _deflated(16 + zlib.MAX_WBITS, originals.encoded([1, 2, 3, 4, 5, 6]))


def _table() -> dict[str, tuple]:
    """Name -> (what makes a case of it, what that takes)."""
    values = struct.pack(">BBBB4I", 0, 0, 8, 4, *[2**32 - 1] * 4) + b"0123"
    words, sides = struct.pack("<HH", HUGE, HUGE), struct.pack(">HH", HUGE, HUGE)
    longs, webp = struct.pack("<ii", HUGE, HUGE), struct.pack("<HH", 16383, 16383)
    brackets = b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    return {
        "IDX: a header of 2^128 values": (_idx, lambda: values),
        "IDX: a header of 2^128 values, zipped": (_idx, lambda: originals.zipped(values)),
        "IDX: a gz of 256 MiB behind 6 values": (_idx, _gz),
        "PNG of 65500 x 65500": (refused_image, "a.png", lambda: png(HUGE, HUGE)),
        "PNG of 2^31 x 2^31": (refused_image, "a.png", lambda: png(2**31 - 1, 2**31 - 1)),
        "PNG of 8001 x 8000": (refused_image, "a.png", lambda: black(8001, 8000)),
        "PNG with a text of 256 MiB": (refused_image, "a.png", lambda: _zeros_in(b"zTXt")),
        "PNG with a colour profile of 256 MiB": (refused_image, "a.png", lambda: _zeros_in(b"iCCP")),
        "JPEG of 65500 x 65500": (refused_image, "a.jpg", lambda: _patched("colour.jpg", b"\xff\xc0", 5, sides)),
        "GIF of 65500 x 65500": (refused_image, "a.gif", lambda: _patched("frames.gif", b"GIF8", 6, words)),
        "BMP of 65500 x 65500": (refused_image, "a.bmp", lambda: _patched("colour.bmp", b"BM", 18, longs)),
        "WebP of 16383 x 16383": (refused_image, "a.webp", lambda: _patched("lossy.webp", b"\x9d\x01\x2a", 3, webp)),
        "TIFF of 2^31 x 2^31": (refused_image, "a.tif", lambda: _tiff("colour.tif", 2**31 - 1)),
        "TIFF of 65500 x 65500, LZW": (refused_image, "a.tif", lambda: _tiff("lzw.tif", HUGE)),
        "PPM of 10^9 x 10^9": (refused_image, "a.ppm", lambda: b"P6 1000000000 1000000000 255\n" + bytes(99)),
        "a TIFF whose pages are a circle": (_loaded, lambda: _tiff("colour.tif", circle=True)),
        "an image of all the pixels allowed": (_loaded, lambda: black(8000, 8000)),
        "safetensors: a header of 2^63 bytes": (_weights, "a.safetensors", lambda: _safetensors(b"{}", length=2**63)),
        "safetensors: a header of 10^8 bytes": (_weights, "a.safetensors", lambda: _safetensors(b"{}", length=10**8)),
        "safetensors: a tensor of 2^62 numbers": (_weights, "a.safetensors", _large_tensor),
        "safetensors: 100,000 brackets": (_weights, "a.safetensors", lambda: _safetensors(brackets)),
        "pth: a zip of 256 MiB": (_weights, "a.pth", _zip),
        "pth: 2^27 numbers in 8 bytes": (_weights, "a.pth", originals.repeated_tensor),
    }  # fmt: skip


CASES: dict[str, Case] = {name: functools.partial(*parts) for name, parts in _table().items()}
CASES |= {"IDX: a hole of 4 GiB": _sparse_idx, "an image file of 256 MB": _sparse_image}
