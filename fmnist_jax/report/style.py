"""How all stills look: colours, type, names that fit. Nothing global is changed."""

import functools

import matplotlib as mpl
import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

# Okabe and Ito's colours: told apart by the colour-blind, too.
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#6a51a3", "#4d4d4d")
INK, MUTED, FAINT, GRID = "#1c2024", "#5b636d", "#a9b0b8", "#e4e6e1"
STYLE = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": "#c9ccc6",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "savefig.dpi": 160,
    "savefig.facecolor": "white",
    "text.parse_math": False,  # a class may be called $5
}


def styled(draw):
    """Draws under STYLE, which is put back afterwards."""

    @functools.wraps(draw)
    def inside(*args, **kwargs):
        with mpl.rc_context(STYLE):
            return draw(*args, **kwargs)

    return inside


def new_axes(ax, width: float = 7.0, height: float = 4.2, **kind):
    """These axes, or, where they are None, new ones in a figure of their own (inches)."""
    return ax if ax is not None else Figure((width, height), layout="constrained").add_subplot(**kind)


def cycle(n: int) -> list[str]:
    """n distinct hues, again from the first where there are not so many."""
    return [SERIES[i % len(SERIES)] for i in range(n)]


def shades(lower: bool):
    """Viridis without the yellow that paper swallows; the better end is the dark one."""
    stops = mpl.colormaps["viridis"](np.linspace(0, 0.88, 32))
    return LinearSegmentedColormap.from_list("shades", stops if lower else stops[::-1])


def group_colours(n: int, numeric: bool) -> list:
    """An order of shades for numbers, distinct hues for names; as the page has them."""
    if numeric and n > 3:
        return list(mpl.colormaps["viridis"](np.linspace(0, 0.86, n)))
    return cycle(n)


def blues(reverse: bool = False):
    """One hue, light enough throughout for dark numbers."""
    stops = ["#f3f6f9", "#b3d2ea", "#5aa3dc"]
    return LinearSegmentedColormap.from_list("cells", stops[::-1] if reverse else stops)


def cell_lines(ax, rows: int, columns: int) -> None:
    """Thin white lines between the cells of an image."""
    ax.grid(visible=False)
    ax.set_xticks(np.arange(columns - 1) + 0.5, minor=True)
    ax.set_yticks(np.arange(rows - 1) + 0.5, minor=True)
    ax.grid(visible=True, which="minor", color="white", linewidth=1)
    ax.tick_params(which="minor", length=0)
    ax.spines[:].set_visible(False)


def short(text: str, most: int = 56) -> str:
    """Long names lose their middle, where arms of one sweep are most alike."""
    return text if len(text) <= most else f"{text[: most * 3 // 5 - 1]}…{text[-(most * 2 // 5) :]}"
