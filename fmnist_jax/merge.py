"""Workdirs of shards, joined to one of the whole study: its groups are links to theirs."""

from collections.abc import Sequence
from pathlib import Path

from fmnist_jax import places, workdir, writers
from fmnist_jax.errors import UserError

ABOUT = ("config.json", "study.json", "dataset.json", "environment.json")


def into(directory: Path, workdirs: Sequence[Path]) -> None:
    """Makes `directory` the workdir of what is in `workdirs`; where it is one already, adds what is not there yet.

    The same command as theirs, with it as its workdir, does what only a whole study allows: choosing, refits, timing.

    Raises:
      UserError: they are not of one study.
    """
    papers = [(one / "paper.json").exists() for one in workdirs]
    if any(papers):
        if not all(papers):
            raise UserError(f"{workdirs[papers.index(False)]}: no paper, as {workdirs[papers.index(True)]} is")
        directory.mkdir(parents=True, exist_ok=True)
        writers.write_json(directory / "paper.json", writers.read_json(workdirs[0] / "paper.json"))
        parts = dict.fromkeys(path.parent.name for one in workdirs for path in sorted(one.glob("*/study.json")))
        for part in parts:
            into(directory / part, [one / part for one in workdirs if (one / part / "study.json").exists()])
        return
    found = _of_one_study([directory] if (directory / "config.json").exists() else [], workdirs)
    (directory / "groups").mkdir(parents=True, exist_ok=True)
    there = {key for place in places.there(directory) for key in place.runs}
    number = max((int(place.name) for place in places.there(directory)), default=-1)
    for place in found:
        if there.isdisjoint(place.runs):
            number += 1
            (directory / "groups" / str(number)).symlink_to(place.directory.resolve(), target_is_directory=True)
    for name in ABOUT:
        writers.write_json(directory / name, writers.read_json(workdirs[0] / name))


def _of_one_study(before: Sequence[Path], workdirs: Sequence[Path]) -> list[places.Place]:
    """The groups of the workdirs, without those whose runs went to others."""
    found, runs = [], {}
    for one in workdirs:
        if missing := [name for name in ABOUT if not (one / name).exists()]:
            raise UserError(f"{one}: no study; there is no {missing[0]} in it")
        for other in [*before, workdirs[0]]:
            workdir.check_joins(other, one)
        for place in places.there(one):
            if place.most is None:
                if twice := [key for key in place.runs if key in runs]:
                    raise UserError(f"{one}: a run is in both it and {runs[twice[0]]}; leave one of them out")
                runs |= dict.fromkeys(place.runs, one)
                found.append(place)
    return found
