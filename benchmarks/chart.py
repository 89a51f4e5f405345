"""What a person sees of a benchmark: tables in the terminal, bars in a PNG."""

from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.rivals import Case

OURS, FLOAT32, BFLOAT16, FLAX = "fmnist_jax", "PyTorch float32", "PyTorch bfloat16", "plain Flax"
COLOURS = {OURS: "#0b6e99", FLOAT32: "#b9bec5", BFLOAT16: "#b9bec5", FLAX: "#b9bec5"}


def table_of(title: str, *headings: str) -> Table:
    """An empty table that fits 80 columns: the first column left, the others right."""
    table = Table(title=title, title_style="bold", title_justify="left", box=box.SIMPLE_HEAD)
    table.pad_edge, table.collapse_padding = False, True
    for i, heading in enumerate(headings):
        table.add_column(heading, justify="right" if i else "left", no_wrap=True)
    return table


def grid_table(case: Case, grid) -> Table:
    """Every way to run PyTorch, the best of each dtype marked."""
    title = f"{case.workload}, batch {case.static.batch_size}: calibrating PyTorch"
    table = table_of(title, "", "layout", "processes", "threads", "images/s", "")
    numbers = {choice: rate for choice, rate in grid if not isinstance(rate, str)}
    for choice, rate in grid:
        top = numbers.get(choice) == max((r for c, r in numbers.items() if c.dtype == choice.dtype), default=None)
        shown = f"{rate:,.0f}" if choice in numbers else "failed"
        note = " ".join([*["torch.compile"] * choice.compiled, *["best"] * (choice in numbers and top)])
        table.add_row(choice.dtype, choice.layout, str(choice.processes), str(choice.threads), shown, note)
    failures = {rate for rate in dict(grid).values() if isinstance(rate, str)}
    table.caption = "\n".join(sorted(failure[:200] for failure in failures)) or None
    return table


def crossover_table(rows: list[dict], runs: int, batch: int) -> Table:
    """Mapped against vmapped, by the size of the network, beside what the rule says."""
    title = f"run-steps/s by forward flops, {runs} runs, batch {batch}"
    table = table_of(title, "network", "forward", "map", "vmap", "vmap is", "rule")
    for row in rows:
        sizes = [*(f"conv{n}" for n in row["model"].get("filters", ())), *map(str, row["model"]["dense"]), "10"]
        numbers = [f"{row[key]:,.0f}" for key in ("forward_flops", "map", "vmap")]
        rule = row["rule"]
        table.add_row("-".join(sizes), *numbers, times(row["vmap_over_map"]), rule)
    return table


def print_report(found: dict, console: Console) -> None:
    """Speeds, ratios, accuracies; the share of the matmul limit; the goals."""
    for case in found["cases"]:
        title = f"{case['workload']}, batch {case['batch']}, {case['runs']} runs"
        table = table_of(title, "", "images/s", "range", "n", "ours is", "test %")
        for name, row in case["contenders"].items():
            speed = row["images_per_second"]
            table.add_row(
                name,
                f"{speed['median']:,.0f}",
                f"{speed['min']:,.0f}–{speed['max']:,.0f}",
                str(speed["n"]),
                "" if name == OURS else times(row["ours_is"]),
                "not run" if row["test_accuracy"] is None else f"{100 * row['test_accuracy']:.2f}",
                style="bold" if name == OURS else None,
            )
        console.print(table)
        for name in (FLOAT32, BFLOAT16):
            console.print(f"{name}: {case['contenders'][name]['how']}", highlight=False)
        console.print(
            f"{OURS} ({case['mode']}): {share(case, found):.1%} of the matmul limit, {limit(found):,.0f} GFLOP/s at "
            f"{case['training_flops_per_image'] / 1e6:.3g} MFLOP an image\n",
            highlight=False,
        )
    table = table_of("goals", "", "goal", "reached", "")
    for goal in found["goals"]:
        passed = "[green]passed[/]" if goal["reached"] >= goal["goal"] else "[red]missed[/]"
        name = f"{goal['workload']}, batch {goal['batch']}, against {goal['rival']}"
        table.add_row(name, f"{goal['goal']:.1f}×", f"{goal['reached']:.2f}×", passed)
    console.print(table)


def limit(found: dict) -> float:
    """The best matmul, GFLOP/s."""
    return max(found["matmul_gflops"].values())


def share(case: dict, found: dict) -> float:
    """Of the matmul limit, what this engine's network products come to."""
    speed = case["contenders"][OURS]["images_per_second"]["median"]
    return speed * case["training_flops_per_image"] / (limit(found) * 1e9)


def times(ratio: dict) -> str:
    """1.31× (1.28–1.35), with fewer digits where it is large."""
    digits = 2 if ratio["median"] < 10 else 1
    low, middle, high = (f"{ratio[key]:,.{digits}f}" for key in ("min", "median", "max"))
    return f"{middle}× ({low}–{high})"


def plot(found: dict, path: Path) -> None:
    """One panel a case: images/s as bars with their range, and how many times faster this engine is."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    cases = found["cases"]
    figure, panels = pyplot.subplots(
        len(cases), figsize=(9, 0.9 + 1.75 * len(cases)), squeeze=False, layout="constrained"
    )
    for case, axes in zip(cases, panels[:, 0], strict=True):
        top = max(row["images_per_second"]["max"] for row in case["contenders"].values())
        for place, (name, row) in enumerate(case["contenders"].items()):
            speed = row["images_per_second"]
            middle = speed["median"]
            spread = [[middle - speed["min"]], [speed["max"] - middle]]
            axes.barh(place, middle, xerr=spread, color=COLOURS[name], height=0.72, error_kw={"lw": 1, "capsize": 2})
            text = f"{middle:,.0f} images/s"
            text += f"   test {100 * row['test_accuracy']:.1f}%" if row["test_accuracy"] is not None else ""
            text = text if name == OURS else f"{text}   ours is {row['ours_is']['median']:.3g}×"
            axes.text(speed["max"] + 0.015 * top, place, text, va="center", fontsize=9)
        axes.set_yticks(range(len(case["contenders"])), case["contenders"])
        axes.get_yticklabels()[0].set_fontweight("bold")
        axes.invert_yaxis()
        axes.set_xlim(0, 1.5 * top)
        axes.set_xticks([])
        axes.tick_params(left=False)
        axes.spines[["top", "right", "bottom"]].set_visible(False)
        title = f"{case['workload']}, batch {case['batch']}, {case['runs']} runs"
        axes.set_title(f"{title}: {share(case, found):.0%} of the matmul limit", loc="left", fontsize=10, weight="bold")
    figure.get_layout_engine().set(w_pad=0.1)
    figure.suptitle("Training speed: images a second, over all runs in flight", x=0.01, ha="left", fontsize=13)
    where, dataset = found["hardware"], found["dataset"]
    drawn = " (SYNTHETIC DATA)" if dataset["synthetic"] else ""
    note = f"{dataset['name']}{drawn}; {where['cpu']}, {where['cores']} cores; {found['date'][:10]}. "
    note += "Median and range; test accuracy after equally many steps."
    figure.supxlabel(note, x=0.01, ha="left", fontsize=7.5, color="#555555")
    figure.savefig(path, dpi=160)
    pyplot.close(figure)
