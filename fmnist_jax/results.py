"""A workdir's results: asked, plotted, and written out for others.

results = fmnist_jax.run(config)      # or results.Results.load("runs/my_study")
results.table                         # a row a run
results.summary()                     # mean, sd, intervals of every arm
results.compare("learning_rate=0.01", "learning_rate=0.001")
"""

import functools
import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from fmnist_jax import arms, outcomes, places, reading, references, terminal, tidy, writers
from fmnist_jax.arms import Arm
from fmnist_jax.config import Experiment
from fmnist_jax.errors import UserError

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
        return cls(reading.read(Path(directory)), Path(directory))

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
        overrides = [arms.override_of(one) for one in about if one["name"] == arm]
        read = [found for override in overrides for found in places.tested(self.directory, override)]
        if not read:
            raise UserError(f"arm {arm!r}: has not read the test set; there are {', '.join(self.study.confusions)}")
        return outcomes.correct(read)

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


def import_meanwhile(a_page: bool) -> None:
    """Imports what `write` needs in a thread of its own, while programs compile and devices train."""
    threading.Thread(target=import_late, args=(a_page,), name="imports").start()


def import_late(a_page: bool) -> None:
    """What `write` needs."""
    from fmnist_jax import analysis, answer, claims, stats  # noqa: F401

    if a_page:
        from fmnist_jax.report import page  # noqa: F401


def write(directory: Path, console) -> Results:
    """Writes the tables, summary.json and the page of a workdir, shows the answer, and returns the results."""
    from fmnist_jax import answer  # after training: statistics take their time to import

    about, found = writers.read_json(directory / "study.json"), Results(reading.read(directory), directory)
    writers.write_json(directory / "failures.json", {"failures": list(found.study.failures)})
    writers.write_json(directory / "summary.json", answer.summary(found))
    if reading.json_of(directory / "tables.json").get("of") != (now := reading.stamp(directory)):
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
        terminal.say(console, f"the page: {path}")
    return found
