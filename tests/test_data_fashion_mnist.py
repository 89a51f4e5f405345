"""Fashion-MNIST by its four files: where they are looked for, how they are known, and every way they can be wrong."""

import functools
import hashlib
import http.server
import threading
from pathlib import Path

import numpy as np
import pytest
from idx_files import message_of, write_set

from fmnist_jax import data
from fmnist_jax.data import idx
from fmnist_jax.errors import RunError

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
