"""A paper's page: its verdicts, then its tables and figures as the paper has them, in one self-contained file."""

import base64
import dataclasses
from collections import Counter
from pathlib import Path

import markupsafe
import pandas as pd
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table as Terminal

from fmnist_jax import claims, exhibits, tidy, writers
from fmnist_jax.claims import Verdict
from fmnist_jax.exhibits import Figure, Table
from fmnist_jax.report import drawings, findings, page, words
from fmnist_jax.report import exhibits as rendered

COLOURS = {"replicated": "green", "not replicated": "red", "inconclusive": "yellow", "not judged": "dim"}
SCRIPTS = ("format.js", "theme.js", "paper.js")


@dataclasses.dataclass(frozen=True, eq=False)
class Filled:
    """A paper with all that is computed of it."""

    paper: tidy.Paper
    verdicts: tuple[Verdict, ...]
    made: tuple[Table | Figure, ...]  # the exhibits, in order


def filled(paper: tidy.Paper) -> Filled:
    """The paper's claims judged and its exhibits filled.

    Raises:
      ValueError: a claim or an exhibit is not well-formed, or two exhibits would be one file.
    """
    names = [exhibits.slug(exhibit["name"]) for exhibit in paper.exhibits]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise ValueError(f"exhibit {twice[0]}: is the name of two; their files would be one")
    made = tuple(exhibits.compute(paper.study, exhibit) for exhibit in paper.exhibits)
    return Filled(paper, claims.judge(paper.study), made)


def write(paper: tidy.Paper, directory: Path, name: str = "report.html") -> Path:
    """Writes report.html, exhibits/<name>.png, .csv and .md, verdicts.csv, replication.json; returns the page.

    What is beside a page of another name is called by that name, so that two pages can share a directory.

    Raises:
      ValueError: as `filled`.
    """
    found, path = filled(paper), directory / name
    prefix = "" if name == "report.html" else f"{path.stem}_"
    folder = directory / f"{prefix}exhibits"
    folder.mkdir(parents=True, exist_ok=True)
    pictures = {}
    for one in found.made:
        slug = exhibits.slug(one.exhibit["name"])
        writers.write_csv(folder / f"{slug}.csv", rendered.csv(one))
        if isinstance(one, Figure):
            pictures[slug] = [drawings.png(one, look) for look in (drawings.LIGHT, drawings.DARK)]
            writers.write_atomically(folder / f"{slug}.png", pictures[slug][0])
        else:
            writers.write_atomically(folder / f"{slug}.md", f"{rendered.markdown(one)}\n")
    rows = [dataclasses.asdict(verdict) for verdict in found.verdicts]
    columns = [field.name for field in dataclasses.fields(Verdict)]
    writers.write_csv(directory / f"{prefix}verdicts.csv", pd.DataFrame(rows, columns=columns))
    writers.write_json(directory / f"{prefix}replication.json", as_json(found))
    writers.write_atomically(path, page.template("paper.html.j2").render(_context(found, pictures, folder.name)))
    return path


def as_json(found: Filled) -> dict:
    """Verdicts and the cells of all tables, for machines; numbers in metrics' own units, None where there is none."""
    paper = found.paper
    return {
        "name": paper.name,
        "title": paper.title,
        "reference": paper.reference,
        "headline": headline(found.verdicts),
        "synthetic": paper.study.synthetic,
        "unfinished": paper.study.unfinished,
        "runs": len(paper.study.runs),
        "verdicts": [{k: rendered.plain(v) for k, v in dataclasses.asdict(one).items()} for one in found.verdicts],
        "exhibits": [_exhibit_json(one) for one in found.made],
        "facts": paper.facts,
    }


def _exhibit_json(one: Table | Figure) -> dict:
    about = {key: one.exhibit[key] for key in ("name", "kind", "title", "source")}
    if isinstance(one, Figure):
        return {**about, "missing": list(one.missing)}
    cells = [{key: rendered.plain(value) for key, value in row.items()} for row in rendered.csv(one).to_dict("records")]
    return {**about, "cells": cells}


def headline(verdicts: tuple[Verdict, ...]) -> str:
    """'5 of 11 claims replicated, 3 not, 3 inconclusive': of the paper's; those of the study itself are not counted."""
    verdicts = tuple(verdict for verdict in verdicts if not verdict.ours)
    if not verdicts:
        return ""
    counts = Counter(verdict.verdict for verdict in verdicts)
    parts = [f"{counts['replicated']} of {words.plural(len(verdicts), 'claim')} replicated"]
    parts += [f"{counts['not replicated']} not"] if counts["not replicated"] else []
    parts += [f"{counts[which]} {which}" for which in ("inconclusive", "not judged") if counts[which]]
    return ", ".join(parts)


def show(paper: tidy.Paper, console: Console) -> None:
    """The paper's tables and verdicts in the terminal."""
    found = filled(dataclasses.replace(paper, exhibits=tuple(e for e in paper.exhibits if e["kind"] == "table")))
    for table in found.made:
        console.print(rendered.terminal(table))
        console.print()
    if not found.verdicts:
        return
    made = Terminal(
        title=headline(found.verdicts), title_style="bold", show_header=False, box=box.SIMPLE_HEAD, pad_edge=False
    )
    made.add_column(no_wrap=True)
    made.add_column(no_wrap=True)
    made.add_column(overflow="fold")
    for one in found.verdicts:
        verdict = f"[{COLOURS[one.verdict]}]{one.verdict}[/]"
        said = f"\n[dim]the paper: {escape(one.paper)}[/dim]" if one.paper else ""
        name = escape(one.name) + (" [dim](ours)[/dim]" if one.ours else "")
        made.add_row(name, verdict, f"{escape(one.statement)}{said}\n[dim]{escape(one.reason)}[/dim]")
    console.print(made)


def _context(found: Filled, pictures: dict[str, list[bytes]], folder: str) -> dict:
    paper = found.paper
    study = paper.study
    shown = [_shown(one, pictures) for one in found.made]
    turning = {f"turn-{one['slug']}": one["turning"] for one in shown if one["turning"]}
    about = {
        "paper": paper,
        "headline": headline(found.verdicts),
        "facts": _head_facts(paper),
        "banners": _banners(study),
        "claims": findings.claims(study, found.verdicts),
        "tally": findings.tally([verdict for verdict in found.verdicts if not verdict.ours]),
        "exhibits": shown,
        "folder": folder,
        **page.reproduce(paper.facts),
    }
    return about | {
        "sections": _sections(about),
        "style": markupsafe.Markup(page.asset("page.css") + page.asset("paper.css")),
        "data": page.embedded(turning),
        **page.scripts(SCRIPTS, plotly=bool(turning)),
    }


def _sections(about: dict) -> list[tuple[str, str]]:
    """(id, title) for the table of contents, in the page's order."""
    every = [
        ("differences", "What differs from the paper", about["paper"].notes),
        ("verdicts", "Verdicts", about["claims"]),
        *((f"exhibit-{one['slug']}", one["source"] or one["title"], True) for one in about["exhibits"]),
        ("parts", "Parts", about["paper"].parts),
        ("reproduce", "How to reproduce it", about["command"] or about["environment"] or about["config"]),
    ]
    return [(name, title) for name, title, there in every if there]


def _shown(one: Table | Figure, pictures: dict[str, list[bytes]]) -> dict:
    exhibit, slug = one.exhibit, exhibits.slug(one.exhibit["name"])
    figure = isinstance(one, Figure)
    turning = _turning(one) if figure and exhibit["kind"] == "scatter3d" and len(one.data) else None
    shown = pictures.get(slug, [])[: 1 if turning else 2]  # the still of one that turns is for browsers without WebGL
    return {
        "slug": slug,
        "source": exhibit["source"],
        "title": exhibit["title"],
        "caption": rendered.caption(exhibit),
        "table": "" if figure else rendered.html(one),
        "pictures": [base64.b64encode(data).decode() for data in shown],
        "turning": turning,
        "notes": rendered.figure_notes(one) if figure else rendered.notes(one),
        "files": ("csv", "png") if figure else ("csv", "md"),
    }


def _turning(figure: Figure) -> dict:
    """What the page needs to draw a scatter that turns."""
    exhibit, data = figure.exhibit, figure.data.dropna(subset=["mean"])
    share = words.is_share(exhibit["metric"], data["mean"]) and exhibit["unit"] == "percent"
    axes = []
    for factor in exhibit["factors"]:
        at, ticks, names = drawings.places(data, factor)
        title = words.factor_label(factor)
        axes.append({"title": title, "at": at.tolist(), "ticks": ticks, "names": names})
    return {
        "axes": axes,
        "values": ((100 if share else 1) * data["mean"]).round(5).tolist(),
        "title": words.metric_label(exhibit["metric"], share),
        "lower": tidy.lower_is_better(exhibit["metric"]),
        "log": drawings.is_wide(data["mean"]),
    }


def _head_facts(paper: tidy.Paper) -> list[tuple[str, str]]:
    study, facts = paper.study, paper.facts
    rows = [
        ("parts", f"{len(paper.parts)}"),
        ("arms", f"{len(study.arms):,}"),
        ("runs", f"{len(study.runs):,}"),
        ("data", str(facts.get("dataset", ""))),
        ("machine", str(facts.get("machine", ""))),
        ("wall time", words.seconds(facts["wall_seconds"]) if facts.get("wall_seconds") else ""),
        ("written", page.date(facts.get("written", ""))),
    ]
    return [(label, value) for label, value in rows if value]


def _banners(study: tidy.Study) -> list[tuple[str, str, str]]:
    """(kind, title, text) of what a reader must know first."""
    found = []
    if study.synthetic:
        found.append(("warn", "Synthetic data.", "These images are drawn, not photographed: nothing here is a result."))
    if study.unfinished:
        text = f"{words.plural(study.unfinished, 'run')} to come: numbers and verdicts are of what is there."
        found.append(("info", "Unfinished.", text))
    if study.failures:
        found.append(("error", "Failed:", "; ".join(f"{f['group']}: {f['error']}" for f in study.failures)))
    diverged = study.runs["diverged_at"].notna().sum() if "diverged_at" in study.runs else 0
    if diverged:
        text = f"{diverged} of {words.plural(len(study.runs), 'run')}; they are in no mean."
        found.append(("info", "Diverged:", text))
    return found
