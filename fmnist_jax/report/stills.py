"""Every static plot of a study as PNG, and what it shows as CSV beside it."""

import io
import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import matplotlib as mpl
import pandas as pd

from fmnist_jax import writers
from fmnist_jax.analysis import Analysis
from fmnist_jax.report import axes, figures, frames, style

MAX_FACTORS = 6  # factors that explain most; each has a slice and a histogram
MAX_PAIRS = 6
MAX_ROWS = 100_000  # of a CSV; one cut short says so in its name


def write(analysis: Analysis, directory: Path) -> list[str]:
    """Writes them into `directory`, over what is there, and returns their names."""
    directory.mkdir(parents=True, exist_ok=True)
    tables = dict(_tables(analysis))
    for name, table in tables.items():
        _csv(table, directory / f"{name}.csv")
    names = list(tables)
    for name, table, draw in _plots(analysis):
        _csv(table(), directory / f"{name}.csv")
        with mpl.rc_context(style.STYLE):
            png = io.BytesIO()
            draw().figure.savefig(png, format="png")
        writers.write_atomically(directory / f"{name}.png", png.getvalue())
        names.append(name)
    return names


def _csv(table: pd.DataFrame, path: Path) -> None:
    index = table.index.name is not None
    if len(table) > MAX_ROWS:
        path = path.with_name(f"{path.stem}_first_{MAX_ROWS}_rows.csv")
    writers.write_csv(path, table.head(MAX_ROWS), index=index)


def _tables(analysis: Analysis) -> Iterator[tuple[str, pd.DataFrame]]:
    """The tables of the page that no plot shows whole."""
    for name in ("summary", "comparisons", "correlations"):
        if len(table := getattr(analysis, name)):
            yield name, table


def _plots(analysis: Analysis) -> Iterator[tuple[str, Callable, Callable]]:
    """(file name, its data, its axes) of every plot this study has something for."""
    study = analysis.study
    if len(analysis.curves):
        metrics = list(dict.fromkeys(analysis.curves["metric"]))
        for quantity in dict.fromkeys(m.partition("_")[2] or m for m in metrics):
            yield (
                f"curves_{_slug(quantity)}",
                lambda q=quantity: _curve_table(analysis, q),
                lambda q=quantity: figures.curves(analysis, q),
            )
    if len(analysis.summary) and len(axes.ranked(analysis)):
        yield from _of_arms(analysis)
    if len(analysis.importance):
        yield "importance", lambda: analysis.importance, lambda: figures.importance(analysis)
    if study.confusions:
        arm = next((a for a in [analysis.best, *axes.ranked(analysis)["arm"]] if a in study.confusions), None)
        arm = arm or next(iter(study.confusions))
        yield "confusion", lambda: frames.confusion(analysis, arm), lambda: figures.confusion(analysis, arm)


def _of_arms(analysis: Analysis) -> Iterator[tuple[str, Callable, Callable]]:
    study = analysis.study
    yield "dots", lambda: frames.dots(analysis), lambda: figures.dots(analysis)
    yield "histogram", lambda: frames.histogram(analysis), lambda: figures.histogram(analysis)
    factors = [study.factors[i] for i in axes.by_importance(analysis)]
    for factor in factors[:MAX_FACTORS]:
        name, key = _slug(factor.label), factor.key
        yield f"slices_{name}", lambda k=key: frames.slices(analysis, k), lambda k=key: figures.slices(analysis, k)
        yield (
            f"histogram_{name}",
            lambda k=key: frames.histogram(analysis, k),
            lambda k=key: figures.histogram(analysis, k),
        )
    for a, b in itertools.islice(itertools.combinations(factors, 2), MAX_PAIRS):
        yield (
            f"heatmap_{_slug(a.label)}_{_slug(b.label)}",
            lambda a=a.key, b=b.key: frames.heatmap(analysis, a, b),
            lambda a=a.key, b=b.key: figures.heatmap(analysis, a, b),
        )
    if factors:
        yield "parallel", lambda: frames.arms(analysis), lambda: figures.parallel(analysis)
    if len(factors) >= 3:
        keys = [factor.key for factor in factors[:3]]
        yield "space", lambda: frames.arms(analysis), lambda: figures.scatter3d(analysis, *keys)
    if frames.clock(analysis) in frames.costs(analysis):
        yield "time", lambda: frames.time(analysis), lambda: figures.time(analysis)


def _curve_table(analysis: Analysis, quantity: str) -> pd.DataFrame:
    metrics = frames.curve_metrics(analysis, quantity)
    return analysis.curves[analysis.curves["metric"].isin(metrics)]


def _slug(text: str) -> str:
    """A part of a file name."""
    return re.sub(r"[^\w.-]+", "_", text).strip("._") or "factor"
