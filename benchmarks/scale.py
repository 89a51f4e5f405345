"""How long 50,000 runs x 20 evaluations take from the disk to the page, and how much memory.

`python -m benchmarks.scale`, about two minutes. The rows are made up (5,000 arms x 10 seeds, in ten groups); everything
after them is what a study's end does.
"""

import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console

from benchmarks import chapters, record
from fmnist_jax import config, results, writers
from fmnist_jax.arms import arms_of
from fmnist_jax.sweep import product

SEEDS, EVALUATIONS, GROUPS = 10, 20, 10


def make_workdir(directory: Path, runs: int, groups: int = GROUPS) -> None:
    """A finished study of `runs` runs, as training leaves it, without having trained."""
    arms = runs // SEEDS
    checked = config.default()
    checked.model.family = "mlp"
    checked.seeds = SEEDS
    checked.writers.tensorboard = False
    rates = tuple(float(rate) for rate in np.geomspace(1e-4, 1e-1, arms // 50))
    checked.sweep = product(
        {
            "optimizer.learning_rate": rates,
            "model.dense": tuple((n,) for n in (5, 10, 20, 50, 100)),
            "loss.smoothing": tuple(i / 100 for i in range(10)),
        }
    )
    checked = config.parse(checked)
    study_arms = arms_of(checked)
    directory.mkdir(parents=True)
    results.describe(directory, checked, study_arms)
    writers.write_json(directory / "config.json", config.flatten(checked))
    rng = np.random.default_rng(0)
    for number, chosen in enumerate(np.array_split(np.arange(len(study_arms)), groups)):
        _make_group(directory / "groups" / str(number), [study_arms[i] for i in chosen], rng)


def _make_group(place: Path, arms: list, rng: np.random.Generator) -> None:
    place.mkdir(parents=True)
    (place / "sessions").mkdir()
    runs = [(i, seed, 0) for seed in range(SEEDS) for i in range(len(arms))]
    quality = rng.uniform(0.6, 0.9, len(arms))
    lines, finals, tested = [], [], []
    for evaluation in range(1, EVALUATIONS + 1):
        accuracy = quality * (1 - 0.5**evaluation)
        for i, seed, fold in runs:
            at = float(accuracy[i] + rng.normal(0, 0.005))
            row = {"arm": arms[i].name, "seed": seed, "fold": fold, "dataset": "made up", "step": 100 * evaluation}
            row |= {"epoch": float(evaluation), "train_loss": 1 - at, "train_accuracy": at}
            row |= {"validation_loss": 1.05 - at, "validation_accuracy": at - 0.01, "validation_top_k_accuracy": 0.99}
            row |= {"validation_ece": 0.02, "diverged_at": None}
            lines.append(json.dumps(row))
            if evaluation == EVALUATIONS:
                finals.append({**row, "stopped_at": None})
                confusion = np.full((10, 10), round(100 * (1 - at))).tolist()
                measured = {"test_loss": 1.02 - at, "test_accuracy": at, "test_confusion": confusion}
                tested.append({"arm": arms[i].name, "seed": seed, "fold": fold, **measured})
    (place / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    contents = {"arms": [{"name": a.name, "override": a.override} for a in arms], "runs": runs}
    writers.write_json(place / "group.json", {**contents, "parameters": 1000, "cost": 1.0})
    writers.write_json(place / "done.json", {"results": finals, "mode": "vmap", "devices": 2})
    writers.write_json(place / "test.json", {"runs": list(range(len(runs))), "results": tested})
    timing = {"wall_seconds": 100.0, "compile_seconds": 1.0, "images": 10**6}
    writers.write_json(place / "sessions" / "0.json", timing)


def measure(directory: Path) -> dict:
    """Seconds of each part of a finished study's end, the peak of memory, and the size of the page."""
    start = time.perf_counter()
    found = results.Results.load(directory)
    read = time.perf_counter()
    analysis = found.analysis
    analysed = time.perf_counter()
    counts = {"runs": len(found.table), "rows": len(found.curves)}
    del found, analysis
    begun = time.perf_counter()
    results.write(directory, Console(quiet=True))
    return {
        **counts,
        "read_seconds": round(read - start, 1),
        "statistics_seconds": round(analysed - read, 1),
        "everything_seconds": round(time.perf_counter() - begun, 1),
        "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
        "page_mb": round((directory / "report.html").stat().st_size / 1e6, 2),
    }


def main(argv=None) -> None:
    """Measures, prints, writes."""
    flags = record.flags("scale", __doc__)
    flags.add_argument("--runs", type=int, default=50_000)
    flags.add_argument("--keep", type=Path, help="leave the workdir here")
    args, console = flags.parse_args(argv), Console()
    with tempfile.TemporaryDirectory() as scratch:
        directory = args.keep or Path(scratch) / "made_up"
        make_workdir(directory, 500 if args.smoke else args.runs)
        found = record.opening("scale") | measure(directory)
    chapters.show("scale", found, console)
    record.write(found, record.place("scale", args), console)


if __name__ == "__main__":
    main()
