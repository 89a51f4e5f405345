"""Reference arms: classical classifiers of scikit-learn on the same images, to hold a study's best arm against.

They are no runs of the study: nothing is chosen among them, and they have no place in its comparisons. Each is fitted
on the training part of the split of the study's first arm (of its first fold; never on the validation part), and
tested on the same test set once all is trained. What draws at random is repeated over the study's seeds; the others
come to the same every time, so that they have n = 1 and no interval.

The settings are the best of each kind in Zalando Research's benchmark (github.com/zalandoresearch/fashion-mnist, of
60,000 images): SVC 0.897, random forest 0.873, nearest neighbours 0.854, logistic regression 0.842. It belongs to them
that every pixel is standardised, here by the images that are fitted: without that the SVC has 0.834 in place of 0.861
after 10,000 images, and a weak reference flatters the study. The study's own normalisation makes no difference to it.
"""

import dataclasses
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fmnist_jax import config, memory, writers
from fmnist_jax.arms import Arm
from fmnist_jax.data import splits
from fmnist_jax.errors import UserError
from fmnist_jax.groups import Workshop

JOBS = 2  # threads, where there is a choice; no result depends on it
CACHE_MB = 1000  # of kernel values
AT_RANDOM = ("random_forest",)
# On Fashion-MNIST lbfgs takes more steps than it has by default; where these do not do either, the entry says so.
ITERATIONS = 1000
COPIES = 3  # of the images that are fitted: as they are, as float64, and what a method makes of them


def parameters(name: str) -> dict:
    """What a reference is called with in scikit-learn, but for threads, caches and seed."""
    return {
        "svm": {"C": 10.0, "kernel": "poly", "degree": 3},
        "random_forest": {"n_estimators": 100, "criterion": "entropy", "max_depth": 50},
        "logistic_regression": {"C": 1.0, "max_iter": ITERATIONS},
        "k_nearest": {"n_neighbors": 5, "p": 1, "weights": "distance"},
    }[name]


def _model(name: str, seed: int | None):
    from sklearn import ensemble, linear_model, neighbors, svm  # takes a second, which most studies need not wait for

    given = parameters(name)
    return {
        "svm": lambda: svm.SVC(**given, cache_size=CACHE_MB),
        "random_forest": lambda: ensemble.RandomForestClassifier(**given, random_state=seed, n_jobs=JOBS),
        "logistic_regression": lambda: linear_model.LogisticRegression(**given),
        "k_nearest": lambda: neighbors.KNeighborsClassifier(**given, n_jobs=JOBS),
    }[name]()


def about(checked: config.Experiment, first: Arm) -> dict:
    """What is asked for: the names, and what decides their numbers beside the seed. Part of study.json."""
    source = dataclasses.asdict(first.experiment.dataset)
    for name in ("data_dir", "mean", "std"):
        source.pop(name)
    images = {"folds": checked.folds, "stratified": checked.stratified, "reference_images": checked.reference_images}
    return writers.as_json({"names": checked.references, "of": {**source, **images}})


def read(directory: Path, wanted: dict, seeds: tuple[int, int]) -> tuple[dict, ...]:
    """The fits that are there of those `wanted`, as `about` says it, in its order: a dict each (see `fit`).

    Args:
      seeds: of the study, first and one past the last.
    """
    path = directory / "references.json"
    book = writers.read_json(path) if path.exists() and wanted["names"] else {}
    if not book or book["of"] != wanted["of"]:
        return ()
    there = {(entry["name"], entry["seed"]): entry for entry in book["fits"]}
    return tuple(there[key] for key in _keys(wanted["names"], seeds) if key in there)


def due(directory: Path, checked: config.Experiment, first: Arm) -> list[tuple[str, int | None]]:
    """What is still to be fitted: (name, seed, or None where there is nothing random)."""
    seeds = checked.first_seed, checked.first_seed + checked.seeds
    tested = checked.evaluation.test != "none"
    there = {
        (entry["name"], entry["seed"])
        for entry in read(directory, about(checked, first), seeds)
        if entry.get("error") or not (tested and entry["test_accuracy"] is None)
    }
    return [key for key in _keys(checked.references, seeds) if key not in there]


def _keys(names, seeds: tuple[int, int]) -> Iterator[tuple[str, int | None]]:
    for name in names:
        for seed in range(*seeds) if name in AT_RANDOM else (None,):
            yield name, seed


def check(checked: config.Experiment, first: Arm, workshop: Workshop) -> None:
    """Refuses more images than there are, or than memory holds.

    Raises:
      UserError: says which.
    """
    if not checked.references:
        return
    images, asked = _train_indices(checked, first, workshop), checked.reference_images
    dataset = workshop.dataset(first.experiment.dataset)
    classes = len(dataset.class_names)
    if asked and asked < classes:
        raise UserError(f"reference_images={asked}: fewer than the {classes} classes; 0 takes all images")
    values = int(np.prod(dataset.train_images.shape[1:]))
    size = len(images) * values * 8 * COPIES
    if size > (limit := memory.limit(checked.population.memory_gb)):
        raise UserError(
            f"reference_images={asked}: {len(images):,} images of {values:,} values take about {size / 1e9:.1f} GB, "
            f"there are {limit / 1e9:.1f}; take at most {len(images) * limit // size:,}"
        )


def _train_indices(checked: config.Experiment, first: Arm, workshop: Workshop) -> np.ndarray:
    source = first.experiment.dataset
    split = workshop.split(source)
    indices = split.train[0, : split.train_size[0]]
    labels = workshop.dataset(source).train_labels[indices]
    return indices[splits.subset(labels, checked.reference_images, source.split_seed, "reference_images")]


class Bench:
    """Where references are fitted. Each is in references.json when `fit` returns."""

    def __init__(self, directory: Path, checked: config.Experiment, first: Arm, workshop: Workshop):
        self.path, self.checked = directory / "references.json", checked
        source = first.experiment.dataset
        dataset, split = workshop.dataset(source), workshop.split(source)
        self.dataset = dataset
        indices = _train_indices(checked, first, workshop)
        pixels = _pixels(dataset.train_images, indices)
        self.mean, std = (of(pixels, axis=0, dtype=np.float64).astype(np.float32) for of in (np.mean, np.std))
        self.std = np.where(std > 0, std, np.float32(1))  # a pixel may be the same in all of them
        self.train = self._values(dataset.train_images, indices), dataset.train_labels[indices]
        held_out = split.validation[0, : split.validation_size[0]]
        self.validation = self._values(dataset.train_images, held_out), dataset.train_labels[held_out]
        self.of = about(checked, first)["of"]
        book = writers.read_json(self.path) if self.path.exists() else {}
        self.fits = book["fits"] if book.get("of") == self.of else []

    @property
    def images(self) -> int:
        """How many are fitted."""
        return len(self.train[1])

    def fit(self, name: str, seed: int | None) -> dict:
        """Fits and tests one; keeps and returns what came of it."""
        import sklearn

        model, start = _model(name, seed), time.perf_counter()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*failed to converge")  # kept below, and shown
            model.fit(*self.train)
        fitted = time.perf_counter()
        if name in AT_RANDOM:
            model.n_jobs = 1  # threads would add up the trees' votes in the order in which they end
        test_accuracy = None
        if self.checked.evaluation.test != "none":
            test_accuracy = _accuracy(model, *self._test_set())
        predicted = time.perf_counter()
        entry = {
            "test_accuracy": test_accuracy,
            "validation_accuracy": _accuracy(model, *self.validation) if len(self.validation[1]) else None,
            "train_images": self.images,
            "fit_seconds": fitted - start,
            "predict_seconds": predicted - fitted if test_accuracy is not None else None,
            "converged": bool(np.max(model.n_iter_) < ITERATIONS) if name == "logistic_regression" else True,
            "parameters": parameters(name),
            "scikit_learn": sklearn.__version__,
        }
        return self.note(name, seed, **entry)

    def note(self, name: str, seed: int | None, **entry) -> dict:
        """Keeps an entry: what a fit came to, or its `error`, so that it is not tried again."""
        entry = {"name": name, "seed": seed, **entry}
        others = [fit for fit in self.fits if (fit["name"], fit["seed"]) != (name, seed)]
        self.fits = [*others, entry]
        writers.write_json(self.path, {"of": self.of, "fits": self.fits})
        return entry

    def _test_set(self) -> tuple[np.ndarray, np.ndarray]:
        images = self.dataset.test_images
        return self._values(images, np.arange(len(images))), self.dataset.test_labels

    def _values(self, images: np.ndarray, indices: np.ndarray) -> np.ndarray:
        """[n, H * W * C] float32, each pixel standardised by the images that are fitted."""
        return (_pixels(images, indices) - self.mean) / self.std


def _pixels(images: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """[n, H * W * C] float32 in [0, 1]."""
    return images[indices].reshape(len(indices), int(np.prod(images.shape[1:]))).astype(np.float32) / 255


def _accuracy(model, values: np.ndarray, labels: np.ndarray) -> float:
    return float(np.mean(model.predict(values) == labels))


def forget_failures(directory: Path) -> None:
    """Lets what failed be tried again."""
    path = directory / "references.json"
    if path.exists():
        book = writers.read_json(path)
        writers.write_json(path, {**book, "fits": [fit for fit in book["fits"] if not fit.get("error")]})
