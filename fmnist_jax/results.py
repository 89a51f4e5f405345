"""A workdir's results: read back as tidy tables at any time, asked, plotted, and written out for others.

results = fmnist_jax.run(config)      # or results.Results.load("runs/my_study")
results.table                         # a row a run
results.summary()                     # mean, sd, intervals of every arm
results.compare("learning_rate=0.01", "learning_rate=0.001")
"""

import functools
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from fmnist_jax import activities, arms, groups, outcomes, references, session, tidy, timing, writers
from fmnist_jax.arms import Arm
from fmnist_jax.config import Experiment
from fmnist_jax.errors import RunError, UserError
from fmnist_jax.groups import Place

# Statistics, claims and figures are imported where they are used: statsmodels, matplotlib and their like take seconds,
# which a study that is about to train need not wait for.
if TYPE_CHECKING:
    from fmnist_jax import stats
    from fmnist_jax.analysis import Analysis
    from fmnist_jax.claims import Verdict

ABOUT = ("name", "question", "metric", "select_by", "seeds", "folds", "dataset", "synthetic", "refit", "arms", "claims")
MOST_CLASSES = 100  # with so many the runs table has a column each: "Shirt_recall"
TENSORBOARD_RUNS = 1000  # more would be as many directories, which TensorBoard does not show either


class Results:
    """What a study has come to so far."""

    def __init__(self, study: tidy.Study, directory: Path):
        self.study, self.directory = study, directory

    @classmethod
    def load(cls, directory: str | Path) -> "Results":
        """The results in a workdir, of a finished study or of one that runs."""
        return cls(read(Path(directory)), Path(directory))

    @functools.cached_property
    def analysis(self) -> "Analysis":
        """All statistics, made when first asked for."""
        from fmnist_jax import analysis

        return analysis.analyse(self.study)

    @property
    def table(self) -> pd.DataFrame:
        """A row a run: arm, seed, fold, a column a factor, final metrics, where it diverged or stopped, seconds."""
        return self.study.runs

    @property
    def references(self) -> pd.DataFrame:
        """A row a fit of a reference arm: name, seed, train_images, accuracies, seconds, parameters, or its error."""
        return pd.DataFrame(self.study.references)

    @property
    def curves(self) -> pd.DataFrame:
        """A row a run and evaluation."""
        return self.study.curves

    @property
    def verdicts(self) -> tuple["Verdict", ...]:
        """Of the study's claims."""
        return self.analysis.verdicts

    def summary(self, metric: str | None = None) -> pd.DataFrame:
        """A row an arm: n, mean, sd, median, intervals, best and worst of `metric`, by default the study's."""
        metric = self._metric(metric)
        table = self.analysis.summary
        return table[table["metric"] == metric].drop(columns="metric").set_index("arm")

    def compare(self, a: str, b: str, metric: str | None = None) -> "stats.Difference":
        """Arm a - arm b in `metric`, paired by (seed, fold): mean, interval, effect size and p, of this one test.

        Folds overlap, so k-fold differences get Nadeau and Bengio's corrected test.

        Raises:
          UserError: no such arm or metric.
        """
        from fmnist_jax import stats

        metric, runs = self._metric(metric), self.table[self.table["diverged_at"].isna() & self.table["finished"]]
        values = runs.pivot_table(metric, index=["seed", "fold"], columns="arm")
        for arm in (a, b):
            if arm not in values.columns:
                raise UserError(f"arm {arm!r}: no finished run; there are {', '.join(map(str, values.columns))}")
        differences = (values[a] - values[b]).dropna().to_numpy()
        if runs["fold"].max() > 0:
            return stats.corrected_resampled(differences, self.study.train_size, self.study.validation_size)
        return stats.paired_difference(differences)

    def compare_examples(self, *compared: str) -> pd.DataFrame:
        """Whether arms get the same test images right, a row a (seed, fold): McNemar's test; of more arms, Cochran's Q.

        This asks about the test images, with the runs as they are; `compare` asks about the arms, over runs.

        Raises:
          UserError: fewer than two arms, or one that has not read the test set.
        """
        from fmnist_jax import stats

        if len(compared) < 2:
            raise UserError(f"compare_examples{compared}: needs two arms or more")
        (_, labels), *_ = found = [self._correct(arm) for arm in compared]
        if any(not np.array_equal(labels, own) for _, own in found):
            raise UserError(f"compare_examples{compared}: their test sets are not the same")
        right, rows = [of_run for of_run, _ in found], []
        for seed, fold in sorted(set.intersection(*map(set, right))):
            of_run = np.stack([one[seed, fold] for one in right])
            row = {"seed": seed, "fold": fold}
            if len(compared) == 2:
                test = stats.mcnemar(*of_run)
                alone = {f"only {compared[0]}": test.n10, f"only {compared[1]}": test.n01}
                rows.append({**row, **alone, "p": test.p})
            else:
                statistic, p = stats.cochran_q(of_run)
                rows.append({**row, "Q": statistic, "p": p})
        return pd.DataFrame(rows)

    def _correct(self, arm: str) -> tuple[dict, np.ndarray]:
        about = writers.read_json(self.directory / "study.json")["arms"]
        overrides = [groups.override_of(one) for one in about if one["name"] == arm]
        places = [found for override in overrides for found in groups.tested(self.directory, override)]
        if not places:
            raise UserError(f"arm {arm!r}: has not read the test set; there are {', '.join(self.study.confusions)}")
        return outcomes.correct(places)

    def _metric(self, metric: str | None) -> str:
        metric = metric or self.study.metric
        if metric not in self.study.metrics:
            raise UserError(f"metric {metric!r}: not measured; there are {', '.join(self.study.metrics)}")
        return metric

    def plot_curves(self, metric: str = "validation_accuracy", ax=None):
        """Learning curves, mean and 95% band of every arm; returns matplotlib axes, as all plots do."""
        return _figures().curves(self.analysis, metric, ax=ax)

    def plot_dots(self, metric: str | None = None, ax=None):
        """Every arm's mean and interval, the best first."""
        return _figures().dots(self.analysis, self._metric(metric), ax=ax)

    def plot_slices(self, factor: str, ax=None):
        """The study's metric against one factor."""
        return _figures().slices(self.analysis, self._factor(factor), ax=ax)

    def plot_heatmap(self, a: str, b: str, ax=None):
        """The study's metric over two factors."""
        return _figures().heatmap(self.analysis, self._factor(a), self._factor(b), ax=ax)

    def plot_histogram(self, factor: str, ax=None):
        """How runs are spread over the study's metric, a colour a value of the factor."""
        return _figures().histogram(self.analysis, self._factor(factor), ax=ax)

    def plot_confusion(self, arm: str | None = None, ax=None):
        """The confusion matrix of an arm, by default the best, over all its runs."""
        return _figures().confusion(self.analysis, arm or self.analysis.best or self.study.arms[0], ax=ax)

    def plot_time(self, ax=None):
        """The study's metric against training time."""
        return _figures().time(self.analysis, ax=ax)

    def _factor(self, name: str) -> str:
        for factor in self.study.factors:
            if name in (factor.key, factor.label):
                return factor.key
        raise UserError(f"factor {name!r}: there is none; there are {', '.join(f.label for f in self.study.factors)}")


def _figures():
    from fmnist_jax.report import figures

    return figures


def check_claims(checked: Experiment, study_arms: Sequence[Arm]) -> None:
    """Refuses a claim that is none, or asks after a factor the sweep does not have.

    Raises:
      UserError: says which and why.
    """
    keys = list(dict.fromkeys(key for arm in study_arms for key in arm.factors))
    for claim in checked.claims:
        from fmnist_jax import claims

        try:
            claims.check(claim, keys)
        except ValueError as error:
            raise UserError(f"claims: {error}") from None


def describe(directory: Path, checked: Experiment, study_arms: Sequence[Arm]) -> None:
    """Writes study.json: what the tables are headed with, and what an arm is called. Claims may be edited there."""
    writers.write_json(directory / "study.json", description(directory.name, checked, study_arms))


def description(name: str, checked: Experiment, study_arms: Sequence[Arm]) -> dict:
    """What study.json holds."""
    return {
        "name": name,
        "question": checked.question,
        "metric": checked.metric,
        "select_by": checked.selection.arm_by,
        "seeds": [checked.first_seed, checked.first_seed + checked.seeds],
        "folds": checked.folds,
        "dataset": ", ".join(dict.fromkeys(arm.experiment.dataset.name for arm in study_arms)),
        "synthetic": any(arm.experiment.dataset.name.split(":")[0] == "synthetic" for arm in study_arms),
        "refit": checked.selection.refit,
        "tensorboard": checked.writers.tensorboard,
        "statistics": checked.writers.statistics,
        "page": checked.writers.page,
        "references": references.about(checked, study_arms[0]),
        "arms": [{"name": a.name, "override": a.override, "factors": a.factors} for a in study_arms],
        "claims": list(checked.claims),
    }


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
    parts = [part for place in groups.places(directory) if place.most is None and (part := _Part(place, about)).runs]
    curves, runs = _joined([part.curves for part in parts]), _joined([part.finals for part in parts])
    if len(runs) and runs.duplicated(list(tidy.AXES)).any():
        raise RunError(f"{directory}: a run is in two groups; remove one of them, or choose another --workdir")
    wanted = len(about["arms"]) * (about["seeds"][1] - about["seeds"][0]) * about["folds"]
    failed = sum(len(part.runs) for part in parts if part.failure)
    finished = sum(len(part.runs) for part in parts if part.place.trained and not part.failure)
    factors = list(dict.fromkeys(key for arm in about["arms"] for key in arm["factors"]))
    values = pd.DataFrame([{"arm": arm["name"], **arm["factors"]} for arm in about["arms"]])
    runs = values.merge(runs, on="arm", how="right") if len(runs) else _no_runs(values)
    identities = {arm["name"]: arms.identity(groups.override_of(arm)) for arm in about["arms"]}
    runs = timing.with_column(directory, runs, identities)
    order = {arm["name"]: i for i, arm in enumerate(about["arms"])}
    runs = runs.sort_values(["seed", "fold", "arm"], key=lambda c: c.map(order) if c.name == "arm" else c)
    dataset = _json(directory / "dataset.json")
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
        wrong=tuple(_json(directory / "outcomes.json").get("wrong", ())),
        train_size=dataset.get("train_size", 0),
        validation_size=dataset.get("validation_size", 0),
        references=references.read(directory, about.get("references", {"names": ()}), about["seeds"]),
    )


class _Part:
    """What a group adds to a study: its runs that are of the study, by the names their arms have now.

    Attributes:
      runs: (arm's name now, seed, fold).
      curves, finals: tables of rows.
    """

    def __init__(self, place: Place, about: dict):
        self.place, (first, last) = place, about["seeds"]
        names = {arms.identity(groups.override_of(arm)): arm["name"] for arm in about["arms"]}
        there = place.contents["arms"]
        now = [names.get(arms.identity(groups.override_of(arm))) for arm in there]
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


def _json(path: Path) -> dict:
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
    environment, done = _json(directory / "environment.json"), [part.done for part in parts if part.done]
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
        "config": _json(directory / "config.json"),
        "refit": _refit(directory / "refit", about),
    }
    return {k: v for k, v in facts.items() if v not in (None, "", {})}


def _refit(directory: Path, about: dict) -> dict:
    """What the chosen arm came to after training on all of the training set; {} while it is not that arm's."""
    if not about["refit"] or not (directory / "test.json").exists() or not (directory / "group.json").exists():
        return {}
    from fmnist_jax import stats

    contents = writers.read_json(directory / "group.json")
    identity = arms.identity(groups.override_of(contents["arms"][0]))
    now = [arm["name"] for arm in about["arms"] if arms.identity(groups.override_of(arm)) == identity]
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


def statistics(study: tidy.Study) -> dict:
    """What statistics.json holds: arm -> "seed 0" (with folds "seed 0, fold 1") -> column -> a value an evaluation."""
    found: dict[str, dict] = {arm: {} for arm in study.arms}
    if not len(study.curves):
        return found
    columns = ["step", "epoch", *(c for c in study.curves if c.startswith(("train_", "validation_", "test_")))]
    for (arm, seed, fold), rows in study.curves.groupby(list(tidy.AXES), sort=True):
        run = f"seed {seed}" + (f", fold {fold}" if study.facts["folds"] > 1 else "")
        found[arm][run] = {column: rows[column].tolist() for column in columns}
    return found


def write(directory: Path, console) -> Results:
    """Writes the tables, summary.json and the page of a workdir, shows the answer, and returns the results."""
    from fmnist_jax import answer  # after training: statistics take their time to import

    about, found = writers.read_json(directory / "study.json"), Results(read(directory), directory)
    writers.write_json(directory / "failures.json", {"failures": list(found.study.failures)})
    writers.write_json(directory / "summary.json", answer.summary(found))
    if _json(directory / "tables.json").get("of") != (now := stamp(directory)):
        writers.write_tables(directory, "metrics", found.curves)
        writers.write_tables(directory, "results", found.table)
        if about["tensorboard"] and len(found.table) <= TENSORBOARD_RUNS:
            hyper = json.loads((directory / "config.json").read_text())
            writers.write_tensorboard(directory / "tensorboard", found.curves, found.table, hyper)
        if about.get("statistics"):  # of which older workdirs have no word
            writers.write_json(directory / "statistics.json", statistics(found.study))
        writers.write_json(directory / "tables.json", {"of": now})
    answer.show(found, directory, console)
    if about["page"]:
        from fmnist_jax.report import page

        path = page.write(found.analysis, directory)
        console.print(f"the page: {path}", highlight=False, soft_wrap=True)
    return found
