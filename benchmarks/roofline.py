"""The roofline (Williams et al. 2009): FLOP/s of each workload against how much it computes with a byte of memory."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from benchmarks.cases import FLOAT32, OURS
from benchmarks.plots import ACCENT, QUIET, frame
from fmnist_jax.report import style

# Where a label may stand beside its points, best first: (right, up) in points of 1/72 inch, and its alignment.
PLACES = (
    (0, 6, "center", "bottom"),
    (6, 0, "left", "center"),
    (-6, 0, "right", "center"),
    (0, -6, "center", "top"),
    *(
        (6 * side, up, "left" if side > 0 else "right", "center")
        for up in (2, 4, -4, 12, -12, 24, -24)
        for side in (1, -1)
    ),
)


def points(found: Mapping) -> list[dict]:
    """One a case: {"label", "intensity" in FLOP/byte, OURS and FLOAT32 in GFLOP/s, the latter None where not measured}.

    Intensity is FLOPs of an image over the bytes that must move for it, as `cases.Case.bytes` counts them.
    """
    rows, workloads = [], [case["workload"] for case in found["cases"]]
    for case in found["cases"]:
        flops, name = case["flops_per_image"], case["workload"]
        rates = {name: row["images_per_second"]["median"] for name, row in case["contenders"].items()}
        label = f"{name} ({case['batch']})" if workloads.count(name) > 1 else name
        speeds = {name: rates[name] * flops / 1e9 if name in rates else None for name in (OURS, FLOAT32)}
        rows.append({"label": label, "intensity": flops / case["bytes_per_image"], **speeds})
    return sorted(rows, key=lambda row: row["intensity"])


@style.styled
def plot(found: Mapping, path: Path) -> None:
    """A point a workload under the roof of the best product and the best bandwidth that the cases found."""
    peak = max(limit for case in found["cases"] for limit in case["matmul_gflops"].values())
    stream = max(limit for case in found["cases"] for limit in case["bandwidth_gbs"].values())
    rows = points(found)
    figure = Figure((9, 5.6), layout="constrained", dpi=160)
    axes = figure.subplots()
    axes.set(xscale="log", yscale="log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:,g}")
    _draw_roof(axes, peak, stream, rows)
    _draw_points(axes, rows)
    axes.legend(loc="lower right", fontsize=9)
    axes.set_xlabel("FLOP a byte that must move between memory and cores")
    axes.set_ylabel("GFLOP/s of the network's products")
    note = "What stays in a cache may pass the limit of memory; in brackets: batch size."
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.06)
    frame(figure, "Roofline: how near to the machine's limits", note, found)
    label(axes, [(row["label"], row["intensity"], row[OURS], row[FLOAT32] or row[OURS]) for row in rows])
    figure.savefig(path)


def _draw_roof(axes, peak: float, stream: float, rows: Sequence[Mapping]) -> None:
    values, edge = [row["intensity"] for row in rows], peak / stream
    left, right = min([*values, edge]) / 3, max([*values, edge]) * 8
    speeds = [row[name] for row in rows for name in (OURS, FLOAT32) if row[name]]
    words = f"limits: {stream:,.0f} GB/s of memory (triad), {peak:,.0f} GFLOP/s of float32 products"
    axes.plot([left, edge, right], [stream * left, peak, peak], color=style.INK, lw=1.5, label=words)
    axes.set_xlim(left, right)
    axes.set_ylim(min([*speeds, stream * left]) / 2, 1.5 * peak)


def _draw_points(axes, rows: Sequence[Mapping]) -> None:
    there = [row for row in rows if row[FLOAT32]]
    for row in there:
        axes.plot([row["intensity"]] * 2, [row[FLOAT32], row[OURS]], color=QUIET, lw=0.8, zorder=1)
    ours = {"s": 42, "color": ACCENT, "label": OURS, "zorder": 3}
    theirs = {"s": 30, "facecolor": "white", "edgecolor": QUIET, "label": f"{FLOAT32}, best", "zorder": 2}
    axes.scatter([row["intensity"] for row in rows], [row[OURS] for row in rows], **ours)
    axes.scatter([row["intensity"] for row in there], [row[FLOAT32] for row in there], **theirs)


def label(axes, named: Sequence[tuple[str, float, float, float]]) -> list[Bbox]:
    """Writes (text, x, y, other y) each beside its points, where it covers no text, line or point; their boxes.

    `axes` may have no more changes after it, or the boxes move.
    """
    axes.figure.draw_without_rendering()  # the layout, on which extents depend
    axes.figure.set_layout_engine("none")
    point, inside = axes.figure.dpi / 72, axes.get_window_extent()
    marks = axes.transData.transform([(x, y) for _, x, *ys in named for y in ys])
    taken = [axes.get_legend().get_window_extent(), *(Bbox([at, at]).padded(3.5 * point) for at in marks)]
    lines = [line.get_transform().transform_path(line.get_path()) for line in axes.lines]

    def free(box: Bbox) -> bool:
        fits = inside.x0 <= box.x0 and box.x1 <= inside.x1 and inside.y0 <= box.y0 and box.y1 <= inside.y1
        crossed = any(line.intersects_bbox(box, filled=False) for line in lines)
        return fits and not crossed and not any(box.overlaps(other) for other in taken)

    boxes = []
    for text, x, *ys in sorted(named, key=lambda one: -one[2]):  # the highest first: the roof leaves them least room
        for dx, dy, across, up in PLACES:
            at = x, {"bottom": max(ys), "top": min(ys), "center": ys[0]}[up]
            how = {"xytext": (dx, dy), "textcoords": "offset points", "ha": across, "va": up, "fontsize": 8}
            written = axes.annotate(text, at, **how)
            box = written.get_window_extent().padded(point)
            if free(box):
                break
            written.remove()
        else:
            box = axes.annotate(text, at, **how).get_window_extent()  # nowhere is free: better than not at all
        boxes.append(box)
        taken.append(box)
    return boxes
