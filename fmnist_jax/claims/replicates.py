"""From a study's runs to one number a replicate: selecting, matching, averaging, leaving out what is not whole."""

import dataclasses
import functools
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from fmnist_jax import tidy
from fmnist_jax.claims import words
from fmnist_jax.claims.checking import WHEN, names_of

RUN = ["arm", "seed", "fold"]
MOST_CELLS = 20_000_000  # beyond that the factors are no grid, and nothing would match


class Missing(Exception):
    """The study does not have, or not yet, what a claim needs; the message says what."""


@dataclasses.dataclass(frozen=True, eq=False)
class Sample:
    """One number a replicate.

    Attributes:
      numbers: [n]
      sizes: of a fold's training and validation set, where folds overlap; else (0, 0).
      noun: what a replicate is: "seeds", "folds".
      cost: what was left out, in words; may be empty.
    """

    numbers: np.ndarray
    sizes: tuple[int, int]
    noun: str
    cost: str


@dataclasses.dataclass(frozen=True, eq=False)
class Cube:
    """A metric by level, by cell (setting of the other factors) and by replicate.

    Attributes:
      table: [L, C, R]; NaN where a run of it is missing or diverged.
      there: [L, C] bool: the study has such runs at all.
      sizes, noun: as of a `Sample`.
      causes: of gaps: "2 runs diverged".
    """

    table: np.ndarray
    there: np.ndarray
    sizes: tuple[int, int]
    noun: str
    causes: tuple[str, ...]

    def kept(self, table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns (bool) of `table` [C, R] without gaps: the line with most gaps goes first, cells at a tie.

        Whole lines, because a replicate that lacks some settings has another mean for that alone.
        """
        gaps = np.isnan(table)
        rows, columns = ~gaps.all(1), ~gaps.all(0)
        while (left := gaps & rows[:, None] & columns).any():
            of_row, of_column = left.sum(1) / columns.sum(), left.sum(0) / rows.sum()
            if of_row.max() >= of_column.max():
                rows[of_row.argmax()] = False
            else:
                columns[of_column.argmax()] = False
        return rows, columns

    def sample(self, table: np.ndarray) -> Sample:
        """The means over cells of `table` [C, R], one a replicate.

        Raises:
          Missing: fewer than two replicates.
        """
        rows, columns = self.kept(table)
        n, total = int(columns.sum()), len(columns)
        cost = ", ".join(self.causes)
        if n < total or rows.sum() < len(rows):
            left = f"{n} of {total} {self.noun}" + (f" and {rows.sum()} of {len(rows)} settings" * (len(rows) > 1))
            cost = f"{cost}, which leaves {left}" if cost else f"{left} have all that is compared"
        if n < 2:
            raise Missing(f"needs two {self.noun} or more, has {n}{cost and f': {cost}'}")
        return Sample(table[np.ix_(rows, columns)].mean(0), self.sizes, self.noun, cost)


class Results:
    """The runs of a study, to be asked by selectors."""

    def __init__(self, study: tidy.Study):
        self.study = study
        self.keys = [f.key for f in study.factors if f.key in study.runs]
        self.known = names_of(self.keys)
        self.labels = {f.key: f.label for f in study.factors}

    def key(self, name: str) -> str:
        """The column that a claim means by `name`."""
        if name in self.known:
            return self.known[name]
        if name in (*RUN, *WHEN):
            return name
        raise Missing(f"no factor {name!r}; there are {', '.join(self.labels.values()) or 'none'}")

    def others(self, compared: Iterable[str]) -> list[str]:
        """What must agree between runs that are compared in the columns `compared`."""
        compared = set(compared)
        if "arm" in compared:
            return []
        return [key for key in self.keys if key not in compared] if compared & set(self.keys) else ["arm"]

    def rows(self, selector: Mapping, metric: str, over: str = "", *, partly: bool = False) -> pd.DataFrame:
        """The runs of `selector`: factors, arm, seed, fold, `value` (NaN of a diverged run) and `diverged`.

        With `over` "epoch" or "step", a row a run and evaluation. At a moment a run that diverges later has not
        diverged. With `partly`, values of a list that have no run yet are left out.

        Raises:
          Missing: no such metric, factor, value or evaluation.
        """
        frame = self._selected(selector, partly)
        when = next(((key, selector[key]) for key in WHEN if key in selector), None)
        if over in WHEN:
            frame = self._joined(frame, self._curves(metric)[[*RUN, over, metric]])
        elif when and isinstance(when[1], Mapping):
            start, end = (self._joined(frame, self._at(metric, when[0], when[1][side])) for side in ("from", "to"))
            frame = frame.assign(**{metric: end[metric] - start[metric], "diverged": _diverged(end)})
        elif when:
            frame = self._joined(frame, self._at(metric, *when))
            frame = frame.assign(diverged=_diverged(frame))
        elif metric not in frame:
            raise Missing(f"no run has {metric} yet; there are {', '.join(self.study.metrics) or 'no metrics'}")
        values = frame[metric].astype("float64")
        return frame.assign(value=values.where(np.isfinite(values) & ~frame["diverged"]))

    def cube(self, frame: pd.DataFrame, level: np.ndarray, compared: Iterable[str], *, folds: bool = True) -> Cube:
        """`frame` of `rows` with the codes `level` [rows], by the factors not `compared`; without `folds`, by seed."""
        folds = folds and "fold" not in compared
        cells, replicates = _codes(frame, self.others(compared)), _codes(frame, ["seed", "fold"] if folds else ["seed"])
        shape = tuple(int(codes.max(initial=-1)) + 1 for codes in (level, cells, replicates))
        if math.prod(shape) > MOST_CELLS:
            raise Missing("the factors that it does not name form no grid; compare arms, or narrow it with where")
        code = np.ravel_multi_index((level, cells, replicates), shape) if len(frame) else np.zeros(0, int)
        size = np.bincount(code, minlength=math.prod(shape)).reshape(shape)
        total = np.bincount(code, frame["value"].to_numpy(), minlength=math.prod(shape)).reshape(shape)
        table = np.divide(total, size, out=np.full(shape, np.nan), where=size > 0)
        sizes = fold_sizes(self.study) if folds and len(frame["fold"].unique()) > 1 else (0, 0)
        return Cube(table, (size > 0).any(2), sizes, _noun(frame, folds), _causes(frame))

    def _selected(self, selector: Mapping, partly: bool) -> pd.DataFrame:
        runs = self.study.runs
        chosen = np.ones(len(runs), bool)
        for name, wanted in selector.items():
            if (key := self.key(name)) not in WHEN:
                chosen &= runs[key].isin(self.values(key, wanted)).to_numpy()
        frame = runs.loc[chosen].reset_index(drop=True)
        if not len(frame):
            raise self._none(selector)
        for name, wanted in selector.items():
            for value in wanted if isinstance(wanted, list) and not partly else ():  # a mean over them needs them all
                key = self.key(name)
                if not frame[key].isin(self.values(key, value)).any():
                    raise self._none({**selector, name: value})
        frame = frame if "diverged_at" in frame else frame.assign(diverged_at=np.nan)
        return frame.assign(diverged=frame["diverged_at"].notna())

    def _none(self, selector: Mapping) -> Missing:
        return Missing(f"no run with {words.selection(selector, self.labels)} has finished yet")

    def values(self, key: str, wanted) -> list:
        """The values in column `key` that are one of `wanted`."""
        levels = self.study.runs[key].unique().tolist()
        found = []
        for value in wanted if isinstance(wanted, list) else [wanted]:
            alike = [level for level in levels if same(level, value)]
            if not alike:
                known = self.known_values(key, levels)
                if any(same(level, value) for level in known):
                    raise Missing(f"no run with {self.labels.get(key, key)}={tidy.simple(value)} has finished yet")
                some = ", ".join(str(v) for v in known[:12]) + (", ..." if len(known) > 12 else "")
                asked = f"{self.labels.get(key, key)}={tidy.simple(value)}"
                raise Missing(f"there is no arm {value}" if key == "arm" else f"no arm has {asked}; there are {some}")
            found += alike
        return found

    def known_values(self, key: str, levels: Sequence) -> Sequence:
        if key == "arm":
            return self.study.arms
        return next((f.values for f in self.study.factors if f.key == key), levels)  # noqa: PD011 (no pandas)

    def _curves(self, metric: str) -> pd.DataFrame:
        curves = self.study.curves
        if metric not in curves:
            raise Missing(f"the curves have no {metric}" if len(curves.columns) else "there are no curves yet")
        return curves

    @functools.cached_property
    def _last(self) -> pd.DataFrame:
        return self.study.curves.sort_values("step", kind="stable").drop_duplicates(RUN, keep="last")

    def _at(self, metric: str, axis: str, moment) -> pd.DataFrame:
        curves = self._curves(metric)
        if moment == "last":
            found = self._last
        elif moment == "peak":
            means = curves.groupby(["arm", axis], as_index=False)[metric].mean().dropna(subset=[metric])
            best = means.sort_values(metric, ascending=tidy.lower_is_better(metric), kind="stable")
            found = curves.merge(best.drop_duplicates("arm")[["arm", axis]], on=["arm", axis])
        else:
            found = curves[np.isclose(curves[axis].to_numpy(np.float64), moment)]
            if not len(found):
                there = np.unique(curves[axis])
                raise Missing(f"no evaluation at {axis} {moment:g}; the curves go from {there[0]:g} to {there[-1]:g}")
        return found[[*RUN, *dict.fromkeys(["step", metric])]]

    def _joined(self, frame: pd.DataFrame, curve: pd.DataFrame) -> pd.DataFrame:
        """Each run of `frame` with its rows of `curve` in place of its final results."""
        return frame[[*dict.fromkeys([*RUN, *self.keys]), "diverged", "diverged_at"]].merge(curve, on=RUN, how="left")


def _diverged(frame: pd.DataFrame) -> pd.Series:
    """Whether each run had diverged by the step of its row."""
    return frame["diverged_at"].notna() & ~(frame["diverged_at"] > frame["step"])


def fold_sizes(study: tidy.Study) -> tuple[int, int]:
    """Images of a fold's training and validation set; where not known, numbers in the ratio that k-fold splits have."""
    if study.train_size and study.validation_size:
        return study.train_size, study.validation_size
    return len(study.runs["fold"].unique()) - 1, 1


def same(level, value) -> bool:
    """Whether a claim's value is the table's."""
    level, value = tidy.simple(level), tidy.simple(value)
    if isinstance(level, str) or isinstance(value, str):
        return str(level) == str(value)
    return math.isclose(level, value, rel_tol=1e-9)


def _codes(frame: pd.DataFrame, keys: Sequence[str]) -> np.ndarray:
    if not keys:
        return np.zeros(len(frame), int)
    return frame.groupby(list(keys), sort=False, dropna=False).ngroup().to_numpy()


def _noun(frame: pd.DataFrame, folds: bool) -> str:
    if not folds or len(frame["fold"].unique()) == 1:
        return "seeds"
    return "folds" if len(frame["seed"].unique()) == 1 else "(seed, fold) pairs"


def _causes(frame: pd.DataFrame) -> tuple[str, ...]:
    runs = frame.assign(lacks=frame["value"].isna() & ~frame["diverged"]).drop_duplicates(RUN)
    causes = ((int(runs["diverged"].sum()), "diverged"), (int(runs["lacks"].sum()), "without the metric"))
    return tuple(f"{words.count(n, 'run')} {what}" for n, what in causes if n)
