"""TFDS sets, on small ones of our own: prepared without TensorFlow and without a network."""

import hashlib
import io
import sys

import numpy as np
import pytest
from PIL import Image

from fmnist_jax import data
from fmnist_jax.data import from_tfds, images
from fmnist_jax.errors import UserError

tfds = pytest.importorskip("tensorflow_datasets", exc_type=ImportError)
pytest.importorskip("array_record", reason="TFDS's random-access format; there are no wheels for this platform")


def png(value, size=(8, 6)):
    buffer = io.BytesIO()
    Image.new("L", size, value).save(buffer, "PNG")
    return io.BytesIO(buffer.getvalue())


class Shades(tfds.core.GeneratorBasedBuilder):
    """20 + 5 grey images; image i has the value 10 * i, and label i % 2."""

    VERSION = tfds.core.Version("1.0.0")
    SPLITS = (("train", 20), ("test", 5))
    KEYS = ("image", "label")
    ODD_SIZE = False

    def _info(self):
        kinds = (tfds.features.Image(shape=(None, None, 1)), tfds.features.ClassLabel(names=["even", "odd"]))
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(dict(zip(self.KEYS, kinds, strict=True)))
        )

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(count) for split, count in self.SPLITS}

    def _generate_examples(self, count):
        image, label = self.KEYS
        for i in range(count):
            yield i, {image: png(10 * i, (9, 6) if self.ODD_SIZE and i == 3 else (8, 6)), label: i % 2}


class ShadesNoTest(Shades):
    SPLITS = (("train", 4), ("validation", 4))


class ShadesNoLabel(Shades):
    KEYS = ("image", "mood")


class ShadesMixed(Shades):
    ODD_SIZE = True


class ShadesBroken(Shades):
    def _split_generators(self, dl_manager):
        raise ConnectionError("no route to host\nand more")


class ShadesArrays(Shades):
    def _generate_examples(self, count):
        raise ModuleNotFoundError("No module named 'tensorflow'", name="tensorflow")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    # A set defined in a test has no folder of checksums beside it.
    monkeypatch.setattr(Shades, "url_infos", {})


def load(tmp_path, name, **kwargs):
    return data.load(f"tfds:{name}", data_dir=str(tmp_path / "tfds"), **kwargs)


def message_of(tmp_path, name, **kwargs):
    with pytest.raises(UserError) as caught:
        load(tmp_path, name, **kwargs)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"tfds:{name}")
    return str(caught.value)


def test_a_set_by_name(tmp_path):
    before = "tensorflow" in sys.modules
    dataset = load(tmp_path, "shades")
    assert dataset.name == "tfds:shades"
    assert dataset.class_names == ("even", "odd")
    assert dataset.train_images.shape == (20, 6, 8, 1)
    assert dataset.test_images.shape == (5, 6, 8, 1)
    assert dataset.train_images.dtype == np.uint8
    assert dataset.train_labels.dtype == np.int32
    # TFDS shuffles when it prepares; the label still goes with its image.
    values = dataset.train_images[:, 0, 0, 0] // 10
    np.testing.assert_array_equal(np.sort(values), np.arange(20))
    np.testing.assert_array_equal(dataset.train_labels, values % 2)
    assert ("tensorflow" in sys.modules) == before


def test_the_second_load_decodes_nothing_and_elsewhere_it_is_the_same(tmp_path, monkeypatch):
    first = load(tmp_path, "shades")
    elsewhere = load(tmp_path / "elsewhere", "shades")
    assert elsewhere.fingerprint == first.fingerprint
    monkeypatch.setattr(images, "decode", None)
    again = load(tmp_path, "shades")
    np.testing.assert_array_equal(again.train_images, first.train_images)
    assert again.fingerprint == first.fingerprint


def test_image_size_resizes(tmp_path):
    assert load(tmp_path, "shades_mixed", image_size=5).train_images.shape == (20, 5, 5, 1)


def test_what_cannot_be_used_is_said(tmp_path):
    assert "images of mixed sizes" in message_of(tmp_path, "shades_mixed")
    assert "needs the splits train and test, has" in message_of(tmp_path, "shades_no_test")
    assert "needs the features image and label, and has image, mood" in message_of(tmp_path, "shades_no_label")
    assert "(no route to host); check the network" in message_of(tmp_path, "shades_broken")
    arrays = message_of(tmp_path, "shades_arrays")
    assert "TFDS needs tensorflow to prepare this set, once" in arrays
    assert "--config.dataset.data_dir=DIR" in arrays


def test_unknown_names_get_near_ones(tmp_path):
    message = message_of(tmp_path, "cifar11")
    assert "did you mean" in message
    assert "cifar10" in message
    assert "https://www.tensorflow.org/datasets" in message_of(tmp_path, "qqqqqqqqq")
    assert "TFDS cannot open it" in message_of(tmp_path, "mnist:9.9.9")


def test_without_a_network_it_does_not_try_for_minutes(tmp_path, monkeypatch):
    monkeypatch.setattr(Shades, "url_infos", {"http://127.0.0.1:9/x": None})
    assert "check the network" in message_of(tmp_path, "shades")


def test_fetch_fails_at_once_without_a_network(tmp_path):
    with pytest.raises(OSError, match="127"):
        from_tfds.fetch({"x": "http://127.0.0.1:9/x"}, tmp_path)


@pytest.mark.parametrize("name", ["huggingface:x", "kaggle:mnist", "mnist:../x", "a/b/c", "mnist:3.0.1/x", "https://x"])
def test_a_name_that_would_fetch_code_is_refused(tmp_path, name, monkeypatch):
    monkeypatch.setattr(tfds, "builder", lambda *_, **__: pytest.fail("asked TFDS"))
    assert "not a name of TFDS" in message_of(tmp_path, name)


@pytest.mark.parametrize("label", [-1, 2])
def test_a_label_out_of_range_is_refused(label):
    """A set is checked when it is prepared, which may have been elsewhere."""
    source = [{"image": png(1).getvalue(), "label": 0}, {"image": png(2).getvalue(), "label": label}]
    with pytest.raises(UserError, match=rf"x\[1\]: label {label} of 2 classes"):
        list(from_tfds._decoded(source, "x", 1, 0, [], 2, hashlib.sha256()))
