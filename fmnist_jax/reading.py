"""A workdir read back as tidy tables, at any time: what its groups have come to so far."""

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from fmnist_jax import activities, arms, places, references, session, tidy, timing, writers
from fmnist_jax.errors import RunError, UserError
from fmnist_jax.places import Place

ABOUT = ("name", "question", "metric", "select_by", "seeds", "folds", "dataset", "synthetic", "refit", "arms", "claims")
MOST_CLASSES = 100  # with so many the runs table has a column each: "Shirt_recall"


def read(directory: Path, about: dict | None = None) -> tidy.Study:
    """The results in `directory`, so far, of the study that study.json says, or that `about` does.

    Raises:
      UserError: there is no study.
      RunError: a file of it is damaged.
    """
    if about is None and not (directory / "study.json").exists():
        raise UserError(f"{directory}: no study; there is no study.json in it")
    about = about or writers.read_json(directory / "study.json")
    if missing := [key for key in ABOUT if key not in about]:
        raise UserError(f"{directory / 'study.json'}: no {', '.join(missing)}; the study's own command writes it anew")
    identities = {arm["name"]: arms.identity(arms.override_of(arm)) for arm in about["arms"]}
    names = {identity: name for name, identity in identities.items()}
    whole = [place for place in places.there(directory) if place.most is None]
    parts = [part for place in whole if (part := _Part(place, about, names)).runs]
    curves, runs = _joined([part.curves for part in parts]), _joined([part.finals for part in parts])
    if len(runs) and runs.duplicated(list(tidy.AXES)).any():
        raise RunError(f"{directory}: a run is in two groups; remove one of them, or choose another --workdir")
    wanted = len(about["arms"]) * (about["seeds"][1] - about["seeds"][0]) * about["folds"]
    failed = sum(len(part.runs) for part in parts if part.failure)
    finished = sum(len(part.runs) for part in parts if part.place.trained and not part.failure)
    factors = list(dict.fromkeys(key for arm in about["arms"] for key in arm["factors"]))
    values = pd.DataFrame([{"arm": arm["name"], **arm["factors"]} for arm in about["arms"]])
    runs = values.merge(runs, on="arm", how="right") if len(runs) else _no_runs(values)
    runs = timing.with_column(directory, runs, identities)
    order = {arm["name"]: i for i, arm in enumerate(about["arms"])}
    runs = runs.sort_values(["seed", "fold", "arm"], key=lambda c: c.map(order) if c.name == "arm" else c)
    dataset = json_of(directory / "dataset.json")
    names = tuple(dataset.get("class_names", ()))
    runs = runs.rename(columns={f"{i}_recall": f"{name}_recall" for i, name in enumerate(names)})
    return tidy.Study(
        name=about["name"],
        question=about["question"],
        factors=tidy.factors_of(values, factors),
        metric=_measured(about["metric"], about["select_by"], runs),
        select_by=_measured(about["select_by"], about["metric"], runs),
        runs=runs.reset_index(drop=True),
        curves=curves,
        arms=tuple(order),
        claims=tuple(about["claims"]),
        facts=_facts(directory, about, parts),
        failures=tuple([part.failure for part in parts if part.failure] + _refit_failure(directory, about)),
        unfinished=wanted - finished - failed,
        synthetic=about["synthetic"],
        confusions=_confusions(parts, len(names)),
        activities=_activities(parts),
        class_names=names,
        wrong=tuple(json_of(directory / "outcomes.json").get("wrong", ())),
        train_size=dataset.get("train_size", 0),
        validation_size=dataset.get("validation_size", 0),
        references=references.read(directory, about.get("references", {"names": ()}), about["seeds"]),
    )


class _Part:
    """What a group adds to a study: its runs that are of the study, by the names their arms have now.

    Args:
      names: what makes an arm itself -> its name now.

    Attributes:
      runs: (arm's name now, seed, fold).
      curves, finals: tables of rows.
    """

    def __init__(self, place: Place, about: dict, names: Mapping[str, str]):
        self.place, (first, last) = place, about["seeds"]
        there = place.contents["arms"]
        now = [names.get(arms.identity(arms.override_of(arm))) for arm in there]
        of_run = [(now[i], seed, fold) for i, seed, fold in place.contents["runs"]]
        self.runs = [run for run in of_run if run[0] and first <= run[1] < last and run[2] < about["folds"]]
        self.now = {arm["name"]: name for arm, name in zip(there, now, strict=True)}
        self.seeds, self.done = (first, last - 1), None
        if self.runs:
            self.done = session.read_group(place.directory)
            self.curves = self._own(writers.read_table(place.directory / "metrics.jsonl"))
            self.finals = self._finals()

    def _own(self, frame: pd.DataFrame) -> pd.DataFrame:
        if not len(frame):
            return frame
        frame = frame.assign(arm=frame["arm"].map(self.now))
        return frame[frame["arm"].notna() & frame["seed"].between(*self.seeds)]

    def _finals(self) -> pd.DataFrame:
        """A row a run: what it came to, or how far it is."""
        extra = {"parameters": self.place.contents["parameters"], "group": self.place.name}
        if self.done is None:
            if not len(self.curves) or self.failure:
                return pd.DataFrame()
            last = self.curves.drop_duplicates(list(tidy.AXES), keep="last")
            return last.drop(columns="dataset").assign(stopped_at=np.nan, train_seconds=np.nan, finished=False, **extra)
        timing, results = self.done["timing"], self.done["results"]
        seconds = (timing["wall_seconds"] - timing["compile_seconds"]) / len(results)
        rows = [{k: v for k, v in row.items() if not isinstance(v, list) and k != "dataset"} for row in results]
        for row, result in zip(rows, results, strict=True):
            recalls = result.get("test_per_class_accuracy", ())
            row |= {f"{i}_recall": recall for i, recall in enumerate(recalls if len(recalls) <= MOST_CLASSES else ())}
        frame = self._own(pd.DataFrame(rows).assign(train_seconds=seconds, finished=True, **extra))
        measured = [c for c in frame.columns if c.startswith(("train_", "validation_", "test_"))]
        return frame.astype(dict.fromkeys([*measured, "diverged_at", "stopped_at"], "float64"))  # None if diverged

    @functools.cached_property
    def failure(self) -> dict | None:
        """Why it failed, and whom that costs."""
        if not (found := self.place.failure):
            return None
        return {
            "group": f"groups/{self.place.name}",
            "arms": list(dict.fromkeys(arm for arm, _, _ in self.runs)),
            "runs": [f"{arm}, seed {seed}, fold {fold}" for arm, seed, fold in self.runs],
            "error": found["error"],
        }


def json_of(path: Path) -> dict:
    """A JSON file, {} where there is none."""
    return writers.read_json(path) if path.exists() else {}


def _joined(frames: list[pd.DataFrame]) -> pd.DataFrame:
    frames = [frame for frame in frames if len(frame)]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _no_runs(values: pd.DataFrame) -> pd.DataFrame:
    return values.iloc[:0].assign(seed=0, fold=0, diverged_at=np.nan, stopped_at=np.nan)


def _measured(metric: str, otherwise: str, runs: pd.DataFrame) -> str:
    """`metric`, or another where no run has it: before the test set is read, and without a validation set."""
    there = [m for m in (metric, otherwise, "train_accuracy") if m in runs and runs[m].notna().any()]
    return there[0] if there else metric


def _confusions(parts: Sequence[_Part], classes: int) -> dict[str, np.ndarray]:
    """The sum of its runs' confusion matrices of the test set, by arm; diverged runs and other class counts apart."""
    sums: dict[str, np.ndarray] = {}
    for part in parts:
        own = set(part.runs)
        for row in part.done["results"] if part.done else ():
            arm = part.now[row["arm"]]
            tested = "test_confusion" in row and row["diverged_at"] is None
            if tested and (arm, row["seed"], row["fold"]) in own and len(row["test_confusion"]) == classes:
                sums[arm] = sums.get(arm, 0) + np.array(row["test_confusion"])
    return sums


def _activities(parts: Sequence[_Part]) -> dict[str, dict[str, np.ndarray]]:
    """Arm -> layer -> the mean of its runs' correlations of activities, where they were measured."""
    places: dict[str, list] = {}
    for part in parts:
        for then, now in part.now.items() if activities.there(part.place) else ():
            places.setdefault(now, []).append((part.place, then))
    of_study = {(seed, fold) for part in parts for _, seed, fold in part.runs}
    found, one = {}, {min(of_study, default=(0, 0))}  # units of different seeds are different units
    for arm, own in places.items():
        if arm and (layers := activities.of_arm(own, of_study)):
            found[arm] = layers | {"features": activities.of_arm(own, one).get("features", layers["features"])}
    return found


def _refit_failure(directory: Path, about: dict) -> list[dict]:
    path = directory / "refit" / "failed.json"
    if not about["refit"] or not path.exists():
        return []
    found, contents = writers.read_json(path), writers.read_json(directory / "refit" / "group.json")
    return [
        {"group": "refit", "arms": [contents["arms"][0]["name"]], "runs": ["all of its seeds"], "error": found["error"]}
    ]


def _facts(directory: Path, about: dict, parts: Sequence[_Part]) -> dict:
    """For "environment" and "how to reproduce it"."""
    environment, done = json_of(directory / "environment.json"), [part.done for part in parts if part.done]
    wall, compiling, images = (sum(d["timing"][k] for d in done) for k in ("wall_seconds", "compile_seconds", "images"))
    facts = {
        "dataset": about["dataset"],
        "seeds": about["seeds"][1] - about["seeds"][0],
        "folds": about["folds"],
        "groups": len(parts),
        "wall_seconds": wall,
        "compile_seconds": compiling,
        "images_per_second": images / (wall - compiling) if images and wall > compiling else None,
        "mode": ", ".join(sorted({d["mode"] + "ped" for d in done})),
        "devices": max((d["devices"] for d in done), default=None),
        **{k: environment.get(k) for k in ("command", "machine", "python", "packages", "git")},
        "config": json_of(directory / "config.json"),
        "refit": _refit(directory / "refit", about),
    }
    return {k: v for k, v in facts.items() if v not in (None, "", {})}


def _refit(directory: Path, about: dict) -> dict:
    """What the chosen arm came to after training on all of the training set; {} while it is not that arm's."""
    if not about["refit"] or not (directory / "test.json").exists() or not (directory / "group.json").exists():
        return {}
    from fmnist_jax import stats

    contents = writers.read_json(directory / "group.json")
    identity = arms.identity(arms.override_of(contents["arms"][0]))
    now = [arm["name"] for arm in about["arms"] if arms.identity(arms.override_of(arm)) == identity]
    rows = session.read_group(directory)["results"]
    if not now or [row["seed"] for row in rows] != list(range(*about["seeds"])):
        return {}
    at = stats.mean_interval([row["test_accuracy"] for row in rows if row["diverged_at"] is None])
    return {
        "arm": now[0],
        "duration": contents["duration"],
        **{f"test_accuracy_{k}": v for k, v in at._asdict().items()},
    }


def stamp(directory: Path) -> str:
    """A digest that changes whenever the tables would: of the arms, and of the files that the tables are made of."""
    about = writers.read_json(directory / "study.json")
    names = ("groups/*/metrics.jsonl", "groups/*/done.json", "groups/*/test.json", "timing.json")
    files = sorted(p for name in names for p in directory.glob(name))
    state = [(str(p.relative_to(directory)), p.stat().st_size, p.stat().st_mtime_ns) for p in files]
    text = json.dumps(
        [about["arms"], about["seeds"], about["folds"], about["tensorboard"], about.get("statistics"), state]
    )
    return hashlib.sha256(text.encode()).hexdigest()
