"""What a person sees of the throughput benchmark: tables in the terminal, bars in a PNG."""

from pathlib import Path

from rich.table import Table

from benchmarks import record
from benchmarks.cases import BFLOAT16, FLAX, FLOAT32, KERAS, OURS, VMAP, Case

ACCENT, GREY = "#0b6e99", "#b9bec5"
LAYOUTS = {"contiguous": "", "channels_last": "last"}
SHORT = {FLOAT32: "float32", BFLOAT16: "bfloat16", VMAP: "func.vmap", KERAS: "Keras", FLAX: "plain Flax"}


def grid_table(case: Case, grids: dict) -> Table:
    """Every way to run each rival, the best of each marked; `grids`: rival -> [(Choice, images/s | why not)]."""
    title = f"{case.workload}, batch {case.batch}: calibrating rivals"
    table = record.table_of(title, "", "channels", "processes × threads", "images/s", "")
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
            style = "bold" if rate == top else None
            table.add_row(SHORT[rival], LAYOUTS[choice.layout], team, shown, ", ".join(notes), style=style)
    table.caption = "\n".join(dict.fromkeys(failures)) or None
    return table


def case_report(case: dict) -> list:
    """Speeds, ratios and accuracies of a case, how each rival was run, and the share of the matmul limit."""
    table = record.table_of(_title(case), "", "images/s", "range, %", "n", "ours is", "test %")
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


def goals_table(rows: list[dict]) -> Table:
    """What was to be reached, and what was."""
    table = record.table_of("goals", "", "batch", "against", "goal", "reached", "")
    for row in rows:
        wanted, reached = record.number(row["goal"], row["unit"]), "not measured"
        verdict = ""
        if row["reached"]:
            reached = record.ranged(row["reached"], row["unit"])
            verdict = "[green]passed[/]" if record.passed(row) else "[red]missed[/]"
        table.add_row(row["workload"], str(row["batch"]), row["rival"], wanted, reached, verdict)
    return table


def crossover_table(rows: list[dict], runs: int, batch: int) -> Table:
    """Mapped against vmapped, by the size of the network, beside what the rule says."""
    title = f"run-steps/s by forward flops, {runs} runs, batch {batch}"
    table = record.table_of(title, "network", "forward", "map", "vmap", "vmap is", "rule")
    for row in rows:
        sizes = [*(f"conv{n}" for n in row["model"].get("filters", ())), *map(str, row["model"]["dense"]), "10"]
        numbers = [f"{row[key]:,.0f}" for key in ("forward_flops", "map", "vmap")]
        table.add_row("-".join(sizes), *numbers, record.ranged(row["vmap_over_map"]), row["rule"])
    return table


def _title(case: dict) -> str:
    return f"{case['workload']}, batch {case['batch']}, {case['runs']} runs"


def subtitle(found: dict) -> str:
    """Where and when, and what of the data was drawn, for the foot of a plot."""
    where = found["hardware"]
    drawn = sorted({case["workload"] for case in found["cases"] if case["dataset"]["synthetic"]})
    which = "" if all(case["dataset"]["synthetic"] for case in found["cases"]) else f": {', '.join(drawn)}"
    synthetic = f" SYNTHETIC DATA{which}." if drawn else ""
    return f"{where['cpu']}, {where['cores']} cores; {found['date'][:10]}.{synthetic}"


def plot(found: dict, path: Path) -> None:
    """A panel a case: images/s as bars with their range, accuracy, and how many times faster this engine is."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    shown = found["cases"]
    sizes = [len(case["contenders"]) for case in shown]
    figure, panels = pyplot.subplots(
        len(shown),
        figsize=(9, 1.0 + sum(0.3 * size + 0.5 for size in sizes)),
        height_ratios=[size + 0.6 for size in sizes],
        squeeze=False,
        layout="constrained",
    )
    for case, axes in zip(shown, panels[:, 0], strict=True):
        _bars(case, axes)
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.06)
    figure.suptitle("Images a second, over all runs in flight", x=0.01, ha="left", fontsize=13)
    note = f"Median and range; test accuracy: mean ± sd over seeds, after equally many steps. {subtitle(found)}"
    figure.supxlabel(note, x=0.01, ha="left", fontsize=7.5, color="#555555")
    figure.savefig(path, dpi=160)
    pyplot.close(figure)


def _bars(case: dict, axes) -> None:
    top = max(row["images_per_second"]["max"] for row in case["contenders"].values())
    for place, (name, row) in enumerate(case["contenders"].items()):
        speed, colour = row["images_per_second"], ACCENT if name == OURS else GREY
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
    axes.set_xlim(0, 1.55 * top)
    axes.set_xticks([])
    axes.tick_params(left=False)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    share = record.number(case["share_of_limit"]["median"], "%")
    axes.set_title(f"{_title(case)}: {share} of the matmul limit", loc="left", fontsize=10, weight="bold")
