"""Readers of damaged IDX files and images: the package's loaders, held against another way of reading the same."""

import gzip
import hashlib
import io
import math
import shutil
import struct
import unittest.mock
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from PIL import Image

from benchmarks.faults import originals
from benchmarks.faults.damage import damaged
from fmnist_jax import data, terminal
from fmnist_jax.data import idx, images
from fmnist_jax.errors import RunError, UserError

LOADED, REFUSED = "loaded", "refused"
HOW = ((3, 0), (1, 0), (3, 5))  # channels and side with which an image is decoded


def attempt(load: Callable, *names: str) -> tuple[object, str | None]:
    """(what `load` returns, None), or (None, what is wrong with its refusal: "" where nothing is).

    A refusal is a line that names one of `names`, and holds nothing that a terminal would obey.
    """
    try:
        return load(), None
    except (UserError, RunError) as error:
        shown = terminal.printable(" ".join(str(error).split()))
    if not any(terminal.printable(" ".join(name.split())) in shown for name in names):
        return None, f"names no file: {shown[:200]}"
    if not shown.isprintable():
        return None, f"holds what is no text: {shown[:200]!r}"
    return None, "" if len(shown) < 1000 else f"says {len(shown)} characters"


class Reader:
    """Puts a damaged file where it can be read. Called with (original's name, bytes): (what came of it, what is wrong).

    Attributes:
      originals: the files as they should be.
      cases: (original's name, what was done to it, its bytes now), to be drawn.
    """

    def __init__(self, place: Path):
        self.place = place
        self.originals = self.files()
        self.cases = damaged(self.originals)

    def files(self) -> dict[str, bytes]:
        """What is damaged."""
        raise NotImplementedError

    def outcome(self, problem: str | None, unchanged: bool, judge: Callable[[], str]) -> tuple[str, str]:
        """What came of a case; `judge` says what is wrong with what was loaded."""
        if problem is None:
            return LOADED, judge()
        return REFUSED, problem or ("refused, although nothing was done to it" if unchanged else "")


class IdxFile(Reader):
    """One IDX file."""

    def files(self):
        return originals.idx_files()

    def __call__(self, name, content):
        path = self.place / "damaged.idx"
        path.write_bytes(content)
        found, problem = attempt(lambda: idx.read_idx(path), str(path))
        unchanged = content == self.originals[name]
        return self.outcome(problem, unchanged, lambda: _differs(found, decoded_idx(content)))


def decoded_idx(content: bytes) -> np.ndarray | None:
    """The array of an IDX file by Python's own gzip; None where it is none."""
    try:
        raw = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
        rank = raw[3]
        shape = struct.unpack(f">{rank}I", raw[4 : 4 + 4 * rank])
    except (OSError, EOFError, zlib.error, IndexError, struct.error):
        return None
    body = raw[4 + 4 * rank :]
    if raw[:3] != b"\0\0\x08" or not 1 <= rank <= 4 or not math.prod(shape) or math.prod(shape) != len(body):
        return None
    return np.frombuffer(body, np.uint8).reshape(shape)


def _differs(found: np.ndarray, wanted: np.ndarray | None) -> str:
    if wanted is None:
        return "loaded what is no whole file"
    same = found.dtype == wanted.dtype and found.shape == wanted.shape and np.array_equal(found, wanted)
    return "" if same else "loaded other values than the file has"


class IdxSet(Reader):
    """Four of them, of which one is damaged, or has other labels, or which have changed places."""

    def __init__(self, place: Path):
        super().__init__(place)
        names = list(self.originals)
        swapped = st.permutations(names).map(lambda order: ("set", "files swapped", tuple(order)))
        labels = st.tuples(st.sampled_from([name for name in names if "labels" in name]), st.binary(max_size=14))
        other = labels.map(lambda one: (one[0], "other labels", originals.zipped(originals.encoded(list(one[1])))))
        self.cases = damaged(self.originals) | other | swapped

    def files(self):
        return originals.idx_set()

    def changed(self, name: str, content: bytes | tuple[str, ...]) -> dict[str, bytes]:
        """The four files of a case."""
        if isinstance(content, tuple):
            return {name: self.originals[other] for name, other in zip(self.originals, content, strict=True)}
        return self.originals | {name: content}

    def __call__(self, name, content):
        files = self.changed(name, content)
        where = originals.write(files, self.place / "set")
        found, problem = attempt(lambda: idx.load_unverified(str(where)), *files)
        return self.outcome(problem, files == self.originals, lambda: self._judge(found, files))

    def _judge(self, found: data.Dataset, files: Mapping[str, bytes]) -> str:
        loaded = (found.train_images[..., 0], found.train_labels, found.test_images[..., 0], found.test_labels)
        for array, content in zip(loaded, files.values(), strict=True):
            if problem := _differs(array.astype(np.uint8), decoded_idx(content)):
                return problem
        if len(loaded[0]) != len(loaded[1]) or len(loaded[2]) != len(loaded[3]):
            return "loaded images without labels, or labels without images"
        if set(found.train_labels.tolist()) != set(range(len(found.class_names))):
            return "loaded classes that no training image has"
        return "" if set(found.test_labels) <= set(found.train_labels) else "loaded a label out of range"


class KnownSet(IdxSet):
    """Four files that are known by their hashes."""

    def __call__(self, name, content):
        files = self.changed(name, content)
        where = originals.write(files, self.place / "set")
        hashes = {name: hashlib.sha256(content).hexdigest() for name, content in self.originals.items()}
        with unittest.mock.patch.object(idx, "FASHION_MNIST", hashes):
            _, problem = attempt(lambda: idx.load_fashion_mnist(str(where)), *files)
        same = files == self.originals
        return self.outcome(problem, same, lambda: "" if same else "loaded what has another hash")


class ImageFile(Reader):
    """One image file: its header, and its pixels as grey, as colours and at another size."""

    def files(self):
        return originals.images()

    def __call__(self, name, content):
        path = self.place / f"damaged{Path(name).suffix}"
        path.write_bytes(content)
        header, refused = attempt(lambda: images.header(path), str(path))
        found, problem = attempt(lambda: [images.decode(content, str(path), *how) for how in HOW], str(path))
        unchanged = content == self.originals[name]
        return self.outcome(refused or problem, unchanged, lambda: _judge(found, header, content, unchanged))


def _judge(found: list[np.ndarray], header: tuple | None, content: bytes, unchanged: bool) -> str:
    if header is None:
        return "loaded what has no header"
    shapes = [(*header[:2], 3), (*header[:2], 1), (5, 5, 3)]
    if [one.shape for one in found] != shapes or any(one.dtype != np.uint8 for one in found):
        return f"loaded as {[one.shape for one in found]} where the header says {shapes}"
    if header[0] * header[1] > images.MAX_PIXELS:
        return "loaded more pixels than are allowed"
    if unchanged and not np.array_equal(found[0], np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))):
        return "loaded other pixels than the file has"
    return ""


class Folder(Reader):
    """A folder of images of which one is damaged."""

    def files(self):
        # Of one size and with colours, as the others there are.
        return {name: content for name, content in originals.images().items() if not name.startswith("grey")}

    def __call__(self, name, content):
        root = self.place / "folder"
        shutil.rmtree(root, ignore_errors=True)
        originals.image_folder(root)
        path = root / "Training" / "apple" / name
        path.write_bytes(content)
        found, problem = attempt(lambda: data.load("folder", data_dir=str(root)), str(path))
        return self.outcome(problem, content == self.originals[name], lambda: self._judge(found, content, name))

    def _judge(self, found: data.Dataset, content: bytes, name: str) -> str:
        alone = images.decode(content, name, 3)
        there = any(np.array_equal(image, alone) for image in found.train_images[:4])
        whole = found.train_labels.tolist() == [0] * 4 + [1] * 3 and found.class_names == ("apple", "banana")
        return "" if there and whole else "loaded other images or labels than the folder has"


class Cached(Reader):
    """A file of the cache of decoded images: whatever is done to it, the images are those of the folder."""

    ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")

    def files(self):
        self.root = originals.image_folder(self.place / "folder")
        whole = data.load("folder", data_dir=str(self.root))
        self.kept = Path(whole.train_images.filename).parent
        self.whole = {name: np.array(getattr(whole, name)) for name in self.ARRAYS}
        self.about = whole.fingerprint, whole.class_names
        return {path.name: path.read_bytes() for path in sorted(self.kept.iterdir())}

    def __call__(self, name, content):
        (self.kept / name).unlink()
        (self.kept / name).write_bytes(content)
        found, problem = attempt(lambda: data.load("folder", data_dir=str(self.root)), str(self.root))
        outcome = self.outcome(problem, True, lambda: self._judge(found))
        originals.write(self.originals, self.kept)
        return outcome

    def _judge(self, found: data.Dataset) -> str:
        same = all(np.array_equal(getattr(found, name), self.whole[name]) for name in self.ARRAYS)
        return "" if same and (found.fingerprint, found.class_names) == self.about else "loaded what is not there"
