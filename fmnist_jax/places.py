"""Where groups are kept: what a group's directory says of it, and where a whole workdir stands."""

import functools
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from fmnist_jax import arms, groups, programs, train, writers
from fmnist_jax.arms import Arm
from fmnist_jax.errors import RunError

_ENDS = {"done.json", "failed.json", "split.json"}  # with one of them a group waits no more to be trained


class Place:
    """A group's directory."""

    def __init__(self, directory: Path):
        self.directory = directory
        self.name = directory.name

    @functools.cached_property
    def contents(self) -> dict:
        """group.json: {"arms": [{"name", "override"}], "runs": [[arm, seed, fold]], "parameters", "cost" of a run}."""
        return writers.read_json(self.directory / "group.json")

    @property
    def trained(self) -> bool:
        """Whether its runs are at their end."""
        return (self.directory / "done.json").exists()

    @property
    def tested(self) -> tuple[set[int], int]:
        """Which of its runs have read the test set, and over how many images their activities were correlated."""
        path = self.directory / "test.json"
        found = writers.read_json(path) if path.exists() else {"runs": []}
        return set(found["runs"]), found.get("activities", 0)  # older workdirs have no word of them

    @property
    def most(self) -> int | None:
        """How many of its runs a group may have, if all of them did not fit into memory; then they go to others."""
        path = self.directory / "split.json"
        return writers.read_json(path)["most"] if path.exists() else None

    def names(self) -> list[str]:
        """Of the files in it, by one question; none where it is gone."""
        return _names(self.directory)

    def split(self) -> None:
        """Gives its runs, two or more, up to groups of half its width, which start again."""
        writers.write_json(self.directory / "split.json", {"most": (len(self.contents["runs"]) + 1) // 2})
        shutil.rmtree(self.directory / "checkpoints", ignore_errors=True)

    def fail(self, failure: dict | None) -> None:
        """Keeps why it failed: {"error", "traceback", "at"}; None, if it did not, keeps nothing."""
        if failure:
            writers.write_json(self.directory / "failed.json", failure)

    @property
    def failure(self) -> dict | None:
        """Why it failed, if it did."""
        path = self.directory / "failed.json"
        return writers.read_json(path) if path.exists() else None

    @functools.cached_property
    def runs(self) -> list[groups.RunKey]:
        """Its runs, in order."""
        identities = [arms.identity(arms.override_of(arm)) for arm in self.contents["arms"]]
        return [groups.RunKey(identities[i], seed, fold) for i, seed, fold in self.contents["runs"]]

    def build(self, workshop: groups.Workshop) -> programs.Group:
        """The group as it was made, from the overrides it remembers."""
        made = []
        for arm in self.contents["arms"]:
            override = arms.override_of(arm)
            made.append(workshop.prepare(Arm(arm["name"], override, arms.overlay(workshop.checked, override), {})))
        if len({(one.static, groups.split_key(one.source)) for one in made}) > 1:
            raise RunError(f"{self.directory}: its runs are not of one program; remove it to train them in new groups")
        return workshop.group(self.name, made, [tuple(run) for run in self.contents["runs"]])

    @property
    def step(self) -> int:
        """How far its newest checkpoint is; 0 where there is none."""
        manifests = self.directory.glob("checkpoints/*.manifest.json")
        return max((int(path.name.split(".")[0]) for path in manifests), default=0)


def waits(place: Place) -> bool:
    """Whether a group is still to be trained."""
    return _ENDS.isdisjoint(place.names())


def there(workdir: Path) -> list[Place]:
    """The groups of a workdir, in the order they were made."""
    found = [p.parent for p in workdir.glob("groups/*/group.json") if p.parent.name.isdigit()]
    return [Place(directory) for directory in sorted(found, key=lambda p: int(p.name))]


def tested(workdir: Path, override: dict) -> list[tuple[Place, str]]:
    """The groups in which an arm has read the test set, and what it is called there."""
    found = []
    for place in there(workdir):
        then = [arm["name"] for arm in place.contents["arms"] if arms.same(arms.override_of(arm), override)]
        if then and place.most is None and place.tested[0]:
            found.append((place, then[0]))
    return found


def make(workdir: Path, parts: Iterable[tuple[Sequence[groups.Prepared], Sequence[tuple[int, int, int]]]]) -> None:
    """New group directories, one for the runs of each part, as `groups.divide` has them."""
    groups_ = workdir / "groups"
    # An empty one is of a process that was killed before it could say what is in it.
    there = [n for n in _numbers(groups_) if any(not child.startswith(".") for child in _names(groups_ / n))]
    for number, (prepared, runs) in enumerate(parts, max(map(int, there), default=-1) + 1):
        _make(groups_ / str(number), prepared, runs)


def _names(directory: Path) -> list[str]:
    try:
        return os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):  # none yet, or none any more
        return []


def _numbers(directory: Path) -> set[str]:
    return {name for name in _names(directory) if name.isdigit()}


def _make(directory: Path, prepared: Sequence[groups.Prepared], runs: Sequence[tuple[int, int, int]]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    first = prepared[runs[0][0]]
    contents = {
        "arms": [{"name": one.arm.name, "override": one.arm.override} for one in prepared],
        "runs": [list(run) for run in runs],
        "parameters": train.param_count(first.static, first.hyper),
        "cost": groups.cost(first.static),
    }
    writers.write_json(directory / "group.json", contents)


class Standing:
    """Where a workdir stands: the groups that have a run of the study, without those whose runs went to others.

    Attributes:
      places: them.
      runs: all that are in some group, of this study or of one it was before.
      limits: run -> how many a group of it may have, where more did not fit into memory.
      files: group's name -> names of its files, when it was last looked at.
      trained: names of those that are at their end, as far as seen.
      waiting: those that were neither trained nor failed when they were last looked at.
    """

    def __init__(self, directory: Path, wanted: set[groups.RunKey]):
        self._groups, self.wanted = directory / "groups", wanted
        self._known: dict[str, Place] = {}
        self.refresh()

    def refresh(self) -> "Standing":
        """Looks at every group anew: one question each, since many processes may ask the same disk."""
        found = {name: _names(self._groups / name) for name in sorted(_numbers(self._groups), key=int)}
        self.files = files = {name: of for name, of in found.items() if "group.json" in of}
        self._known = {name: self._known.get(name) or Place(self._groups / name) for name in files}
        split = [place for name, place in self._known.items() if "split.json" in files[name]]
        whole = [place for name, place in self._known.items() if "split.json" not in files[name]]
        self.places = [place for place in whole if not self.wanted.isdisjoint(place.runs)]
        self.runs: set[groups.RunKey] = {key for place in whole for key in place.runs}
        self.limits: dict[groups.RunKey, int] = {}
        for place in split:
            self.limits |= {key: min(place.most, self.limits.get(key, place.most)) for key in place.runs}
        self.trained = {place.name for place in self.places if "done.json" in files[place.name]}
        self.waiting = [place for place in self.places if _ENDS.isdisjoint(files[place.name])]
        return self

    def renew(self) -> None:
        """As `refresh`, if groups were made or removed since; by one question, where there were none."""
        names = _numbers(self._groups)
        made = any((self._groups / name / "group.json").exists() for name in names - self._known.keys())
        if made or self._known.keys() - names:
            self.refresh()

    def look(self) -> list[Place]:
        """What is waiting now, for who looks often: nothing is asked of a group that was trained before.

        One that was, and that another process has found damaged since, is that one's to train; `refresh` sees it.
        """
        self.renew()
        self.waiting = []
        for place in (place for place in self.places if place.name not in self.trained):
            files = self.files[place.name] = place.names()
            if "done.json" in files:
                self.trained.add(place.name)
            elif _ENDS.isdisjoint(files):
                self.waiting.append(place)
        return self.waiting

    def shares(self, place: Place, waiting: Sequence[Place]) -> tuple[float, float]:
        """The work that is not `waiting`, and that of `place`, as shares of all groups'."""
        costs = {p.name: p.contents["cost"] * len(p.contents["runs"]) for p in self.places}
        left = sum(costs[p.name] for p in waiting)
        total = sum(costs.values())
        return 1 - left / total, costs[place.name] / total
