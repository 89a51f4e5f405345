"""docs/scaling.md, from costs.json, fleet.json and docs/scaling.why.md: `python -m benchmarks.scaling_document`.

Every figure comes from a results file, every sentence from the .why.md, which is written by hand: a section there
(`## bookkeeping`) goes to the section of that name here, before its tables.

    python -m benchmarks.scaling_document            # writes it
    python -m benchmarks.scaling_document --check    # says whether it is what would be written
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks import prose, record, scaling_chapters, tables
from benchmarks.fleet import chapters as fleet_chapters
from benchmarks.prose import ROOT, Refused

DOCUMENT = ROOT / "docs" / "scaling.md"
PICTURE = "scaling.png"
COMMANDS = {"costs": "python -m benchmarks.costs", "fleet": "python -m benchmarks.fleet"}
# Heading, which is also that of its prose -> (results file, what makes its tables); None: prose alone.
SECTIONS = {
    "ways to scale": None,
    "the cost model": ("costs", scaling_chapters.model),
    "predictions": ("costs", scaling_chapters.predictions),
    "host traffic": ("costs", scaling_chapters.traffic),
    "bookkeeping": ("costs", scaling_chapters.books),
    "a simulated fleet": ("fleet", fleet_chapters.hosts),
    "time and waste": ("fleet", fleet_chapters.sizes),
    "where the device-hours go": ("fleet", fleet_chapters.causes),
    "the next bottleneck": ("fleet", fleet_chapters.bottlenecks),
    "groups and checkpoints": ("fleet", fleet_chapters.cuts),
    "what is left out": None,
}
DRAWN = "time and waste"  # the section that shows the figure


def main(argv=None) -> int:
    """Writes or checks the document; returns the exit status."""
    flags = prose.flags("scaling_document", record.RESULTS, DOCUMENT)
    return prose.write(flags, argv, lambda args, why: made(read(args.results), why, args.out.parent))


def read(results: Path) -> dict[str, dict]:
    """Both results files.

    Raises:
      Refused: one is not there.
    """
    for name, command in COMMANDS.items():
        if not (results / f"{name}.json").exists():
            raise Refused(f"{results / name}.json: not there; {command} writes it")
    return {name: json.loads((results / f"{name}.json").read_text()) for name in COMMANDS}


def made(found: Mapping, why: Mapping[str, str], beside: Path) -> str:
    """The document.

    Args:
      found: the results, as `read` returns them.
      why: the prose, as `prose.sections` returns it.
      beside: the folder of the document, where its figure is.

    Raises:
      Refused: a section of the prose has no place, a fleet was simulated at other costs than those that are there, or a
        results file lacks a key.
    """
    if unknown := [heading for heading in why if heading and heading not in SECTIONS]:
        raise Refused(f"the prose has a section without a place: ## {unknown[0]}; there are {', '.join(SECTIONS)}")
    if found["fleet"]["measured"]["date"] != found["costs"]["date"]:
        raise Refused("fleet.json: of other costs than costs.json has; python -m benchmarks.fleet simulates it again")
    parts = [f"# Scaling\n\n{why.get('', '')}"]
    for heading, source in SECTIONS.items():
        text = [f"## {heading[0].upper()}{heading[1:]}", why.get(heading, "")]
        if heading == DRAWN and (beside / PICTURE).exists():
            text.append(f"![time, and device-hours by cause, against devices]({PICTURE})")
        if source:
            text += _figures(found, *source)
        parts.append("\n\n".join(filter(None, text)))
    rows = [
        [f"`{name}.json`", f"`{of['command']}`", of["date"][:16].replace("T", " "), of["hardware"]["cpu"]]
        for name, of in found.items()
    ]
    sources = tables.markdown(tables.Table("", ["file", "command", "date (UTC)", "machine"], rows))
    parts.append(f"## Where the figures are from\n\n{sources}")
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _figures(found: Mapping, name: str, make) -> list[str]:
    try:
        shown = [part if isinstance(part, str) else tables.markdown(part) for part in make(found[name])]
    except (LookupError, TypeError) as error:
        raise Refused(
            f"{name}.json: not as this version of benchmarks writes it ({error!r}); {COMMANDS[name]} writes it anew"
        ) from None
    return [f"*{record.origin(found[name])}*", *shown]


if __name__ == "__main__":
    sys.exit(main())
