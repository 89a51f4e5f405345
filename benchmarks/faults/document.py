"""docs/reliability.md, from benchmarks/results/faults.json and docs/reliability.why.md.

Every figure comes from the results, every sentence from the .why.md, which is written by hand: a section there
(`## checkpoints`) goes to the section of that name here.

    python -m benchmarks.faults.document            # writes it
    python -m benchmarks.faults.document --check    # says whether it is what would be written
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks import prose, record, tables
from benchmarks.faults.__main__ import ROWS
from benchmarks.prose import ROOT, Refused

RESULTS = record.RESULTS / "faults.json"
DOCUMENT = ROOT / "docs" / "reliability.md"
BEFORE = ("what is promised", "what is not promised")
TABLE, FIGURES = "what was made to go wrong", "other figures"
AFTER = ("what was not made, and why",)
ROOMS = {  # of benchmarks.faults -> its heading
    "kills": "kills",
    "signals": "signals",
    "storage": "disks",
    "checkpoints": "checkpoints",
    "rows": "metric rows",
    "inputs": "files from outside",
    "hypers": "hyper-parameters",
    "memory": "memory",
    "processes": "several processes",
    "configs": "changed configs",
    "hosts": "several hosts",
    "places": "places",
    "devices": "devices",
}
HEADINGS = (*BEFORE, TABLE, *ROOMS.values(), FIGURES, *AFTER)


def main(argv=None) -> int:
    """Writes or checks the document; returns the exit status."""
    flags = prose.flags("faults.document", RESULTS, DOCUMENT)
    return prose.write(flags, argv, lambda args, why: made(read(args.results), why))


def read(path: Path) -> dict:
    """The results.

    Raises:
      Refused: there are none, or of the short run alone.
    """
    if not path.exists():
        raise Refused(f"{path}: not there; python -m benchmarks.faults --full writes it, in an hour and more")
    found = json.loads(path.read_text())
    if not found.get("full"):
        raise Refused(f"{path}: of the short run; python -m benchmarks.faults --full makes what the table asks for")
    return found


def made(found: Mapping, why: Mapping[str, str]) -> str:
    """The document.

    Args:
      found: the results, as `read` returns them.
      why: heading -> text, "" for what comes first.

    Raises:
      Refused: a section has no place.
    """
    if unknown := [heading for heading in why if heading and heading not in HEADINGS]:
        raise Refused(f"the prose has a section without a place: ## {unknown[0]}; there are {', '.join(HEADINGS)}")
    rows = found["rows"]
    parts = [f"# Reliability\n\n{why.get('', '')}"]
    parts += [_section(heading, why) for heading in BEFORE]
    figures = (f"*{record.origin(found)}*", _total(rows), tables.markdown(faults(rows)), *_broken(rows))
    parts.append(_section(TABLE, why, *figures))
    for room, heading in ROOMS.items():
        parts.append(_section(heading, why, *_of_room([row for row in rows if row["room"] == room])))
    parts.append(_section(FIGURES, why, tables.markdown(facts(rows))))
    parts += [_section(heading, why) for heading in AFTER]
    day = found["date"][:16].replace("T", " ")
    revisions = dict.fromkeys(row["revision"][:8] for row in rows if "revision" in row)
    of = f", at {', '.join(revisions)}" if revisions else ""
    parts.append(f"## Where the figures are from\n\n`{found['command']}`, {day} UTC{of}.")
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def _section(heading: str, why: Mapping[str, str], *more: str) -> str:
    """Nothing where there is nothing to say."""
    text = [part for part in (why.get(heading, ""), *more) if part]
    return "\n\n".join([f"## {heading[0].upper()}{heading[1:]}", *text]) if text else ""


def _total(rows: Sequence[Mapping]) -> str:
    trials, kept, seconds = (sum(row[key] for row in rows) for key in ("trials", "kept", "seconds"))
    lacking = [name for name in ROWS if name not in {row["room"] for row in rows}]
    said = f"**{kept:,} of {trials:,} faults were survived as promised**, made in {seconds / 60:,.0f} minutes."
    return said + (f" Not made: {', '.join(lacking)}." if lacking else "")


def faults(rows: Sequence[Mapping]) -> tables.Table:
    """A line a row of the results, in the order they were made."""
    lines = []
    for row in rows:
        kept = f"{row['kept']:,} of {row['trials']:,}"
        kept = kept if row["kept"] == row["trials"] else f"**{kept}**"
        lines.append([row["fault"], row["promise"], kept, f"{row['seconds']:,.0f}"])
    return tables.Table("", ["fault", "what happens", "as promised", "seconds"], lines)


def _broken(rows: Sequence[Mapping]) -> Iterator[str]:
    """What was not kept, in full."""
    lines = [f"- {row['fault']}: {name}: {said}" for row in rows for name, said in row["broken"].items()]
    if lines:
        yield "**Promises that were broken**\n\n" + "\n".join(lines)


MOST_KINDS = 24


def _of_room(rows: Sequence[Mapping]) -> Iterator[str]:
    """What kinds of a fault there were, the most frequent first; nothing of a row whose trials were all of one."""
    for row in rows:
        kinds = sorted(row["kinds"].items(), key=lambda one: -one[1])
        if 1 < len(kinds) <= MOST_KINDS and any(count > 1 for _, count in kinds):
            yield f"*{row['fault']}*: " + ", ".join(f"{name} {count:,}" for name, count in kinds) + "."
        elif 1 < len(kinds) <= MOST_KINDS:
            yield f"*{row['fault']}*: " + ", ".join(name for name, _ in kinds) + "."


def facts(rows: Sequence[Mapping]) -> tables.Table:
    """The other figures of all rows."""
    lines = [[row["fault"], name, _shown(value)] for row in rows for name, value in row["facts"].items()]
    return tables.Table("", ["fault", "figure", ""], lines)


def _shown(value) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main())
