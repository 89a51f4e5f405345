"""Drawn garments: ten silhouettes with Fashion-MNIST's names, for tests and for machines without files or network.

They stand in for the real images in form alone: nothing learned on them says anything about Fashion-MNIST.
"""

import hashlib

import numpy as np
from PIL import Image, ImageDraw

from fmnist_jax.data.dataset import Dataset
from fmnist_jax.data.idx import CLASS_NAMES
from fmnist_jax.errors import UserError

SIZE = 28
NUM_TRAIN, NUM_TEST, SEED = 2_000, 500, 0
MAX_TRAIN = 1_000_000
_OVERSAMPLE = 2


def load(num_train: str | None, data_dir: str = "") -> Dataset:
    """The set named "synthetic" (num_train None) or "synthetic:<num_train>", with a quarter as many test images.

    Raises:
      UserError: num_train is no whole number from 40 up, or a data_dir is given.
    """
    if data_dir:
        raise UserError(
            f"dataset.data_dir={data_dir}: dataset.name=synthetic reads no files; leave data_dir out, or name a "
            "dataset that does"
        )
    if num_train is None:
        return make()
    if not (num_train.isascii() and num_train.isdigit() and 40 <= int(num_train) <= MAX_TRAIN):
        raise UserError(
            f"dataset.name=synthetic:{num_train}: must be synthetic:NUM_TRAIN, a whole number from 40 to {MAX_TRAIN:,}"
        )
    return make(int(num_train), int(num_train) // 4)


def make(num_train: int = NUM_TRAIN, num_test: int = NUM_TEST, seed: int = SEED) -> Dataset:
    """Draws a set: [N, 28, 28, 1] uint8, classes balanced to within one, the same for the same arguments."""
    train_seed, test_seed = np.random.SeedSequence(seed).spawn(2)
    train_images, train_labels = _draw(num_train, np.random.default_rng(train_seed))
    test_images, test_labels = _draw(num_test, np.random.default_rng(test_seed))
    digest = hashlib.sha256()
    for array in (train_images, train_labels, test_images, test_labels):
        digest.update(array.tobytes())
    return Dataset(
        name="synthetic" if (num_train, num_test) == (NUM_TRAIN, NUM_TEST) else f"synthetic:{num_train}",
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
        class_names=CLASS_NAMES,
        fingerprint=digest.hexdigest(),
        synthetic=True,
    )


def _draw(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    labels = rng.permutation(np.arange(count) % len(GARMENTS)).astype(np.int32)
    side = SIZE * _OVERSAMPLE
    scale = rng.uniform(0.75, 1.05, (count, 1, 2)) * side
    shear = rng.uniform(-0.12, 0.12, count)
    centre = (0.5 + rng.uniform(-0.07, 0.07, (count, 1, 2))) * side
    shapes = rng.uniform(size=(count, 3))
    pictures = np.empty((count, SIZE, SIZE), np.float32)
    for i, label in enumerate(labels):
        canvas = Image.new("L", (side, side))
        pen = ImageDraw.Draw(canvas)
        for shade, outline in GARMENTS[label](*shapes[i]):
            points = np.asarray(outline, np.float64) - 0.5
            points[:, 0] += shear[i] * points[:, 1]
            pen.polygon([tuple(point) for point in (points * scale[i] + centre[i]).tolist()], fill=shade)
        pictures[i] = np.asarray(canvas.reduce(_OVERSAMPLE), np.float32)
    # Cloth: brightness, a shading across, and grain on the garment; a little noise everywhere.
    brightness = rng.uniform(0.35, 1.0, (count, 1, 1))
    shading = 1 + rng.uniform(-0.35, 0.35, (count, 1, 1)) * np.linspace(-1, 1, SIZE)
    grain = 1 + 0.15 * rng.standard_normal((count, SIZE, SIZE), np.float32)
    noise = 18 * rng.standard_normal((count, SIZE, SIZE), np.float32)
    pictures = pictures * brightness * shading * grain + noise
    return np.clip(np.rint(pictures), 0, 255).astype(np.uint8)[..., None], labels


# Garments are polygons in the unit square, (x, y) with y down, each with a shade (0 cuts a hole). The three arguments
# in [0, 1] vary length, width and fit; ranges of neighbouring classes meet, as they do in a shop.


def _mirrored(right: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The closed outline whose right half, from top to bottom, is given."""
    return right + [(1 - x, y) for x, y in reversed(right)]


def _top(hem: float, half: float, sleeve: float, cuff: float, neck: float) -> list[tuple[float, float]]:
    """A garment with sleeves that end at height `sleeve`, `cuff` to the side."""
    return _mirrored(
        [
            (0.5 + neck, 0.08),
            (0.5 + half + 0.04, 0.13),
            (0.5 + cuff, sleeve),
            (0.5 + cuff - 0.11, sleeve + 0.03),
            (0.5 + half, 0.36),
            (0.5 + half, hem),
        ]
    )


def _t_shirt(a: float, b: float, c: float):
    return [
        (210, _top(0.78 + 0.12 * a, 0.19 + 0.05 * b, 0.32 + 0.16 * c, 0.38 + 0.06 * c, 0.11)),
        (0, [(0.41, 0.07), (0.59, 0.07), (0.5, 0.15)]),
    ]


def _trouser(a: float, b: float, c: float):
    width = 0.12 + 0.06 * b
    gap = 0.01 + 0.04 * c
    leg = [(0.5, 0.06), (0.5 + width + 0.02, 0.06), (0.5 + width + gap, 0.85 + 0.1 * a), (0.5 + gap, 0.85 + 0.1 * a)]
    return [(200, [*leg, (0.5, 0.3)]), (200, [(1 - x, y) for x, y in [*leg, (0.5, 0.3)]])]


def _pullover(a: float, b: float, c: float):
    return [(200, _top(0.8 + 0.12 * a, 0.19 + 0.05 * b, 0.66 + 0.18 * c, 0.38 + 0.06 * b, 0.1))]


def _dress(a: float, b: float, c: float):
    waist, flare = 0.09 + 0.04 * b, 0.14 + 0.14 * c
    right = [(0.58, 0.05), (0.62 + 0.04 * c, 0.14), (0.5 + waist, 0.38), (0.5 + flare, 0.88 + 0.08 * a)]
    return [(200, _mirrored(right))]


def _coat(a: float, b: float, c: float):
    slit = 0.008 + 0.014 * c
    return [
        (190, _top(0.86 + 0.1 * a, 0.2 + 0.05 * b, 0.68 + 0.18 * c, 0.38 + 0.06 * b, 0.12)),
        (50, [(0.5 - slit, 0.1), (0.5 + slit, 0.1), (0.5 + slit, 0.97), (0.5 - slit, 0.97)]),
    ]


def _shirt(a: float, b: float, c: float):
    return [
        (205, _top(0.8 + 0.12 * a, 0.18 + 0.05 * b, 0.42 + 0.4 * c, 0.36 + 0.06 * b, 0.09)),
        (120, [(0.42, 0.07), (0.58, 0.07), (0.5, 0.2)]),
        (120, [(0.49, 0.2), (0.51, 0.2), (0.51, 0.9), (0.49, 0.9)]),
    ]


def _shoe(sole: float, heel: float, toe: float, shaft: float) -> list[tuple[float, float]]:
    """A shoe that points left: `heel` and `toe` are the heights of its back and front, `shaft` its opening's end."""
    return [(0.06, sole), (0.06, toe + 0.06), (0.2, toe), (shaft, heel + 0.05), (0.92, heel), (0.94, sole)]


def _sandal(a: float, b: float, c: float):
    heel = 0.42 + 0.18 * a
    strap = 0.05 + 0.04 * b
    front, back = 0.28 + 0.1 * c, 0.62 + 0.1 * c
    return [
        (210, [(0.06, 0.7), (0.94, 0.62), (0.94, 0.76), (0.06, 0.77)]),
        (180, [(front, 0.7), (front + strap, 0.7), (front + 0.2 + strap, heel), (front + 0.2, heel)]),
        (180, [(back, 0.68), (back + strap, 0.68), (0.9, heel - 0.05), (0.9 - strap, heel - 0.05)]),
    ]


def _sneaker(a: float, b: float, c: float):
    outline = _shoe(0.75, 0.36 + 0.12 * a, 0.52 + 0.08 * b, 0.5 + 0.15 * c)
    return [(190, outline), (240, [(0.06, 0.7), (0.94, 0.7), (0.94, 0.77), (0.06, 0.77)])]


def _bag(a: float, b: float, c: float):
    top, half, handle = 0.34 + 0.12 * a, 0.28 + 0.14 * b, 0.12 + 0.1 * c
    arch = _mirrored([(0.5 + handle * 0.7, top - 0.2), (0.5 + handle, top)])
    hole = _mirrored([(0.5 + handle * 0.7 - 0.05, top - 0.15), (0.5 + handle - 0.05, top)])
    body = _mirrored([(0.5 + half - 0.04, top), (0.5 + half, 0.84)])
    return [(170, arch), (0, hole), (200, body)]


def _ankle_boot(a: float, b: float, c: float):
    shaft, toe, top = 0.42 + 0.12 * c, 0.54 + 0.1 * b, 0.1 + 0.2 * a
    front = [(0.06, 0.84), (0.06, toe + 0.06), (0.2, toe), (shaft, toe - 0.1), (shaft, top)]
    return [(200, [*front, (0.92, top), (0.94, 0.84)]), (110, [(0.06, 0.8), (0.94, 0.8), (0.94, 0.86), (0.06, 0.86)])]


GARMENTS = (_t_shirt, _trouser, _pullover, _dress, _coat, _sandal, _shirt, _sneaker, _bag, _ankle_boot)
