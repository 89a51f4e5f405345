"""Exhibits filled from a study: `compute` makes a `Table` or a `Figure` of one, with means, intervals and n.

Replicates, averaging and what is left out are those of `claims`: one number a (seed, fold), whole lines alone.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from fmnist_jax import stats, tidy
from fmnist_jax.claims.levels import coefficients, fisher
from fmnist_jax.claims.replicates import Cube, Missing, Results
from fmnist_jax.exhibits.checking import DEFAULTS, EMPTY, REFERENCE, check, seconds

NUMBERS = ("n", "mean", "sd", "low", "high")
CELLS = ("row", "column", *NUMBERS, "paper", "printed", "position", "text", "missing", "note")
LEAST = {"percent": 2, "share": 3, "": 2}  # decimals that papers print
FAR_FROM_NORMAL = 0.01  # p of Shapiro and Wilk's test; intervals of such runs say little of where one more would fall
NO_SIGN = "far from normally distributed, so no sign"
TIMES = {"percent": 0.01}  # what a paper's number in a unit is multiplied by, to be in the metric's own


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """A table, filled.

    Attributes:
      exhibit: what it was made from.
      cells: a row a cell, row by row: row (from 0), column (its heading), n, mean, sd, low, high (95% interval of the
        mean; NaN where there is none), paper (the paper's number in the metric's own unit, NaN where it has none),
        printed (the same as the paper prints it), position (where the paper's number lies: "inside" the interval of our
        mean; "run": not in it, but where one more run of ours falls 95% of the time; "above" or "below" both; ""
        where nothing is compared, or our runs are far from normal), text (of a cell without a number of ours: "-" where
        the paper leaves it empty),
        missing (why there is no number), note (what was left out of it).
      noun: what n counts: "seeds", "folds", "(seed, fold) pairs"; "replicates" where cells differ.
    """

    exhibit: dict
    cells: pd.DataFrame
    noun: str

    @property
    def n(self) -> int | None:
        """The n of all cells that have a number, if they have the same."""
        counts = set(self.cells.loc[self.cells["mean"].notna(), "n"])
        return int(counts.pop()) if len(counts) == 1 else None

    def cell(self, row: int, column: str) -> pd.Series:
        """One cell."""
        of = self.cells
        return of[(of["row"] == row) & (of["column"] == column)].iloc[0]


@dataclasses.dataclass(frozen=True, eq=False)
class Figure:
    """A figure's data.

    Attributes:
      exhibit: what it was made from.
      data: in metrics' own units, NUMBERS being n, mean, sd, low, high:
        curves: panel, line, metric, x, NUMBERS.
        against: line, source ("ours" or "paper"), x, value (of the factor), NUMBERS.
        heatmap, scatter3d: a column a factor, NUMBERS.
        histograms: factor, value, low, high (of the bin), results, percent.
        confusion: true, predicted, images (of a mean run), percent (of the class).
        correlations: arm, layer, unit_a, unit_b, correlation (each pair once).
      missing: why something of it is not there, a sentence each.
      noun: what n counts.
      images: of correlations: (arm, layer) -> [units, units].
      runs: of a confusion: how many it is over.
    """

    exhibit: dict
    data: pd.DataFrame
    missing: tuple[str, ...]
    noun: str = "seeds"
    images: dict[tuple[str, str], np.ndarray] = dataclasses.field(default_factory=dict)
    runs: int = 0


@dataclasses.dataclass(frozen=True, eq=False)
class Values:
    """One number a replicate [n], and how it came to that."""

    numbers: np.ndarray
    sizes: tuple[int, int]
    noun: str
    note: str


def compute(study: tidy.Study, exhibit: dict) -> Table | Figure:
    """What `exhibit` shows of `study`; what is not there is a gap with a reason.

    Raises:
      ValueError: the exhibit is not well-formed (see `check`).
    """
    check(exhibit)
    exhibit = {**DEFAULTS, **exhibit}
    return OF_KIND[exhibit["kind"]](Results(study), exhibit)


def _table(results: Results, exhibit: dict) -> Table:
    decimals = {column["heading"]: _decimals(exhibit["rows"], column) for column in exhibit["columns"]}
    cells, nouns = [], set()
    for i, row in enumerate(exhibit["rows"]):
        for column in exhibit["columns"]:
            found, noun = _cell(results, exhibit, row, column, decimals[column["heading"]])
            cells.append({"row": i, "column": column["heading"], **found})
            nouns |= {noun} - {""}
    return Table(exhibit, pd.DataFrame(cells, columns=list(CELLS)), nouns.pop() if len(nouns) == 1 else "replicates")


def _cell(results: Results, exhibit: dict, row: dict, column: dict, decimals: int) -> tuple[dict, str]:
    heading = column["heading"]
    paper = row["paper"].get(heading)
    cell = {**dict.fromkeys(NUMBERS, np.nan), "n": 0, "paper": np.nan}
    cell |= dict.fromkeys(("printed", "position", "text", "missing", "note"), "")
    if column["of"] == "text":
        return cell | {"text": row["text"][heading], "printed": paper or ""}, ""
    if paper == EMPTY:
        return cell | {"text": EMPTY}, ""
    if paper is not None:
        cell |= {"paper": _own_unit(paper, column["unit"]), "printed": _printed(paper, column["unit"], decimals)}
    selector = {**exhibit["where"], **row["where"], **column["where"]}
    if heading in row.get("metrics", {}):
        column = {**column, "metric": row["metrics"][heading]}
    try:
        sample, numbers = QUANTITIES[column["of"]](results, selector, column)
    except Missing as missing:
        return cell | {"missing": str(missing)}, ""
    cell |= numbers._asdict() | {"note": sample.note}
    if column["unit"] != "duration" and column["of"] != "peak_epoch":  # another machine's hours say nothing of ours
        half = 0.5 * 10.0 ** -_rounded(paper, decimals, column["unit"]) * TIMES.get(column["unit"], 1.0)
        further = _correlated if column["of"] == "correlation" else _further
        cell["position"] = _position(cell, further(sample, exhibit.get("paper_n", 1)), half)
    if cell["position"] and stats.shapiro_wilk(sample.numbers) < FAR_FROM_NORMAL:
        cell |= {"position": "", "note": ", ".join(filter(None, (sample.note, NO_SIGN)))}
    return cell, sample.noun


def _position(cell: Mapping, further: tuple[float, float], half: float) -> str:
    """Where the paper's number lies; it may be off by `half` of its last decimal."""
    paper = cell["paper"]
    if math.isnan(paper) or math.isnan(cell["low"]):
        return ""
    if cell["low"] - half <= paper <= cell["high"] + half:
        return "inside"
    if further[0] - half <= paper <= further[1] + half:
        return "run"
    return "above" if paper > cell["mean"] else "below"


def _own_unit(paper: float | str, unit: str) -> float:
    return seconds(paper) if unit == "duration" else TIMES.get(unit, 1.0) * float(paper)


def _printed(paper: float | str, unit: str, decimals: int) -> str:
    if unit == "duration":
        whole = round(seconds(paper))
        return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
    return paper if isinstance(paper, str) else f"{float(paper):.{decimals}f}"


def _rounded(paper: float | str | None, decimals: int, unit: str) -> int:
    """The decimals that the paper rounds to: those of a string; a number's 0.89 may be a printed 0.890."""
    return len(paper.partition(".")[2]) if isinstance(paper, str) else max(decimals, LEAST[unit])


def _decimals(rows: Sequence[dict], column: dict) -> int:
    """How many decimals the paper prints in a column: 0.87 stands beside 0.853 as 0.870."""
    if column["unit"] == "duration":
        return 0
    printed = [row["paper"].get(column["heading"]) for row in rows]
    printed = [p if isinstance(p, str) else f"{p:.10g}" for p in printed if p is not None and p != EMPTY]
    return max((len(text.partition(".")[2]) for text in printed), default=0)


def _mean(results: Results, selector: dict, column: dict) -> tuple[Values, stats.Interval]:
    if REFERENCE in selector:
        sample = _reference(results.study, selector, column["metric"])
    else:
        sample = _one(results, results.rows(selector, column["metric"]))
    return sample, interval(sample)


def _reference(study: tidy.Study, selector: dict, metric: str) -> Values:
    """A classical classifier's metric, a number a fit."""
    wanted = selector[REFERENCE]
    fits = [one for one in study.references if one.get("name") == wanted]
    values = np.array([one[metric] for one in fits if isinstance(one.get(metric), (int, float))], np.float64)
    if not np.isfinite(values).any():
        raise Missing(f"no {wanted} has been fitted yet")
    return Values(values, (0, 0), "seeds", "")


def _peak(results: Results, selector: dict, column: dict) -> tuple[Values, stats.Interval]:
    epoch, _ = _best_epoch(results, selector, column["by"])
    sample = _one(results, results.rows({**selector, "epoch": epoch}, column["metric"]))
    return sample, interval(sample)


def _peak_epoch(results: Results, selector: dict, column: dict) -> tuple[Values, stats.Interval]:
    epoch, sample = _best_epoch(results, selector, column["by"])
    return sample, stats.Interval(len(sample.numbers), epoch, np.nan, np.nan, np.nan)


def _average(results: Results, selector: dict, column: dict) -> tuple[Values, stats.Interval]:
    _, cube = _by_epoch(results, selector, column["metric"])
    sample = _values(cube, cube.table.mean(0))  # of a run that lacks an evaluation nan, and left out
    return sample, interval(sample)


def _by_epoch(results: Results, selector: dict, metric: str) -> tuple[np.ndarray, Cube]:
    """The epochs at which there are evaluations, and the metric at each."""
    frame = results.rows(selector, metric, over="epoch")
    frame = frame[frame["epoch"].notna()].reset_index(drop=True)
    epochs, level = np.unique(frame["epoch"], return_inverse=True)
    return epochs, results.cube(frame, level, ())


def _best_epoch(results: Results, selector: dict, metric: str) -> tuple[float, Values]:
    """The epoch at which the mean over replicates of `metric` is best, of replicates that have every evaluation."""
    epochs, cube = _by_epoch(results, selector, metric)
    rows, columns = cube.kept(cube.table.mean(0))
    if not rows.any() or not columns.any():
        raise Missing("no run has all its evaluations yet")
    means = cube.table[:, rows][:, :, columns].mean((1, 2))
    best = means.argmin() if tidy.lower_is_better(metric) else means.argmax()
    return float(epochs[best]), _values(cube, cube.table[best])


def _correlation(results: Results, selector: dict, column: dict) -> tuple[Values, stats.Interval]:
    cube, r, _ = coefficients(results, {**column, "where": selector})
    sample = Values(r, cube.sizes, cube.noun, "")
    z = interval(dataclasses.replace(sample, numbers=fisher(r)))
    mean, low, high = np.tanh([z.mean, z.low, z.high])
    return sample, stats.Interval(z.n, float(mean), stats.mean_interval(r).sd, float(low), float(high))


def _correlated(sample: Values, more: int) -> tuple[float, float]:
    low, high = np.tanh(_further(dataclasses.replace(sample, numbers=fisher(sample.numbers)), more))
    return float(low), float(high)


QUANTITIES = {"mean": _mean, "average": _average, "peak": _peak, "peak_epoch": _peak_epoch, "correlation": _correlation}


def interval(sample: Values) -> stats.Interval:
    """Mean, sd and 95% interval over replicates, corrected where their training sets overlap, as `analysis` has it."""
    row = stats.paired_differences([sample.numbers], *sample.sizes).iloc[0]
    return stats.Interval(int(row["n"]), *(float(row[name]) for name in ("mean", "sd", "low", "high")))


def _further(sample: Values, more: int) -> tuple[float, float]:
    """Where the mean of `more` further replicates falls."""
    train, validation = sample.sizes
    return stats.prediction_interval(sample.numbers, more, overlap=validation / train if train else 0.0)


def _one(results: Results, frame: pd.DataFrame) -> Values:
    """All of `frame` as one number a replicate: the mean over its arms."""
    cube = results.cube(frame, np.zeros(len(frame), int), ())
    return _values(cube, cube.table[0])


def _values(cube: Cube, table: np.ndarray) -> Values:
    """The means over cells of `table` [C, R], one a replicate that is whole.

    Raises:
      Missing: there is none.
    """
    rows, columns = cube.kept(table)
    causes = ", ".join(cube.causes)
    if not rows.any() or not columns.any():
        raise Missing(causes or "no run of it has finished yet")
    note = causes
    if not columns.all() and not note:
        note = f"{columns.sum()} of {len(columns)} {cube.noun} so far"
    if not rows.all():
        note += f"{note and '; '}{rows.sum()} of {len(rows)} settings"
    return Values(table[np.ix_(rows, columns)].mean(0), cube.sizes, cube.noun, note)


def _by_level(results: Results, frame: pd.DataFrame, level: np.ndarray, compared: Iterable[str]) -> tuple:
    """A frame of NUMBERS, a row a level, and what a replicate is called."""
    cube = results.cube(frame, level, compared)
    table = np.full((len(cube.table), cube.table.shape[2]), np.nan)
    for i, (cells, there) in enumerate(zip(cube.table, cube.there, strict=True)):
        rows, columns = cube.kept(cells[there])
        if rows.any() and columns.any():
            table[i, columns] = cells[there][np.ix_(rows, columns)].mean(0)
    return stats.paired_differences(table, *cube.sizes)[list(NUMBERS)], cube.noun


def _curves(results: Results, exhibit: dict) -> Figure:
    axis, frames, missing, noun = exhibit["x"], [], [], "seeds"
    for panel in exhibit["panels"]:
        for line in exhibit["lines"]:
            for metric in panel["metrics"]:
                try:
                    frame = results.rows({**exhibit["where"], **line["where"]}, metric, over=axis, partly=True)
                    frame = frame[frame[axis].notna() & frame[metric].notna()].reset_index(drop=True)
                    if not len(frame):
                        raise Missing(f"no {metric.replace('_', ' ')} yet")
                except Missing as why:
                    missing.append(f"{line['label']}: {why}")
                    continue
                x, level = np.unique(frame[axis], return_inverse=True)
                numbers, noun = _by_level(results, frame, level, ())
                who = {"panel": panel["label"], "line": line["label"], "metric": metric, "x": x}
                frames.append(numbers.assign(**who)[numbers["n"] > 0])
    return _figure(exhibit, frames, ("panel", "line", "metric", "x", *NUMBERS), missing, noun)


def _against(results: Results, exhibit: dict) -> Figure:
    frames, missing, noun = [], [], "seeds"
    for line in exhibit["lines"]:
        metric = line["metric"] or exhibit["metric"]
        try:
            key = results.key(exhibit["factor"])
            frame = results.rows({**exhibit["where"], **line["where"]}, metric, key, partly=True)
            frame = frame.assign(x=_along(frame[key], exhibit))
            frame = frame[frame["x"].notna()].reset_index(drop=True)
            values, level = np.unique(frame["x"], return_inverse=True)
            numbers, noun = _by_level(results, frame, level, {key})
            value = frame.drop_duplicates("x").set_index("x")[key].reindex(values).astype(str).to_numpy()
            ours = numbers.assign(line=line["label"], source="ours", x=values, value=value)
            frames.append(ours[numbers["n"] > 0])
        except Missing as why:
            missing.append(f"{line['label']}: {why}")
        frames.append(_points(line, exhibit))
    columns = ("line", "source", "x", "value", *NUMBERS)
    return _figure(exhibit, [frame for frame in frames if len(frame)], columns, missing, noun)


def _points(line: dict, exhibit: dict) -> pd.DataFrame:
    """The paper's own points of a line."""
    values = [value for value, _ in line["paper"]]
    means = [TIMES.get(exhibit["unit"], 1.0) * y for _, y in line["paper"]]
    x = _along(pd.Series(values, dtype=object), exhibit)
    frame = pd.DataFrame({"x": x, "value": [str(v) for v in values], "mean": means})
    return frame.assign(line=line["label"], source="paper", n=0, sd=np.nan, low=np.nan, high=np.nan)


def _along(column: pd.Series, exhibit: dict) -> pd.Series:
    """Values of the factor as numbers; NaN of one that the figure leaves out.

    Raises:
      Missing: they are no numbers, and the exhibit says not which they stand for.
    """
    if exhibit["numbers"]:
        of_value = {str(tidy.simple(value)): number for value, number in exhibit["numbers"]}
        return column.map(lambda v: of_value.get(str(tidy.simple(v)), np.nan)).astype("float64")
    if not all(isinstance(v, (int, float, np.number)) for v in column.tolist()):
        raise Missing(f"{exhibit['factor']} is not a number; say with numbers which its values stand for")
    return column.astype("float64")


def _grid(results: Results, exhibit: dict) -> Figure:
    """Of a heatmap and of a scatter in space: the mean of each setting of the factors."""
    try:
        keys = [results.key(name) for name in exhibit["factors"]]
        frame = results.rows(exhibit["where"], exhibit["metric"], partly=True)
    except Missing as why:
        return _figure(exhibit, [], (*exhibit["factors"], *NUMBERS), [str(why)], "seeds")
    frame = frame.dropna(subset=keys).reset_index(drop=True)
    level = frame.groupby(keys, sort=False).ngroup().to_numpy()
    numbers, noun = _by_level(results, frame, level, keys)
    settings = frame[keys].drop_duplicates().reset_index(drop=True)
    settings.columns = list(exhibit["factors"])
    return _figure(exhibit, [pd.concat([settings, numbers], axis=1)], (*exhibit["factors"], *NUMBERS), [], noun)


def _histograms(results: Results, exhibit: dict) -> Figure:
    columns = ("factor", "value", "low", "high", "results", "percent")
    try:
        keys = [results.key(name) for name in exhibit["factors"]]
        frame = results.rows(exhibit["where"], exhibit["metric"], partly=True).dropna(subset=["value", *keys])
        if not len(frame):
            raise Missing("no run has a result yet")
    except Missing as why:
        return _figure(exhibit, [], columns, [str(why)])
    if exhibit["by"] == "arm":
        frame = frame.groupby(["arm", *dict.fromkeys(keys)], sort=False)["value"].mean().reset_index()
    edges = np.histogram_bin_edges(frame["value"], exhibit["bins"])
    frames = []
    for name, key in zip(exhibit["factors"], keys, strict=True):
        for value in ordered(frame[key]):
            counts, _ = np.histogram(frame.loc[frame[key] == value, "value"], edges)
            bars = {"low": edges[:-1], "high": edges[1:], "results": counts, "percent": 100 * counts / counts.sum()}
            frames.append(pd.DataFrame({"factor": name, "value": value, **bars}))
    return _figure(exhibit, frames, columns, [])


def ordered(column: pd.Series) -> list:
    """The values of a factor's column: numbers ascending, anything else as the arms have it."""
    values = list(dict.fromkeys(column.tolist()))
    return sorted(values) if all(isinstance(v, (int, float)) for v in values) else values


def _confusion(results: Results, exhibit: dict) -> Figure:
    columns, study = ("true", "predicted", "images", "percent"), results.study
    try:
        frame = results.rows(exhibit["where"], "test_accuracy", partly=True)
    except Missing as why:
        return _figure(exhibit, [], columns, [str(why)])
    runs = frame[frame["arm"].isin(list(study.confusions)) & frame["value"].notna()]
    if not len(runs):
        return _figure(exhibit, [], columns, ["no run of it has read the test set yet"])
    total = sum(np.asarray(study.confusions[arm], np.float64) for arm in runs["arm"].unique())
    names = study.class_names or tuple(str(i) for i in range(len(total)))
    shares = 100 * total / np.maximum(1, total.sum(1, keepdims=True))
    data = {
        "true": np.repeat(names, len(names)),
        "predicted": np.tile(names, len(names)),
        "images": total.ravel() / len(runs),
        "percent": shares.ravel(),
    }
    return dataclasses.replace(_figure(exhibit, [pd.DataFrame(data)], columns, []), runs=len(runs))


def _correlations(results: Results, exhibit: dict) -> Figure:
    activities = getattr(results.study, "activities", {})
    images, frames, missing = {}, [], []
    for line in exhibit["arms"]:
        try:
            where = {**exhibit["where"], **line["where"]}
            arms = results.rows(where, results.study.metric, partly=True)["arm"].unique()
        except Missing as why:
            missing.append(f"{line['label']}: {why}")
            continue
        for layer in exhibit["layers"]:
            there = [np.asarray(activities[arm][layer], np.float64) for arm in arms if layer in activities.get(arm, {})]
            if not there:
                missing.append(f"{line['label']}: the activities of its {layer} have not been kept yet")
                continue
            image = images[line["label"], layer] = np.mean(there, axis=0)
            a, b = np.triu_indices(len(image), 1)
            pairs = {"arm": line["label"], "layer": layer, "unit_a": a, "unit_b": b, "correlation": image[a, b]}
            frames.append(pd.DataFrame(pairs))
    columns = ("arm", "layer", "unit_a", "unit_b", "correlation")
    return dataclasses.replace(_figure(exhibit, frames, columns, missing), images=images)


def _figure(exhibit: dict, frames: Sequence, columns: Sequence[str], missing: Sequence[str], noun="seeds") -> Figure:
    frames = [frame for frame in frames if len(frame)]
    data = pd.concat(frames, ignore_index=True)[list(columns)] if frames else pd.DataFrame(columns=list(columns))
    return Figure(exhibit, data, tuple(dict.fromkeys(missing)), noun)


OF_KIND = {
    "table": _table,
    "curves": _curves,
    "against": _against,
    "heatmap": _grid,
    "scatter3d": _grid,
    "histograms": _histograms,
    "confusion": _confusion,
    "correlations": _correlations,
}
