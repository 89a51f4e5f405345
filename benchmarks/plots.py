"""What all plots of the benchmarks have: colours, a title, and a foot that says where and when it was measured."""

import textwrap
from collections.abc import Mapping

from matplotlib.figure import Figure

from benchmarks import record
from fmnist_jax.report import style

ACCENT, RIVAL = "#0b6e99", "#b9bec5"
QUIET = "#7d858e"  # of lines and words that explain
LETTERS = 16  # of a foot, to an inch


def frame(figure: Figure, title: str, note: str, found: Mapping) -> None:
    """The title of a results file's figure, and below it a note and the machine."""
    figure.suptitle(title, x=0.01, ha="left", fontsize=13)
    drawn = sorted({case["workload"] for case in found.get("cases", ()) if case["dataset"]["synthetic"]})
    synthetic = f" SYNTHETIC DATA: {', '.join(drawn)}." if drawn else ""
    foot = f"{note} {record.origin(found)}.{synthetic}"
    foot = textwrap.fill(foot, int(LETTERS * figure.get_figwidth()))
    figure.supxlabel(foot, x=0.01, ha="left", fontsize=7.5, color=style.MUTED)
