"""The IDX format, any four IDX files, the drawn set, and loading by name, with every way they can be wrong."""

import gzip
import struct

import numpy as np
import pytest
from helpers import mlp
from hypothesis import example, given, settings
from hypothesis import strategies as st
from idx_files import encoded, message_of, write_set, zipped

from fmnist_jax import config, data, groups
from fmnist_jax.data import idx, images, synthetic
from fmnist_jax.errors import UserError


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("FMNIST_DATA_DIR", raising=False)


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
    for size, said in ((2**32 - 1, "are not read"), (2**8 - 1, "more than the file can hold")):
        (tmp_path / "x").write_bytes(pack(struct.pack(">BBBB4I", 0, 0, 8, 4, *[size] * 4) + b"0123"))
        assert said in message_of(idx.read_idx, tmp_path / "x")


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


def test_read_idx_reads_no_more_than_the_most_it_may(tmp_path, monkeypatch):
    monkeypatch.setattr(idx, "_MOST_BYTES", 50)
    path = tmp_path / "x"
    path.write_bytes(encoded(np.zeros((4, 10))))
    assert f"{path}: 52 bytes; an IDX file of more than 50 is not read" in message_of(idx.read_idx, path)
    path.write_bytes(zipped(encoded(np.zeros((4, 13)))))
    assert f"{path}: its header promises 52 values; more than 50 are not read" in message_of(idx.read_idx, path)
    path.write_bytes(zipped(encoded(np.zeros((4, 12)))))
    assert idx.read_idx(path).shape == (4, 12)


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
        ({"train_labels": (0, 1, 2)}, "train-images-idx3-ubyte.gz: 4 images and 3 labels"),
        ({"train_labels": [[0, 1], [2, 1]]}, "train-labels-idx1-ubyte.gz: rank 2, expected 1"),
        ({"train_labels": (0, 1, 3, 1)}, "train-labels-idx1-ubyte.gz: labels up to 3, and none of them 2; number the"),
    ],
)
def test_idx_sets_that_do_not_fit_together(tmp_path, change, expected):
    assert expected in message_of(data.load, "idx", data_dir=str(write_set(tmp_path / "set", **change)))


def test_files_that_have_changed_places_are_named(tmp_path):
    place = write_set(tmp_path / "set")
    pixels, labels = (place / f"train-{name}-ubyte.gz" for name in ("images-idx3", "labels-idx1"))
    pixels.rename(place / "x")
    labels.rename(pixels)
    (place / "x").rename(labels)
    assert f"{pixels}: rank 1, expected 3" in message_of(data.load, "idx", data_dir=str(place))


def test_idx_needs_a_data_dir():
    assert "--config.dataset.data_dir=DIR" in message_of(data.load, "idx")


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


@pytest.mark.parametrize("name", ["", "mnist", "tfds:", "fashion_mnist:1", "folders"])
def test_unknown_names_list_the_right_ones(name):
    message = message_of(data.load, name)
    for right in ("fashion_mnist", "synthetic", "folder", "idx", "tfds:NAME"):
        assert right in message


def test_a_folder_that_is_nowhere_is_refused_by_name():
    message = message_of(data.load, "folder:no-such-fruit")
    assert "no no-such-fruit/Training in" in message
    assert "--config.dataset.data_dir=DIR" in message


def test_image_size_resizes_and_changes_the_fingerprint():
    plain, large, same = (data.load("synthetic:40", image_size=size) for size in (0, 32, 28))
    assert large.train_images.shape == (40, 32, 32, 1)
    assert large.test_images.shape == (10, 32, 32, 1)
    assert large.train_images.dtype == np.uint8
    assert plain.fingerprint == same.fingerprint != large.fingerprint
    assert abs(large.train_images.mean() - plain.train_images.mean()) < 2
    assert "image_size=-1: must be 0" in message_of(data.load, "synthetic", image_size=-1)


def test_centring_by_hand():
    """Means 50 and 100; +-50 and +-100 are left, of standard deviation sqrt(6250) = 79.06, and its triple 237.17."""
    pixels = np.array([[0, 100], [0, 200]], np.uint8).reshape(2, 1, 2, 1)
    by_hand = [[127.5 * (1 - 50 / 237.17), 127.5 * (1 + 50 / 237.17)]]
    by_hand += [[127.5 * (1 - 100 / 237.17), 127.5 * (1 + 100 / 237.17)]]
    assert images.centred(pixels).reshape(2, 2).tolist() == np.rint(by_hand).tolist()
    far = np.zeros((2000, 1, 2, 1), np.uint8)
    far[1500, 0, 1] = 255  # beyond three standard deviations
    assert images.centred(far)[1500].ravel().tolist() == [0, 255]
    assert (images.centred(far)[:1500] == 128).all()
    assert (images.centred(far[:3]) == 128).all()


def test_centring_is_of_each_set_and_changes_the_fingerprint():
    plain, centred = (data.load("synthetic:40", centre=centre) for centre in (False, True))
    assert plain.fingerprint != centred.fingerprint
    np.testing.assert_array_equal(centred.test_images, images.centred(plain.test_images))
    assert np.abs(centred.train_images.mean(axis=(1, 2, 3)) - 127.5).max() < 1
    source = config.parse(mlp(dataset__centre=True)).dataset
    workshop = groups.Workshop(config.parse(mlp()))
    assert workshop.dataset(source).fingerprint != workshop.dataset(config.parse(mlp()).dataset).fingerprint
    assert sorted(workshop.fingerprints()) == ["synthetic:240@0", "synthetic:240@0 centred"]
