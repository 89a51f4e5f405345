"""docs/performance.md, from benchmarks/results/*.json and docs/performance.why.md: `python -m benchmarks.document`.

Every figure comes from a results file, every sentence about why from the .why.md, which is written by hand: a section
there (`## scaling`) goes to the section of that name here. A goal that is missed must have one, `## missed: WORKLOAD,
RIVAL`, for all its batch sizes. Where there is none, and where one is there whose goal is reached, nothing is written.

    python -m benchmarks.document            # writes it
    python -m benchmarks.document --check    # says whether it is what would be written
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import chapters, goals, prose, record, tables
from benchmarks.prose import ROOT, Refused
from benchmarks.tables import verdict

DOCUMENT = ROOT / "docs" / "performance.md"
FILES = ("throughput", "scaling", "memory", "startup", "overhead", "gpu", "ideas", "crossover", "scale")


def main(argv=None) -> int:
    """Writes or checks the document; returns the exit status."""
    flags = prose.flags("document", record.RESULTS, DOCUMENT)
    flags.add_argument("--smoke", action="store_true", help="of a smoke run, whose missed goals nobody explains")
    make = lambda args, why: made(read(args.results), why, args.results, args.out.parent, not args.smoke)  # noqa: E731
    return prose.write(flags, argv, make)


def read(results: Path) -> dict[str, dict]:
    """The results that are there, by name."""
    paths = {name: results / f"{name}.json" for name in FILES}
    return {name: json.loads(path.read_text()) for name, path in paths.items() if path.exists()}


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
    rows = goals.of(FILES, found)
    if explained:
        check(rows, why)
    parts = [f"# Performance\n\n{why.get('', '')}", f"## Goals\n\n{tables.markdown(tables.of_goals(rows))}"]
    missed = list(dict.fromkeys(_paragraph(row) for row in rows if _missed(row)))
    parts += [f"### {_capital(heading)}\n\n{why[heading]}" for heading in missed if heading in why]
    for heading, (name, make, picture) in chapters.SECTIONS.items():
        try:
            figures = _figures(found[name], make) if name in found else []
        except (KeyError, TypeError) as error:
            raise Refused(
                f"{name}.json: not as this version of benchmarks writes it ({error!r}); measure again"
            ) from None
        drawn = [_picture(*picture, results, beside)] if picture and figures else []
        text = [f"## {_capital(heading)}", why.get(heading, ""), *drawn, *(figures or ["Not measured."])]
        parts.append("\n\n".join(filter(None, text)))
    parts.append(f"## Where the figures are from\n\n{_sources(found)}")
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _capital(heading: str) -> str:
    return heading[0].upper() + heading[1:]


def _figures(found: Mapping, make) -> list[str]:
    """Where and when, and the tables; nothing where that part was not measured."""
    shown = [part if isinstance(part, str) else tables.markdown(part) for part in make(found)]
    return [f"*{record.origin(found)}*", *shown] if shown else []


def _picture(name: str, words: str, results: Path, beside: Path) -> str:
    """A link to the PNG that lies beside the results; nothing where it is not there."""
    path = results / f"{name}.png"
    link = Path(os.path.relpath(path.resolve(), beside.resolve())).as_posix()
    return f"![{words}]({link})" if path.exists() else ""


def check(rows: Sequence[Mapping], why: Mapping[str, str]) -> None:
    """Raises Refused where a missed goal has no paragraph, or a paragraph no missed goal or section."""
    missed = {_paragraph(row) for row in rows if _missed(row)}
    if lacking := sorted(heading for heading in missed if not why.get(heading)):
        raise Refused(f"missed goals without a paragraph in the prose: {'; '.join(f'## {one}' for one in lacking)}")
    known = {_paragraph(row) for row in rows if row["reached"] is not None}
    for heading in why:
        if heading.startswith("missed: ") and heading not in missed:
            verb = "is reached" if heading in known else "is not one that was measured"
            raise Refused(f"the prose explains a goal that {verb}: ## {heading}")
        if heading and not heading.startswith("missed: ") and heading not in chapters.SECTIONS:
            raise Refused(
                f"the prose has a section without a place: ## {heading}; there are {', '.join(chapters.SECTIONS)}"
            )


def _missed(row: Mapping) -> bool:
    return verdict(row) not in ("passed", "not measured")


def _paragraph(row: Mapping) -> str:
    return f"missed: {row['workload']}, {row['rival']}"


def _sources(found: Mapping) -> str:
    """Every command behind the figures: of a file to which cases were added, each of theirs."""
    rows = []
    for name, of in found.items():
        openings = [case["environment"] for case in of.get("cases", ())] or [of]
        last = {(one["command"], one["hardware"]["cpu"]): one["date"] for one in openings}
        for (command, cpu), date in last.items():
            rows.append([f"`{name}.json`", f"`{command}`", date[:16].replace("T", " "), cpu])
    return tables.markdown(tables.Table("", ["file", "command", "date (UTC)", "machine"], rows))


if __name__ == "__main__":
    sys.exit(main())
