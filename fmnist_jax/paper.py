"""A published study, repeated: its parts are studies, trained one after the other; then all its claims and exhibits.

Runs of all parts are read as one table with a factor `part`, so that a claim or a table may ask across them.
"""

import dataclasses
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from fmnist_jax import arms, config, hosts, reading, results, study, sweep, terminal, tidy, writers
from fmnist_jax.config import Experiment
from fmnist_jax.errors import RunError, UserError
from fmnist_jax.hosts import Hosts
from fmnist_jax.share import ALONE, Share
from fmnist_jax.store import Disk

ABOUT = ("title", "reference", "question", "metric", "notes", "parts", "claims", "exhibits")


@dataclasses.dataclass(frozen=True, eq=False)
class Replication:
    """What a paper's study came to: `parts` name -> results, `paper` all of them together."""

    parts: dict[str, results.Results]
    paper: tidy.Paper

    @property
    def study(self) -> tidy.Study:
        """The runs of all parts as one study; its factor "part" says whose a run is."""
        return self.paper.study

    @property
    def verdicts(self) -> tuple:
        """Of the paper's claims."""
        from fmnist_jax import claims

        return claims.judge(self.study)


def run(
    checked: Experiment,
    place: Path | Disk,
    console: Console,
    retry: bool = False,
    share: Share = ALONE,
    hosts: Hosts = hosts.ALONE,
    allow_change: bool = False,
) -> Replication | None:
    """Trains every part in <part>/ of a workdir, then writes and shows the paper's tables, figures and verdicts.

    Raises:
      UserError: a part, claim or exhibit is wrong; before anything is trained.
      RunError: groups of a part failed; everything else is trained, written and shown before.
      session.Interrupted: on SIGINT or SIGTERM; the same command goes on.
    """
    store = place if isinstance(place, Disk) else Disk(place)
    directory = store.directory
    parts = check(checked, directory, console, allow_change)
    if not hosts.leads:
        for name, part in parts.items():
            study.run(part, store.part(name), console, hosts=hosts)
        return None
    with store.lock(not share.alone):
        return _run(checked, parts, store, console, retry, share, hosts, allow_change)


def _run(
    checked: Experiment,
    parts: dict[str, Experiment],
    store: Disk,
    console: Console,
    retry: bool,
    share: Share,
    hosts: Hosts,
    allow_change: bool,
) -> Replication:
    directory = store.directory
    with store.turn():
        writers.write_json(directory / "paper.json", description(checked))
    failures, found = [], {}
    for i, (name, part) in enumerate(parts.items(), 1):
        title = f"{escape(directory.name)}, part {i} of {len(parts)}: {escape(name)}"
        console.print(f"\n[bold]{title}[/bold]", highlight=False)
        try:
            found[name] = study.run(part, store.part(name), console, retry, share, hosts, allow_change)
        except RunError as error:
            failures.append(f"{name}: {error}")
            terminal.say(console, f"part {name}: {error}")
    replication = Replication(found, read(directory))
    with store.turn():
        write(replication.paper, directory, console)
    if failures:
        raise RunError("; ".join(failures))
    return replication


def check(checked: Experiment, directory: Path, console: Console, allow_change: bool = False) -> dict[str, Experiment]:
    """The parts, if they, and the paper's claims and exhibits, are in order.

    Raises:
      UserError: they are not.
    """
    if (directory / "study.json").exists():
        raise UserError(f"workdir {directory} holds a study, which is no paper; choose another with --workdir=DIR")
    parts = config.parts(checked)
    check_asked(checked, parts)
    for name, part in parts.items():
        try:
            study.check(part, directory / name, console, allow_change)
        except UserError as error:
            raise UserError(f"part {name}: {error}") from None
    return parts


def check_asked(checked: Experiment, parts: dict[str, Experiment]) -> None:
    """Refuses a claim or an exhibit that is none, or asks after a factor that no part has.

    Raises:
      UserError: says which and why.
    """
    from fmnist_jax import claims, exhibits

    keys = ["part", *_keys(parts)]
    asked = (("claims", checked.claims, claims.check), ("exhibits", checked.paper.exhibits, exhibits.check))
    for kind, given, refuse in asked:
        for one in given:
            try:
                refuse(one, keys)
            except ValueError as error:
                raise UserError(f"{kind}: {error}") from None
    files = [exhibits.slug(one["name"]) for one in checked.paper.exhibits]
    if twice := [name for name in files if files.count(name) > 1]:
        raise UserError(f"exhibits: {twice[0]}: is the name of two; their files would be one")


def _keys(parts: dict[str, Experiment]) -> list[str]:
    """The factors of all parts: what a sweep varies, and what all its overrides set alike, to tell it from others."""
    keys = []
    for part in parts.values():
        keys += [key for arm in arms.arms_of(part) for key in arm.factors]
        values = [{key: repr(value) for key, value in override.items()} for override in part.sweep]
        keys += [key for key in (values[0] if values else ()) if len({one.get(key) for one in values}) == 1]
    return list(dict.fromkeys(keys))


def _settings(parts: dict[str, Experiment]) -> dict[str, dict[str, dict]]:
    """part -> arm -> the values of all factors of the paper."""
    keys, found = _keys(parts), {}
    for name, part in parts.items():
        found[name] = {}
        for arm in arms.arms_of(part):
            flat = config.flatten(arm.experiment)
            named = {sweep.VARIANT: arm.factors.get(sweep.VARIANT, "base")}
            found[name][arm.name] = {k: named[k] if k == sweep.VARIANT else tidy.simple(flat[k]) for k in keys}
    return found


def description(checked: Experiment) -> dict:
    """What paper.json holds; claims, exhibits and notes may be edited there, and the page made again."""
    paper = checked.paper
    return {
        "title": paper.title,
        "reference": paper.reference,
        "question": checked.question,
        "metric": checked.metric,
        "notes": list(paper.notes),
        "parts": _settings(config.parts(checked)),
        "claims": list(checked.claims),
        "exhibits": list(paper.exhibits),
    }


def is_one(directory: Path) -> bool:
    """Whether a workdir is a paper's."""
    return (directory / "paper.json").exists()


def read(directory: Path) -> tidy.Paper:
    """What is in a paper's workdir so far.

    Raises:
      UserError: there is no paper.
      RunError: a file is damaged.
    """
    if not is_one(directory):
        raise UserError(f"{directory}: no paper; there is no paper.json in it")
    about = writers.read_json(directory / "paper.json")
    if missing := [key for key in ABOUT if key not in about]:
        raise UserError(f"{directory / 'paper.json'}: no {', '.join(missing)}; the paper's own command writes it anew")
    there = [name for name in about["parts"] if (directory / name / "study.json").exists()]
    parts = {name: reading.read(directory / name) for name in there}
    together = dataclasses.replace(
        tidy.combined(parts, about["parts"], directory.name, about["metric"]),
        question=about["question"],
        claims=tuple(about["claims"]),
    )
    return tidy.Paper(
        name=directory.name,
        title=about["title"],
        reference=about["reference"],
        question=about["question"],
        notes=tuple(about["notes"]),
        study=together,
        exhibits=tuple(about["exhibits"]),
        parts=tuple((name, part.question, _page(directory, name)) for name, part in parts.items()),
        facts=together.facts,
    )


def _page(directory: Path, part: str) -> str:
    """Where a part's own page is, from the paper's; "" where there is none."""
    return f"{part}/report.html" if (directory / part / "report.html").exists() else ""


def write(paper: tidy.Paper, directory: Path, console: Console) -> None:
    """The paper's page, tables and figures; and its tables and verdicts in the terminal."""
    from fmnist_jax.report import paper as page  # matplotlib and statistics take seconds to import

    path = page.write(paper, directory)
    page.show(paper, console)
    terminal.say(console, f"the paper's page: {path}")
