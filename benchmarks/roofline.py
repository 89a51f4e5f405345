"""The roofline (Williams et al. 2009): FLOP/s of each workload against how much it computes with a byte of memory."""

from pathlib import Path

import numpy as np
from matplotlib.transforms import Bbox

from benchmarks.cases import FLOAT32, OURS
from benchmarks.chart import ACCENT, subtitle

RIVAL = "#8a9099"
# Where a label may stand beside its point, best first: (right, up) in points of 1/72 inch, and its alignment.
PLACES = (
    (0, 8, "center", "bottom"),
    (9, 0, "left", "center"),
    (-9, 0, "right", "center"),
    (0, -9, "center", "top"),
    *((9 * side, up, "left" if side > 0 else "right", "center") for up in (12, -12, 24, -24, 36) for side in (1, -1)),
)


def points(found: dict) -> list[dict]:
    """One a case: {"label", "intensity" in FLOP/byte, OURS and FLOAT32 in GFLOP/s, the latter None where not measured}.

    Intensity is FLOPs of an image over the bytes that must move for it, as `cases.Case.bytes` counts them.
    """
    rows = []
    for case in found["cases"]:
        flops, twice = (
            case["flops_per_image"],
            [c["batch"] for c in found["cases"] if c["workload"] == case["workload"]],
        )
        rates = {name: row["images_per_second"]["median"] for name, row in case["contenders"].items()}
        row = {
            "label": case["workload"] + (f", batch {case['batch']}" if len(twice) > 1 else ""),
            "intensity": flops / case["bytes_per_image"],
        }
        row |= {name: rates[name] * flops / 1e9 if name in rates else None for name in (OURS, FLOAT32)}
        rows.append(row)
    return sorted(rows, key=lambda row: row["intensity"])


def plot(found: dict, path: Path) -> None:
    """A point a workload under the roof of the best product and the best bandwidth that the cases found."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    peak = max(limit for case in found["cases"] for limit in case["matmul_gflops"].values())
    stream = max(limit for case in found["cases"] for limit in case["bandwidth_gbs"].values())
    shown = points(found)
    figure, axes = pyplot.subplots(figsize=(9, 5.6), dpi=160, layout="constrained")
    axes.set(xscale="log", yscale="log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:,g}")
    values = [row["intensity"] for row in shown]
    span = np.geomspace(min([*values, peak / stream]) / 3, max([*values, peak / stream]) * 8, 400)
    axes.plot(span, np.minimum(peak, stream * span), color="#333333", lw=1.5)
    speeds = [row[name] for row in shown for name in (OURS, FLOAT32) if row[name]]
    axes.set_xlim(span[0], span[-1])
    axes.set_ylim(min([*speeds, stream * span[0]]) / 2, 2.2 * peak)
    axes.text(span[-1], 1.06 * peak, f"float32 products: {peak:,.0f} GFLOP/s  ", ha="right", va="bottom", fontsize=9)
    axes.text(
        1.1 * span[0],
        1.15 * stream * span[0] * 1.1,
        f"memory (triad): {stream:,.0f} GB/s",
        rotation=np.degrees(np.arctan(stream)),
        rotation_mode="anchor",
        transform_rotates_text=True,
        va="bottom",
        fontsize=9,
    )
    for row in shown:
        if row[FLOAT32]:
            axes.plot([row["intensity"]] * 2, [row[FLOAT32], row[OURS]], color=RIVAL, lw=0.8, zorder=1)
    there = [row for row in shown if row[FLOAT32]]
    axes.scatter(values, [row[OURS] for row in shown], s=42, color=ACCENT, label=OURS, zorder=3)
    axes.scatter(
        [row["intensity"] for row in there],
        [row[FLOAT32] for row in there],
        s=30,
        facecolor="white",
        edgecolor=RIVAL,
        label=f"{FLOAT32}, best",
        zorder=2,
    )
    axes.legend(loc="lower right", frameon=False, fontsize=9)
    axes.set_xlabel("FLOP a byte that must move between memory and cores", fontsize=9)
    axes.set_ylabel("GFLOP/s of the network's products", fontsize=9)
    axes.grid(True, which="major", color="#eeeeee", lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle("Roofline: how near to the machine's limits", x=0.01, ha="left", fontsize=13)
    figure.supxlabel(subtitle(found), x=0.01, ha="left", fontsize=7.5, color="#555555")
    points_drawn = [(row["intensity"], row[name]) for row in shown for name in (OURS, FLOAT32) if row[name]]
    label(axes, [(row["label"], row["intensity"], row[OURS]) for row in shown], points_drawn)
    figure.savefig(path)
    pyplot.close(figure)


def label(axes, named: list[tuple[str, float, float]], points: list[tuple[float, float]]) -> list:
    """Writes (text, x, y) each beside its place, the first where it covers no other text and no point; their boxes.

    `axes` may have no more changes after it, or the boxes move.
    """
    axes.figure.draw_without_rendering()  # the layout, on which extents depend
    axes.figure.set_layout_engine("none")
    point, inside = axes.figure.dpi / 72, axes.get_window_extent()
    taken = [text.get_window_extent() for text in axes.texts]
    at = axes.transData.transform(points)
    taken += [Bbox.from_extents(x - 3.5 * point, y - 3.5 * point, x + 3.5 * point, y + 3.5 * point) for x, y in at]
    boxes = []
    for text, x, y in named:
        for dx, dy, across, up in PLACES:
            options = {"xytext": (dx, dy), "textcoords": "offset points", "ha": across, "va": up, "fontsize": 9}
            written = axes.annotate(text, (x, y), **options)
            box = written.get_window_extent()
            fits = inside.x0 <= box.x0 and box.x1 <= inside.x1 and inside.y0 <= box.y0 and box.y1 <= inside.y1
            if fits and not any(box.overlaps(other) for other in taken):
                break
            written.remove()
        else:
            box = axes.annotate(text, (x, y), **options).get_window_extent()  # nowhere is free: better than not at all
        boxes.append(box)
        taken.append(box)
    return boxes
