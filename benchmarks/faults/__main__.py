"""Every fault of docs/reliability.md: `python -m benchmarks.faults`, some minutes; `--full`, an hour and more.

The short run makes each fault as often as shows that it is caught, as CI does; --full as often as the table asks for,
and writes benchmarks/results/faults.json, from which docs/reliability.md is made. The exit status is 1 where a promise
was broken. What is finished is written as it goes: --resume goes on after it, and makes again what was broken.
"""

import argparse
import dataclasses
import importlib
import os
import sys
import tempfile
from pathlib import Path

from absl import logging
from rich.console import Console
from rich.markup import escape

from benchmarks import record
from fmnist_jax import sharding, writers

# In the order of the table; each module has `measure(full: bool, scratch: Path) -> list[row.Row]`.
ROWS = (
    "kills",
    "signals",
    "storage",
    "checkpoints",
    "rows",
    "inputs",
    "hypers",
    "memory",
    "processes",
    "configs",
    "hosts",
    "places",
    "devices",
)
LONG = ("memory",)  # minutes each: of --full, or --only


def main(argv=None) -> int:
    """Makes the faults; returns the exit status."""
    flags = argparse.ArgumentParser(
        prog="python -m benchmarks.faults",
        description=__doc__,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    flags.add_argument("--full", action="store_true", help="as often as the table asks for")
    flags.add_argument("--only", help=f"of {', '.join(ROWS)}")
    flags.add_argument("--without", default="", help="what cannot be made on this machine")
    flags.add_argument("--out", type=Path, help="JSON; default: of --full benchmarks/results/faults.json, else nowhere")
    flags.add_argument("--resume", action="store_true", help="keep the rooms that the JSON has whole and kept")
    args, console = flags.parse_args(argv), Console()
    only = args.only.split(",") if args.only else [name for name in ROWS if args.full or name not in LONG]
    without = [name for name in args.without.split(",") if name]
    if unknown := {*only, *without} - set(ROWS):
        flags.error(f"{','.join(sorted(unknown))}: there is no such; take some of {', '.join(ROWS)}")
    only = [name for name in only if name not in without]
    logging.set_verbosity(logging.ERROR)  # Orbax says at each reading what it did not find
    out = args.out or (record.RESULTS / "faults.json" if args.full and not args.only else None)
    found = record.opening("faults") | {"full": args.full, "rows": []}
    if args.resume and out:
        there = record.kept(out, found, ("full", "hardware", "versions"), flags).get("rows", [])
        again = {one["room"] for one in there if one["broken"]}
        found["rows"] = [one for one in there if one["room"] not in again]
    done = {one["room"] for one in found["rows"]}
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["XDG_CACHE_HOME"] = str(Path(scratch) / "cache")  # compiled once for all of them
        sharding.keep_programs()
        sharding.configure("cpu")  # of the faults that are made in this process
        for name in (name for name in ROWS if name in only and name not in done):
            module = importlib.import_module(f"benchmarks.faults.{name}")
            directory = Path(scratch) / name
            directory.mkdir()
            for row in module.measure(args.full, directory):
                found["rows"].append({"room": name, "revision": found["revision"], **dataclasses.asdict(row)})
                show(row, console)
            if out:
                found["rows"].sort(key=lambda one: ROWS.index(one["room"]))
                out.parent.mkdir(parents=True, exist_ok=True)
                writers.write_json(out, found)
    if out:
        console.print(f"written to {out}", highlight=False, soft_wrap=True)
    return int(any(row["broken"] for row in found["rows"]))


def show(row, console: Console) -> None:
    """A line a row, and one for each promise that was broken."""
    mark = "[green]kept[/]" if not row.broken else "[red]broken[/]"
    console.print(f"{mark} {row.kept:,} of {row.trials:,}  {escape(row.fault)}  {row.seconds:.0f} s", highlight=False)
    for name, problem in row.broken.items():
        console.print(f"    {escape(name)}: {escape(problem)}", highlight=False)


if __name__ == "__main__":
    sys.exit(main())
