"""A workdir's results: read back as tidy tables at any time, asked, plotted, and written out for others.

results = fmnist_jax.run(config)      # or results.Results.load("runs/my_study")
results.table                         # a row a run
results.summary()                     # mean, sd, intervals of every arm
results.compare("learning_rate=0.01", "learning_rate=0.001")
"""

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from fmnist_jax import arms, groups, outcomes, session, tidy, writers
from fmnist_jax.arms import Arm
from fmnist_jax.config import Experiment
from fmnist_jax.errors import UserError
from fmnist_jax.groups import Place

# Statistics, claims and figures are imported where they are used: statsmodels, matplotlib and their like take seconds,
# which a study that is about to train need not wait for.
if TYPE_CHECKING:
    from fmnist_jax import stats
    from fmnist_jax.analysis import Analysis
    from fmnist_jax.claims import Verdict

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

        metric, runs = self._metric(metric), self.table[self.table["diverged_at"].isna()]
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
        right = [self._correct(arm) for arm in compared]
        rows = []
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

    def _correct(self, arm: str) -> dict:
        about = writers.read_json(self.directory / "study.json")["arms"]
        overrides = [groups.override_of(one) for one in about if one["name"] == arm]
        places = [found for override in overrides for found in groups.tested(self.directory, override)]
        if not places:
            raise UserError(f"arm {arm!r}: has not read the test set; there are {', '.join(self.study.confusions)}")
        return outcomes.correct(self.directory, places)

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
    writers.write_json(
        directory / "study.json",
        {
            "name": directory.name,
            "question": checked.question,
            "metric": checked.metric,
            "select_by": checked.selection.arm_by,
            "seeds": [checked.first_seed, checked.first_seed + checked.seeds],
            "folds": checked.folds,
            "dataset": checked.dataset.name,
            "synthetic": checked.dataset.name.split(":")[0] == "synthetic",
            "tensorboard": checked.writers.tensorboard,
            "page": checked.writers.page,
            "arms": [{"name": a.name, "override": a.override, "factors": a.factors} for a in study_arms],
            "claims": list(checked.claims),
        },
    )


def read(directory: Path) -> tidy.Study:
    """The results in `directory`, so far.

    Raises:
      UserError: there is no study.
      RunError: a file of it is damaged.
    """
    if not (directory / "study.json").exists():
        raise UserError(f"{directory}: no study; there is no study.json in it")
    about = writers.read_json(directory / "study.json")
    names = {arms.identity(groups.override_of(arm)): arm["name"] for arm in about["arms"]}
    places = [place for place in groups.places(directory) if place.most is None]
    curves = [_curves(place, about, names) for place in places]
    finals = [_finals(place, about, names, own) for place, own in zip(places, curves, strict=True)]
    curves, runs = _joined(curves), _joined(finals)
    unfinished = len(about["arms"]) * (about["seeds"][1] - about["seeds"][0]) * about["folds"]
    unfinished -= sum(place.trained * len(own) for place, own in zip(places, finals, strict=True))
    factors = list(dict.fromkeys(key for arm in about["arms"] for key in arm["factors"]))
    values = pd.DataFrame([{"arm": arm["name"], **arm["factors"]} for arm in about["arms"]])
    runs = values.merge(runs, on="arm", how="right") if len(runs) else _no_runs(values)
    order = {arm["name"]: i for i, arm in enumerate(about["arms"])}
    runs = runs.sort_values(["seed", "fold", "arm"], key=lambda c: c.map(order) if c.name == "arm" else c)
    outcomes = _json(directory / "outcomes.json")
    dataset = _json(directory / "dataset.json")
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
        facts=_facts(directory, about, places),
        failures=tuple(_failures(places)),
        unfinished=unfinished - sum(len(f["runs"]) for f in _failures(places)),
        synthetic=about["synthetic"],
        confusions=_confusions(places, names),
        class_names=tuple(dataset.get("class_names", ())),
        wrong=tuple(outcomes.get("wrong", ())),
        train_size=dataset.get("train_size", 0),
        validation_size=dataset.get("validation_size", 0),
    )


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


def _curves(place: Place, about: dict, names: dict[str, str]) -> pd.DataFrame:
    """The metric rows of a group, by the names its arms have now, without arms and seeds that the study lacks."""
    frame = writers.read_table(place.directory / "metrics.jsonl")
    if not len(frame):
        return frame
    then = {arm["name"]: names.get(arms.identity(groups.override_of(arm))) for arm in place.contents["arms"]}
    frame["arm"] = frame["arm"].map(then)
    first, last = about["seeds"]
    return frame[frame["arm"].notna() & frame["seed"].between(first, last - 1) & (frame["fold"] < about["folds"])]


def _finals(place: Place, about: dict, names: dict[str, str], curves: pd.DataFrame) -> pd.DataFrame:
    """A row a run: what it came to, or how far it is."""
    extra = {"parameters": place.contents["parameters"], "group": place.name}
    if (done := session.read_group(place.directory)) is None:
        if not len(curves) or place.failure:
            return pd.DataFrame()
        last = curves.drop_duplicates(["arm", "seed", "fold"], keep="last")
        return last.drop(columns="dataset").assign(stopped_at=np.nan, train_seconds=np.nan, finished=False, **extra)
    timing = done["timing"]
    rows = [{k: v for k, v in row.items() if not isinstance(v, list) and k != "dataset"} for row in done["results"]]
    frame = pd.DataFrame(rows).assign(
        train_seconds=(timing["wall_seconds"] - timing["compile_seconds"]) / len(rows), finished=True, **extra
    )
    then = {arm["name"]: names.get(arms.identity(groups.override_of(arm))) for arm in place.contents["arms"]}
    frame["arm"] = frame["arm"].map(then)
    measured = [c for c in frame.columns if c.startswith(("train_", "validation_", "test_"))]
    frame = frame.astype(dict.fromkeys([*measured, "diverged_at", "stopped_at"], "float64"))  # None of a diverged run
    first, last = about["seeds"]
    return frame[frame["arm"].notna() & frame["seed"].between(first, last - 1)]


def _confusions(places: Sequence[Place], names: dict[str, str]) -> dict[str, np.ndarray]:
    """The sum of its runs' confusion matrices of the test set, by arm."""
    sums: dict[str, np.ndarray] = {}
    for place in places:
        if place.trained and place.tested_runs:
            then = {arm["name"]: names.get(arms.identity(groups.override_of(arm))) for arm in place.contents["arms"]}
            for row in writers.read_json(place.directory / "test.json")["results"]:
                if (arm := then[row["arm"]]) is not None:
                    sums[arm] = sums.get(arm, 0) + np.array(row["test_confusion"])
    return sums


def _failures(places: Sequence[Place]) -> list[dict]:
    return [
        {
            "group": f"groups/{place.name}",
            "arms": sorted({place.contents["arms"][i]["name"] for i, _, _ in place.contents["runs"]}),
            "runs": [
                f"{place.contents['arms'][i]['name']}, seed {seed}, fold {fold}"
                for i, seed, fold in place.contents["runs"]
            ],
            "error": failure["error"],
        }
        for place in places
        if (failure := place.failure)
    ]


def _facts(directory: Path, about: dict, places: Sequence[Place]) -> dict:
    """For "environment" and "how to reproduce it"."""
    environment = _json(directory / "environment.json")
    done = [session.read_group(place.directory) for place in places if place.trained]
    wall, compiling, images = (sum(d["timing"][k] for d in done) for k in ("wall_seconds", "compile_seconds", "images"))
    facts = {
        "dataset": about["dataset"],
        "seeds": about["seeds"][1] - about["seeds"][0],
        "folds": about["folds"],
        "groups": len(places),
        "wall_seconds": wall,
        "compile_seconds": compiling,
        "images_per_second": images / (wall - compiling) if wall > compiling else None,
        "mode": ", ".join(sorted({d["mode"] + "ped" for d in done})),
        "devices": max((d["devices"] for d in done), default=None),
        **{k: environment.get(k) for k in ("command", "machine", "python", "packages", "git", "written")},
        "config": _json(directory / "config.json"),
    }
    if (directory / "refit" / "test.json").exists():
        facts["refit"] = _refit(directory / "refit")
    return {k: v for k, v in facts.items() if v not in (None, "", {})}


def _refit(directory: Path) -> dict:
    """What the chosen arm came to after training on all of the training set."""
    from fmnist_jax import stats

    contents = writers.read_json(directory / "group.json")
    rows = session.read_group(directory)["results"]
    accuracies = [row["test_accuracy"] for row in rows if row["diverged_at"] is None]
    return {
        "arm": contents["arms"][0]["name"],
        "duration": contents["duration"],
        **{f"test_accuracy_{k}": v for k, v in stats.mean_interval(accuracies)._asdict().items()},
    }


def chosen_arm(directory: Path, checked: Experiment, study_arms: Sequence[Arm]) -> str | None:
    """The arm with the best mean of selection.arm_by over the trained runs; None where nothing was validated."""
    runs, metric = read(directory).runs, checked.selection.arm_by
    if metric not in runs:
        return None
    means = runs[runs["diverged_at"].isna()].groupby("arm")[metric].mean().dropna()
    means = means.reindex([arm.name for arm in study_arms]).dropna()  # of equals, the first
    if not len(means):
        return None
    return str(means.idxmin() if tidy.lower_is_better(metric) else means.idxmax())


def epochs_of(directory: Path, arm: str) -> np.ndarray:
    """The epochs whose weights an arm's runs were measured with."""
    runs = read(directory).runs
    return runs.loc[runs["arm"] == arm, "epoch"].to_numpy()


def write(directory: Path, console, trained: bool = True) -> Results:
    """Writes the tables, summary.json and the page of a workdir, shows the answer, and returns the results.

    Without anything newly `trained`, the tables are as they were; claims and the page may still have changed.
    """
    from fmnist_jax import answer  # after training: matplotlib and jinja2 take their time to import

    about, found = writers.read_json(directory / "study.json"), Results(read(directory), directory)
    if trained or not (directory / "results.csv").exists():
        writers.write_tables(directory, "metrics", found.curves)
        writers.write_tables(directory, "results", found.table)
        if about["tensorboard"] and len(found.table) <= TENSORBOARD_RUNS:
            hyper = json.loads((directory / "config.json").read_text())
            writers.write_tensorboard(directory / "tensorboard", found.curves, found.table, hyper)
    writers.write_json(directory / "failures.json", {"failures": list(found.study.failures)})
    writers.write_json(directory / "summary.json", answer.summary(found))
    answer.show(found, directory, console)
    if about["page"]:
        from fmnist_jax.report import page

        path = page.write(found.analysis, directory)
        console.print(f"the page: {path}", highlight=False, soft_wrap=True)
    return found
