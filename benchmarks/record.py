"""What every benchmark's JSON holds: the command, the date, the machine, the versions, and figures with their samples.

A goal is a row of the table in docs/performance.md: {"workload", "rival", "goal", "at_most", "unit", "reached"}, where
`reached` is a `summary` and `at_most` says that less is better.
"""

import argparse
import datetime
import hashlib
import importlib.metadata
import json
import platform
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from benchmarks import machine
from fmnist_jax import data, errors, workdir, writers

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "torch", "keras")


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
    return {
        "command": " ".join([f"python -m benchmarks.{name}", *sys.argv[1:]]),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "hardware": machine.hardware(),
        "versions": {"python": platform.python_version(), **_versions()},
        "revision": workdir.environment()["git"],
    }


def code(*places: str) -> str:
    """SHA-256 of Python files of the repository: those named, and those below folders that are named."""
    digest, root = hashlib.sha256(), Path(__file__).parents[1]
    for place in places:
        found = [root / place] if place.endswith(".py") else sorted((root / place).rglob("*.py"))
        for path in found:
            digest.update(f"{path.relative_to(root)}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def kept(path: Path, found: Mapping, keys: Sequence[str], flags: argparse.ArgumentParser) -> dict:
    """What a JSON has that --resume goes on with, nothing where there is none; ends the program where it is unlike.

    Args:
      keys: in which it must be as `found`, which is to become the new one.
    """
    if not path.exists():
        return {}
    there = json.loads(path.read_text())
    if unlike := [key for key in keys if there.get(key) != found[key]]:
        flags.error(f"--resume: {path} differs in {', '.join(unlike)}; without the flag all is made again")
    return there


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # a rival that this benchmark may not need
            continue
    return found


def origin(found: Mapping) -> str:
    """The machine, the dates and the versions of a JSON's figures: where cases were added, of all of them."""
    openings = [case["environment"] for case in found.get("cases", ())] or [found]
    machines = dict.fromkeys(f"{of['hardware']['cpu']}, {of['hardware']['cores']} cores" for of in openings)
    days = sorted({of["date"][:10] for of in openings})
    dates = " to ".join(dict.fromkeys((days[0], days[-1])))
    versions = found.get("versions", {})
    said = [f"{name} {versions[name]}" for name in ("jax", "torch", "keras") if name in versions]
    return "; ".join([*machines, dates, *([", ".join(said)] if said else [])])


def need_data(smoke: bool, name: str = "Fashion-MNIST", load: Callable = lambda: data.load("fashion_mnist")) -> None:
    """Ends the program with status 2 where the images are not to be had; a smoke run draws its own."""
    if smoke:
        return
    try:
        load()
    except (errors.UserError, errors.RunError, OSError) as error:
        reason = " ".join(str(error).split())
        print(
            f"error: no images for {name}; set FMNIST_DATA_DIR to their folder, or --smoke: {reason}", file=sys.stderr
        )
        sys.exit(2)


def write(found: dict, path: Path, console: Console) -> None:
    """The JSON, and where it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writers.write_json(path, found)
    console.print(f"written to {path}", highlight=False, soft_wrap=True)


def summary(values: Sequence[float]) -> dict:
    """Median, min, max, n, and the samples themselves."""
    values = [float(value) for value in values]
    middle = statistics.median(values)
    return {"median": middle, "min": min(values), "max": max(values), "n": len(values), "samples": values}


def ratios(above: Sequence[float], below: Sequence[float]) -> dict:
    """The summary of above / below, turn by turn: both of a ratio were measured within seconds of each other."""
    return summary([a / b for a, b in zip(above, below, strict=True)])


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


def counted(of: Mapping, unit: str = "×") -> str:
    """1.31× (1.28–1.35), n 5."""
    return f"{ranged(of, unit)}, n {of['n']}"
