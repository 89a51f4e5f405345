"""docs/performance.md, from benchmarks/results/*.json and docs/performance.why.md: `python -m benchmarks.document`.

Every figure comes from a results file, every sentence about why from the .why.md, which is written by hand: a section
there (`## scaling`) goes to the section of that name here. A goal that is missed must have one, `## missed: WORKLOAD,
RIVAL`, for all its batch sizes. Where there is none, and where one is there whose goal is reached, nothing is written.

    python -m benchmarks.document            # writes it
    python -m benchmarks.document --check    # says whether it is what would be written
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import chapters, record

ROOT = Path(__file__).parent.parent
DOCUMENT, WHY = ROOT / "docs" / "performance.md", ROOT / "docs" / "performance.why.md"
FILES = ("throughput", "scaling", "startup", "overhead", "gpu", "ideas", "crossover", "scale")
NOT_MEASURED = {  # rows of the table of goals where there is no results file: workload, rival, goal
    "throughput": [("throughput against rivals", "PyTorch, Flax, Keras", "")],
    "scaling": [
        ("1 -> 2 cores, 8 runs", "one core", "≥ 1.90×"),
        ("cost of N runs in one group", "N times one run", "≤ 1.00×"),
        ("memory of N runs", "what --plan says", "≤ 10.0%"),
    ],
    "startup": [("second start of a study, compile time", "first start", "≤ 15.0%")],
    "overhead": [("time outside the compiled program, a study of 5 minutes", "its wall time", "≤ 3.00%")],
    "gpu": [
        ("cnn, 64 runs, on a GPU", "PyTorch eager, one after the other", "≥ 15.0×"),
        ("cnn, 64 runs, on a GPU", "the fastest way of PyTorch's", "≥ 3.00×"),
        ("cnn, 64 runs, on a GPU", "the float32 matmul limit", "≥ 25.0%"),
        ("mlp, 1024 runs, on a GPU", "PyTorch eager, one after the other", "≥ 100×"),
    ],
}


class Refused(Exception):
    """The document cannot be made of what is there; the message says why, in a line."""


def main(argv=None) -> int:
    """Writes or checks the document; returns the exit status."""
    flags = argparse.ArgumentParser(prog="python -m benchmarks.document", allow_abbrev=False)
    flags.add_argument("--results", type=Path, default=record.RESULTS, help="where the JSON files are")
    flags.add_argument("--why", type=Path, default=WHY, help="the prose")
    flags.add_argument("--out", type=Path, default=DOCUMENT)
    flags.add_argument("--check", action="store_true", help="write nothing; fail where it is not what would be written")
    flags.add_argument("--smoke", action="store_true", help="of a smoke run, whose missed goals nobody explains")
    args = flags.parse_args(argv)
    try:
        text = made(read(args.results), sections(args.why.read_text()), args.results, args.out.parent, not args.smoke)
        if args.check and (not args.out.exists() or args.out.read_text() != text):
            raise Refused(f"{args.out}: is not what the results make; python -m benchmarks.document writes it")
    except Refused as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if not args.check:
        args.out.write_text(text)
        print(f"written to {args.out}")
    return 0


def read(results: Path) -> dict[str, dict]:
    """The results that are there, by name."""
    paths = {name: results / f"{name}.json" for name in FILES}
    return {name: json.loads(path.read_text()) for name, path in paths.items() if path.exists()}


def sections(prose: str) -> dict[str, str]:
    """Heading -> text, of the `## ` sections; what stands before the first has the heading ""."""
    found, heading = {"": []}, ""
    for line in prose.splitlines():
        if line.startswith("## "):
            heading = line[3:].strip()
            if heading in found:
                raise Refused(f"the prose has two sections {heading!r}")
            found[heading] = []
        else:
            found[heading].append(line)
    return {heading: "\n".join(lines).strip() for heading, lines in found.items()}


def made(found: Mapping, why: Mapping[str, str], results: Path, beside: Path, explained: bool = True) -> str:
    """The document.

    Args:
      found: the results, as `read` returns them.
      why: the prose, as `sections` returns it.
      beside: the folder of the document, from which its pictures are named.
      explained: whether every missed goal must have its paragraph.

    Raises:
      Refused: a paragraph is missing or has no place, or a results file lacks a key.
    """
    rows = [row for name in FILES for row in found.get(name, {}).get("goals", ())]
    if explained:
        check(rows, why)
    parts = [f"# Performance\n\n{why.get('', '')}", _where(found), f"## Goals\n\n{goals_table(found)}"]
    missed = list(dict.fromkeys(_paragraph(row) for row in rows if _missed(row)))
    parts += [f"### {heading[0].upper()}{heading[1:]}\n\n{why[heading]}" for heading in missed if heading in why]
    for heading, (name, make) in chapters.SECTIONS.items():
        try:
            figures = make(found[name], _Pictures(results, beside)) if name in found else chapters.NONE
        except (KeyError, TypeError) as error:
            raise Refused(
                f"{name}.json: not as this version of benchmarks writes it ({error!r}); measure again"
            ) from None
        text = f"{why[heading]}\n\n" if heading in why else ""
        parts.append(f"## {heading[0].upper()}{heading[1:]}\n\n{text}{figures}")
    parts.append(f"## Where the figures are from\n\n{_sources(found)}")
    return "\n\n".join(part.strip() for part in parts) + "\n"


def check(rows: Sequence[Mapping], why: Mapping[str, str]) -> None:
    """Raises Refused where a missed goal has no paragraph, or a paragraph no missed goal or section."""
    missed = {_paragraph(row) for row in rows if _missed(row)}
    if lacking := sorted(heading for heading in missed if not why.get(heading)):
        raise Refused(f"missed goals without a paragraph in the prose: {'; '.join(f'## {one}' for one in lacking)}")
    known = {_paragraph(row) for row in rows}
    for heading in why:
        if heading.startswith("missed: ") and heading not in missed:
            verb = "is reached" if heading in known else "is not one that was measured"
            raise Refused(f"the prose explains a goal that {verb}: ## {heading}")
        if heading and not heading.startswith("missed: ") and heading not in chapters.SECTIONS:
            raise Refused(
                f"the prose has a section without a place: ## {heading}; there are {', '.join(chapters.SECTIONS)}"
            )


def _missed(row: Mapping) -> bool:
    return row["reached"] is not None and not record.passed(row)


def _paragraph(row: Mapping) -> str:
    return f"missed: {row['workload']}, {row['rival']}"


def verdict(row: Mapping) -> str:
    """passed; missed by 12% of the goal (of shares, by so many points); not measured."""
    if row["reached"] is None:
        return "not measured"
    if record.passed(row):
        return "passed"
    off = abs(row["reached"]["median"] - row["goal"])
    by = f"{100 * off:.1f} points" if row["unit"] == "%" else f"{off / row['goal']:.0%}"
    return f"**missed by {by}**"


def goals_table(found: Mapping) -> str:
    """The table of the issue, with what was reached; the goals of files that are not there as not measured."""
    lines = []
    for name in FILES:
        for row in found.get(name, {}).get("goals", ()):
            reached = "" if row["reached"] is None else chapters.spread(row["reached"], row["unit"])
            reached += f"; {row['note']}" if row.get("note") else ""
            lines.append([record.called(row), row["rival"], record.wanted(row), reached, verdict(row)])
        if name not in found:
            lines += [[*row, "", "not measured"] for row in NOT_MEASURED.get(name, ())]
    return chapters.markdown(["workload", "rival", "goal", "reached", ""], lines)


class _Pictures:
    """Links to the PNGs that lie beside the results."""

    def __init__(self, results: Path, beside: Path):
        self.results, self.beside = results, beside

    def __call__(self, name: str, alt: str) -> str:
        """The picture in Markdown; nothing where it is not there."""
        path = self.results / f"{name}.png"
        link = Path(os.path.relpath(path.resolve(), self.beside.resolve())).as_posix()
        return f"![{alt}]({link})\n\n" if path.exists() else ""


def _where(found: Mapping) -> str:
    machines = {(of["hardware"]["cpu"], of["hardware"]["cores"]) for of in found.values()}
    dates = sorted(of["date"][:10] for of in found.values())
    if not found:
        return "Nothing has been measured."
    on = "; ".join(f"{cpu}, {cores} cores" for cpu, cores in sorted(machines))
    versions = [of["versions"] for of in found.values() if "versions" in of]
    said = ", ".join(
        f"{name} {versions[0][name]}" for name in ("jax", "torch", "keras") if versions and name in versions[0]
    )
    when = dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
    return f"{on}; {when}; {said}. Figures are medians, with the range and the number of samples."


def _sources(found: Mapping) -> str:
    rows = [
        [f"`{name}.json`", f"`{of['command']}`", of["date"][:16].replace("T", " "), of["hardware"]["cpu"]]
        for name, of in found.items()
    ]
    return chapters.markdown(["file", "command", "date (UTC)", "machine"], rows)


if __name__ == "__main__":
    sys.exit(main())
