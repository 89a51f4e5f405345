"""Any TFDS image-classification set by name, and TFDS's download manager. Nothing here imports TensorFlow itself.

tensorflow_datasets is imported inside the functions: it takes a third of a second that most runs need not pay.
"""

import difflib
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from fmnist_jax.data import cache, images
from fmnist_jax.data.dataset import Dataset
from fmnist_jax.errors import UserError

_CONNECT_SECONDS = 10
_NAME = re.compile(r"\w+(/[\w.-]+)?(:[\d*]+\.[\d*]+\.[\d*]+)?")


def fetch(urls: Mapping[str, str], directory: Path) -> dict[str, Path]:
    """Downloads files with TFDS's DownloadManager, which verifies the checksums it knows.

    Args:
      urls: {name: url}.
      directory: where it keeps them, under names of its own.

    Returns:
      {name: path}.

    Raises:
      OSError: no connection (requests' errors are OSErrors), or nothing can be written.
      Exception: whatever else TFDS raises, a wrong checksum among them.
    """
    import tensorflow_datasets as tfds

    _reach(next(iter(urls.values())))
    manager = tfds.download.DownloadManager(download_dir=directory)
    return {name: Path(path) for name, path in manager.download(dict(urls)).items()}


def _reach(url: str) -> None:
    """Raises an OSError within seconds if there is no way to `url`; the manager would retry for minutes."""
    import requests  # TFDS depends on it

    with requests.get(url, stream=True, timeout=_CONNECT_SECONDS) as response:
        response.raise_for_status()


def load(name: str, data_dir: str = "", image_size: int = 0) -> Dataset:
    """Loads a TFDS set through `tfds.data_source`; prepares and decodes it once, then maps the decoded arrays.

    Args:
      name: TFDS's name, with config and version if wanted: "beans", "emnist/letters", "cmaterdb:1.0.0".
      data_dir: where TFDS keeps prepared sets; "" is TFDS's own default.
      image_size: resize to image_size x image_size; 0 keeps the size, which then must be one.

    Raises:
      UserError: no such set, not a classification set (features `image` and `label`, splits train and test), it
        cannot be downloaded or prepared, mixed sizes.
      RunError: the cache cannot be written.
    """
    import tensorflow_datasets as tfds

    builder = _builder(name, data_dir)
    features = builder.info.features
    found = list(features.keys()) if isinstance(features, tfds.features.FeaturesDict) else []
    if not (
        {"image", "label"} <= set(found)
        and isinstance(features["image"], tfds.features.Image)
        and isinstance(features["label"], tfds.features.ClassLabel)
    ):
        raise UserError(
            f"tfds:{name}: not an image-classification set: it needs the features image and label, "
            f"and has {', '.join(found) or 'none'}"
        )
    class_names = tuple(features["label"].names)
    channels = 1 if features["image"].shape[-1] == 1 else 3

    def build():
        sources = _sources(builder, name, data_dir)
        digest = hashlib.sha256("\0".join(class_names).encode())
        parts = []
        for split in ("train", "test"):
            if not len(sources.get(split, ())):
                raise UserError(f"tfds:{name}: needs the splits train and test, has {', '.join(sources) or 'none'}")
            labels: list[int] = []
            where = f"tfds:{name} {split}"
            decoded = _decoded(sources[split], where, channels, image_size, labels, len(class_names), digest)
            shape = images.decode(sources[split][0]["image"], f"{where}[0]", channels, image_size).shape
            parts.append(cache.Part((len(sources[split]), *shape), decoded, labels))
        if parts[0].shape[1:] != parts[1].shape[1:]:
            raise _mixed(f"tfds:{name}", parts[0].shape[1:], "test[0]", parts[1].shape[1:])
        return *parts, class_names, lambda: images.changed_fingerprint(digest.hexdigest(), image_size)

    key = "\0".join([str(cache.LAYOUT), "tfds", builder.info.full_name, str(builder.data_path), str(image_size)])
    return cache.decoded(hashlib.sha256(key.encode()).hexdigest(), f"tfds:{name}", build)


def _builder(name: str, data_dir: str):
    import tensorflow_datasets as tfds

    if not _NAME.fullmatch(name):  # "namespace:name" would fetch and run somebody's code
        raise UserError(f"tfds:{name}: not a name of TFDS: it must be NAME, NAME/CONFIG or NAME:1.0.0")
    try:
        return tfds.builder(name, data_dir=data_dir or None)
    except tfds.core.DatasetNotFoundError:
        # The community's sets live in an index that only TensorFlow can fetch.
        near = difflib.get_close_matches(name, tfds.list_builders(with_community_datasets=False), n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else "; https://www.tensorflow.org/datasets lists them"
        raise UserError(f"tfds:{name}: TFDS has no set of this name{hint}") from None
    except Exception as error:  # a bad config or version, a module of TFDS's own that is missing: many types
        raise UserError(f"tfds:{name}: TFDS cannot open it ({images.brief(error)})") from error


def _sources(builder, name: str, data_dir: str) -> Mapping[str, Sequence]:
    """{split: its examples, the images still encoded}; downloads and prepares the set if it is not prepared."""
    import tensorflow_datasets as tfds

    try:
        kwargs = {}
        if not builder.is_prepared():
            if urls := list(builder.url_infos):
                _reach(urls[0])
            # data_source's own default, which it forgets when it is given a data_dir.
            kwargs = {"builder_kwargs": {"file_format": "array_record"}}
        # Pillow decodes them, as it does a folder's: TFDS would use OpenCV where there is one, with other bits.
        decoders = {"image": tfds.decode.SkipDecoding()}
        return tfds.data_source(name, data_dir=data_dir or None, decoders=decoders, **kwargs)
    except ImportError as error:
        module = re.search(r"No module named '([\w.]+)'", str(error))  # TFDS re-raises without .name
        raise UserError(
            f"tfds:{name}: TFDS needs {module[1] if module else images.brief(error)} to prepare this set, once: "
            "install it, or prepare the set elsewhere as array_record and give --config.dataset.data_dir=DIR"
        ) from error
    except Exception as error:  # requests', TFDS's and array_record's errors have no common base
        raise UserError(
            f"tfds:{name}: cannot be downloaded or prepared ({images.brief(error)}); check the network, or give a "
            "prepared copy with --config.dataset.data_dir=DIR"
        ) from error


def _decoded(
    source: Sequence, where: str, channels: int, image_size: int, labels: list[int], classes: int, digest
) -> Iterator[np.ndarray]:
    """The images in order; labels are appended, and both, as TFDS stores them, go into `digest`."""

    def read(item: tuple[int, dict]) -> tuple[bytes, int, np.ndarray]:
        index, example = item
        image = images.decode(example["image"], f"{where}[{index}]", channels, image_size)
        return hashlib.sha256(example["image"]).digest(), int(example["label"]), image

    shape = None
    examples = ((index, source[index]) for index in range(len(source)))
    for index, (content, label, image) in enumerate(images.in_threads(read, examples)):
        if not 0 <= label < classes:  # -1 where a set keeps its test labels to itself
            raise UserError(f"{where}[{index}]: label {label} of {classes} classes; this split cannot be used")
        if (shape := shape or image.shape) != image.shape:
            raise _mixed(where, shape, f"[{index}]", image.shape)
        digest.update(content + label.to_bytes(8, "little"))
        labels.append(label)
        yield image


def _mixed(where: str, shape: Sequence[int], other: str, other_shape: Sequence[int]) -> UserError:
    return UserError(
        f"{where}: images of mixed sizes: [0] is {shape[1]}x{shape[0]}, {other} is {other_shape[1]}x{other_shape[0]}; "
        "resize them all with --config.dataset.image_size=N"
    )
