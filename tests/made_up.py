"""Made-up studies for the tests of statistics, claims and the page: results of a known effect, no training."""

import dataclasses
import itertools

import numpy as np
import pandas as pd

from fmnist_jax import tidy


def study(factors, effect, *, seeds=5, folds=1, noise=0.005, evaluations=4, seed=0, **fields) -> tidy.Study:
    """A complete grid over `factors` {key: values}; test accuracy of a run is effect(values by key) + seed noise.

    Runs of one (seed, fold) share half of the noise, as runs that share initial weights and folds do.
    """
    rng = np.random.default_rng(seed)
    keys, rows, curves = list(factors), [], []
    labels = tidy.short_labels(keys)
    shared = {(s, f): rng.normal(0, noise / 2**0.5) for s in range(seeds) for f in range(folds)}
    arms = []
    for values in itertools.product(*factors.values()):
        here = dict(zip(keys, values, strict=True))
        arm = ",".join(f"{labels[k]}={v}" for k, v in here.items()) or "base"
        arms.append(arm)
        for s, f in itertools.product(range(seeds), range(folds)):
            accuracy = float(np.clip(effect(here) + shared[s, f] + rng.normal(0, noise / 2**0.5), 0, 1))
            base = {"arm": arm, "seed": s, "fold": f}
            rows.append(
                {
                    **base,
                    **here,
                    "epoch": float(evaluations),
                    "train_loss": 0.9 * (1 - accuracy),
                    "train_accuracy": min(1.0, accuracy + 0.02),
                    "validation_loss": 1.1 * (1 - accuracy),
                    "validation_accuracy": accuracy - 0.001,
                    "test_loss": 1 - accuracy,
                    "test_accuracy": accuracy,
                    "diverged_at": np.nan,
                    "stopped_at": np.nan,
                    "train_seconds": 3.0 + rng.normal(0, 0.1),
                    "parameters": 1000,
                }
            )
            for e in range(1, evaluations + 1):
                reached = accuracy * (1 - 0.5**e)
                curves.append(
                    {
                        **base,
                        "step": 100 * e,
                        "epoch": float(e),
                        "train_loss": 1 - reached,
                        "train_accuracy": reached,
                        "validation_loss": 1.05 - reached,
                        "validation_accuracy": reached,
                    }
                )
    runs = pd.DataFrame(rows)
    defaults = {
        "name": "made_up",
        "question": "Does the made-up effect show?",
        "metric": "test_accuracy",
        "select_by": "validation_accuracy",
        "class_names": tuple(f"class {i}" for i in range(10)),
        "facts": {"command": "python -m fmnist_jax.main --config=configs/made_up.py", "versions": {"jax": "0.0"}},
    }
    return tidy.Study(
        factors=tidy.factors_of(runs, keys),
        runs=runs,
        curves=pd.DataFrame(curves),
        arms=tuple(arms),
        **defaults | fields,
    )


def full_study(**fields) -> tidy.Study:
    """Three factors, 24 arms, 3 seeds, and something for every section of the page."""

    def effect(values):
        rate = np.log10(values["optimizer.learning_rate"])
        return 0.9 - 0.02 * (rate + 2.5) ** 2 + 0.01 * (values["model.filters"] == 16) - 0.005 * (values["op"] == "sgd")

    made = study(
        {"optimizer.learning_rate": [1e-4, 1e-3, 1e-2, 1e-1], "model.filters": [4, 8, 16], "op": ["adam", "sgd"]},
        effect,
        seeds=3,
    )
    rng = np.random.default_rng(0)
    runs = made.runs.assign(parameters=1000 * made.runs["model.filters"])
    runs.loc[[0, 1], "diverged_at"] = [120.0, 300.0]
    confusions = {arm: rng.poisson(5, (10, 10)) + 90 * np.eye(10, dtype=int) for arm in made.arms[:4]}
    confusions[made.arms[0]][6, 0] = 60
    pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII="
    more = {
        "runs": runs,
        "confusions": confusions,
        "wrong": tuple(
            {"index": i, "label": 6, "predicted": i % 6, "share": 1 - i / 10, "png": pixel} for i in range(5)
        ),
        "failures": ({"group": "groups/3", "arms": ["a"], "runs": ["a, seed 0, fold 0"], "error": "out of memory"},),
    }
    return dataclasses.replace(made, **more | fields)
