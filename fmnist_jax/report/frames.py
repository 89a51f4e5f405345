"""What each still shows, as a table: drawn by `figures`, written beside it as CSV by `stills`."""

import numpy as np
import pandas as pd

from fmnist_jax import tidy
from fmnist_jax.analysis import Analysis
from fmnist_jax.report import axes

BINS = 40


def factor(study: tidy.Study, name: str) -> tidy.Factor:
    """The factor of this key or label."""
    return next(f for f in study.factors if name in (f.key, f.label))


def arms(analysis: Analysis, metric: str | None = None) -> pd.DataFrame:
    """A row an arm with a mean of the metric, best first: its factors' values and the summary's numbers."""
    values = axes.arm_factors(analysis.study)
    return axes.ranked(analysis, metric).merge(values, left_on="arm", right_index=True, how="left")


def dots(analysis: Analysis, metric: str | None = None) -> pd.DataFrame:
    """arm, mean, low, high, n and standing ("best", "near" where not distinguishable from it, else empty)."""
    rows = axes.ranked(analysis, metric)[["arm", "n", "mean", "low", "high"]].copy()
    near = set(analysis.near)
    rows["standing"] = ["best" if a == analysis.best else "near" if a in near else "" for a in rows["arm"]]
    return rows


def curves(analysis: Analysis, metrics: list[str], names: list[str]) -> pd.DataFrame:
    """The analysis's curves of these metrics and arms."""
    table = analysis.curves
    return table[table["metric"].isin(metrics) & table["arm"].isin(names)]


def curve_metrics(analysis: Analysis, metric: str) -> list[str]:
    """The curves meant by a metric's name, or, by a quantity ("accuracy"), those of every split."""
    there = list(dict.fromkeys(analysis.curves["metric"])) if len(analysis.curves) else []
    if metric in there:
        return [metric]
    splits = [m for m in there if m.partition("_")[2] == metric]
    return sorted(splits, key=lambda m: m.startswith("train"))


def slices(analysis: Analysis, name: str, metric: str | None = None) -> pd.DataFrame:
    """arm, the factor's value, mean, low, high."""
    key = factor(analysis.study, name).key
    return arms(analysis, metric)[["arm", key, "mean", "low", "high"]]


def heatmap(analysis: Analysis, a: str, b: str, metric: str | None = None) -> pd.DataFrame:
    """a, b, mean over the arms with these values, and how many they are."""
    keys = [factor(analysis.study, name).key for name in (a, b)]
    cells = arms(analysis, metric).groupby(keys, sort=False)["mean"].agg(["mean", "count"]).reset_index()
    return cells.rename(columns={"count": "arms"})


def histogram(analysis: Analysis, name: str | None = None, metric: str | None = None) -> pd.DataFrame:
    """low and high edge of a bin, group of the factor's values, number of runs; diverged runs are left out."""
    study = analysis.study
    metric = metric or study.metric
    runs = study.runs[study.runs["diverged_at"].isna() & study.runs[metric].notna()]
    edges = np.histogram_bin_edges(runs[metric].to_numpy(float), BINS)
    parts = {"": runs[metric]}
    if name is not None:
        by = factor(study, name)
        codes = axes.codes(by, runs[by.key])
        own = np.where(codes < 0, -1, axes.group_index(by)[codes])
        parts = {axes.group_name(by, group): runs[metric][own == i] for i, group in enumerate(axes.groups(by))}
    return pd.concat(
        pd.DataFrame({"low": edges[:-1], "high": edges[1:], "group": group, "runs": np.histogram(values, edges)[0]})
        for group, values in parts.items()
    )


def costs(analysis: Analysis) -> list[str]:
    """What runs cost, as far as it is known and differs: "alone_seconds", "train_seconds", "parameters"."""
    return [name for name in ("alone_seconds", "train_seconds", "parameters") if len(set(cost(analysis, name))) > 1]


def cost(analysis: Analysis, name: str) -> pd.Series:
    """What a run of each arm cost: its mean training time, or its parameters; index arm."""
    if name in ("alone_seconds", "train_seconds"):
        rows = analysis.summary[analysis.summary["metric"] == name]
        return rows.set_index("arm")["mean"].astype(float).dropna()
    runs = analysis.study.runs
    return runs.drop_duplicates("arm").set_index("arm")[name].astype(float) if name in runs else pd.Series(dtype=float)


def clock(analysis: Analysis) -> str:
    """The column of a run's time: alone where that was measured, else its share of its group's."""
    return "alone_seconds" if "alone_seconds" in costs(analysis) else "train_seconds"


def time(analysis: Analysis, metric: str | None = None, by: str | None = None) -> pd.DataFrame:
    """arm, what a run of it cost (by default its time, alone where that was measured), mean, low, high."""
    by = by or clock(analysis)
    rows = axes.ranked(analysis, metric)[["arm", "mean", "low", "high"]].copy()
    rows.insert(1, by, rows["arm"].map(cost(analysis, by)))
    return rows.dropna(subset=[by])


def confusion(analysis: Analysis, arm: str) -> pd.DataFrame:
    """Counts of an arm; rows are true classes."""
    counts = np.asarray(analysis.study.confusions[arm])
    names = [*analysis.study.class_names, *map(str, range(len(analysis.study.class_names), len(counts)))]
    return pd.DataFrame(counts, index=pd.Index(names[: len(counts)], name="true"), columns=names[: len(counts)])
