"""How alike the units of a network's last two layers respond: Pearson correlations of their activities over images.

"features" enter the last dense layer, "logits" are what the network gives. A unit that gives every image the same has
no correlation: its row and column are NaN, and no mean or deviation counts them. A layer of more than MOST_UNITS units
is measured at SUBSET of them, drawn by a fixed seed, the same in every run; which is in the file.
"""

from collections.abc import Callable, Container, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fmnist_jax import writers

if TYPE_CHECKING:
    from fmnist_jax.places import Place

LAYERS = ("features", "logits")
FILE = "activities.npz"
MOST_UNITS = 2048
SUBSET = 1024


class Moments:
    """Sums of activities [runs, images, units] over images, in float64: 8 bytes a run and pair of units."""

    def __init__(self):
        self.count = 0

    def add(self, batch: np.ndarray) -> None:
        """Counts a batch [runs, images, units] in."""
        with np.errstate(all="ignore"):  # of a run that has diverged
            if not self.count:
                self.first = batch[:, :1].astype(np.float64)  # near the mean: no digits are lost in differences
                runs, _, units = batch.shape
                self.sums, self.products = np.zeros((runs, units)), np.zeros((runs, units, units))
                self.varies = np.zeros((runs, units), bool)
            away = batch - self.first
            self.count += batch.shape[1]
            self.sums += away.sum(1)
            self.varies |= (away != 0).any(1)
            for products, of_run in zip(self.products, away, strict=True):
                products += of_run.T @ of_run

    def correlations(self) -> np.ndarray:
        """[runs, units, units] float32; NaN where a unit does not vary, or is not finite."""
        found = np.empty(self.products.shape, np.float32)
        with np.errstate(all="ignore"):
            for out, sums, products, varies in zip(found, self.sums, self.products, self.varies, strict=True):
                covariance = products - np.outer(sums, sums) / self.count
                deviation = np.sqrt(np.where(varies, np.diagonal(covariance), np.nan))
                out[:] = np.clip(covariance / np.outer(deviation, deviation), -1, 1)
        return found


def measure(batches: Iterable[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """What FILE holds but for "runs", of batches that give [runs, images, units] a layer.

    A layer: [runs, D, D] float32; "<layer>_units": [D], which of its units; "<layer>_size": how many it has.
    """
    moments, found = {name: Moments() for name in LAYERS}, {}
    for batch in batches:
        for name, of_layer in moments.items():
            size = batch[name].shape[-1]
            found |= {f"{name}_units": (units := _chosen(size)), f"{name}_size": np.array(size)}
            of_layer.add(batch[name][..., units])
    return {**found, **{name: of_layer.correlations() for name, of_layer in moments.items()}}


def _chosen(size: int) -> np.ndarray:
    if size <= MOST_UNITS:
        return np.arange(size)
    return np.sort(np.random.default_rng(0).choice(size, SUBSET, replace=False))


def columns(measured: dict[str, np.ndarray], run: int) -> dict[str, float]:
    """What the results table says of one run: the mean and the deviation over all entries of each matrix.

    The report's figure 12 (`report234591`) counts the ones on the diagonal in, so a small matrix has a larger mean for
    that alone; "offdiagonal" is the mean without them. The deviation is the population's.
    """
    found = {}
    for name in LAYERS:
        matrix = measured[name][run].astype(np.float64)
        entries, others = matrix[np.isfinite(matrix)], matrix[np.isfinite(matrix) & ~np.eye(len(matrix), dtype=bool)]
        of_layer = {
            "correlation_mean": _of(np.mean, entries),
            "correlation_sd": _of(np.std, entries),
            "correlation_offdiagonal": _of(np.mean, others),
            "units": int(measured[f"{name}_size"]),
        }
        found |= {f"test_{name}_{key}": value for key, value in of_layer.items()}
    return found


def _of(function: Callable, values: np.ndarray) -> float:
    return float(function(values)) if len(values) else float("nan")


def write(directory: Path, runs: Iterable[int], parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Writes FILE for the `runs` of a group, in parts of them; without any, takes away an old one."""
    path = directory / FILE
    if not parts:
        path.unlink(missing_ok=True)
        return {}
    joined = {name: np.concatenate([part[name] for part in parts]) for name in LAYERS}
    joined = {**parts[0], **joined, "runs": np.array(list(runs))}
    writers.write_npz(path, **joined)
    return joined


def there(place: "Place") -> bool:
    """Whether they were measured in a group."""
    return (place.directory / FILE).exists()


def of_arm(
    places: list[tuple["Place", str]], wanted: Container[tuple[int, int]] | None = None
) -> dict[str, np.ndarray]:
    """Layer -> [units, units], the mean over an arm's runs where they have one; {} where none was measured.

    Logits mean the same in every run. Features do not: unit i of one seed is not unit i of another, and the mean over
    seeds flattens what one run has; for a picture of one network, ask for one run.

    Args:
      places: groups, and what the arm is called there, as `places.tested` gives them.
      wanted: the (seed, fold) of the runs that count; by default all.
    """
    sums: dict[str, np.ndarray] = {}
    counts: dict[str, np.ndarray] = {}
    for place, then in places:
        if not there(place):
            continue
        arms = [arm["name"] for arm in place.contents["arms"]]
        file = writers.read_npz(place.directory / FILE)
        of_run = [place.contents["runs"][run] for run in file["runs"]]
        own = [
            i
            for i, (arm, *replicate) in enumerate(of_run)
            if arms[arm] == then and (wanted is None or tuple(replicate) in wanted)
        ]
        for name in LAYERS if own else ():
            matrices = file[name][own]
            finite = np.isfinite(matrices)
            sums[name] = sums.get(name, 0) + np.where(finite, matrices, 0).sum(0, dtype=np.float64)
            counts[name] = counts.get(name, 0) + finite.sum(0)
    with np.errstate(invalid="ignore"):
        return {name: sums[name] / np.where(counts[name], counts[name], np.nan) for name in sums}
