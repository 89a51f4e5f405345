"""A question as a config -> runs -> groups -> a tidy table and a summary on disk."""

from pathlib import Path

import jax
import numpy as np
from rich.console import Console

from fmnist_jax import config, experiment, population, session, sharding, stats, terminal, train, workdir, writers
from fmnist_jax.data import Dataset, load, splits
from fmnist_jax.session import Group, Run

# These say where to work and what to keep, not what to compute: a workdir may go on under others. (Other devices move
# the last place of vmapped runs; environment.json says which there were.)
NOT_IN_THE_RESULT = (
    *("dataset.data_dir", "platform", "population.devices"),
    *("checkpoint.every", "checkpoint.keep", "writers.tensorboard"),
)


def run(checked: config.Experiment, directory: Path, console: Console) -> dict:
    """Trains what is not done yet in `directory`, writes its tables, and returns (and prints) the summary.

    Raises:
      UserError: the config does not fit the data, or the workdir.
      session.Interrupted: on SIGINT or SIGTERM, after a checkpoint.
    """
    place = directory / "groups" / "0"
    keys = {k: v for k, v in config.flatten(checked).items() if k not in NOT_IN_THE_RESULT}
    if (directory / "summary.json").exists() and session.read_group(place) is not None:
        workdir.check_same(directory, keys)
    else:
        dataset = load(checked.dataset.name, data_dir=checked.dataset.data_dir, image_size=checked.dataset.image_size)
        group = make_group(checked, dataset)
        with workdir.lock(directory):
            workdir.claim(directory, {**keys, "dataset.fingerprint": dataset.fingerprint})
            _complete(directory, checked, group, dataset, place, console)
    summary = writers.read_json(directory / "summary.json")
    console.print(terminal.summary_table(summary))
    for text in terminal.footer({**summary, "workdir": str(directory)}):
        console.print(text, highlight=False, soft_wrap=True)
    return summary


def _complete(
    directory: Path, checked: config.Experiment, group: Group, dataset: Dataset, place: Path, console: Console
) -> None:
    if session.read_group(place) is None:
        (directory / "summary.json").unlink(missing_ok=True)
        writers.write_json(directory / "environment.json", workdir.environment())
        if dataset.synthetic:
            console.print("[bold]SYNTHETIC DATA[/bold]: drawn garments, not a real data set")
        with terminal.LiveLine(console) as line:
            session.train_group(group, dataset, place, checked, line)
    _write_results(directory, checked, group, dataset, place)


def make_group(checked: config.Experiment, dataset: Dataset) -> Group:
    """The runs of one arm, a seed each, as a group; refuses a config that does not fit the data."""
    fraction, seed = checked.dataset.validation_fraction, checked.dataset.split_seed
    split = splits.stack([splits.validation_split(dataset.train_labels, fraction, seed)])
    static, hyper = experiment.resolve(
        checked,
        image_shape=tuple(dataset.train_images.shape[1:]),
        classes=len(dataset.class_names),
        train_size=int(split.train_size.min()),
        conv_method=population.choose_conv(checked.population.conv, jax.default_backend()),
    )
    sharding.devices_for(checked.seeds, checked.population.devices)  # raises where there are not so many
    runs = tuple(Run("base", checked.first_seed + i, 0) for i in range(checked.seeds))
    stacked = jax.tree.map(lambda leaf: np.repeat(leaf[None], len(runs), axis=0), hyper)
    return Group("base", static, runs, stacked, split)


def _write_results(directory: Path, checked: config.Experiment, group: Group, dataset: Dataset, place: Path) -> None:
    """Parquet, CSV, TensorBoard, and last summary.json, all from the group's JSONL and done.json."""
    done = session.read_group(place)
    curves, results = writers.read_rows(place / "metrics.jsonl"), done["results"]
    writers.write_tables(directory, "metrics", curves)
    flat = [{k: v for k, v in row.items() if not isinstance(v, list)} for row in results]
    writers.write_tables(directory, "results", flat)
    if checked.writers.tensorboard:
        writers.write_tensorboard(directory / "tensorboard", curves, results, config.flatten(checked))
    timing = done["timing"]
    first = jax.tree.map(lambda leaf: leaf[0], group.hyper)
    summary = {
        "name": directory.name,
        "dataset": dataset.name,
        "synthetic": dataset.synthetic,
        "runs": len(results),
        "parameters": train.param_count(group.static, first),
        "steps": group.static.total_steps,
        "metrics": summarise(results),
        "diverged": [row for row in flat if row["diverged_at"] is not None],
        "wall_seconds": timing["wall_seconds"],
        "compile_seconds": timing["compile_seconds"],
        "images_per_second": timing["images"] / (timing["wall_seconds"] - timing["compile_seconds"]),
        "mode": done["mode"],
        "devices": done["devices"],
    }
    writers.write_json(directory / "summary.json", summary)


def summarise(results: list[dict]) -> dict[str, dict]:
    """Mean, sd, 95% interval, n, best and worst seed of each accuracy and loss, over the runs that did not diverge."""
    kept = [row for row in results if row["diverged_at"] is None]
    summary = {}
    for split in ("train", "validation", "test"):
        for metric in ("accuracy", "loss"):
            name = f"{split}_{metric}"
            if not kept or name not in kept[0]:
                continue
            ranked = sorted(kept, key=lambda row: row[name], reverse=metric == "accuracy")
            summary[name] = {
                **stats.mean_interval([row[name] for row in kept])._asdict(),
                "best": ranked[0][name],
                "best_seed": ranked[0]["seed"],
                "worst": ranked[-1][name],
                "worst_seed": ranked[-1]["seed"],
            }
    return summary
