"""Encoded images to uint8 arrays: decoding, resizing, and refusing what cannot be trained on."""

import collections
import concurrent.futures
import contextlib
import hashlib
import io
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from fmnist_jax.errors import UserError

# Far above any photograph worth training on here, and below the size at which Pillow itself starts to warn.
MAX_PIXELS = 64_000_000
MAX_BYTES = 256 * 10**6  # of a file: what as many pixels take, stored as they are
GREY_MODES = frozenset({"1", "L", "LA"})
COLOUR_MODES = frozenset({"P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"})
# Of Pillow's plugins these alone: others start programs, such as Ghostscript for an EPS, whatever the file is called.
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
_CHUNK = 1024
_MOST_THREADS = 16  # each with an image or two of up to MAX_PIXELS in memory

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextlib.contextmanager
def _opened(source: Path | io.BytesIO, where: str) -> Iterator[Image.Image]:
    """Opens an image; whatever Pillow finds wrong, then or while its pixels are read, is a UserError."""
    try:
        with Image.open(source, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise Image.DecompressionBombError
            if image.mode not in GREY_MODES | COLOUR_MODES:
                raise UserError(f"{where}: mode {image.mode} has more than 8 bits a channel; convert it to 8 bits")
            yield image
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise UserError(f"{where}: more than {MAX_PIXELS:,} pixels; refused as a possible decompression bomb") from None
    except UserError:
        raise
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error, ...
        raise UserError(f"{where}: cannot be read as an image ({brief(error)}); replace or remove it") from error


def brief(error: BaseException) -> str:
    """The first line of an error's message, short enough for one line of ours."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0] if len(lines[0]) <= 200 else lines[0][:197] + "..."


def header(path: Path) -> tuple[int, int, bool]:
    """(height, width, whether it is greyscale) of an image file, without decoding it. Raises UserError."""
    with _opened(path, str(path)) as image:
        return image.height, image.width, image.mode in GREY_MODES


def decode(data: bytes, where: str, channels: int, image_size: int = 0) -> np.ndarray:
    """Decodes one image.

    Args:
      data: an encoded image (JPEG, PNG, ...).
      where: what an error calls it.
      channels: 1 (grey) or 3 (RGB).
      image_size: resize to image_size x image_size (bilinear, antialiased); 0 keeps the size.

    Returns:
      [H, W, channels] uint8.

    Raises:
      UserError: the bytes are not an image, or one that is too large or deeper than 8 bits.
    """
    with _opened(io.BytesIO(data), where) as image:
        pixels = image.convert("L" if channels == 1 else "RGB")
        if image_size and pixels.size != (image_size, image_size):
            pixels = pixels.resize((image_size, image_size), Image.Resampling.BILINEAR)
        return np.asarray(pixels, np.uint8).reshape(pixels.height, pixels.width, channels)


def resize(images: np.ndarray, image_size: int) -> np.ndarray:
    """[N, H, W, C] uint8 -> [N, image_size, image_size, C] uint8, bilinear, antialiased; C is 1 or 3."""

    def one(image: np.ndarray) -> np.ndarray:
        picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
        return np.asarray(picture.resize((image_size, image_size), Image.Resampling.BILINEAR))

    resized = np.stack([one(image) for image in images])
    return resized.reshape(len(images), image_size, image_size, images.shape[-1])


def centred(images: np.ndarray) -> np.ndarray:
    """Each image less its own mean, clipped at three standard deviations of all that is left, as 0 to 255 again.

    What Stanford's course on unsupervised feature learning does to natural images (UFLDL, sampleIMAGES), but for the
    range; black is then no longer 0, and the mean of every image is 127.5.

    Args:
      images: [N, H, W, C] uint8.

    Returns:
      the same shape, uint8; where no image varies, 128 everywhere.
    """
    blocks = [images[first : first + _CHUNK] for first in range(0, len(images), _CHUNK)]  # of a file, not all at once
    squares = sum(np.square(_less_means(block)).sum(dtype=np.float64) for block in blocks)
    limit = 3 * np.sqrt(squares / max(1, images.size)) or 1.0
    found = np.empty(images.shape, np.uint8)
    for i, block in enumerate(blocks):
        share = np.clip(_less_means(block) / limit, -1, 1)
        found[i * _CHUNK : i * _CHUNK + len(block)] = np.rint(127.5 * (1 + share))
    return found


def _less_means(images: np.ndarray) -> np.ndarray:
    return images - images.mean(axis=(1, 2, 3), keepdims=True, dtype=np.float64)


def changed_fingerprint(fingerprint: str, change: int | str) -> str:
    """The fingerprint of the same content at another size, or else changed; without a change (0, "") the same."""
    return hashlib.sha256(f"{fingerprint}:{change}".encode()).hexdigest() if change else fingerprint


def in_threads(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """map() in order over a thread pool (Pillow's decoders release the GIL), two of a thread ahead of the reader."""
    threads = min(os.cpu_count() or 1, _MOST_THREADS)
    with warnings.catch_warnings(), concurrent.futures.ThreadPoolExecutor(threads) as pool:
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        under_way: collections.deque[concurrent.futures.Future] = collections.deque()
        try:
            for item in items:
                under_way.append(pool.submit(function, item))
                if len(under_way) > 2 * threads:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for left in under_way:
                left.cancel()
