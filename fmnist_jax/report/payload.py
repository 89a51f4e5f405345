"""From an Analysis to the data inside the page: columns as base64 typed arrays, capped so that a page stays small."""

import base64
import dataclasses

import numpy as np
import pandas as pd

from fmnist_jax import tidy
from fmnist_jax.analysis import Analysis
from fmnist_jax.report import axes, frames, words

# What bounds the page; a study past one of these is sampled, and the page says so.
MAX_ARMS = 10_000
MAX_RUN_VALUES = 300_000
MAX_SUMMARY_VALUES = 250_000
MAX_CURVE_POINTS = 20_000
MAX_CURVE_LENGTH = 100
MAX_CONFUSION_CELLS = 30_000
SUMMARY = ("mean", "sd", "median", "iqm", "low", "high", "bca_low", "bca_high", "best", "worst")


def payload(analysis: Analysis) -> dict:
    """Everything the scripts of the page read, as plain JSON values; `notices` says what was left out."""
    there = len(analysis.study.arms)
    analysis = _fitting(analysis)
    study = analysis.study
    metrics = _metrics(analysis)
    runs = _runs(study, metrics)
    curves = _curves(analysis)
    confusions = _confusions(analysis)
    return {
        "name": study.name,
        "metric": study.metric,
        "metrics": [_metric(study, m) for m in metrics],
        "factors": _factors(study),
        "factorOrder": axes.by_importance(analysis),
        "arms": list(study.arms),
        "standing": _standing(analysis),
        "summary": {m: _summary(analysis, m) for m in metrics},
        "runs": runs,
        "costs": _costs(analysis),
        "curves": curves,
        "confusions": confusions,
        "classes": list(study.class_names),
        "notices": {
            "arms": _left_out(
                len(study.arms), there, "arms are in this page: the best half of these, and others down to the worst"
            ),
            "metrics": _left_out(len(metrics), len(study.metrics), "metrics are in this page; summary.csv has all"),
            "runs": _left_out(runs["shown"], len(study.runs), "runs, evenly chosen, are in this page"),
            "curves": curves.pop("notice", ""),
            "confusions": _left_out(
                len(confusions), len(study.confusions), "arms have their confusion matrix in this page: the best ones"
            ),
        },
    }


def pack(values, kind: str) -> dict:
    """A column: little-endian numbers of a NumPy kind ('f4', 'i4', 'u2', 'u1') in base64."""
    array = np.ascontiguousarray(np.asarray(values).astype("<" + kind))
    return {"kind": kind, "base64": base64.b64encode(array.tobytes()).decode("ascii")}


def unpack(column: dict) -> np.ndarray:
    """The numbers of a packed column."""
    return np.frombuffer(base64.b64decode(column["base64"]), "<" + column["kind"])


def _fitting(analysis: Analysis) -> Analysis:
    """The analysis of at most MAX_ARMS arms: the best, and the others evenly from best to worst."""
    study = analysis.study
    if len(study.arms) <= MAX_ARMS:
        return analysis
    order = list(dict.fromkeys([*axes.ranked(analysis)["arm"], *study.arms]))
    kept = set(order[: MAX_ARMS // 2]) | set(axes.spread(order[MAX_ARMS // 2 :], MAX_ARMS // 2)) | {analysis.best}
    fewer = dataclasses.replace(
        study, arms=tuple(a for a in study.arms if a in kept), runs=study.runs[study.runs["arm"].isin(kept)]
    )
    tables = {name: getattr(analysis, name) for name in ("summary", "comparisons", "curves")}
    return dataclasses.replace(
        analysis, study=fewer, **{name: table[table["arm"].isin(kept)] for name, table in tables.items()}
    )


def _left_out(shown: int, there: int, what: str) -> str:
    return "" if shown >= there else f"{shown:,} of {there:,} {what}."


def _metrics(analysis: Analysis) -> list[str]:
    """The study's metrics, its own and the one arms are chosen by first; fewer where arms are very many."""
    study = analysis.study
    first = [m for m in (study.metric, study.select_by) if m in study.metrics]
    ordered = list(dict.fromkeys([*first, *study.metrics]))
    return ordered[: max(2, MAX_SUMMARY_VALUES // (len(SUMMARY) * max(1, len(study.arms))))]


def _metric(study: tidy.Study, name: str) -> dict:
    share = words.is_share(name, study.runs[name])
    return {
        "name": name,
        "label": words.metric_label(name),
        "share": share,
        "lower": tidy.lower_is_better(name),
    }


def _factors(study: tidy.Study) -> list[dict]:
    values = axes.arm_factors(study)
    return [
        {
            "key": factor.key,
            "label": factor.label,
            "numeric": factor.numeric,
            "scale": axes.scale(factor),
            "values": np.asarray(factor.values, float).tolist() if factor.numeric else None,
            "names": axes.value_names(factor),
            "codes": pack(axes.codes(factor, values[factor.key]), "i4" if len(factor.values) > 32_000 else "i2"),
        }
        for factor in study.factors
    ]


def _standing(analysis: Analysis) -> list[int]:
    """Of every arm: 0 the best, 1 not distinguishable from it, 2 neither."""
    near = set(analysis.near)
    return [0 if arm == analysis.best else 1 if arm in near else 2 for arm in analysis.study.arms]


def _summary(analysis: Analysis, metric: str) -> dict:
    rows = analysis.summary[analysis.summary["metric"] == metric].set_index("arm").reindex(list(analysis.study.arms))
    counts = {name: pack(rows[name].fillna(0), "u2") for name in ("n", "diverged")}
    return counts | {name: pack(rows[name], "f4") for name in SUMMARY}


def _runs(study: tidy.Study, metrics: list[str]) -> dict:
    """Columns over runs: arm and metrics; every k-th run where they are too many."""
    limit = MAX_RUN_VALUES // max(1, len(metrics))
    table = study.runs
    if len(table) > limit:
        table = table.iloc[np.linspace(0, len(table) - 1, limit).astype(int)]
    place = {arm: i for i, arm in enumerate(study.arms)}
    diverged = table["diverged_at"].notna()
    return {
        "shown": len(table),
        "total": len(study.runs),
        "perArm": pack(study.runs["arm"].value_counts().reindex(list(study.arms)).fillna(0), "u2"),
        "arm": pack(table["arm"].map(place), "u2"),
        "metrics": {m: pack(table[m].mask(diverged), "f4") for m in metrics},
    }


def _costs(analysis: Analysis) -> dict:
    """What a run of each arm cost; only costs that differ."""
    arms = list(analysis.study.arms)
    return {cost: pack(frames.cost(analysis, cost).reindex(arms), "f4") for cost in frames.costs(analysis)}


def _curves(analysis: Analysis) -> dict:
    """Columns over (metric, arm, step), and where each arm's rows begin; a stated part where they are too many."""
    table, study = analysis.curves, analysis.study
    if not len(table):
        return {"arms": [], "metrics": {}}
    there, length, notices = set(table["arm"].unique()), 0, []
    arms = [arm for arm in axes.ranked(analysis)["arm"] if arm in there]
    if len(table) > MAX_CURVE_POINTS:
        length = int(table.groupby(["metric", "arm"], sort=False).size().max())
        stride = -(-length // MAX_CURVE_LENGTH)
        per_arm = len(table["metric"].unique()) * (length // stride + 1)
        room = max(6, MAX_CURVE_POINTS // per_arm)
        if room < len(arms):
            notices.append(
                f"{room:,} of {len(arms):,} arms have their curves in this page: the best half of these, "
                "and the others evenly from best to worst."
            )
            best = arms[: room // 2]
            arms = best + axes.spread(arms[room // 2 :], room - len(best))
        if stride > 1:
            notices.append(f"Every {stride}th evaluation is drawn.")
    table = table[table["arm"].isin(arms)]
    place = {arm: i for i, arm in enumerate(study.arms)}
    packed = {}
    for metric, rows in table.groupby("metric", sort=False):
        rows = rows.assign(place=rows["arm"].map(place)).sort_values(["place", "step"], kind="stable")
        if length > MAX_CURVE_LENGTH:
            rows = _thin(rows, -(-length // MAX_CURVE_LENGTH))
        starts = rows["place"].drop_duplicates()
        packed[metric] = {
            "label": words.metric_label(metric),
            "share": words.is_share(metric, rows["mean"]),
            "arm": pack(starts, "u4"),
            "start": pack(np.append(np.flatnonzero(~rows["place"].duplicated()), len(rows)), "u4"),
            **{name: pack(rows[name], "f4") for name in ("step", "epoch", "mean", "low", "high")},
        }
    return {"arms": [place[arm] for arm in arms], "metrics": packed, "notice": " ".join(notices)}


def _thin(rows: pd.DataFrame, stride: int) -> pd.DataFrame:
    """Every stride-th evaluation of each arm, and its last."""
    grouped = rows.groupby("place", sort=False)
    return rows[(grouped.cumcount() % stride == 0) | (grouped.cumcount(ascending=False) == 0)]


def _confusions(analysis: Analysis) -> list[dict]:
    """[C, C] counts by arm, the best arms first."""
    study = analysis.study
    order = [*axes.ranked(analysis)["arm"], *study.arms]
    there = [arm for arm in dict.fromkeys(order) if arm in study.confusions]
    if not there:
        return []
    room = max(1, MAX_CONFUSION_CELLS // study.confusions[there[0]].size)
    place = {arm: i for i, arm in enumerate(study.arms)}
    return [{"arm": place[arm], "counts": pack(study.confusions[arm].ravel(), "u4")} for arm in there[:room]]
