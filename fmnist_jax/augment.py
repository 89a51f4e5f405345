"""Augmentation inside the step: `augment(ops, key, images, hyper) -> images`, pure, one independent draw an image.

The operations are static, their strengths traced, so a new strength never recompiles. A strength of 0 gives the
images back bit for bit. Images are [B, H, W, C] float32 in [0, 1]; `to_float` comes before and `standardise` after.

From dm-pix: the mirror image, the hue circle, the weights of grey. Its other operations do not fit: `adjust_brightness`
adds instead of scaling, `adjust_contrast` has a mean a channel, `adjust_saturation` scales HSV, none of which is
torchvision's ColorJitter; `rotate` blacks out border pixels and took 8.7 ms for 128 images of 28x28 on two cores, where
`map_coordinates` takes 0.2.
"""

from typing import NamedTuple

import dm_pix as pix
import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates

SMALLEST_ERASED_SHARE = (
    0.02  # s_l, r_1 and 1 / r_1 of Zhong et al. 2020, "Random Erasing Data Augmentation", section 5.1
)
ERASED_ASPECTS = (0.3, 3.3)


class AugmentHyper(NamedTuple):
    """The strengths of all operations: float32 scalars, all traceable; 0 is no change."""

    flip: jax.Array  # probability of a horizontal flip
    rotate: jax.Array  # largest angle, degrees
    shift: jax.Array  # largest shift along each axis, whole pixels
    brightness: jax.Array  # factor in [max(0, 1 - b), 1 + b], as torchvision's ColorJitter; so the next two
    contrast: jax.Array
    saturation: jax.Array
    hue: jax.Array  # largest shift, as a share of the hue circle, at most 0.5
    noise: jax.Array  # standard deviation
    erase: jax.Array  # probability of erasing one rectangle
    erase_area: jax.Array  # largest share of the image that it covers


def to_float(images):
    """Pixels uint8 -> float32 in [0, 1]."""
    return images.astype(jnp.float32) / 255


def standardise(images, mean, std):
    """Images less their mean, over their deviation: what the model sees."""
    return (images - mean) / std


def normalise(images, mean, std):
    """Pixels uint8 -> what the model sees, where nothing is augmented between."""
    return standardise(to_float(images), mean, std)


def augment(ops, key, images, hyper):
    """Applies `ops`, names of AUGMENTATIONS, in the order given.

    images [B, H, W, C] float32 in [0, 1] -> the same shape. An operation's draws depend on the key and its own name,
    not on what stands before or after it: arms that differ in one operation share the draws of the others.

    Raises:
        ValueError: what `check` raises, at trace time.
    """
    check(ops, images.shape[-1])
    for op in ops:
        images = AUGMENTATIONS[op](jax.random.fold_in(key, list(AUGMENTATIONS).index(op)), images, hyper)
    return images


def check(ops, channels):
    """Raises ValueError for an operation that is unknown, named twice, or meant for colours that are not there."""
    for i, op in enumerate(ops):
        if op not in AUGMENTATIONS:
            raise ValueError(f"augmentation {op!r} does not exist: choose from {', '.join(AUGMENTATIONS)}")
        if op in ops[:i]:
            raise ValueError(f"augmentation {op!r} is named twice: once is enough, both would draw the same numbers")
        if op in COLOUR_ONLY and channels != 3:
            raise ValueError(f"augmentation {op!r} needs images of 3 channels, these have {channels}: leave it out")


def flip(key, images, hyper):
    """Mirrors left and right with probability `flip`."""
    return jnp.where(_uniform(key, images) < hyper.flip, pix.flip_left_right(images), images)


def rotate(key, images, hyper):
    """Turns about the centre by an angle uniform in [-rotate, rotate] degrees."""
    return turned(images, jnp.deg2rad(_uniform(key, images, -hyper.rotate, hyper.rotate)))


def shift(key, images, hyper):
    """Moves by whole pixels, each axis uniform in [-shift, shift]; what comes in is 0."""
    largest = jnp.floor(hyper.shift)
    steps = jnp.floor(jax.random.uniform(key, (2, len(images))) * (2 * largest + 1)) - largest
    return moved(images, *steps.astype(jnp.int32))


def brightness(key, images, hyper):
    """Blends with black."""
    return _blended(key, images, 0.0, hyper.brightness)


def contrast(key, images, hyper):
    """Blends with the mean grey of the image."""
    return _blended(key, images, _grey(images).mean((1, 2, 3), keepdims=True), hyper.contrast)


def saturation(key, images, hyper):
    """Blends with the grey of each pixel."""
    return _blended(key, images, _grey(images), hyper.saturation)


def hue(key, images, hyper):
    """Turns the hue circle by a share uniform in [-hue, hue]."""
    delta = _uniform(key, images, -hyper.hue, hyper.hue)
    # The way to HSV and back rounds; no shift must be no change.
    return jnp.where(delta == 0, images, pix.adjust_hue(jnp.clip(images, 0, 1), delta[..., 0]))


def noise(key, images, hyper):
    """Adds Gaussian noise. Not clipped: on a black ground that would halve it and shift its mean."""
    return images + hyper.noise * jax.random.normal(key, images.shape)


def erase(key, images, hyper):
    """Fills one rectangle with 0, with probability `erase` (Zhong 2020, algorithm 1).

    Where the paper draws again until the rectangle fits, the aspect is drawn here among those that fit.
    """
    b, h, w, _ = images.shape
    happens, share, aspect, top, left = jax.random.uniform(key, (5, b))
    area = h * w * _between(share, jnp.minimum(SMALLEST_ERASED_SHARE, hyper.erase_area), hyper.erase_area)
    low, high = (jnp.clip(bound, area / w**2, h**2 / area) for bound in ERASED_ASPECTS)
    height = jnp.clip(jnp.round(jnp.sqrt(area * _between(aspect, low, high))), 1, h)
    width = jnp.minimum(jnp.floor(area / height), w)
    top, left = jnp.floor(top * (h - height + 1)), jnp.floor(left * (w - width + 1))
    inside = _span(top, height, h)[:, :, None] & _span(left, width, w)[:, None, :]
    return jnp.where((inside & (happens < hyper.erase)[:, None, None])[..., None], 0, images)


# Append only: the place in the table is part of the key.
AUGMENTATIONS = {
    "flip": flip,
    "rotate": rotate,
    "shift": shift,
    "brightness": brightness,
    "contrast": contrast,
    "saturation": saturation,
    "hue": hue,
    "noise": noise,
    "erase": erase,
}
COLOUR_ONLY = {"saturation", "hue"}
READS = {op: (op,) for op in AUGMENTATIONS} | {"erase": ("erase", "erase_area")}


def turned(images, radians):
    """Images [B, H, W, C] turned counter-clockwise by radians [B, 1, 1, 1]: bilinear, 0 outside."""
    _, h, w, _ = images.shape
    y, x = jnp.arange(h)[:, None] - (h - 1) / 2, jnp.arange(w) - (w - 1) / 2
    cos, sin = jnp.cos(radians[..., 0]), jnp.sin(radians[..., 0])
    rows, cols = cos * y + sin * x + (h - 1) / 2, cos * x - sin * y + (w - 1) / 2

    def sample(plane, rows, cols):
        return map_coordinates(plane, [rows, cols], order=1, mode="constant")

    return jax.vmap(jax.vmap(sample, (-1, None, None), -1))(images, rows, cols)


def moved(images, down, right):
    """Images [B, H, W, C] moved by whole pixels, int32 [B] each; 0 comes in."""
    # A gather: as fast as anything here, and exact on every device, which products with one-hots are not.
    _, h, w, _ = images.shape
    rows = jnp.arange(h)[:, None] - down[:, None, None]
    cols = jnp.arange(w) - right[:, None, None]
    inside = (rows >= 0) & (rows < h) & (cols >= 0) & (cols < w)
    sample = jax.vmap(lambda image, y, x: image.at[y, x].get(mode="clip"))
    return jnp.where(inside[..., None], sample(images, rows, cols), 0)


def _blended(key, images, other, strength):
    """Images and other, mixed by a factor about 1, clipped (torchvision's `_blend`)."""
    factor = _uniform(key, images, jnp.maximum(0, 1 - strength), 1 + strength)
    # After noise a pixel may lie outside [0, 1]: clipping it is a change, which strength 0 must not be.
    return jnp.where(factor == 1, images, jnp.clip(factor * images + (1 - factor) * other, 0, 1))


def _grey(images):
    return pix.rgb_to_grayscale(images) if images.shape[-1] == 3 else images.mean(-1, keepdims=True)


def _span(start, length, size):
    """Where start <= position < start + length: [B, size] bool."""
    position = jnp.arange(size)
    return (position >= start[:, None]) & (position < (start + length)[:, None])


def _uniform(key, images, low=0.0, high=1.0):
    """One number an image: [B, 1, 1, 1]."""
    return _between(jax.random.uniform(key, (len(images), 1, 1, 1)), low, high)


def _between(u, low, high):
    return low + u * (high - low)
