"""Filters that whiten the patches of the training images: a first layer that is computed once, and never trained.

As Keller Jordan's airbench has it (github.com/KellerJordan/cifar10-airbench, `init_whitening_conv`; the idea is David
Page's, "How to train your ResNet 8"): the principal components of k x k patches, each over its deviation, and with both
signs, since an activation follows. Those of one split are the same for all its runs.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from fmnist_jax.programs import Group

SAMPLE = 5000  # images: millions of patches for a covariance of a few dozen rows
CHUNK_BYTES = 2**26
EPSILON = 5e-4  # airbench's; added to each variance, in units of the standardised images


def channels(size: int, image_channels: int) -> int:
    """How many filters of size x size there are."""
    return 2 * size**2 * image_channels


def over(state, group: "Group", images: np.ndarray):
    """`state` (host arrays with a leading axis of runs) with each run's filters, of the images that it trains on.

    Args:
      images: [N, H, W, C] uint8, the whole training set.
    """
    split, size = group.split, group.static.model.whiten
    folds = {run.fold for run in group.runs}
    of_fold = {fold: covariance(images, split.train[fold][: split.train_size[fold]], size) for fold in folds}
    made = [filters(of_fold[run.fold], std, size) for run, std in zip(group.runs, group.hyper.std, strict=True)]
    return state._replace(batch_stats={**state.batch_stats, "whiten": np.stack(made)})


def covariance(images: np.ndarray, indices: np.ndarray, size: int) -> np.ndarray:
    """[D, D] float64, of all size x size patches of up to SAMPLE images at `indices`, D = size * size * C; of pixels.

    The images are spread evenly over the sorted indices, and so over classes that lie one after the other.
    """
    taken = np.sort(indices)[np.linspace(0, len(indices) - 1, min(SAMPLE, len(indices))).round().astype(int)]
    count, sums, products = 0, 0, 0
    for patches in _patches(images, taken, size):
        count += len(patches)
        sums += patches.sum(0)  # of whole numbers below 2**53, so exact: the length of a chunk moves no bit
        products += patches.T @ patches
    mean = sums / count
    return products / count - np.outer(mean, mean)


def filters(pixel_covariance: np.ndarray, std: float, size: int) -> np.ndarray:
    """[size, size, C, 2 * D] float32 for images standardised by `std`, the components of least variance first."""
    variances, components = np.linalg.eigh(pixel_covariance / (255 * float(std)) ** 2)
    whitening = components / np.sqrt(np.maximum(variances, 0) + EPSILON)
    both = np.concatenate([whitening, -whitening], axis=1)
    return both.reshape(size, size, -1, both.shape[1]).astype(np.float32)


def _patches(images: np.ndarray, taken: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """[n, size * size * C] float64, in chunks of at most CHUNK_BYTES or one image."""
    at_once = max(1, CHUNK_BYTES // (8 * size**2 * images[0].size))
    for first in range(0, len(taken), at_once):
        some = images[taken[first : first + at_once]].astype(np.float64)
        windows = np.lib.stride_tricks.sliding_window_view(some, (size, size), (1, 2))
        yield windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, size**2 * images.shape[3])
