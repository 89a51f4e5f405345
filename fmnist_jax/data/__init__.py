"""Where the images come from: load() one set by name; `splits` divides its training part."""

import dataclasses

from fmnist_jax.data import folder, from_tfds, idx, images, synthetic
from fmnist_jax.data.dataset import Dataset
from fmnist_jax.errors import UserError

__all__ = ["Dataset", "load"]


def load(name: str, *, data_dir: str = "", image_size: int = 0, centre: bool = False) -> Dataset:
    """Loads a dataset by name.

    Args:
      name: "fashion_mnist"; "synthetic" or "synthetic:NUM_TRAIN"; "folder", of data_dir/Training/<class>/*.jpg and
        data_dir/Test/<class>/*.jpg; "folder:NAME", of a folder NAME in the usual places, where data_dir is ""; "idx",
        four unverified IDX files in data_dir; "tfds:NAME", any TFDS set with the features image and label and the
        splits train and test.
      data_dir: where the files are; "" looks in the usual places. Required by folder and idx.
      image_size: resize images to image_size x image_size; 0 keeps their size.
      centre: whether `images.centred` is applied, to training and test images apart; they are then in memory.

    Raises:
      UserError: an unknown name, or whatever is wrong with the files, by name and with the remedy.
      RunError: the cache of decoded images cannot be written.
    """
    if image_size < 0:
        raise UserError(f"dataset.image_size={image_size}: must be 0 (keep the size) or more")
    return _centred(_load(name, data_dir, image_size)) if centre else _load(name, data_dir, image_size)


def _centred(dataset: Dataset) -> Dataset:
    return dataclasses.replace(
        dataset,
        train_images=images.centred(dataset.train_images),
        test_images=images.centred(dataset.test_images),
        fingerprint=images.changed_fingerprint(dataset.fingerprint, "centred"),
    )


def _load(name: str, data_dir: str, image_size: int) -> Dataset:
    kind, colon, rest = name.partition(":")
    if kind == "tfds" and rest:
        return from_tfds.load(rest, data_dir, image_size)
    if kind == "folder":
        return folder.load(data_dir or (_beside(rest) if rest else ""), image_size)
    if name == "fashion_mnist":
        return _resized(idx.load_fashion_mnist(data_dir), image_size)
    if name == "idx":
        return _resized(idx.load_unverified(data_dir), image_size)
    if kind == "synthetic":
        return _resized(synthetic.load(rest if colon else None, data_dir), image_size)
    raise UserError(
        f"dataset.name={name!r}: no such dataset; use fashion_mnist, synthetic, synthetic:NUM_TRAIN, folder:NAME, "
        "folder, idx (the last two with --config.dataset.data_dir=DIR) or tfds:NAME"
    )


def _beside(name: str) -> str:
    """The folder of images `name`, in the places where Fashion-MNIST is looked for."""
    places = idx.places()
    for place in places:
        if (place / name / folder.PARTS[0]).is_dir():
            return str(place / name)
    raise UserError(
        f"dataset.name=folder:{name}: no {name}/{folder.PARTS[0]} in {', '.join(map(str, places))}; name the folder "
        "that holds Training and Test with --config.dataset.data_dir=DIR"
    )


def _resized(dataset: Dataset, image_size: int) -> Dataset:
    if not image_size or dataset.train_images.shape[1:3] == (image_size, image_size):
        return dataset
    return dataclasses.replace(
        dataset,
        train_images=images.resize(dataset.train_images, image_size),
        test_images=images.resize(dataset.test_images, image_size),
        fingerprint=images.changed_fingerprint(dataset.fingerprint, image_size),
    )
