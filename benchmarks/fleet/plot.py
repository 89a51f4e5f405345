"""docs/scaling.png: time of a million runs, and where the device-hours go, against devices."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator, PercentFormatter

from benchmarks.fleet.chapters import NAMES, base_rate, of_part, rate_words
from benchmarks.plots import ACCENT, QUIET, frame
from fmnist_jax.report import style

DASHED = {"color": QUIET, "lw": 1, "ls": (0, (4, 3))}
FADED = ("#0b6e99", "#4c97b8", "#8dbfd4", "#c3dce7")  # from the gentlest rate to the harshest, darker first
WITHOUT = "looks and turns free"
SPANS = {60: "1 min", 600: "10 min", 3600: "1 h", 21_600: "6 h", 86_400: "1 day", 604_800: "1 week"}
SPANS |= {2_592_000: "30 days", 31_536_000: "1 year"}
MOST = 6  # causes with a colour of their own; the others are one


@style.styled
def plot(found: Mapping, path: Path) -> None:
    """A column a workload of cores: time above, device-hours by cause below, as it is and as it could be."""
    fleets, base = of_part(found, "fleets"), base_rate(found)
    workloads, ways = (list(dict.fromkeys(one[key] for one in fleets)) for key in ("workload", "way"))
    kind = fleets[0]["kind"]
    own = [one for one in fleets if one["kind"] == kind]
    colours = _colours(own, base)
    figure = Figure((4.6 * len(workloads), 9.8), layout="constrained")
    *grid, last = figure.subplots(4, len(workloads), squeeze=False, height_ratios=(1.35, 1, 1, 0.16))
    for column, workload in enumerate(workloads):
        rows = [one for one in own if one["workload"] == workload]
        _draw_times(grid[0][column], rows, ways, base)
        grid[0][column].set_title(NAMES[workload], loc="left", weight="bold")
        for axes, way in zip((grid[1][column], grid[2][column]), (ways[0], ways[-1]), strict=True):
            shown = [one for one in rows if (one["way"], one["preemptions_an_hour"]) == (way, base)]
            _draw_shares(axes, shown, colours)
            words = "as it is" if way == ways[0] else WITHOUT
            axes.set_title(f"device-hours, {words}", loc="left", fontsize=9)
    for axes in last:
        axes.set_axis_off()
    handles, labels = grid[1][0].get_legend_handles_labels()
    causes = last[0].legend(handles[::-1], labels[::-1], loc="upper left", ncols=4, fontsize=8, borderaxespad=0)
    causes.set_in_layout(False)  # it goes on below the next column
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.08)
    study = found["study"]
    note = f"Simulated; {study['arms']:,} arms; {kind}; device-hours: preempted {rate_words(base)}."
    frame(figure, f"{study['runs']:,} runs on a fleet", note, {**found, "versions": {}})
    figure.savefig(path)


def _colours(rows: Sequence[Mapping], base: float) -> dict[str, str]:
    """Cause -> colour; of those that are small everywhere, grey."""
    most = dict.fromkeys(rows[0]["spent"], 0.0)
    for row in rows:
        if row["preemptions_an_hour"] == base:
            for cause, seconds in row["spent"].items():
                most[cause] = max(most[cause], seconds / row["device_seconds"])
    first, *others = most
    large = sorted(others, key=lambda cause: -most[cause])[:MOST]
    return {first: ACCENT, **dict(zip(large, style.SERIES[1:], strict=False))}


def _draw_times(axes, rows: Sequence[Mapping], ways: Sequence[str], base: float) -> None:
    counts = sorted({row["devices"] for row in rows})
    by = {(row["way"], row["preemptions_an_hour"], row["devices"]): row for row in rows}
    rates = sorted({row["preemptions_an_hour"] for row in rows})
    alone = [by[ways[0], rates[0], count]["alone_seconds"] for count in counts]
    axes.plot(counts, alone, **DASHED, label="the work alone")
    for rate, colour in zip(rates, FADED, strict=False):
        _draw_line(axes, [by[ways[0], rate, count] for count in counts], colour, f"preempted {rate_words(rate)}")
    last = [by[ways[-1], base, count] for count in counts]
    _draw_line(axes, last, style.SERIES[1], f"{WITHOUT}, {rate_words(base)}")
    axes.set(xscale="log", yscale="log", xlabel="devices")
    _devices(axes, counts)
    axes.yaxis.set_major_locator(FixedLocator(list(SPANS)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: SPANS.get(round(value), "")))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylim(top=20 * axes.get_ylim()[1])  # room for the legend
    axes.legend(loc="upper right", fontsize=8)


def _draw_line(axes, rows: Sequence[Mapping], colour: str, label: str) -> None:
    """Where a simulation was given up, the line has a gap."""
    seconds = [row["seconds"] or np.nan for row in rows]
    axes.plot([row["devices"] for row in rows], seconds, color=colour, marker="o", ms=3.5, lw=1.6, label=label)


def _draw_shares(axes, rows: Sequence[Mapping], colours: Mapping[str, str]) -> None:
    places, bottom = np.arange(len(rows)), np.zeros(len(rows))
    shares = {cause: [row["spent"][cause] / row["device_seconds"] for row in rows] for cause in rows[0]["spent"]}
    drawn = {cause: np.array(shares.pop(cause)) for cause in colours}
    drawn["other"] = np.sum(list(shares.values()), axis=0)
    for cause, values in drawn.items():
        axes.bar(places, values, bottom=bottom, width=0.75, color=colours.get(cause, style.FAINT), label=cause)
        bottom = bottom + values
    axes.set_xticks(places, [f"{row['devices']:,}" for row in rows])
    axes.set(ylim=(0, 1), xlabel="devices")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.grid(visible=False, axis="x")


def _devices(axes, counts: Sequence[int]) -> None:
    axes.xaxis.set_major_locator(FixedLocator(counts))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{round(value):,}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
