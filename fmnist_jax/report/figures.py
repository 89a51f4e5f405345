"""Stills for papers and notebooks: each function draws into matplotlib axes (new ones, if none are given) and
returns them.

Figures are made without pyplot, so none stays open and no global setting changes; in a notebook, `ax.figure` shows one.
"""

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from fmnist_jax import tidy
from fmnist_jax.analysis import Analysis
from fmnist_jax.report import axes, frames, words
from fmnist_jax.report.style import (
    FAINT,
    INK,
    MUTED,
    SERIES,
    blues,
    cell_lines,
    cycle,
    group_colours,
    new_axes,
    shades,
    short,
    styled,
)

DASHES = {"validation": "-", "train": ":", "test": "--"}
MAX_DOTS = 60
MAX_CURVES = 6
MAX_INTERVALS = 300
MAX_WRITTEN = 20


def _metric(analysis: Analysis, metric: str | None) -> tuple[str, float, str]:
    """A metric's name, what its values are multiplied by to be shown, and its label."""
    name = metric or analysis.study.metric
    share = words.shares(analysis.study).get(name, False)
    return name, 100.0 if share else 1.0, words.metric_label(name, share)


@styled
def dots(analysis: Analysis, metric: str | None = None, ax=None):
    """Means and 95% intervals of the arms, the best on top; at most MAX_DOTS of them."""
    metric, times, label = _metric(analysis, metric)
    every = frames.dots(analysis, metric)
    rows = every.head(MAX_DOTS)
    ax = new_axes(ax, 7.5, 0.9 + 0.21 * max(3, len(rows)))
    # Standing was judged in the study's own metric; in another it would mislead.
    judged = metric == analysis.study.metric
    shade = [{"best": SERIES[1], "near": SERIES[0]}.get(s, FAINT) if judged else SERIES[0] for s in rows["standing"]]
    y = np.arange(len(rows))
    ax.hlines(y, times * rows["low"], times * rows["high"], colors=shade, linewidth=1.6)
    ax.scatter(times * rows["mean"], y, c=shade, s=22, zorder=3)
    ax.set_yticks(y, [short(arm) for arm in rows["arm"]])
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.grid(axis="y", visible=False)
    ax.set_xlabel(label)
    if len(rows) < len(every):
        ax.set_title(f"the best {len(rows)} of {len(every):,} arms", loc="left", color=MUTED)
    return ax


@styled
def curves(analysis: Analysis, metric: str, arms=None, ax=None):
    """Mean and 95% band over repeats, a colour an arm; by default the best arm and others down to the worst.

    Args:
      metric: a curve ("validation_loss"), or a quantity ("loss") for every split of it: validation solid, train dotted.
    """
    study = analysis.study
    ax = new_axes(ax)
    names = list(arms) if arms is not None else axes.spread(list(axes.ranked(analysis)["arm"]), MAX_CURVES)
    metrics = frames.curve_metrics(analysis, metric)
    table = frames.curves(analysis, metrics, names)
    share = words.is_share(metric, table["mean"]) if len(table) else False
    for name in metrics:
        split = name.partition("_")[0]
        for shade, arm in zip(cycle(len(names)), names, strict=True):
            rows = table[(table["metric"] == name) & (table["arm"] == arm)].sort_values("step")
            x, times = rows["epoch"], 100 if share else 1
            label = short(arm) if name == metrics[0] else None
            line = DASHES.get(split, "-") if len(metrics) > 1 else "-"
            ax.plot(x, times * rows["mean"], line, color=shade, linewidth=1.6, label=label)
            known = rows.dropna(subset=["low", "high"])  # equal repeats have no interval: between their neighbours'
            band = times * known["low"], times * known["high"]
            ax.fill_between(known["epoch"], *band, color=shade, alpha=0.13, linewidth=0)
    ax.set_xlabel("epoch")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_ylabel(words.metric_label(metric, share))
    if len(metrics) > 1:
        said = [f"{m.partition('_')[0]} {_DASH_NAMES[DASHES.get(m.partition('_')[0], '-')]}" for m in metrics]
        ax.set_title(", ".join(said), loc="left", color=MUTED)
    if len(names) > 1 and len(table):
        ax.legend(loc="upper left", bbox_to_anchor=(0, -0.16), ncols=1 if len(study.factors) > 2 else 2)
    return ax


_DASH_NAMES = {"-": "solid", ":": "dotted", "--": "dashed"}


@styled
def slices(analysis: Analysis, factor: str, metric: str | None = None, ax=None):
    """A metric against one factor: arms with their intervals side by side, and the mean over them."""
    metric, times, label = _metric(analysis, metric)
    by = frames.factor(analysis.study, factor)
    rows = frames.slices(analysis, factor, metric)
    codes = axes.codes(by, rows[by.key])
    rows, codes = rows[codes >= 0], codes[codes >= 0]
    ax = new_axes(ax, 6.0)
    place = axes.along(by)
    x = place[codes] + _dodge(codes, place)
    y = times * rows["mean"].to_numpy()
    many = len(rows) > MAX_INTERVALS
    if not many:
        ax.vlines(x, times * rows["low"], times * rows["high"], color=SERIES[0], alpha=0.35, linewidth=1)
    ax.scatter(x, y, s=5 if many else 14, color=SERIES[0], alpha=0.25 if many else 0.6, linewidths=0)
    group = axes.group_index(by, 12 if by.numeric else 40)[codes]
    means = [(place[codes[group == g]].mean(), y[group == g].mean()) for g in np.unique(group)]
    ax.plot(*zip(*means, strict=True), "-D", color=SERIES[0], linewidth=2, markersize=5, label="mean over arms")
    _factor_axis(ax.xaxis, by)
    ax.set_ylabel(label)
    return ax


def _dodge(codes: np.ndarray, place: np.ndarray) -> np.ndarray:
    """How far aside each arm is drawn, so that arms of one value can be told apart."""
    gaps = np.diff(np.unique(place[codes]))
    width = 0.5 * (gaps.min() if len(gaps) else 1.0)
    aside = np.zeros(len(codes))
    for code in np.unique(codes):
        n = np.count_nonzero(codes == code)
        aside[codes == code] = width * (np.arange(n) / (n - 1) - 0.5) if n > 1 else 0
    return aside


def _factor_axis(axis, factor: tidy.Factor) -> None:
    """Ticks at the factor's own values where they are few, on the scale they read best on."""
    place, scale = axes.along(factor), axes.scale(factor)
    axis.set_label_text(factor.label)
    if len(place) <= 12 or scale == "ordinal":
        every = -(-len(place) // 16)
        axis.set_ticks(place[::every], [short(name, 16) for name in axes.value_names(factor)[::every]])
        axis.set_minor_locator(NullLocator())
    elif scale == "log":
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{10**value:.2g}"))


@styled
def heatmap(analysis: Analysis, a: str, b: str, metric: str | None = None, ax=None):
    """A metric over two factors, a across and b down; a cell is the mean over its arms."""
    metric, times, label = _metric(analysis, metric)
    across, down = (frames.factor(analysis.study, name) for name in (a, b))
    table = frames.heatmap(analysis, a, b, metric)
    columns, rows = axes.groups(across, 24), axes.groups(down, 24)
    sums, arms = np.zeros((2, len(rows), len(columns)))
    at = [axes.group_index(f, 24)[axes.codes(f, table[f.key])] for f in (down, across)]
    np.add.at(sums, tuple(at), (table["mean"] * table["arms"]).to_numpy())
    np.add.at(arms, tuple(at), table["arms"].to_numpy())
    cells = np.where(arms > 0, times * sums / np.maximum(arms, 1), np.nan)
    ax = new_axes(ax, 1.8 + 0.75 * max(4, len(columns)), 1.4 + 0.42 * max(3, len(rows)))
    image = ax.imshow(cells, cmap=blues(tidy.lower_is_better(metric)), aspect="auto")
    for name, factor, groups in (("x", across, columns), ("y", down, rows)):
        ticks = getattr(ax, f"set_{name}ticks")
        ticks(range(len(groups)), [short(axes.group_name(factor, g), 18) for g in groups])
        getattr(ax, f"set_{name}label")(factor.label)
    cell_lines(ax, *cells.shape)
    if len(columns) <= MAX_WRITTEN and len(rows) <= MAX_WRITTEN:
        for (i, j), value in np.ndenumerate(cells):
            if np.isfinite(value):
                text = words.number(value / times, times == 100)
                ax.text(j, i, text, ha="center", va="center", fontsize=8, color=INK)
    ax.figure.colorbar(image, ax=ax, label=label).outline.set_visible(False)
    return ax


@styled
def histogram(analysis: Analysis, factor: str | None = None, metric: str | None = None, ax=None):
    """How single runs are spread over a metric, stacked, a colour a value of the factor."""
    metric, times, label = _metric(analysis, metric)
    table = frames.histogram(analysis, factor, metric)
    ax = new_axes(ax)
    groups = list(dict.fromkeys(table["group"]))
    numeric = factor is not None and frames.factor(analysis.study, factor).numeric
    bottom = 0
    for shade, group in zip(group_colours(len(groups), numeric), groups, strict=True):
        rows = table[table["group"] == group]
        width = times * (rows["high"] - rows["low"])
        runs = rows["runs"].to_numpy()
        ax.bar(times * rows["low"], runs, width, bottom, align="edge", color=shade, label=group, linewidth=0)
        bottom = bottom + runs
    ax.grid(axis="x", visible=False)
    ax.set_xlabel(label)
    ax.set_ylabel("runs")
    if factor is not None:
        title = frames.factor(analysis.study, factor).label
        ax.legend(title=title, title_fontsize=8, loc="upper left", bbox_to_anchor=(1, 1), alignment="left")
    return ax


@styled
def time(analysis: Analysis, metric: str | None = None, cost: str | None = None, ax=None):
    """A metric against what a run cost, by default its time; a point is an arm."""
    cost = cost or frames.clock(analysis)
    metric, times, label = _metric(analysis, metric)
    rows = frames.time(analysis, metric, cost)
    ax = new_axes(ax, 6.0)
    many = len(rows) > MAX_INTERVALS
    if not many:
        ax.vlines(rows[cost], times * rows["low"], times * rows["high"], color=SERIES[0], alpha=0.35, linewidth=1)
    ax.scatter(rows[cost], times * rows["mean"], s=6 if many else 22, color=SERIES[0], alpha=0.6, linewidths=0)
    if rows[cost].min() > 0 and rows[cost].max() / rows[cost].min() >= 10:
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    ax.set_xlabel(f"{words.TIMES[cost]} (s)" if cost in words.TIMES else cost)
    ax.set_ylabel(label)
    return ax


@styled
def confusion(analysis: Analysis, arm: str | None = None, ax=None):
    """Counts over an arm's runs, shaded by their share of the row; by default of the best arm that has a matrix."""
    arm = arm or next(a for a in [analysis.best, *analysis.study.arms] if a in analysis.study.confusions)
    table = frames.confusion(analysis, arm)
    size = len(table)
    ax = new_axes(ax, 2.4 + 0.42 * min(size, 30), 2.2 + 0.36 * min(size, 30))
    counts = table.to_numpy()
    ax.imshow(counts / np.maximum(1, counts.sum(axis=1, keepdims=True)), cmap=blues(), vmin=0, vmax=1)
    every = -(-size // 40)
    names = [short(str(name), 16) for name in table.columns[::every]]
    ax.set_xticks(range(0, size, every), names, rotation=45, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(0, size, every), names)
    cell_lines(ax, size, size)
    if size <= MAX_WRITTEN:
        for (i, j), n in np.ndenumerate(counts):
            if n:
                ax.text(j, i, f"{n:,}", ha="center", va="center", fontsize=6.5, color=INK)
    ax.set_xlabel("taken for")
    ax.set_ylabel("true class")
    ax.set_title(short(arm, 60), loc="left", color=MUTED)
    return ax


@styled
def importance(analysis: Analysis, ax=None):
    """The share of the variance that each factor and interaction explains."""
    rows = analysis.importance.head(20)
    ax = new_axes(ax, 6.0, 0.9 + 0.26 * max(3, len(rows)))
    shade = [FAINT if term == "seed noise" else SERIES[0] for term in rows["term"]]
    ax.barh(range(len(rows)), 100 * rows["share"], color=shade, height=0.62)
    ax.set_yticks(range(len(rows)), [axes.term_label(analysis.study, term) for term in rows["term"]])
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    ax.set_xlabel(f"share of the variance of {words.metric_label(analysis.study.metric)} (%)")
    return ax


@styled
def scatter3d(analysis: Analysis, x: str, y: str, z: str, metric: str | None = None, ax=None):
    """Arms over three factors, coloured by a metric; where arms share a place, their mean."""
    metric, times, label = _metric(analysis, metric)
    factors = [frames.factor(analysis.study, name) for name in (x, y, z)]
    keys = list(dict.fromkeys(f.key for f in factors))
    cells = frames.arms(analysis, metric).groupby(keys, sort=False)["mean"].mean().reset_index()
    ax = new_axes(ax, 6.4, 5.2, projection="3d")
    place = [axes.along(f)[axes.codes(f, cells[f.key])] for f in factors]
    lower = tidy.lower_is_better(metric)
    ax.view_init(elev=22, azim=-55)
    points = ax.scatter(*place, c=times * cells["mean"], cmap=shades(lower), s=34, depthshade=False)
    for axis, factor in zip((ax.xaxis, ax.yaxis, ax.zaxis), factors, strict=True):
        _factor_axis(axis, factor)
        axis.pane.set_facecolor("white")
    ax.figure.colorbar(points, ax=ax, label=label, shrink=0.7, pad=0.16).outline.set_visible(False)
    return ax


@styled
def parallel(analysis: Analysis, metric: str | None = None, ax=None):
    """Parallel coordinates: a line an arm through its factors' values to the metric, the best drawn last."""
    metric, times, label = _metric(analysis, metric)
    rows = frames.arms(analysis, metric).iloc[::-1]
    factors = analysis.study.factors
    ax = new_axes(ax, 2.0 + 1.4 * (len(factors) + 1))
    # Arms of one value leave its place side by side, the worst below: ribbons, not one line over another.
    coded = [(axes.along(f), axes.codes(f, rows[f.key])) for f in factors]
    columns = [place[codes] + 0.5 * _dodge(codes, place) for place, codes in coded] + [times * rows["mean"].to_numpy()]
    spans = [(axes.along(f).min(), np.ptp(axes.along(f)) or 1) for f in factors]
    spans.append((columns[-1].min(), np.ptp(columns[-1]) or 1))
    lines = np.stack([(c - low) / span for c, (low, span) in zip(columns, spans, strict=True)], axis=1)
    better = 1 - lines[:, -1] if tidy.lower_is_better(metric) else lines[:, -1]
    x = np.arange(lines.shape[1])
    segments = np.stack([np.broadcast_to(x, lines.shape), lines], axis=2)
    colours = shades(lower=False)(better)
    ax.add_collection(LineCollection(segments, colors=colours, linewidths=0.9, alpha=0.7))
    for i, f in enumerate(factors):
        low, span = spans[i]
        every = -(-len(axes.along(f)) // 8)
        for name, place in list(zip(axes.value_names(f), axes.along(f), strict=True))[::every]:
            _tick(ax, i, (place - low) / span, short(name, 12))
    for part in (0, 0.5, 1):
        low, span = spans[-1]
        _tick(ax, x[-1], part, words.number((low + part * span) / times, times == 100))
    ax.vlines(x, 0, 1, color=MUTED, linewidth=0.8)
    ax.set_xticks(x, [*(f.label for f in factors), label], color=INK)
    ax.set_yticks([])
    ax.set_xlim(-0.4, x[-1] + 0.4)
    ax.set_ylim(-0.05, 1.05)
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    return ax


def _tick(ax, x: float, y: float, text: str) -> None:
    halo = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.6}
    ax.text(x - 0.03, y, text, ha="right", va="center", fontsize=7.5, color=MUTED, bbox=halo)
