"""Documents made of results and of prose: every figure from a JSON, every sentence from a .why.md written by hand."""

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

ROOT = Path(__file__).parent.parent


class Refused(Exception):
    """The document cannot be made of what is there; the message says why, in a line."""


def flags(name: str, results: Path, document: Path) -> argparse.ArgumentParser:
    """A parser of `python -m benchmarks.NAME`, which writes a document of docs/ or checks it."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", allow_abbrev=False)
    parser.add_argument("--results", type=Path, default=results, help="the JSON, or where it is")
    parser.add_argument("--why", type=Path, default=document.with_suffix(".why.md"), help="the prose")
    parser.add_argument("--out", type=Path, default=document)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail where it is not what would be written"
    )
    return parser


def write(parser: argparse.ArgumentParser, argv, make: Callable[[argparse.Namespace, Mapping[str, str]], str]) -> int:
    """Writes or checks what `make` makes of the flags and the sections of the prose; returns the exit status."""
    args = parser.parse_args(argv)
    try:
        text = make(args, sections(args.why.read_text()))
        if args.check and (not args.out.exists() or args.out.read_text() != text):
            raise Refused(f"{args.out}: is not what the results make; {parser.prog} writes it")
    except Refused as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if not args.check:
        args.out.write_text(text)
        print(f"written to {args.out}")
    return 0


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
