"""A paper's figures, drawn: `draw` makes a matplotlib figure of one, 900 px wide, for light or for dark pages."""

import dataclasses
import io
import textwrap
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.colors import LinearSegmentedColormap, LogNorm, to_hex
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator
from PIL import Image

from fmnist_jax import tidy
from fmnist_jax.exhibits import Figure
from fmnist_jax.exhibits.compute import ordered
from fmnist_jax.report import style, words
from fmnist_jax.report.style import short

WIDTH = 9.0
DPI = 200  # 1,800 px for 900
MAX_TICKS = 14
MANY_BANDS = 6  # more, and nothing is seen through them but for paler ones
WIDE = 100  # largest by smallest value
MAX_WRAPPED = 8  # names of lines that may take two rows
DASHES = {"validation": "-", "train": (0, (1, 1.2)), "test": "--"}


@dataclasses.dataclass(frozen=True)
class Look:
    """The colours of a page."""

    paper: str
    ink: str
    muted: str
    faint: str
    grid: str
    line: str
    series: tuple[str, ...]
    cells: tuple[str, ...]  # of a heatmap, low to high
    signed: tuple[str, ...]  # -1 to 1
    viridis: tuple[float, float]  # the stretch of it that this paper does not swallow

    @property
    def style(self) -> dict:
        """What matplotlib is told."""
        return style.STYLE | {
            "axes.labelcolor": self.muted,
            "axes.edgecolor": self.line,
            "axes.facecolor": self.paper,
            "figure.facecolor": self.paper,
            "savefig.facecolor": self.paper,
            "grid.color": self.grid,
            "xtick.color": self.muted,
            "ytick.color": self.muted,
            "text.color": self.ink,
        }

    def hues(self, values: Sequence) -> list[str]:
        """A colour a value: an order of shades where they are more than three numbers, distinct hues else."""
        if (len(values) > 3 and all(_is_number(v) for v in values)) or len(values) > len(self.series):
            return [to_hex(c) for c in mpl.colormaps["viridis"](np.linspace(*self.viridis, len(values)))]
        return [self.series[i % len(self.series)] for i in range(len(values))]

    def shades(self, lower: bool):
        """Better is the end that stands out."""
        stops = mpl.colormaps["viridis"](np.linspace(*self.viridis, 32))
        deep = self.paper == LIGHT.paper
        return LinearSegmentedColormap.from_list("shades", stops if lower == deep else stops[::-1])


LIGHT = Look(
    "#ffffff", style.INK, style.MUTED, style.FAINT, style.GRID, "#c9ccc6", style.SERIES,
    ("#f3f6f9", "#b3d2ea", "#5aa3dc"), ("#0b5c9e", "#8fbfe3", "#ffffff", "#f0a37a", "#b3470a"), (0.0, 0.86),
)  # fmt: skip
DARK = Look(
    "#1c2024", "#e6e8ea", "#9da6af", "#68717a", "#2b3137", "#404850",
    ("#56b4e9", "#ff8c42", "#2cc295", "#e29bc4", "#f0b429", "#3f8fd6", "#a897e0", "#b5bcc3"),
    ("#1d2429", "#20466a", "#28699f"), ("#7fbdf0", "#2f6796", "#1c2024", "#93502a", "#ff9d66"), (0.34, 1.0),
)  # fmt: skip


def draw(figure: Figure, look: Look = LIGHT) -> Canvas:
    """The figure; one that has no data yet says so."""
    with mpl.rc_context(look.style):
        if not len(figure.data):
            return _empty(figure, look)
        return OF_KIND[figure.exhibit["kind"]](figure, look)


def png(figure: Figure, look: Look = LIGHT) -> bytes:
    """Twice 900 px wide, of 256 colours: a fifth of the size, and no eye sees it."""
    canvas, raw, small = draw(figure, look), io.BytesIO(), io.BytesIO()
    with mpl.rc_context(look.style):
        canvas.savefig(raw, format="png", dpi=DPI)
    image = Image.open(raw, formats=["PNG"]).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    image.save(small, "png", optimize=True)
    return small.getvalue()


def _is_number(value) -> bool:
    if isinstance(value, str):
        try:
            float(value)
        except ValueError:
            return False
        return True
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool)


def _canvas(height: float) -> Canvas:
    return Canvas((WIDTH, height), layout="constrained")


def _empty(figure: Figure, look: Look) -> Canvas:
    canvas = _canvas(1.4)
    text = "not run yet" + (f": {short(figure.missing[0], 110)}" if figure.missing else "")
    canvas.text(0.5, 0.5, text, ha="center", va="center", color=look.muted, fontsize=10)
    return canvas


def _scale(metric: str, unit: str) -> tuple[float, str]:
    """What a metric's values are multiplied by to be shown, and their unit: accuracies alone can be percent."""
    share = metric.rsplit("_", 1)[-1].lower() in words.SHARES
    if share and unit == "percent":
        return 100.0, " (%)"
    return 1.0, " (s)" if metric.endswith("seconds") else ""


def _possible(ax, metric: str, times: float) -> None:
    """Keeps an axis to values that can be: the interval of two or three repeats is often wider."""
    low, high = ax.get_ylim()
    if metric.rsplit("_", 1)[-1].lower() in words.SHARES:
        ax.set_ylim(max(low, -0.02 * times), min(high, 1.02 * times))
    elif metric.endswith("loss"):
        ax.set_ylim(max(low, 0), high)


def _title(ax, text: str, look: Look) -> None:
    ax.set_title(text, loc="left", color=look.ink, fontsize=10, pad=8)


def _value(value) -> str:
    """A factor's value as a label."""
    return words.factor_value(float(value) if _is_number(value) else value)


def _curves(figure: Figure, look: Look) -> Canvas:
    exhibit, data = figure.exhibit, figure.data
    panels = [panel for panel in exhibit["panels"] if (data["panel"] == panel["label"]).any()]
    canvas = _canvas(3.5 if len(panels) > 1 else 4.4)
    across = min(2, len(panels))
    grid = canvas.subplots(-(-len(panels) // across), across, squeeze=False)
    if len(grid) > 1:
        canvas.set_size_inches(WIDTH, 3.2 * len(grid))
    lines = [line["label"] for line in exhibit["lines"]]
    for ax, panel in zip(grid.flat, panels, strict=False):
        _panel(ax, panel, data[data["panel"] == panel["label"]], lines, exhibit, look)
    for ax in grid.flat[len(panels) :]:
        ax.set_axis_off()
    return canvas


def _panel(ax, panel: dict, data: pd.DataFrame, lines: list[str], exhibit: dict, look: Look) -> None:
    metrics = [metric for metric in panel["metrics"] if (data["metric"] == metric).any()]
    alone = len(lines) == 1
    hues = dict(zip(metrics, look.series, strict=False)) if alone else dict(zip(lines, look.hues(lines), strict=True))
    times, unit = _scale(metrics[0], panel["unit"])
    fine, ends = data["x"].nunique() > 100, []
    for (line, metric), rows in data.groupby(["line", "metric"], sort=False):
        rows = rows.sort_values("x")
        hue = hues[metric] if alone else hues[line]
        dash = DASHES.get(metric.partition("_")[0], "-") if len(metrics) > 1 and not alone else "-"
        x, mean = rows["x"].to_numpy(), times * rows["mean"].to_numpy()
        ax.plot(x, mean, linestyle=dash, color=hue, linewidth=0.9 if fine else 1.8)
        low, high = _band(rows, exhibit["band"])
        if low is not None:
            alpha = 0.16 if len(lines) <= MANY_BANDS else 0.06
            ax.fill_between(x, times * low, times * high, color=hue, alpha=alpha, linewidth=0)
        if len(x) == 1:
            ax.plot(x, mean, "o", color=hue, markersize=5)
        if alone or metric == metrics[0]:
            ends.append((x[-1], mean[-1], _metric_word(metric, metrics) if alone else line, hue))
    _title(ax, panel["label"] + unit, look)
    ax.set_xlabel(exhibit["x_label"] or {"epoch": "epoch", "step": "training step"}[exhibit["x"]])
    if exhibit["x"] == "epoch":
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10))
    else:
        ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.0f}"))
    ax.margins(x=0.01)
    if panel["log"]:
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        ax.yaxis.set_minor_locator(NullLocator())
    else:
        _possible(ax, metrics[0], times)
    if len(metrics) > 1 and not alone:
        said = ", ".join(f"{m.partition('_')[0]} {_DASH_WORDS.get(m.partition('_')[0], 'solid')}" for m in metrics)
        ax.set_title(said, loc="right", color=look.muted, fontsize=8)
    if len(ends) > 1:
        _name_ends(ax, ends, look)


_DASH_WORDS = {"validation": "solid", "train": "dotted", "test": "dashed"}


def _metric_word(metric: str, metrics: list[str]) -> str:
    """'train' among train_loss and validation_loss."""
    first, _, rest = metric.partition("_")
    return first if all(other.partition("_")[2] == rest for other in metrics) else metric.replace("_", " ")


def _band(rows: pd.DataFrame, band: str):
    if band == "none" or not rows["sd"].notna().any():
        return None, None
    if band == "sd":
        return (rows["mean"] - rows["sd"]).to_numpy(), (rows["mean"] + rows["sd"]).to_numpy()
    return rows["low"].to_numpy(), rows["high"].to_numpy()


def _name_ends(ax, ends: list[tuple], look: Look) -> None:
    """Each line's name at its right end; where they would lie on one another, moved apart with a leader."""
    ax.figure.draw_without_rendering()
    of_data, of_axes = ax.transData, ax.transAxes.inverted()  # heights are fractions of the axes', whatever its scale
    height = ax.get_window_extent().height / ax.figure.dpi * 72  # points
    wrapped = len(ends) <= MAX_WRAPPED
    names = {name: textwrap.wrap(name, 27)[:2] if wrapped else [short(name, 30)] for *_, name, _ in ends}
    gap = 11.5 / height * max(len(name) for name in names.values())
    ends = sorted(ends, key=lambda end: end[1])
    own = [float(np.clip(of_axes.transform(of_data.transform(end[:2]))[1], 0, 1)) for end in ends]
    right = max(ends, key=lambda end: end[0])
    far = of_axes.transform(of_data.transform(right[:2]))[0]
    for (x, y, name, hue), at, place in zip(ends, own, _apart(own, gap), strict=True):
        moved = abs(place - at) > 0.3 * gap
        arrow = {"arrowstyle": "-", "color": hue, "linewidth": 0.6, "alpha": 0.7, "shrinkA": 0, "shrinkB": 1}
        ax.annotate(
            "\n".join(names[name]),
            (x, y),
            xytext=(far + 0.028, place),
            textcoords="axes fraction",
            va="center",
            fontsize=8.5,
            color=hue if look.paper != LIGHT.paper or hue != style.SERIES[4] else "#a06c00",
            arrowprops=arrow if moved or x < right[0] else None,
            annotation_clip=False,
        )


def _apart(wanted: list[float], gap: float) -> list[float]:
    """Ascending places at least `gap` apart, near those wanted, within 0 to 1 where they fit."""
    groups = [[y, 1] for y in wanted]  # middle, how many
    i = 0
    while i < len(groups) - 1:
        (a, n), (b, m) = groups[i], groups[i + 1]
        if b - a < gap * (n + m) / 2:
            groups[i : i + 2] = [[(a * n + b * m) / (n + m), n + m]]
            i = max(0, i - 1)
        else:
            i += 1
    places = []
    for middle, n in groups:
        half = gap * (n - 1) / 2
        middle = min(max(middle, half), 1 - half) if 2 * half <= 1 else middle
        places += [middle - half + gap * k for k in range(n)]
    return places


def _against(figure: Figure, look: Look) -> Canvas:
    exhibit, data = figure.exhibit, figure.data
    canvas = _canvas(4.4)
    ax = canvas.subplots()
    labels = [line["label"] for line in exhibit["lines"]]
    metrics = {line["label"]: line["metric"] or exhibit["metric"] for line in exhibit["lines"]}
    metric = exhibit["metric"] if exhibit["metric"] in metrics.values() else next(iter(metrics.values()))
    times, unit = _scale(metric, exhibit["unit"])
    if exhibit["log"]:
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    ends, several = [], sum(len(line["paper"]) > 0 for line in exhibit["lines"]) > 1
    for label, hue in zip(labels, look.hues(labels), strict=True):
        rows = data[data["line"] == label].sort_values("x")
        paper, ours = rows[rows["source"] == "paper"], rows[rows["source"] == "ours"]
        if len(paper):
            y = times * paper["mean"]
            ax.plot(paper["x"], y, ":", color=look.faint, linewidth=0.9, zorder=1.5)
            ax.plot(
                paper["x"], y, "D", markerfacecolor=look.paper, markeredgecolor=look.muted, markersize=5.2, zorder=4
            )
            last = paper.iloc[-1]
            text = f"paper, {label}" if several else "paper"
            if last["x"] < data["x"].max():
                at = (last["x"], times * last["mean"])
                offset = {"xytext": (6, 5), "textcoords": "offset points"}
                halo = {"facecolor": look.paper, "edgecolor": "none", "alpha": 0.75, "pad": 0.8}
                ax.annotate(text, at, **offset, fontsize=8, color=look.muted, bbox=halo, zorder=2.5)
            else:
                ends.append((last["x"], times * last["mean"], text, look.muted))
        if len(ours):
            x, y = ours["x"].to_numpy(), times * ours["mean"].to_numpy()
            ax.vlines(x, times * ours["low"], times * ours["high"], color=hue, linewidth=1.6, alpha=0.55)
            ax.plot(x, y, "-o", color=hue, linewidth=1.6, markersize=4, zorder=3)
            ends.append((x[-1], y[-1], label or "ours", hue))
    marks = data.drop_duplicates("x").sort_values("x")
    if len(marks) <= MAX_TICKS and (exhibit["log"] or exhibit["numbers"] or _spaced(marks["x"])):
        named = exhibit["numbers"] and not all(_is_number(v) for v in marks["value"])
        names = [short(v, 14) if named else f"{x:g}" for x, v in zip(marks["x"], marks["value"], strict=True)]
        ax.xaxis.set_major_locator(FixedLocator(marks["x"].tolist()))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.set_xticks(marks["x"].tolist(), _thinned(marks["x"].to_numpy(), names, exhibit["log"]))
    ax.set_xlabel(exhibit["x_label"] or words.factor_label(exhibit["factor"]))
    _possible(ax, metric, times)
    _title(ax, (exhibit["y_label"] or metric.replace("_", " ")) + unit, look)
    _name_ends(ax, ends, look)
    return canvas


def _spaced(x: pd.Series) -> bool:
    """Whether ticks at these places can be read on a linear axis."""
    gaps = np.diff(x)
    return not len(gaps) or gaps.min() >= np.ptp(x) / 18


def _thinned(x: np.ndarray, names: list[str], log: bool) -> list[str]:
    """The names, without those that would touch the one before."""
    place = np.log10(x) if log else x
    span, last, found = np.ptp(place) or 1, -np.inf, []
    for at, name in zip((place - place.min()) / span, names, strict=True):
        fits = at - last >= 0.012 * len(name) + 0.012
        found.append(name if fits else "")
        last = at if fits else last
    return found


def _heatmap(figure: Figure, look: Look) -> Canvas:
    exhibit, data = figure.exhibit, figure.data
    a, b = exhibit["factors"]
    times, unit = _scale(exhibit["metric"], exhibit["unit"])
    columns, rows = ordered(data[a]), ordered(data[b])
    cells, half = np.full((2, len(rows), len(columns)), np.nan)
    at = data[b].map(rows.index).to_numpy(), data[a].map(columns.index).to_numpy()
    cells[at], half[at] = times * data["mean"], times * (data["high"] - data["low"]) / 2
    canvas = _canvas(1.3 + 0.5 * max(2, len(rows)))
    ax = canvas.subplots()
    stops = look.cells[::-1] if tidy.lower_is_better(exhibit["metric"]) else look.cells
    image = ax.imshow(cells, cmap=LinearSegmentedColormap.from_list("cells", stops), aspect="auto")
    ax.set_xticks(range(len(columns)), [short(_value(v), 18) for v in columns])
    ax.set_yticks(range(len(rows)), [short(_value(v), 18) for v in rows])
    ax.set_xlabel(words.factor_label(a))
    ax.set_ylabel(words.factor_label(b))
    _no_lines(ax, cells.shape, look)
    if len(columns) <= 14:
        digits = 2 if times == 100 else 3
        for (i, j), value in np.ndenumerate(cells):
            if np.isfinite(value):
                small = f"± {half[i, j]:.{digits}f}" if np.isfinite(half[i, j]) else ""
                up = -0.1 if small else 0
                ax.text(j, i + up, f"{value:.{digits}f}", ha="center", va="center", fontsize=9, color=look.ink)
                ax.text(j, i + 0.24, small, ha="center", va="center", fontsize=6.5, color=look.ink, alpha=0.75)
    _title(ax, exhibit["metric"].replace("_", " ") + unit, look)
    canvas.colorbar(image, ax=ax, pad=0.015, aspect=28).outline.set_visible(False)
    return canvas


def _no_lines(ax, shape: tuple, look: Look) -> None:
    """Thin lines of paper between cells, nothing else."""
    ax.grid(visible=False)
    ax.set_xticks(np.arange(shape[1] - 1) + 0.5, minor=True)
    ax.set_yticks(np.arange(shape[0] - 1) + 0.5, minor=True)
    ax.grid(visible=True, which="minor", color=look.paper, linewidth=1.2)
    ax.tick_params(which="both", length=0)
    ax.spines[:].set_visible(False)


def is_wide(values: pd.Series) -> bool:
    """Whether colours are of logarithms: losses of several kinds, which differ by a hundred times."""
    return bool(values.min() > 0 and values.max() / values.min() >= WIDE)


def places(data: pd.DataFrame, factor: str) -> tuple[np.ndarray, list, list[str]]:
    """Where a factor's values lie on an axis in space: [rows], and the ticks with their names."""
    values = ordered(data[factor])
    numeric = all(_is_number(v) for v in values)
    if numeric and min(values) > 0 and max(values) / min(values) >= 10:
        at = {v: float(np.log10(v)) for v in values}
    elif numeric:
        at = {v: float(v) for v in values}
    else:
        at = {v: float(i) for i, v in enumerate(values)}
    return data[factor].map(at).to_numpy(np.float64), list(at.values()), [_value(v) for v in values]


def _scatter3d(figure: Figure, look: Look) -> Canvas:
    exhibit, data = figure.exhibit, figure.data
    times, unit = _scale(exhibit["metric"], exhibit["unit"])
    canvas = _canvas(5.6)
    ax = canvas.add_subplot(projection="3d")
    ax.view_init(elev=20, azim=-58)
    ax.set_box_aspect((1.25, 1.1, 0.85), zoom=1.02)
    at = [places(data, factor) for factor in exhibit["factors"]]
    shades = look.shades(tidy.lower_is_better(exhibit["metric"]))
    floor = min(at[2][1])
    for x, y, z in zip(at[0][0], at[1][0], at[2][0], strict=True):
        ax.plot([x, x], [y, y], [floor, z], color=look.grid, linewidth=0.6, zorder=0)
    colours = times * data["mean"]
    style = {"norm": LogNorm()} if is_wide(colours) else {}
    points = ax.scatter(
        *(a[0] for a in at), c=colours, cmap=shades, s=58, depthshade=False, edgecolors=look.paper, linewidths=0.5,
        **style,
    )  # fmt: skip
    for axis, (_, ticks, names), factor in zip((ax.xaxis, ax.yaxis, ax.zaxis), at, exhibit["factors"], strict=True):
        axis.set_ticks(ticks, [short(name, 20) for name in names])
        if axis is ax.zaxis:  # beside its names its title would run into the colours: above them
            top = ax.get_zlim()[1] + 0.08 * np.ptp(ax.get_zlim())
            ax.text(ax.get_xlim()[1], ax.get_ylim()[1], top, words.factor_label(factor), color=look.muted, ha="left")
            axis.set_tick_params(pad=2)
            for name in ax.get_zticklabels():
                name.set_ha("left")
        else:
            axis.set_label_text(words.factor_label(factor))
            axis.labelpad = 9
        axis.pane.set_facecolor(look.paper)
        axis.pane.set_edgecolor(look.grid)
        axis.line.set_color(look.line)
        axis._axinfo["grid"]["color"] = look.grid  # matplotlib has no other way
    label = exhibit["metric"].replace("_", " ") + unit
    canvas.colorbar(points, ax=ax, label=label, shrink=0.66, pad=0.1, aspect=26).outline.set_visible(False)
    return canvas


def _histograms(figure: Figure, look: Look) -> Canvas:
    exhibit, data = figure.exhibit, figure.data
    times, unit = _scale(exhibit["metric"], exhibit["unit"])
    factors = [factor for factor in exhibit["factors"] if (data["factor"] == factor).any()]
    canvas = _canvas(0.5 + 2.15 * len(factors))
    grid = canvas.subplots(len(factors), 1, squeeze=False, sharex=True, sharey=True)[:, 0]
    for ax, factor in zip(grid, factors, strict=True):
        rows = data[data["factor"] == factor]
        values = list(dict.fromkeys(rows["value"]))
        for i, (value, hue) in enumerate(zip(values, look.hues(values), strict=True)):
            own = rows[rows["value"] == value]
            slot = times * 0.9 * (own["high"] - own["low"]) / len(values)
            left = times * (own["low"] + 0.05 * (own["high"] - own["low"])) + i * slot
            ax.bar(left, own["percent"], slot, align="edge", color=hue, linewidth=0, label=_value(value))
        ax.grid(axis="x", visible=False)
        ax.tick_params(axis="x", length=3 if ax is grid[-1] else 0)
        _title(ax, words.factor_label(factor), look)
        ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.06), handlelength=0.9, handleheight=0.9)
        ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:.0f}%"))
        ax.yaxis.set_major_locator(MaxNLocator(4))
    grid[-1].set_xlabel(exhibit["metric"].replace("_", " ") + unit)
    canvas.supylabel("share of the results of a value", fontsize=9, color=look.muted)
    return canvas


def _confusion(figure: Figure, look: Look) -> Canvas:
    data = figure.data
    names = list(dict.fromkeys(data["true"]))
    cells = data["percent"].to_numpy().reshape(len(names), len(names))
    few = len(names) <= 20
    canvas = _canvas(1.6 + min(7.4, 0.44 * len(names)))
    ax = canvas.subplots()
    # Off the diagonal a few percent matter: the square root shows them.
    ax.imshow(
        np.sqrt(cells), cmap=LinearSegmentedColormap.from_list("cells", look.cells), vmin=0, vmax=10, aspect="auto"
    )
    every = -(-len(names) // 40)
    ax.set_xticks(
        range(0, len(names), every), [short(n, 16) for n in names[::every]], rotation=35, ha="right",
        rotation_mode="anchor",
    )  # fmt: skip
    ax.set_yticks(range(0, len(names), every), [short(n, 18) for n in names[::every]])
    _no_lines(ax, cells.shape, look)
    if few:
        for (i, j), value in np.ndenumerate(cells):
            if value >= 0.05:
                weight = "bold" if i == j else "normal"
                ax.text(j, i, f"{value:.1f}", ha="center", va="center", fontsize=8.5, color=look.ink, weight=weight)
    ax.set_xlabel("taken for")
    ax.set_ylabel("true class")
    return canvas


def _correlations(figure: Figure, look: Look) -> Canvas:
    arms = list(dict.fromkeys(arm for arm, _ in figure.images))
    layers = [layer for layer in figure.exhibit["layers"] if any(layer == own for _, own in figure.images)]
    across = len(layers) if len(arms) > 1 or len(layers) > 1 else 1
    size = min(3.9, (WIDTH - 1.2) / across)
    canvas = _canvas((size + 0.45) * len(arms) + 0.2)
    grid = canvas.subplots(len(arms), across, squeeze=False)
    shades, image = LinearSegmentedColormap.from_list("signed", look.signed), None
    for i, arm in enumerate(arms):
        for ax, layer in zip(grid[i], layers, strict=True):
            ax.set_axis_off()
            if (cells := figure.images.get((arm, layer))) is not None:
                image = ax.imshow(cells, cmap=shades, vmin=-1, vmax=1, interpolation="nearest")
                _title(ax, f"{short(arm, 26)}, {layer} ({len(cells)} × {len(cells)})", look)
    bar = canvas.colorbar(image, ax=grid, aspect=30, pad=0.02, shrink=0.8, ticks=[-1, -0.5, 0, 0.5, 1])
    bar.outline.set_visible(False)
    bar.ax.set_yticklabels(["−1", "−0.5", "0", "0.5", "1"])
    return canvas


OF_KIND = {
    "curves": _curves,
    "against": _against,
    "heatmap": _heatmap,
    "scatter3d": _scatter3d,
    "histograms": _histograms,
    "confusion": _confusion,
    "correlations": _correlations,
}
