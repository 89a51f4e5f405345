"""A paper's chapter of docs/replication.md: GitHub's Markdown, made from the same numbers as its page."""

import re
from collections import Counter

from fmnist_jax import exhibits, tidy
from fmnist_jax.exhibits import Figure, Table
from fmnist_jax.report import exhibits as rendered
from fmnist_jax.report import findings, words
from fmnist_jax.report.paper import Filled, filled, headline

SIGNS = {"replicated": "✅", "not replicated": "❌", "inconclusive": "❔", "not judged": "–"}


HEAD = (
    "| Study | Claims replicated | not | inconclusive | not judged | Runs | Wall time |",
    "| --- | --- | --- | --- | --- | --- | --- |",
)


def row(paper: tidy.Paper, found: Filled) -> str:
    """A paper's line in the table of all, under HEAD."""
    counts = Counter(verdict.verdict for verdict in found.verdicts if not verdict.ours)
    link = f"[{rendered.safe(paper.name)}](#{_anchor(_heading(paper))}) {rendered.safe(paper.reference)}"
    numbers = [str(counts[verdict]) for verdict in SIGNS]
    wall = paper.facts.get("wall_seconds")
    return (
        "| " + " | ".join([link, *numbers, f"{len(paper.study.runs):,}", words.seconds(wall) if wall else "–"]) + " |"
    )


def _heading(paper: tidy.Paper) -> str:
    return f"{paper.name}: {paper.title}"


def _anchor(heading: str) -> str:
    """What GitHub makes of a heading."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def section(paper: tidy.Paper, images: str) -> str:
    """The chapter, headed by the paper's name and title (##); `images` is the folder of its figures, from the chapter.

    Raises:
      ValueError: as `report.paper.filled`.
    """
    found = filled(paper)
    safe = rendered.safe
    lines = [f"## {safe(_heading(paper))}", "", safe(paper.reference), ""]
    lines += [f"*{safe(paper.question)}*", ""] if paper.question else []
    if paper.study.synthetic:
        lines += ["> **Synthetic data: drawn images. Nothing here is a result.**", ""]
    lines += [f"**{headline(found.verdicts)}.**", ""] if found.verdicts else []
    lines += [*(f"- {safe(note)}" for note in paper.notes), ""] if paper.notes else []
    lines += [*_verdicts(paper, found.verdicts), ""] if found.verdicts else []
    for one in found.made:
        lines += [*_exhibit(one, images), ""]
    lines += [_facts(paper)]
    return "\n".join(lines).rstrip() + "\n"


def _verdicts(paper: tidy.Paper, verdicts) -> list[str]:
    lines = ["| Claim | The paper | Our runs | Verdict |", "| --- | --- | --- | --- |"]
    for claim in findings.claims(paper.study, verdicts):
        said = f"*“{rendered.safe(claim['quote'])}”*" if claim["quote"] else rendered.safe(claim["statement"])
        figure = ": ".join(rendered.safe(claim[key]) for key in ("source", "paper") if claim[key])
        effect = f"**{claim['effect']}** " + (f"({claim['interval']}) " if claim["interval"] else "")
        ours = f"{effect}{rendered.safe(claim['effect_label'])}<br>" if claim["effect"] else ""
        sign = f"{SIGNS[claim['verdict']]} {claim['verdict']}"
        said += f"<br><sub>{figure}</sub>" if figure else ""
        said += f"<br><sub>Tested: {rendered.safe(claim['statement'])}.</sub>" if claim["quote"] else ""
        reason = f"<sub>{rendered.safe(claim['reason'])}</sub>"
        name = f"**{rendered.safe(claim['name'])}**" + ("<br><sub>ours</sub>" if claim["ours"] else "")
        lines.append(f"| {name} | {said} | {ours}{reason} | {sign} |")
    return lines


def _exhibit(one: Table | Figure, images: str) -> list[str]:
    exhibit = one.exhibit
    source = f"**{rendered.safe(exhibit['source'])}.** " if exhibit["source"] else ""
    lines = [f"{source}{rendered.safe(exhibit['title'])}", ""]
    if isinstance(one, Table):
        return [*lines, rendered.markdown(one, legend=False)]
    alt = rendered.safe(rendered.caption(exhibit))
    lines += [f"![{alt}]({images.rstrip('/')}/{exhibits.slug(exhibit['name'])}.png)", ""]
    return [*lines, *rendered.footnote(rendered.figure_notes(one))]


def _facts(paper: tidy.Paper) -> str:
    """One line: how many runs, how long, on what, with what, by which command."""
    facts, study = paper.facts, paper.study
    runs = f"{words.plural(len(study.runs), 'run')} of {words.plural(len(study.arms), 'arm')}"
    parts = [runs + (f" in {words.plural(len(paper.parts), 'part')}" if paper.parts else "")]
    wall, machine = facts.get("wall_seconds"), facts.get("machine")
    if wall:
        parts.append(words.seconds(wall) + (f" on {machine}" if machine else ""))
    elif machine:
        parts.append(str(machine))
    packages = {**facts.get("packages", {}), **facts.get("versions", {})}
    parts += [f"jax {packages['jax']}"] if "jax" in packages else []
    text = f"<sub>{rendered.safe('; '.join(parts))}.</sub>"
    return text + (f"\n\n```sh\n{words.command(facts['command'])}\n```" if facts.get("command") else "")
