"""Every benchmark, one after the other, then the documents of what they found: `python -m benchmarks.all`.

Each part is a process of its own; one that fails does not stop the others, but is named at the end, and the exit status
is 1. Hours on two cores, which should have nothing else to do. `--smoke` tries all of them on drawn images and leaves
results and document alone.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from benchmarks import record, tables

ROOT = Path(__file__).parent.parent
PARTS = {
    "throughput": ["benchmarks.throughput"],
    "crossover": ["benchmarks.throughput", "--crossover"],
    "scaling": ["benchmarks.scaling"],
    "memory": ["benchmarks.memory"],
    "startup": ["benchmarks.startup"],
    "overhead": ["benchmarks.overhead"],
    "ideas": ["benchmarks.ideas"],
    "scale": ["benchmarks.scale"],
    "gpu": ["benchmarks.gpu"],
    "costs": ["benchmarks.costs"],
    "fleet": ["benchmarks.fleet"],
    "document": ["benchmarks.document"],
    "scaling_document": ["benchmarks.scaling_document"],
}


class Part(NamedTuple):
    """How a part went."""

    name: str
    status: str  # "done" | "failed" | "not measured"
    seconds: float


def commands(smoke: bool, scratch: Path) -> dict[str, list[str]]:
    """Part -> what follows `python -m`; of a smoke run everything is written to `scratch`."""
    if not smoke:
        return PARTS
    made = {name: [*asked, "--smoke", f"--out={scratch / name}.json"] for name, asked in PARTS.items()}
    made["gpu"].append("--platform=cpu")
    made["fleet"].append(f"--costs={scratch / 'costs.json'}")
    made["document"][-1:] = [f"--results={scratch}", f"--out={scratch / 'performance.md'}"]
    made["scaling_document"][1:] = [f"--results={scratch}", f"--out={scratch / 'scaling.md'}"]
    return made


def run(asked: dict[str, list[str]], absent: Sequence[str], console: Console) -> list[Part]:
    """Runs every part but the `absent`, whose devices are not there; what it prints goes where this process's does."""
    parts = []
    for name, words in asked.items():
        if name in absent:
            parts.append(Part(name, "not measured", 0.0))
            continue
        console.rule(f"{name}: python -m {' '.join(words)}", align="left", style="dim")
        start = time.perf_counter()
        status = subprocess.run([sys.executable, "-m", *words], cwd=ROOT).returncode
        parts.append(Part(name, "failed" if status else "done", time.perf_counter() - start))
    return parts


def show(parts: Sequence[Part], console: Console) -> None:
    """What was run, for how long, and what failed."""
    table = tables.empty("benchmarks", "", "minutes", "")
    for part in parts:
        mark = {"failed": "[red]failed[/]", "not measured": "[dim]not measured: no accelerator here[/]"}
        table.add_row(part.name, f"{part.seconds / 60:.1f}", mark.get(part.status, part.status))
    console.print(table)
    if failed := [part.name for part in parts if part.status == "failed"]:
        console.print(f"[red]failed:[/] {', '.join(failed)}", highlight=False)


def accelerator() -> bool:
    """Whether JAX finds one; asked in a process of its own, so that this one holds no device."""
    code = "import jax; print(jax.default_backend())"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return found.stdout.strip() in ("gpu", "tpu")


def main(argv=None) -> int:
    """Runs everything; returns the exit status."""
    flags = argparse.ArgumentParser(prog="python -m benchmarks.all", description=__doc__, allow_abbrev=False)
    flags.add_argument("--smoke", action="store_true", help="tiny sizes on drawn images: do all of them work?")
    flags.add_argument("--only", help=f"of {', '.join(PARTS)}")
    args, console = flags.parse_args(argv), Console()
    only = args.only.split(",") if args.only else list(PARTS)
    if unknown := set(only) - set(PARTS):
        flags.error(f"--only={','.join(unknown)}: take some of {', '.join(PARTS)}")
    record.need_data(args.smoke)
    absent = [] if args.smoke or "gpu" not in only or accelerator() else ["gpu"]
    with tempfile.TemporaryDirectory() as scratch:
        asked = {name: words for name, words in commands(args.smoke, Path(scratch)).items() if name in only}
        parts = run(asked, absent, console)
    show(parts, console)
    return int(any(part.status == "failed" for part in parts))


if __name__ == "__main__":
    sys.exit(main())
