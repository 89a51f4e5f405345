"""What a person sees of the throughput benchmark: tables in the terminal, bars in a PNG."""

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure
from rich.table import Table

from benchmarks import record, tables
from benchmarks.cases import BFLOAT16, FLAX, FLOAT32, KERAS, OURS, VMAP, Case
from benchmarks.plots import ACCENT, RIVAL, frame
from fmnist_jax.report import style

LAYOUTS = {"contiguous": "", "channels_last": "last"}
SHORT = {FLOAT32: "float32", BFLOAT16: "bfloat16", VMAP: "func.vmap", KERAS: "Keras", FLAX: "plain Flax"}


def grid_table(case: Case, grids: dict) -> Table:
    """Every way to run each rival, the best of each marked; `grids`: rival -> [(Choice, images/s | why not)]."""
    title = f"{case.workload}, batch {case.batch}: calibrating rivals"
    table = tables.empty(title, "", "channels", "processes × threads", "images/s", "")
    failures = []
    for rival, grid in grids.items():
        top = max((rate for _, rate in grid if not isinstance(rate, str)), default=None)
        for choice, rate in grid:
            if isinstance(rate, str):
                failures.append(f"{rival}: {choice}: {rate[:200]}")
            notes = [choice.backend] * bool(choice.backend) + ["compiled"] * choice.compiled
            notes += [f"batch {choice.batch}"] * bool(choice.batch) + ["best"] * (rate == top)
            team = f"{choice.processes} × {choice.threads}"
            shown = "failed" if isinstance(rate, str) else f"{rate:,.0f}"
            weight = "bold" if rate == top else None
            table.add_row(SHORT[rival], LAYOUTS[choice.layout], team, shown, ", ".join(notes), style=weight)
    table.caption = "\n".join(dict.fromkeys(failures)) or None
    return table


def case_report(case: dict) -> list:
    """Speeds, ratios and accuracies of a case, how each rival was run, and the share of the matmul limit."""
    table = tables.empty(_title(case), "", "images/s", "range, %", "n", "ours is", "test %")
    for name, row in case["contenders"].items():
        speed = row["images_per_second"]
        table.add_row(
            name,
            f"{speed['median']:,.0f}",
            "–".join(f"{100 * speed[end] / speed['median']:.0f}" for end in ("min", "max")),
            str(speed["n"]),
            "" if name == OURS else record.ranged(row["ours_is"]),
            percent(row["test_accuracy"], case["task"]),
            style="bold" if name == OURS else None,
        )
    ways = [f"{name}: {row['how']}" for name, row in case["contenders"].items() if name not in (OURS, FLAX)]
    if case["accuracy_steps"]:
        ways.append(f"test %: mean ± sd of all seeds after {case['accuracy_steps']:,} steps")
    limit = max(case["matmul_gflops"].values())
    ways.append(
        f"{OURS} ({case['mode']}): {record.ranged(case['share_of_limit'], '%')} of the matmul limit,\n"
        f"{limit:,.0f} GFLOP/s at {case['flops_per_image'] / 1e6:.3g} MFLOP an image"
    )
    return [table, *ways, ""]


def percent(accuracy: dict | None, task: str = "train") -> str:
    """92.61 ± 0.11, in percent."""
    if accuracy is None:
        return "not run" if task == "train" else ""
    return f"{100 * accuracy['mean']:.2f} ± {100 * accuracy['sd']:.2f}"


def _title(case: dict) -> str:
    return f"{case['workload']}, batch {case['batch']}, {case['runs']} runs"


@style.styled
def plot(found: Mapping, path: Path) -> None:
    """A panel a case: images/s as bars with their range, accuracy, and how many times faster this engine is."""
    shown = found["cases"]
    sizes = [len(case["contenders"]) for case in shown]
    figure = Figure((9, 1.0 + sum(0.3 * size + 0.5 for size in sizes)), layout="constrained")
    panels = figure.subplots(len(shown), height_ratios=[size + 0.6 for size in sizes], squeeze=False)[:, 0]
    for case, axes in zip(shown, panels, strict=True):
        _bars(case, axes)
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.06)
    note = "Median and range; test accuracy: mean ± sd over seeds, after equally many steps."
    frame(figure, "Images a second, over all runs in flight", note, found)
    figure.savefig(path)


def _bars(case: dict, axes) -> None:
    top = max(row["images_per_second"]["max"] for row in case["contenders"].values())
    for place, (name, row) in enumerate(case["contenders"].items()):
        speed, colour = row["images_per_second"], ACCENT if name == OURS else RIVAL
        middle = speed["median"]
        spread = [[middle - speed["min"]], [speed["max"] - middle]]
        axes.barh(place, middle, xerr=spread, color=colour, height=0.72, error_kw={"lw": 1, "capsize": 2})
        text = f"{middle:,.0f}"
        text += f"   test {percent(row['test_accuracy'])}%" if row["test_accuracy"] else ""
        text += "" if name == OURS else f"   ours is {record.number(row['ours_is']['median'])}"
        axes.text(speed["max"] + 0.015 * top, place, text, va="center", fontsize=9)
    axes.set_yticks(range(len(case["contenders"])), case["contenders"])
    axes.get_yticklabels()[0].set_fontweight("bold")
    axes.invert_yaxis()
    axes.set_xlim(0, 1.6 * top)  # room for the words
    axes.set_xticks([])
    axes.tick_params(left=False)
    axes.grid(visible=False)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    share = record.number(case["share_of_limit"]["median"], "%")
    axes.set_title(f"{_title(case)}: {share} of the matmul limit", loc="left", fontsize=10, weight="bold")
