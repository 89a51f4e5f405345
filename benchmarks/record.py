"""What every benchmark's JSON holds: the command, the date, the machine, the versions, and figures with their samples.

A goal is a row of the table in docs/performance.md: {"workload", "rival", "goal", "at_most", "unit", "reached"}, where
`reached` is a `summary` and `at_most` says that less is better.
"""

import argparse
import datetime
import importlib.metadata
import itertools
import json
import platform
import statistics
import sys
import tempfile
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "torch")


def flags(name: str, description: str) -> argparse.ArgumentParser:
    """A parser with what all scripts have: --out and --smoke."""
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}",
        description=description,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--out",
        type=Path,
        help=f"JSON; default: {name}.json in benchmarks/results, of a smoke run in the system's /tmp",
    )
    parser.add_argument("--smoke", action="store_true", help="tiny sizes on drawn images: does it work at all?")
    return parser


def place(name: str, args: argparse.Namespace) -> Path:
    """Where the JSON goes: as asked; a smoke run never writes over what was measured."""
    return args.out or (Path(tempfile.gettempdir()) / "fmnist_jax_smoke" if args.smoke else RESULTS) / f"{name}.json"


def opening(name: str) -> dict:
    """Where, when and with what: the first keys of every JSON."""
    from benchmarks import machine  # imports jax, which some processes must not before they have chosen their cores

    return {
        "command": " ".join([f"python -m benchmarks.{name}", *sys.argv[1:]]),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "hardware": machine.hardware(),
        "versions": {"python": platform.python_version(), **_versions()},
    }


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # a rival that this benchmark may not need
            continue
    return found


def need_data(smoke: bool) -> None:
    """Ends the program with status 2 where Fashion-MNIST is not to be had; a smoke run draws its images."""
    from fmnist_jax import data, errors

    if smoke:
        return
    try:
        data.load("fashion_mnist")
    except (errors.UserError, errors.RunError, OSError) as error:
        reason = " ".join(str(error).split())
        print(f"error: no Fashion-MNIST; set FMNIST_DATA_DIR to its folder, or use --smoke: {reason}", file=sys.stderr)
        sys.exit(2)


def write(found: dict, path: Path, console: Console) -> None:
    """The JSON, and where it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1) + "\n")
    console.print(f"written to {path}", highlight=False, soft_wrap=True)


def summary(values: Sequence[float]) -> dict:
    """Median, min, max, n, and the samples themselves."""
    values = [float(value) for value in values]
    middle = statistics.median(values)
    return {"median": middle, "min": min(values), "max": max(values), "n": len(values), "samples": values}


def ratios(above: Sequence[float], below: Sequence[float]) -> dict:
    """The summary of above / below, turn by turn: both of a ratio were measured within seconds of each other."""
    return summary([a / b for a, b in zip(above, below, strict=True)])


def in_turns(ways: Mapping[Hashable, Callable[[], float]], turns: int) -> dict[Hashable, list[float]]:
    """What each of `ways` returned in each of `turns` turns; every second turn goes backwards.

    So a machine that slows down or speeds up does so for all of them, and none is always measured after the same one.
    """
    samples: dict[Hashable, list[float]] = {name: [] for name in ways}
    for turn, i in itertools.product(range(turns), range(len(ways))):
        name = list(ways)[i if turn % 2 == 0 else -1 - i]
        samples[name].append(ways[name]())
    return samples


def goal(
    workload: str,
    rival: str,
    wanted: float,
    reached: dict | None,
    *,
    at_most: bool = False,
    unit: str = "×",
    note: str = "",
) -> dict:
    """A row of the table of goals.

    Args:
      unit: "×" of ratios, "%" of shares, which are kept as fractions.
      reached: a `summary`; None where there is no figure.
      note: which of several was the worst, say. Workload and rival name the row, and change with no measurement.
    """
    row = {"workload": workload, "rival": rival, "goal": wanted, "at_most": at_most, "unit": unit, "reached": reached}
    return row | ({"note": note} if note else {})


def passed(row: Mapping) -> bool:
    """Whether the median reaches the goal; False where there is no figure."""
    if row["reached"] is None:
        return False
    middle = row["reached"]["median"]
    return middle <= row["goal"] if row["at_most"] else middle >= row["goal"]


def number(value: float, unit: str = "×") -> str:
    """1.31×, 64.2×, 1,034×; 14.2% of a fraction; with as many digits as say something."""
    value = 100 * value if unit == "%" else value
    digits = 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
    return f"{value:,.{digits}f}{unit}"


def ranged(of: Mapping, unit: str = "×") -> str:
    """1.31× (1.28–1.35): the median and the range."""
    low, high = (number(of[key], unit).removesuffix(unit) for key in ("min", "max"))
    return f"{number(of['median'], unit)} ({low}–{high})"


def table_of(title: str, *headings: str) -> Table:
    """An empty table that fits 80 columns: the first column left, the others right."""
    table = Table(title=title, title_style="bold", title_justify="left", box=box.SIMPLE_HEAD)
    table.pad_edge, table.collapse_padding = False, True
    for i, heading in enumerate(headings):
        table.add_column(heading, justify="right" if i else "left", no_wrap=True)
    return table


def called(row: Mapping) -> str:
    """What a row of the table of goals is about: its workload, with its batch size where it has one."""
    return row["workload"] + (f", batch {row['batch']}" if row.get("batch") else "")


def wanted(row: Mapping) -> str:
    """≥ 1.50×: what was to be reached."""
    return ("≤ " if row["at_most"] else "≥ ") + number(row["goal"], row["unit"])


def goals_table(rows: Sequence[Mapping]) -> Table:
    """What was to be reached, and what was."""
    table = table_of("goals", "", "goal", "reached", "n", "")
    table.columns[0].no_wrap = False
    for row in rows:
        reached, n = (
            ("none", "") if row["reached"] is None else (ranged(row["reached"], row["unit"]), row["reached"]["n"])
        )
        verdict = "[green]passed[/]" if passed(row) else "[red]missed[/]"
        table.add_row(f"{called(row)}: {row['rival']}", wanted(row), reached, str(n), verdict)
    return table
