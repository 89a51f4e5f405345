"""What every source of images comes down to."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Images and labels of one training and one test set, in host memory or mapped from a file.

    Attributes:
      name: what the user asked for.
      train_images: [N, H, W, C] uint8; may be a read-only memmap.
      train_labels: [N] int32, in [0, len(class_names)).
      test_images: [M, H, W, C] uint8.
      test_labels: [M] int32.
      class_names: one a label, in the order of the labels.
      fingerprint: hex SHA-256 of the content, the same on every machine (no paths, no times).
      synthetic: True when the images are drawn, not observed; every output of such a run says so.
    """

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    class_names: tuple[str, ...]
    fingerprint: str
    synthetic: bool = False
