"""Loading by name: Fashion-MNIST and other IDX files, the drawn set, and every way they can be wrong."""

import functools
import gzip
import hashlib
import http.server
import struct
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fmnist_jax import data
from fmnist_jax.data import idx, synthetic
from fmnist_jax.errors import RunError, UserError

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
needs_fashion_mnist = pytest.mark.skipif(
    not (SHARED / "fashion-mnist").is_dir(), reason="real Fashion-MNIST is not at ../shared/data/fashion-mnist"
)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("FMNIST_DATA_DIR", raising=False)


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """No files in any of the usual places, and no network."""
    (tmp_path / "away" / "cwd").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "away" / "cwd")
    # The package seems to live there too, so that the repository's own data/ and ../shared/data are out of sight.
    monkeypatch.setattr(idx, "__file__", str(tmp_path / "away" / "repo" / "fmnist_jax" / "data" / "idx.py"))
    monkeypatch.setattr(idx, "URL", "http://127.0.0.1:9/")


def encoded(array):
    array = np.asarray(array, np.uint8)
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def zipped(raw):
    return gzip.compress(raw, mtime=0)


def write_set(folder, train_labels=(0, 1, 2, 1), test_labels=(2, 0), num_train=4, shape=(3, 3)):
    """Four small, valid IDX files under Fashion-MNIST's names."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    arrays = (
        rng.integers(0, 256, (num_train, *shape)),
        train_labels,
        rng.integers(0, 256, (len(test_labels), *shape)),
        test_labels,
    )
    for name, array in zip(idx.FASHION_MNIST, arrays, strict=True):
        (folder / name).write_bytes(zipped(encoded(array)))
    return folder


def message_of(call, *args, error=UserError, **kwargs):
    with pytest.raises(error) as caught:
        call(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- the IDX format


@pytest.mark.parametrize("pack", [bytes, zipped])
def test_read_idx_returns_what_was_written(tmp_path, pack):
    array = np.arange(2 * 3 * 5).reshape(2, 3, 5)
    (tmp_path / "x").write_bytes(pack(encoded(array)))
    read = idx.read_idx(tmp_path / "x")
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, array)


RAW = encoded(np.arange(24).reshape(4, 6))
BROKEN = {
    "begin with two zero bytes": b"\1" + RAW[1:],
    "IDX type 0x0d of rank 2": RAW[:2] + b"\x0d" + RAW[3:],
    "IDX type 0x08 of rank 9": RAW[:3] + b"\x09" + RAW[4:],
    "truncated in its header": RAW[:9],
    "empty: its header gives the shape (0, 6)": RAW[:4] + bytes(4) + RAW[8:],
    "truncated: 23 of the 24 values": RAW[:-1],
    "bytes after the 24 values": RAW + b"\0",
}


@pytest.mark.parametrize("pack", [bytes, zipped])
@pytest.mark.parametrize("expected", BROKEN)
def test_read_idx_names_what_is_wrong(tmp_path, pack, expected):
    (tmp_path / "x").write_bytes(pack(BROKEN[expected]))
    message = message_of(idx.read_idx, tmp_path / "x")
    assert expected in message
    assert message.startswith(str(tmp_path / "x"))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (zipped(RAW)[:-9], "truncated"),
        (zipped(RAW)[:-3], "truncated: all values are there, the checksum"),
        (zipped(RAW)[:-8] + bytes(8), "damaged .gz"),
        (zipped(RAW) + b"tail", "bytes after"),
        (b"", "not an IDX file"),
        (b"\x1f\x8b", "not an IDX file"),
    ],
)
def test_read_idx_names_what_is_wrong_with_the_gz(tmp_path, content, expected):
    (tmp_path / "x.gz").write_bytes(content)
    assert expected in message_of(idx.read_idx, tmp_path / "x.gz")


@pytest.mark.parametrize("pack", [bytes, zipped])
def test_read_idx_does_not_believe_a_huge_header(tmp_path, pack):
    (tmp_path / "x").write_bytes(pack(struct.pack(">BBBB4I", 0, 0, 8, 4, *[2**32 - 1] * 4) + b"0123"))
    assert "more than the file can hold" in message_of(idx.read_idx, tmp_path / "x")


def test_read_idx_stops_decompressing_where_the_header_ends(tmp_path):
    # 256 MiB of zeros behind a header that promises 6 bytes: refused without inflating them.
    import tracemalloc

    (tmp_path / "bomb.gz").write_bytes(gzip.compress(encoded(np.ones(6)) + bytes(2**28), compresslevel=1))
    tracemalloc.start()
    try:
        assert "bytes after" in message_of(idx.read_idx, tmp_path / "bomb.gz")
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


def test_read_idx_names_a_file_that_is_not_there(tmp_path):
    assert "No such file" in message_of(idx.read_idx, tmp_path / "none.gz")
    assert "directory" in message_of(idx.read_idx, tmp_path)


@given(st.booleans(), st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=4), st.integers(0, 200))
@example(True, [], 200)
@settings(deadline=None, max_examples=400)
def test_read_idx_fuzzed_raises_nothing_but_user_errors(tmp_path_factory, gz, flips, keep):
    content = bytearray(zipped(RAW) if gz else RAW)
    for position, value in flips:
        content[position % len(content)] ^= value
    path = tmp_path_factory.getbasetemp() / "fuzzed"
    path.write_bytes(content[:keep])
    try:
        read = idx.read_idx(path)
    except UserError:
        return
    # What gets through has its header's shape and no more.
    assert 1 <= read.ndim <= 4
    assert read.dtype == np.uint8


def test_check_labels_names_index_and_value():
    idx.check_labels(np.array([0, 9]), 10, "labels")
    assert message_of(idx.check_labels, np.array([0, 3, 10, 11]), 10, "t10k") == (
        "t10k: label 10 at index 2 is out of range: 10 classes have labels 0 to 9"
    )
    assert "label -1 at index 0" in message_of(idx.check_labels, np.array([-1]), 10, "t10k")


# --- any four IDX files


def test_idx_loads_unverified_files(tmp_path):
    dataset = data.load("idx", data_dir=str(write_set(tmp_path / "set")))
    assert dataset.train_images.shape == (4, 3, 3, 1)
    assert dataset.test_images.shape == (2, 3, 3, 1)
    assert dataset.train_labels.dtype == dataset.test_labels.dtype == np.int32
    np.testing.assert_array_equal(dataset.train_labels, [0, 1, 2, 1])
    assert dataset.class_names == ("0", "1", "2")
    assert not dataset.synthetic
    elsewhere = data.load("idx", data_dir=str(write_set(tmp_path / "elsewhere" / "fashion-mnist").parent))
    assert elsewhere.fingerprint == dataset.fingerprint
    other = data.load("idx", data_dir=str(write_set(tmp_path / "other", test_labels=(2, 1))))
    assert other.fingerprint != dataset.fingerprint


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"test_labels": (2, 7)}, "t10k-labels-idx1-ubyte.gz: label 7 at index 1 is out of range: 3 classes"),
        ({"train_labels": (0, 1, 2)}, "train: 4 images and 3 labels"),
        ({"train_labels": [[0, 1], [2, 1]]}, "train-labels-idx1-ubyte.gz: rank 2, expected 1"),
    ],
)
def test_idx_sets_that_do_not_fit_together(tmp_path, change, expected):
    assert expected in message_of(data.load, "idx", data_dir=str(write_set(tmp_path / "set", **change)))


def test_idx_needs_a_data_dir():
    assert "--config.dataset.data_dir=DIR" in message_of(data.load, "idx")


# --- Fashion-MNIST


def test_hashes_are_those_of_tfds():
    checksums = pytest.importorskip("tensorflow_datasets.core.download.checksums", exc_type=ImportError)
    known = checksums.get_all_url_infos()
    assert {name: known[idx.URL + name].checksum for name in idx.FASHION_MNIST} == idx.FASHION_MNIST
    mnist = {info.checksum for url, info in known.items() if "/cvdf-datasets/mnist/" in url}
    assert mnist == idx.OLD_MNIST


@needs_fashion_mnist
def test_real_fashion_mnist():
    dataset = data.load("fashion_mnist", data_dir=str(SHARED))
    assert dataset.train_images.shape == (60000, 28, 28, 1)
    assert dataset.test_images.shape == (10000, 28, 28, 1)
    assert dataset.train_images.dtype == dataset.test_images.dtype == np.uint8
    np.testing.assert_array_equal(np.bincount(dataset.train_labels), [6000] * 10)
    np.testing.assert_array_equal(np.bincount(dataset.test_labels), [1000] * 10)
    np.testing.assert_array_equal(dataset.train_labels[:5], [9, 0, 0, 3, 0])
    # The mean and deviation that the field normalises with.
    assert round(float(dataset.train_images.mean()) / 255, 4) == 0.2860
    assert dataset.class_names[dataset.train_labels[0]] == "Ankle boot"
    # A study's records carry it: if it changes, they no longer say that they saw the same data.
    assert dataset.fingerprint == hashlib.sha256("".join(idx.FASHION_MNIST.values()).encode()).hexdigest()


@needs_fashion_mnist
@pytest.mark.parametrize("given_as", ["data_dir", "environment", "cwd", "cache"])
def test_fashion_mnist_is_found_where_documented(tmp_path, monkeypatch, nowhere, given_as):
    target = tmp_path / "fashion_mnist"
    target.mkdir()
    for name in idx.FASHION_MNIST:
        (target / name).symlink_to(SHARED / "fashion-mnist" / name)
    if given_as == "environment":
        monkeypatch.setenv("FMNIST_DATA_DIR", str(tmp_path))
    if given_as == "cwd":
        Path("data").symlink_to(tmp_path)
    if given_as == "cache":
        (tmp_path / "cache").mkdir()
        (tmp_path / "cache" / "fmnist_jax").symlink_to(tmp_path)
    assert len(data.load("fashion_mnist", data_dir=str(target) if given_as == "data_dir" else "").test_labels) == 10000


def test_places_come_in_the_documented_order(tmp_path, monkeypatch, nowhere):
    monkeypatch.setenv("FMNIST_DATA_DIR", str(tmp_path / "mine"))
    away = tmp_path / "away"
    assert idx.places() == [
        tmp_path / "mine",
        away / "cwd" / "data",
        away / "repo" / "data",
        away / "shared" / "data",
        tmp_path / "cache" / "fmnist_jax",
    ]


def test_no_files_and_no_network(nowhere, tmp_path):
    message = message_of(data.load, "fashion_mnist")
    for part in (
        "train-images-idx3-ubyte.gz",
        str(tmp_path / "away" / "cwd" / "data"),
        "http://127.0.0.1:9/",
        f"put the four files in {tmp_path / 'cache' / 'fmnist_jax' / 'fashion-mnist'}",
        "--config.dataset.data_dir=DIR",
        "--config.dataset.name=synthetic",
    ):
        assert part in message
    assert not list((tmp_path / "cache" / "fmnist_jax" / "fashion-mnist").iterdir())


def test_a_data_dir_without_files_is_not_passed_over(tmp_path):
    (tmp_path / "empty").mkdir()
    message = message_of(data.load, "fashion_mnist", data_dir=str(tmp_path / "empty"))
    assert message.startswith(f"--config.dataset.data_dir={tmp_path / 'empty'}: no train-images-idx3-ubyte.gz there")


def test_a_missing_file_is_named(tmp_path):
    (write_set(tmp_path / "set") / "t10k-labels-idx1-ubyte.gz").unlink()
    message = message_of(data.load, "fashion_mnist", data_dir=str(tmp_path / "set"))
    assert "t10k-labels-idx1-ubyte.gz missing" in message


def test_another_content_is_never_loaded(tmp_path):
    message = message_of(data.load, "fashion_mnist", data_dir=str(write_set(tmp_path / "set")))
    assert "this is not Fashion-MNIST (SHA-256" in message
    assert "may be the old MNIST" in message


def test_the_old_mnist_is_called_by_its_name(tmp_path, monkeypatch):
    folder = write_set(tmp_path / "set")
    content = (folder / "train-images-idx3-ubyte.gz").read_bytes()
    monkeypatch.setattr(idx, "OLD_MNIST", frozenset({hashlib.sha256(content).hexdigest()}))
    message = message_of(data.load, "fashion_mnist", data_dir=str(folder))
    assert "this is the old MNIST (digits)" in message
    assert "--config.dataset.name=idx" in message


@needs_fashion_mnist
def test_a_truncated_gz_says_so(tmp_path):
    for name in idx.FASHION_MNIST:
        (tmp_path / name).write_bytes((SHARED / "fashion-mnist" / name).read_bytes()[:-1000])
    message = message_of(data.load, "fashion_mnist", data_dir=str(tmp_path))
    assert message.startswith(f"{tmp_path / 'train-images-idx3-ubyte.gz'}: truncated: ")


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def served(tmp_path, monkeypatch, nowhere):
    """A small set served as Fashion-MNIST's, from a folder that the test may change."""
    pytest.importorskip("tensorflow_datasets", exc_type=ImportError)
    folder = write_set(tmp_path / "served")
    hashes = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in idx.FASHION_MNIST}
    monkeypatch.setattr(idx, "FASHION_MNIST", hashes)
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        monkeypatch.setattr(idx, "URL", f"http://127.0.0.1:{server.server_address[1]}/")
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield folder
        server.shutdown()
        thread.join()


def test_download_lands_in_the_cache_and_is_not_repeated(served, tmp_path):
    first = data.load("fashion_mnist")
    kept = tmp_path / "cache" / "fmnist_jax" / "fashion-mnist"
    assert sorted(path.name for path in kept.iterdir()) == sorted(idx.FASHION_MNIST)
    for name in idx.FASHION_MNIST:
        (served / name).unlink()
    assert data.load("fashion_mnist").fingerprint == first.fingerprint


def test_a_wrong_download_is_refused_and_not_kept(served, tmp_path):
    (served / "t10k-labels-idx1-ubyte.gz").write_bytes(b"<html>please log in</html>")
    assert "not an IDX file" in message_of(data.load, "fashion_mnist")
    assert not list((tmp_path / "cache" / "fmnist_jax" / "fashion-mnist").iterdir())


def test_a_server_without_the_files_is_an_error(served):
    for name in idx.FASHION_MNIST:
        (served / name).unlink()
    assert "gave none (HTTPError)" in message_of(data.load, "fashion_mnist")


def test_a_cache_that_cannot_be_written(served, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert "XDG_CACHE_HOME" in message_of(data.load, "fashion_mnist", error=RunError)


# --- synthetic


def test_synthetic_is_drawn_alike_every_time():
    one, again = data.load("synthetic"), data.load("synthetic")
    assert one.synthetic
    assert one.train_images.shape == (2000, 28, 28, 1)
    assert one.test_images.shape == (500, 28, 28, 1)
    assert one.train_images.dtype == np.uint8
    assert one.train_labels.dtype == np.int32
    assert one.class_names == idx.CLASS_NAMES
    np.testing.assert_array_equal(np.bincount(one.train_labels), [200] * 10)
    np.testing.assert_array_equal(one.train_images, again.train_images)
    assert one.fingerprint == again.fingerprint != synthetic.make(seed=1).fingerprint
    # No training image is also a test image.
    assert not {i.tobytes() for i in one.train_images} & {i.tobytes() for i in one.test_images}


def test_synthetic_sizes():
    dataset = data.load("synthetic:100")
    assert (len(dataset.train_images), len(dataset.test_images)) == (100, 25)
    assert dataset.name == "synthetic:100"
    assert len(synthetic.make(7, 3, seed=5).train_labels) == 7


def test_synthetic_is_learnable_but_not_trivial():
    # Nearest class mean: far above chance, short of perfect.
    dataset = synthetic.make(1000, 500)
    train, test = (x.reshape(len(x), -1) / 255 for x in (dataset.train_images, dataset.test_images))
    means = np.stack([train[dataset.train_labels == label].mean(0) for label in range(10)])
    nearest = ((test[:, None] - means) ** 2).sum(-1).argmin(1)
    assert 0.4 < (nearest == dataset.test_labels).mean() < 0.9


@pytest.mark.parametrize("name", ["synthetic:", "synthetic:ten", "synthetic:-5", "synthetic:39", "synthetic:²0"])
def test_synthetic_sizes_that_are_none(name):
    assert "a whole number from 40" in message_of(data.load, name)


def test_synthetic_takes_no_data_dir(tmp_path):
    assert "reads no files" in message_of(data.load, "synthetic", data_dir=str(tmp_path))


# --- load


@pytest.mark.parametrize("name", ["", "mnist", "tfds:", "fashion_mnist:1", "folder:x"])
def test_unknown_names_list_the_right_ones(name):
    message = message_of(data.load, name)
    for right in ("fashion_mnist", "synthetic", "folder", "idx", "tfds:NAME"):
        assert right in message


def test_image_size_resizes_and_changes_the_fingerprint():
    plain, large, same = (data.load("synthetic:40", image_size=size) for size in (0, 32, 28))
    assert large.train_images.shape == (40, 32, 32, 1)
    assert large.test_images.shape == (10, 32, 32, 1)
    assert large.train_images.dtype == np.uint8
    assert plain.fingerprint == same.fingerprint != large.fingerprint
    assert abs(large.train_images.mean() - plain.train_images.mean()) < 2
    assert "image_size=-1: must be 0" in message_of(data.load, "synthetic", image_size=-1)
