"""A paper's tables and figures as data: each function returns an exhibit, a dict of plain JSON values.

Selectors (`where`) are those of `fmnist_jax.claims`: keys are factors (dotted key or short label), "arm", "fold",
"epoch", "step", and in a paper's study "part"; a list is several values, averaged over; a tuple is one value. What a
cell, line or panel asks for is the exhibit's `where`, narrowed by its row's or line's, then by its column's.

**The paper's numbers are given as the paper prints them, in the unit of the column or figure:** 86.09 where that is
"percent", 0.815 where it is "share", "0:41:32" where it is "duration". A number is shown with as many decimals as the
longest of its column; as a string, "0.890", it says itself how many it has.

Units: "percent" (of a metric between 0 and 1; 91.80), "share" (the same as it is; 0.918), "duration" (h:mm:ss, of
seconds), "" a number. `digits` are decimals of ours; the paper's number keeps its own.

All take a `name` (the file's: "table_1"), a `title` (the paper's caption), `source` (where it stands: "Table 1") and
`note` (a sentence under it). All raise ValueError, by `check`.
"""

from collections.abc import Mapping, Sequence

from fmnist_jax.claims.checking import ALL
from fmnist_jax.claims.vocabulary import pairs, plain
from fmnist_jax.exhibits.checking import check

Exhibit = dict
Selector = Mapping


def table(
    name: str,
    title: str,
    *,
    labels: Sequence[str],
    rows: Sequence[dict],
    columns: Sequence[dict],
    paper_n: int = 1,
    where: Selector = ALL,
    source: str = "",
    note: str = "",
) -> Exhibit:
    """A table of the paper's rows and columns; `labels` are the headings over the rows' own labels.

    The paper's numbers are means of `paper_n` runs: what a sign beside them allows for. A row whose label is the one
    above is printed as the paper does, with the repetition left blank.
    """
    more = {"labels": _list(labels), "rows": _list(rows), "columns": _list(columns), "paper_n": paper_n}
    return _exhibit("table", name, title, where, source, note, **more)


def row(
    labels: Sequence[str] | str,
    where: Selector = ALL,
    *,
    paper: Mapping[str, float | str | None] | None = None,
    text: Mapping[str, str] | None = None,
    metrics: Mapping[str, str] | None = None,
) -> dict:
    """A row of a `table`.

    Args:
      labels: one for each of the table's; numbers are taken as they are written.
      where: {"reference": name} is a classical classifier of that name among `Study.references`, no network of ours.
      paper: column heading -> the paper's number; "-" where the cell is empty in the paper and stays so; None, or left
        out, where only ours is shown.
      text: column heading -> what stands in a column of "text".
      metrics: column heading -> the metric of this row, where it is not the column's.
    """
    labels = [labels] if isinstance(labels, (str, int, float)) else labels
    return {
        "labels": [str(label) for label in labels],
        "where": _selector(where),
        "paper": dict(paper or {}),
        "text": dict(text or {}),
        "metrics": dict(metrics or {}),
    }


def column(
    heading: str,
    metric: str = "",
    *,
    of: str = "mean",
    where: Selector = ALL,
    unit: str = "",
    digits: int | None = None,
    by: str = "",
    factor: str = "",
    numbers: Mapping | None = None,
) -> dict:
    """A column of a `table`, all of whose cells hold the same quantity.

    Args:
      of: "mean": over replicates, runs averaged within a (seed, fold) first, with a 95% t interval (corrected where
          folds overlap).
        "average": over each run's evaluations, then as "mean"; of the training loss that is its mean over all batches.
        "peak": the metric's mean at the evaluation (epoch) at which the mean over replicates of `by` is best.
        "peak_epoch": that epoch.
        "correlation": Pearson's r of the metric with `factor` over the arms of each replicate; mean and interval by
          Fisher's z. `numbers` as in `claims.correlation`; needed where the factor is not a number.
        "text": what the row has in `text`.
      by: for "peak" and "peak_epoch"; the column's metric itself where it is left out.
    """
    return {
        "heading": heading,
        "metric": metric,
        "of": of,
        "where": _selector(where),
        "unit": unit,
        "digits": digits,
        "by": by or (metric if of.startswith("peak") else ""),
        "factor": factor,
        "numbers": pairs(numbers),
    }


def curves(
    name: str,
    title: str,
    *,
    lines: Sequence[dict],
    panels: Sequence[dict],
    x: str = "epoch",
    band: str = "interval",
    x_label: str = "",
    where: Selector = ALL,
    source: str = "",
    note: str = "",
) -> Exhibit:
    """Metrics against "epoch" or "step", as they were measured, without smoothing.

    A line is the mean over replicates, the band around it the 95% "interval" of that mean, one standard deviation "sd"
    of the replicates, or "none". A panel with several metrics (train and validation) draws each for every line.
    """
    more = {"lines": _list(lines), "panels": _list(panels), "x": x, "band": band, "x_label": x_label}
    return _exhibit("curves", name, title, where, source, note, **more)


def line(label: str, where: Selector = ALL, *, metric: str = "", paper: Sequence[Sequence[float]] = ()) -> dict:
    """A line of `curves` or `against`, or an arm of `correlations`.

    Args:
      metric: of `against`, where it is not the figure's.
      paper: of `against`, the paper's own points: [value of the factor, value in the figure's unit] each.
    """
    points = [[plain(x), y] for x, y in paper]
    return {"label": label, "where": _selector(where), "metric": metric, "paper": points}


def panel(label: str, metrics: Sequence[str] | str, *, unit: str = "percent", log: bool = False) -> dict:
    """A panel of `curves`: one metric or several that share an axis, of logarithms where `log` is given.

    `unit` goes for accuracies alone.
    """
    metrics = [metrics] if isinstance(metrics, str) else list(metrics)
    return {"label": label, "metrics": metrics, "unit": unit, "log": log}


def against(
    name: str,
    title: str,
    *,
    factor: str,
    lines: Sequence[dict],
    metric: str = "test_accuracy",
    unit: str = "percent",
    log: bool = False,
    x_label: str = "",
    y_label: str = "",
    numbers: Mapping | None = None,
    where: Selector = ALL,
    source: str = "",
    note: str = "",
) -> Exhibit:
    """A metric's mean and 95% interval against a factor, a line each of `lines`; the paper's points beside them.

    Args:
      factor: on the x axis; `numbers` {value: number} where it is not a number, and to leave values out.
      unit: "percent" or "share" for accuracies, "duration" for seconds, "" for anything else.
      log: a logarithmic x axis.
    """
    more = {"factor": factor, "lines": _list(lines), "metric": metric, "unit": unit, "log": log}
    more |= {"x_label": x_label, "y_label": y_label, "numbers": pairs(numbers)}
    return _exhibit("against", name, title, where, source, note, **more)


def heatmap(
    name: str,
    title: str,
    *,
    factors: Sequence[str],
    metric: str = "test_accuracy",
    unit: str = "percent",
    where: Selector = ALL,
    source: str = "",
    note: str = "",
) -> Exhibit:
    """A metric's mean over two factors: the first across, the second down."""
    return _exhibit("heatmap", name, title, where, source, note, factors=_list(factors), metric=metric, unit=unit)


def scatter3d(
    name: str,
    title: str,
    *,
    factors: Sequence[str],
    metric: str = "test_accuracy",
    unit: str = "percent",
    where: Selector = ALL,
    source: str = "",
    note: str = "",
) -> Exhibit:
    """A metric's mean as the colour of a point a setting, over three factors (x, y, z)."""
    return _exhibit("scatter3d", name, title, where, source, note, factors=_list(factors), metric=metric, unit=unit)


def histograms(
    name: str,
    title: str,
    *,
    factors: Sequence[str],
    metric: str = "test_accuracy",
    unit: str = "percent",
    bins: int = 20,
    by: str = "run",
    where: Selector = ALL,
    source: str = "",
    note: str = "",
) -> Exhibit:
    """How results spread, a panel a factor, a colour a value of it; heights are percent of the results of that value.

    A result is a "run", or by="arm" the mean of an arm's runs.
    """
    more = {"factors": _list(factors), "metric": metric, "unit": unit, "bins": bins, "by": by}
    return _exhibit("histograms", name, title, where, source, note, **more)


def confusion(name: str, title: str, *, where: Selector = ALL, source: str = "", note: str = "") -> Exhibit:
    """The confusion matrix on the test set over the runs of `where`, each row in percent of its class."""
    return _exhibit("confusion", name, title, where, source, note)


def correlations(
    name: str,
    title: str,
    *,
    arms: Sequence[dict],
    layers: Sequence[str] = ("features", "logits"),
    where: Selector = ALL,
    source: str = "",
    note: str = "",
) -> Exhibit:
    """Correlations between the activities of units, an image an arm (a `line`) and layer, from -1 to 1."""
    return _exhibit("correlations", name, title, where, source, note, arms=_list(arms), layers=_list(layers))


def _exhibit(kind: str, name: str, title: str, where: Selector, source: str, note: str, **arguments) -> Exhibit:
    common = {"where": _selector(where), "source": source, "note": note}
    exhibit = {"kind": kind, "name": name, "title": title, **arguments, **common}
    check(exhibit)
    return exhibit


def _selector(where: Selector):
    return {key: plain(value) for key, value in where.items()} if isinstance(where, Mapping) else where


def _list(values):
    return list(values) if isinstance(values, (list, tuple)) else values
