"""Small IDX files, good and bad, for the tests of the data room."""

import gzip
import struct

import numpy as np
import pytest

from fmnist_jax.data import idx
from fmnist_jax.errors import UserError


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
