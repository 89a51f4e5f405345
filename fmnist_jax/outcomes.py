"""What runs said of each test image: which they get wrong most often, kept with the results, and which right."""

import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image

from fmnist_jax import writers
from fmnist_jax.data import Dataset
from fmnist_jax.places import Place

SHOWN = 24
LARGEST = 100  # pixels of a side


def write(directory: Path, dataset: Dataset, predictions: np.ndarray, of: dict) -> None:
    """Writes outcomes.json: the images that most of these runs get wrong.

    Args:
      predictions: [runs, test images] predicted classes.
      of: what the runs are; kept, to tell whether it is they that were asked for.
    """
    labels = dataset.test_labels
    wrong = predictions != labels
    share = wrong.mean(axis=0)
    worst = np.argsort(-share, kind="stable")[:SHOWN]
    shown = [
        {
            "index": int(i),
            "label": dataset.class_names[labels[i]],
            "predicted": dataset.class_names[_most(predictions[wrong[:, i], i])],
            "share": float(share[i]),
            "png": _png(dataset.test_images[i]),
        }
        for i in worst
        if share[i]
    ]
    writers.write_json(directory / "outcomes.json", {"of": of, "wrong": shown})


def correct(places: list[tuple[Place, str]]) -> tuple[dict[tuple[int, int], np.ndarray], np.ndarray]:
    """(seed, fold) -> [test images] bool: what an arm's run gets right; and the labels."""
    found, labels = {}, None
    for place, name in places:
        predicted, labels = of_arm(place, name)
        found |= {run: predictions == labels for run, predictions in predicted.items()}
    return found, labels


def of_arm(place: Place, name: str) -> tuple[dict[tuple[int, int], np.ndarray], np.ndarray]:
    """(seed, fold) -> [test images] predicted classes of an arm's runs in a group; and the labels."""
    arms = [arm["name"] for arm in place.contents["arms"]]
    file = writers.read_npz(place.directory / "predictions.npz")
    tested, predictions, labels = file["runs"], file["test"], file["labels"]
    runs = [place.contents["runs"][run] for run in tested]
    own = {(seed, fold): predictions[i] for i, (arm, seed, fold) in enumerate(runs) if arms[arm] == name}
    return own, labels


def _most(values: np.ndarray) -> int:
    return int(np.bincount(values).argmax())


def _png(image: np.ndarray) -> str:
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    picture.thumbnail((LARGEST, LARGEST))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()
