"""benchmarks/results/scaling.png: speed against the runs in a group, and against cores."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from benchmarks.plots import ACCENT, QUIET, frame
from fmnist_jax.report import style

DASHED = {"color": QUIET, "lw": 1, "ls": (0, (4, 3))}
TITLES = {"cnn": "alexander CNN, batch 32", "mlp": "784-10-10 MLP, batch 32"}


@style.styled
def plot(found: Mapping, path: Path) -> None:
    """A panel a workload beside the speed of one run alone, and one of cores beside the ideal."""
    panels = [(_draw_runs, of) for of in found.get("runs", ())]
    panels += [(_draw_cores, found["cores"])] if "cores" in found else []
    if not panels:
        return
    figure = Figure((4.4 * len(panels), 3.9), layout="constrained")
    grid = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (draw, of) in zip(grid, panels, strict=True):
        draw(axes, of)
        axes.set_ylim(bottom=0)
        axes.margins(x=0.09)
        axes.yaxis.set_major_formatter(EngFormatter())
        axes.grid(visible=False, axis="x")
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.08, wspace=0.03)
    frame(figure, "Training speed, images a second over all runs", "Medians and ranges of turns.", found)
    figure.savefig(path)


def _speeds(rows: list) -> tuple:
    """(medians, how far below and above them the range goes)."""
    low, middle, high = ([row["images_per_second"][key] for row in rows] for key in ("min", "median", "max"))
    return middle, [np.subtract(middle, low), np.subtract(high, middle)]


def _say(axes, text: str, at: tuple[float, float], offset: tuple[float, float], ha: str, **how) -> None:
    axes.annotate(text, at, offset, textcoords="offset points", ha=ha, **{"color": ACCENT, **how})


def _draw_runs(axes, of: Mapping) -> None:
    counts = [row["runs"] for row in of["rows"]]
    middle, spread = _speeds(of["rows"])
    axes.axhline(middle[0], **DASHED)
    _say(axes, "one run alone", (counts[-1], middle[0]), (0, 4), "right", color=QUIET)
    axes.errorbar(counts, middle, yerr=spread, color=ACCENT, marker="o", ms=4, lw=1.8, elinewidth=1, capsize=2)
    best = int(np.argmax(middle))
    times = middle[best] / middle[0]
    _say(axes, f"{times:.1f}×", (counts[best], middle[best]), (0, 9), "center", weight="bold")
    axes.set_xscale("log", base=2)
    axes.set_xticks(counts, [str(n) for n in counts])
    axes.set_xlabel("runs in one group")
    axes.set_title(TITLES.get(of["workload"], of["workload"]), loc="left", weight="bold")
    axes.set_ylim(top=1.12 * max(np.add(middle, spread[1])))


def _draw_cores(axes, of: Mapping) -> None:
    *rows, as_one = of["rows"]  # pinned to 1, 2, ... cores; one device on all of them
    counts = [row["cores"] for row in rows]
    middle, spread = _speeds(rows)
    ideal, last = [middle[0] * n for n in counts], counts[-1]
    axes.plot(counts, ideal, **DASHED)
    _say(axes, "ideal", (last, ideal[-1]), (8, 0), "left", color=QUIET)
    axes.errorbar(counts, middle, yerr=spread, color=ACCENT, marker="o", ms=4, lw=1.8, elinewidth=1, capsize=2)
    times = rows[-1]["times_one_core"]["median"]
    _say(axes, f"{times:.2f}×", (last, middle[-1]), (8, -9), "left", weight="bold")
    at = last, as_one["images_per_second"]["median"]
    axes.plot(*at, marker="o", ms=4, mfc="white", color=ACCENT, ls="")
    _say(axes, f"as one device,\n{as_one['times_one_core']['median']:.2f}×", at, (8, -8), "left")
    axes.set_xticks(counts)
    axes.set_xlim(1 - 0.15 * last, 1.45 * last)
    axes.set_xlabel("cores")
    title = TITLES.get(of["workload"], of["workload"])
    axes.set_title(f"{title}, {of['runs']} runs", loc="left", weight="bold")
    axes.set_ylim(top=1.12 * max(*ideal, *np.add(middle, spread[1])))
