"""Image folders: <root>/Training/<class>/*.jpg and <root>/Test/<class>/*.jpg, as Fruits-360 has them."""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fmnist_jax.data import cache, images
from fmnist_jax.data.dataset import Dataset
from fmnist_jax.errors import UserError

PARTS = ("Training", "Test")
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm"})


class _File(NamedTuple):
    path: str  # relative to the root, with forward slashes
    label: str
    size: int
    mtime_ns: int


def load(data_dir: str, image_size: int = 0) -> Dataset:
    """Loads a folder of images; decodes it on the first call and maps the decoded arrays on every later one.

    Images are RGB, [H, W, 3], unless every file is greyscale, then [H, W, 1]. Classes are the sorted names of the
    folders in Training/. The fingerprint covers the files' relative paths and bytes, and image_size.

    Args:
      data_dir: the folder that holds Training/ and Test/.
      image_size: resize to image_size x image_size; 0 keeps the files' size, which then must be one.

    Raises:
      UserError: a part is missing, fewer than two classes, a class without images, a class in Test/ that is not in
        Training/, a link that leaves the folder, an image that is unreadable or too large, mixed sizes.
      RunError: the cache cannot be written.
    """
    if not data_dir:
        raise UserError("dataset.name=folder needs --config.dataset.data_dir=DIR, with DIR/Training and DIR/Test in it")
    root = Path(os.path.expanduser(data_dir))
    train, test = (_listing(root, part) for part in PARTS)
    classes = sorted({file.label for file in train})
    if len(classes) < 2:
        raise UserError(f"{root}/Training: only one class ({classes[0]!r}); classification needs at least two folders")
    if unknown := sorted({file.label for file in test} - set(classes)):
        raise UserError(f"{root}/Test/{unknown[0]}: this class is not in Training/; add it there or remove it here")

    def build():
        shape, channels = _one_shape(root, train + test, image_size)
        digest = hashlib.sha256(f"{image_size}:{channels}".encode())
        parts = (
            cache.Part(
                shape=(len(files), *shape, channels),
                images=_decoded(root, files, channels, image_size, digest),
                labels=[classes.index(file.label) for file in files],
            )
            for files in (train, test)
        )
        return *parts, tuple(classes), digest.hexdigest

    # Times and sizes only say whether to decode again; what identifies the content is the digest of the bytes.
    key = json.dumps([cache.LAYOUT, "folder", str(root.resolve()), image_size, train, test])
    return cache.decoded(hashlib.sha256(key.encode()).hexdigest(), "folder", build)


def _listing(root: Path, part: str) -> list[_File]:
    """Every image of one part, sorted by class and name."""
    if not (root / part).is_dir():
        raise UserError(f"{root}: no folder {part}/ in it; expected {root}/{part}/<class>/*.jpg")
    inside = os.path.realpath(root)
    _check_link(root / part, inside)
    files = []
    for folder in _entries(root / part, inside):
        if not folder.is_dir():
            continue
        if not folder.name.isprintable():  # nor is what is no UTF-8
            name = os.fsencode(folder.name).decode("utf-8", "backslashreplace")
            raise UserError(f"{root / part}: a folder called {name!r}, which is no printable text; rename it")
        members = [
            _File(f"{part}/{folder.name}/{entry.name}", folder.name, entry.stat().st_size, entry.stat().st_mtime_ns)
            for entry in _entries(folder.path, inside)
            if Path(entry.name).suffix.lower() in SUFFIXES and entry.is_file()
        ]
        if not members:
            raise UserError(f"{folder.path}: no images in it; add some, or remove the folder")
        if large := [file for file in members if file.size > images.MAX_BYTES]:
            raise UserError(f"{root / large[0].path}: {large[0].size:,} bytes are too many for an image; remove it")
        files += members
    if not files:
        raise UserError(f"{root / part}: no class folders in it; expected {root / part}/<class>/*.jpg")
    return files


def _entries(directory: str | Path, inside: str) -> list[os.DirEntry]:
    """Entries of a directory, sorted, without hidden ones; a link out of `inside` (or to nowhere) is refused."""
    try:
        with os.scandir(directory) as scan:
            entries = sorted((entry for entry in scan if not entry.name.startswith(".")), key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(f"{directory}: cannot be listed ({error.strerror})") from error
    for entry in entries:
        if entry.is_symlink():
            _check_link(entry.path, inside)
    return entries


def _check_link(path: str | Path, inside: str) -> None:
    target = os.path.realpath(path)
    if os.path.commonpath([target, inside]) != inside:
        raise UserError(f"{path}: a link out of the dataset (to {target}); copy its content in, or remove it")
    if not os.path.exists(target):
        raise UserError(f"{path}: a link to {target}, which does not exist; remove it")


def _one_shape(root: Path, files: list[_File], image_size: int) -> tuple[tuple[int, int], int]:
    """((H, W), channels) of the decoded images, from the headers alone."""
    headers = list(images.in_threads(lambda file: images.header(root / file.path), files))
    channels = 1 if all(grey for *_, grey in headers) else 3
    if image_size:
        return (image_size, image_size), channels
    height, width, _ = headers[0]
    for file, (other_height, other_width, _) in zip(files, headers, strict=True):
        if (other_height, other_width) != (height, width):
            raise UserError(
                f"images of mixed sizes: {root / files[0].path} is {width}x{height}, {root / file.path} is "
                f"{other_width}x{other_height}; resize them all with --config.dataset.image_size=N"
            )
    return (height, width), channels


def _decoded(root: Path, files: list[_File], channels: int, image_size: int, digest) -> Iterator[np.ndarray]:
    """The images in order; each one's path and bytes go into `digest`."""

    def read(file: _File) -> tuple[bytes, np.ndarray]:
        path = root / file.path
        try:
            data = path.read_bytes()
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from error
        return hashlib.sha256(data).digest(), images.decode(data, str(path), channels, image_size)

    for file, (content, image) in zip(files, images.in_threads(read, files), strict=True):
        digest.update(os.fsencode(file.path) + b"\0" + content)
        yield image
