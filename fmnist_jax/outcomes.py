"""What runs said of each test image: which they get wrong most often, kept with the results, and which right."""

import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image

from fmnist_jax import writers
from fmnist_jax.data import Dataset
from fmnist_jax.groups import Place

SHOWN = 24
LARGEST = 100  # pixels of a side


def write(directory: Path, dataset: Dataset, places: list[tuple[Place, str]], arm: str) -> None:
    """Writes outcomes.json: the images that `arm` gets wrong in most of its runs.

    Args:
      places: the tested groups, with what `arm` is called in each.
    """
    predictions = np.concatenate([_predictions(place, name) for place, name in places])
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
    np.save(directory / "test_labels.npy", labels)
    writers.write_json(directory / "outcomes.json", {"arm": arm, "runs": len(predictions), "wrong": shown})


def correct(directory: Path, places: list[tuple[Place, str]]) -> dict[tuple[int, int], np.ndarray]:
    """(seed, fold) -> [test images] bool: what an arm's run gets right."""
    labels, found = np.load(directory / "test_labels.npy"), {}
    for place, name in places:
        own, predictions = _runs(place, name), _predictions(place, name)
        for (_, seed, fold), predicted in zip(own, predictions, strict=True):
            found[seed, fold] = predicted == labels
    return found


def _runs(place: Place, name: str) -> list[list[int]]:
    """The tested runs of an arm, in the order of their predictions."""
    arms = [arm["name"] for arm in place.contents["arms"]]
    tested = [place.contents["runs"][i] for i in sorted(place.tested_runs)]
    return [run for run in tested if arms[run[0]] == name]


def _predictions(place: Place, name: str) -> np.ndarray:
    """[tested runs of the arm, test images] predicted classes."""
    arms = [arm["name"] for arm in place.contents["arms"]]
    with np.load(place.directory / "predictions.npz") as file:
        tested, predictions = file["runs"], file["test"]
    own = [i for i, run in enumerate(tested) if arms[place.contents["runs"][run][0]] == name]
    return predictions[own]


def _most(values: np.ndarray) -> int:
    return int(np.bincount(values).argmax())


def _png(image: np.ndarray) -> str:
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    picture.thumbnail((LARGEST, LARGEST))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()
