"""IDX files: Fashion-MNIST, known by its SHA-256, and any other set in the same four files, checked but not known.

Format: http://yann.lecun.com/exdb/mnist ("the IDX file format"): 0, 0, type, rank, then the dimensions as big-endian
uint32, then the values.
"""

import concurrent.futures
import hashlib
import math
import os
import struct
import tempfile
import zlib
from pathlib import Path

import numpy as np

from fmnist_jax.data import cache, from_tfds, images
from fmnist_jax.data.dataset import Dataset
from fmnist_jax.errors import RunError, UserError

URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
# As in tfds.builder("fashion_mnist").url_infos; a test compares. In Dataset's order.
FASHION_MNIST = {
    "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
}
# The old MNIST has the same file names; as in tfds.builder("mnist").url_infos.
OLD_MNIST = frozenset(
    {
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    }
)
CLASS_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
SUBFOLDERS = ("", "fashion-mnist", "fashion_mnist")
_UNSIGNED_BYTE = 0x08
_MAX_RANK = 4
_MOST_BYTES = 2**32  # of a file, and of the values in it: a hundred times Fashion-MNIST's
_DEFLATE_MAX_RATIO = 1032  # zlib's technical notes: one byte of deflate stands for at most so many


def load_fashion_mnist(data_dir: str = "") -> Dataset:
    """Loads Fashion-MNIST (Xiao et al. 2017, arXiv:1708.07747), 60,000 + 10,000 images of 28 x 28 x 1.

    Args:
      data_dir: a folder with the four .gz files, or with fashion-mnist/ in it; "" looks in `places()`, or downloads.

    Raises:
      UserError: not found and not to be had, truncated, or another content than Fashion-MNIST's.
    """
    directory = _find(data_dir) or _download()
    return _assemble("fashion_mnist", _read_all(directory, verify=True), CLASS_NAMES)


def load_unverified(data_dir: str) -> Dataset:
    """Loads four IDX files of MNIST's names (MNIST, KMNIST, your own), with every check but the hash.

    Classes are 0 ... the largest training label.

    Raises:
      UserError: a file is missing or not valid IDX, counts differ, a test label is out of range.
    """
    if not data_dir:
        raise UserError("dataset.name=idx needs --config.dataset.data_dir=DIR, the folder of the four IDX .gz files")
    contents = _read_all(_find(data_dir), verify=False)
    train_labels = contents["train-labels-idx1-ubyte.gz"][1]
    if absent := sorted(set(range(int(train_labels.max()) + 1)) - set(np.unique(train_labels).tolist())):
        raise UserError(
            f"train-labels-idx1-ubyte.gz: labels up to {train_labels.max()}, and none of them {absent[0]}; number the "
            "classes from 0 on without a gap"
        )
    return _assemble("idx", contents, tuple(str(label) for label in range(int(train_labels.max()) + 1)))


def read_idx(path: str | os.PathLike) -> np.ndarray:
    """Reads one IDX file of unsigned bytes, gzipped or not, of rank 1 to 4: a read-only uint8 array.

    Raises:
      UserError: it cannot be read, or is not exactly what its header promises. No more is ever decompressed.
    """
    return _parse(_bytes(Path(path)), path)


def check_labels(labels: np.ndarray, num_classes: int, where: str) -> None:
    """Raises UserError, naming the first label that is not in [0, num_classes)."""
    wrong = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if wrong.size:
        raise UserError(
            f"{where}: label {labels[wrong[0]]} at index {wrong[0]} is out of range: "
            f"{num_classes} classes have labels 0 to {num_classes - 1}"
        )


def places() -> list[Path]:
    """Where Fashion-MNIST is looked for when no data_dir is given, in order."""
    repository = Path(__file__).resolve().parents[2]
    roots = [Path.cwd(), repository]
    named = [Path(os.path.expanduser(os.environ["FMNIST_DATA_DIR"]))] if os.environ.get("FMNIST_DATA_DIR") else []
    beside = [root / place for place in ("data", "../shared/data") for root in roots]
    return list(dict.fromkeys(Path(os.path.normpath(place)) for place in [*named, *beside, cache.root()]))


def _find(data_dir: str) -> Path | None:
    """The folder that holds all four files; None if there is none and no data_dir was given."""
    for place in [Path(os.path.expanduser(data_dir))] if data_dir else places():
        for directory in (place / subfolder for subfolder in SUBFOLDERS):
            missing = [name for name in FASHION_MNIST if not (directory / name).is_file()]
            if not missing:
                return directory
            if data_dir and len(missing) < len(FASHION_MNIST):
                raise UserError(f"{directory}: {', '.join(missing)} missing; put it beside the others")
    if data_dir:
        raise UserError(
            f"--config.dataset.data_dir={data_dir}: no {next(iter(FASHION_MNIST))} there, nor in fashion-mnist/ below "
            "it; name the folder that holds the four .gz files"
        )
    return None


def _download() -> Path:
    target = cache.root() / "fashion-mnist"
    try:
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target, prefix=".download-") as scratch:
            fetched = from_tfds.fetch({name: URL + name for name in FASHION_MNIST}, Path(scratch))
            for name, path in fetched.items():
                _verify(_bytes(path), name, URL + name)
            for name, path in fetched.items():
                os.replace(path, target / name)
    except Exception as error:  # requests' and TFDS's errors have no common base
        if isinstance(error, OSError) and error.errno:  # the file system's; the network's have none
            raise RunError(
                f"{target}: cannot keep Fashion-MNIST there ({error.strerror}); make room, set XDG_CACHE_HOME to a "
                "writable directory with space, or give --config.dataset.data_dir=DIR"
            ) from error
        cause = images.brief(error) if isinstance(error, UserError) else type(error).__name__
        raise UserError(
            f"Fashion-MNIST not found: looked for {next(iter(FASHION_MNIST))} and the other three in "
            f"{', '.join(map(str, places()))}, and {URL} gave none ({cause}); put the four files in {target}, or give "
            "--config.dataset.data_dir=DIR, or do without: --config.dataset.name=synthetic"
        ) from error
    return target


def _read_all(directory: Path, verify: bool) -> dict[str, tuple[str, np.ndarray]]:
    """{file name: (SHA-256, array)}. zlib and hashlib release the GIL, so the files are read side by side."""

    def read(name: str) -> tuple[str, np.ndarray]:
        data = _bytes(directory / name)
        digest = _verify(data, name, directory / name) if verify else hashlib.sha256(data).hexdigest()
        return digest, _parse(data, directory / name)

    with concurrent.futures.ThreadPoolExecutor() as pool:
        contents = dict(zip(FASHION_MNIST, pool.map(read, FASHION_MNIST), strict=True))
    for (name, (_, array)), rank in zip(contents.items(), (3, 1, 3, 1), strict=True):
        if array.ndim != rank:
            raise UserError(f"{directory / name}: rank {array.ndim}, expected {rank}")
    return contents


def _verify(data: bytes, name: str, where: str | os.PathLike) -> str:
    """The SHA-256 of the content of `name`; raises UserError, saying what else it is, if it is not Fashion-MNIST's."""
    digest = hashlib.sha256(data).hexdigest()
    if digest == FASHION_MNIST[name]:
        return digest
    if digest in OLD_MNIST:
        raise UserError(
            f"{where}: this is the old MNIST (digits), which has the same file names as Fashion-MNIST; put "
            "Fashion-MNIST's file there, or train on the digits with --config.dataset.name=idx"
        )
    _parse(data, where)  # a truncated or damaged file says so itself
    raise UserError(
        f"{where}: this is not Fashion-MNIST (SHA-256 {digest[:12]}..., expected {FASHION_MNIST[name][:12]}...); it "
        "may be the old MNIST, which has the same file names; replace it, or load it with --config.dataset.name=idx"
    )


def _assemble(name: str, contents: dict[str, tuple[str, np.ndarray]], class_names: tuple[str, ...]) -> Dataset:
    train_images, train_labels, test_images, test_labels = (array for _, array in contents.values())
    for part, pictures, labels in (("train", train_images, train_labels), ("t10k", test_images, test_labels)):
        if len(pictures) != len(labels):
            raise UserError(
                f"{part}-images-idx3-ubyte.gz: {len(pictures)} images and {len(labels)} labels; there must be one "
                "label an image"
            )
        check_labels(labels, len(class_names), f"{part}-labels-idx1-ubyte.gz")
    if train_images.shape[1:] != test_images.shape[1:]:
        raise UserError(
            f"train-images-idx3-ubyte.gz has images of {train_images.shape[1:]}, t10k-images-idx3-ubyte.gz of "
            f"{test_images.shape[1:]}; must be equal"
        )
    return Dataset(
        name=name,
        train_images=train_images[..., None],
        train_labels=train_labels.astype(np.int32),
        test_images=test_images[..., None],
        test_labels=test_labels.astype(np.int32),
        class_names=class_names,
        fingerprint=hashlib.sha256("".join(digest for digest, _ in contents.values()).encode()).hexdigest(),
    )


def _bytes(path: Path) -> bytes:
    try:
        if (size := path.stat().st_size) > _MOST_BYTES:
            raise UserError(f"{path}: {size:,} bytes; an IDX file of more than {_MOST_BYTES:,} is not read")
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error


def _parse(data: bytes, path: str | os.PathLike) -> np.ndarray:
    """read_idx on bytes already in hand; `path` is what errors call them."""
    zipped = data[:2] == b"\x1f\x8b"
    inflater, rest = zlib.decompressobj(wbits=31), data

    def take(count: int) -> bytes:
        nonlocal rest
        if zipped:
            taken, rest = inflater.decompress(rest, count), inflater.unconsumed_tail
        else:
            taken, rest = rest[:count], rest[count:]
        return taken

    try:
        magic = take(4)
        if len(magic) < 4 or magic[:2] != b"\0\0":
            raise UserError(f"{path}: not an IDX file (it must begin with two zero bytes)")
        if magic[2] != _UNSIGNED_BYTE or not 1 <= magic[3] <= _MAX_RANK:
            raise UserError(f"{path}: IDX type {magic[2]:#04x} of rank {magic[3]}; only unsigned bytes of rank 1 to 4")
        dimensions = take(4 * magic[3])
        if len(dimensions) < 4 * magic[3]:
            raise UserError(f"{path}: truncated in its header; fetch it again")
        shape = struct.unpack(f">{magic[3]}I", dimensions)
        size = math.prod(shape)
        if size == 0:
            raise UserError(f"{path}: empty: its header gives the shape {shape}")
        if size > _MOST_BYTES:
            raise UserError(f"{path}: its header promises {size:,} values; more than {_MOST_BYTES:,} are not read")
        if size > len(data) * (_DEFLATE_MAX_RATIO if zipped else 1):
            raise UserError(f"{path}: truncated: its header promises {size:,} values, more than the file can hold")
        body, beyond = take(size), take(1)
    except zlib.error as error:
        raise UserError(f"{path}: damaged .gz ({error}); fetch it again") from error
    if len(body) < size:
        raise UserError(f"{path}: truncated: {len(body):,} of the {size:,} values its header promises; fetch it again")
    if zipped and not beyond and not inflater.eof:
        raise UserError(f"{path}: truncated: all values are there, the checksum after them is not; fetch it again")
    if beyond or inflater.unused_data:
        raise UserError(f"{path}: bytes after the {size:,} values its header promises; fetch it again")
    return np.frombuffer(body, np.uint8).reshape(shape)
