"""A paper's tables and figures: as data, and filled from a study. Knows `tidy`, `stats`, `claims` and `analysis` alone.

    config.paper.exhibits = (
        exhibits.table(
            "table_1",
            "Performance of the different CNNs",
            source="Table 1",
            labels=["conv layers", "hidden"],
            columns=[exhibits.column("Accuracy", "test_accuracy", unit="share")],
            rows=[exhibits.row([1, 256], {"model.filters": (32,), "model.dense": 256}, paper={"Accuracy": 0.815})],
        ),
    )

An exhibit is a dict of plain JSON values; the functions of `vocabulary` make them, `check` refuses a wrong one,
`compute` fills one with a study's means, intervals and n; `report` draws what comes of it. What is not trained yet is
a gap with a reason, never an error.
"""

from fmnist_jax.exhibits.checking import check, slug
from fmnist_jax.exhibits.compute import Figure, Table, compute
from fmnist_jax.exhibits.vocabulary import (
    against,
    column,
    confusion,
    correlations,
    curves,
    heatmap,
    histograms,
    line,
    panel,
    row,
    scatter3d,
    table,
)

__all__ = [
    "Figure",
    "Table",
    "against",
    "check",
    "column",
    "compute",
    "confusion",
    "correlations",
    "curves",
    "heatmap",
    "histograms",
    "line",
    "panel",
    "row",
    "scatter3d",
    "slug",
    "table",
]
