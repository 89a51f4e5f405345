"""Stills: the right points under the right labels, nothing left behind, every plot with its data."""

import dataclasses

import made_up
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from fmnist_jax.analysis import Analysis, analyse
from fmnist_jax.report import figures, frames, stills, style


@pytest.fixture(scope="module")
def full() -> Analysis:
    return analyse(made_up.full_study())


def means(analysis: Analysis, metric: str = "test_accuracy") -> pd.Series:
    rows = analysis.summary[analysis.summary["metric"] == metric]
    return rows.set_index("arm")["mean"].astype(float)


def test_dots_are_the_means_best_on_top(full):
    ax = figures.dots(full)
    points = ax.collections[-1].get_offsets()
    np.testing.assert_allclose(points[:, 0], 100 * means(full).dropna().sort_values(ascending=False))
    assert ax.get_xlabel() == "test accuracy (%)"
    assert ax.get_ylim()[0] > ax.get_ylim()[1]


def test_losses_have_their_least_on_top_and_no_percent(full):
    ax = figures.dots(full, "test_loss")
    points = ax.collections[-1].get_offsets()
    assert (np.diff(points[:, 0]) >= 0).all()
    assert ax.get_xlabel() == "test loss"


def test_curves_of_a_metric_and_of_a_quantity(full):
    arm = full.best
    ax = figures.curves(full, "validation_accuracy", arms=[arm])
    rows = full.curves[(full.curves["arm"] == arm) & (full.curves["metric"] == "validation_accuracy")]
    (line,) = ax.lines
    np.testing.assert_allclose(line.get_ydata(), 100 * rows["mean"])
    np.testing.assert_allclose(line.get_xdata(), rows["epoch"])
    assert ax.get_ylabel() == "validation accuracy (%)"
    both = figures.curves(full, "loss", arms=[arm])
    assert [line.get_linestyle() for line in both.lines] == ["-", ":"]
    assert both.get_title(loc="left") == "validation solid, train dotted"


def test_slices_join_the_means_over_arms(full):
    ax = figures.slices(full, "filters")
    (line,) = ax.lines
    own = frames.slices(full, "filters")
    np.testing.assert_allclose(line.get_ydata(), 100 * own.groupby("model.filters")["mean"].mean())
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["4", "8", "16"]
    assert ax.get_xlabel() == "filters"


def test_a_log_factor_lies_on_a_log_axis(full):
    ax = figures.slices(full, "learning_rate")
    np.testing.assert_allclose(ax.lines[0].get_xdata(), [-4, -3, -2, -1])
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["0.0001", "0.001", "0.01", "0.1"]


def test_a_cell_of_the_heat_map_is_the_mean_over_its_arms(full):
    ax = figures.heatmap(full, "learning_rate", "op")
    cells = ax.images[0].get_array()
    own = frames.arms(full)
    one = own[(own["optimizer.learning_rate"] == 1e-2) & (own["op"] == "sgd")]["mean"].mean()
    assert cells[1, 2] == pytest.approx(100 * one)
    assert f"{100 * one:.2f}" in [text.get_text() for text in ax.texts]


def test_histogram_holds_every_run_that_did_not_diverge(full):
    ax = figures.histogram(full, "op")
    assert sum(bar.get_height() for bar in ax.patches) == 72 - 2
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["adam", "sgd"]


def test_many_values_are_put_together():
    study = made_up.study({"width": list(range(1, 31))}, lambda v: 0.5, seeds=2)
    table = frames.histogram(analyse(study), "width")
    assert next(iter(table["group"])) == "1 … 3"
    assert table["group"].nunique() == 8
    assert table["runs"].sum() == 60


def test_time_is_against_what_the_analysis_says_a_run_took(full):
    ax = figures.time(full)
    points = ax.collections[-1].get_offsets()
    assert sorted(points[:, 0]) == pytest.approx(sorted(means(full, "train_seconds").dropna()))
    assert ax.get_xlabel() == "training time of a run (s)"


def test_confusion_is_of_the_best_arm_that_has_one(full):
    ax = figures.confusion(full, full.study.arms[0])
    assert "60" in [text.get_text() for text in ax.texts]
    assert figures.confusion(full).get_title(loc="left") in full.study.confusions


def test_every_function_draws_into_given_axes_and_leaves_the_style_alone(full):
    before = dict(mpl.rcParams)
    figure = Figure()
    flat = [figure.add_subplot(3, 3, i) for i in range(1, 9)]
    turned = figure.add_subplot(3, 3, 9, projection="3d")
    draws = [
        lambda ax: figures.dots(full, ax=ax),
        lambda ax: figures.curves(full, "accuracy", ax=ax),
        lambda ax: figures.slices(full, "op", ax=ax),
        lambda ax: figures.heatmap(full, "op", "filters", ax=ax),
        lambda ax: figures.histogram(full, ax=ax),
        lambda ax: figures.confusion(full, ax=ax),
        lambda ax: figures.time(full, ax=ax),
        lambda ax: figures.parallel(full, ax=ax),
    ]
    assert [draw(ax) is ax for draw, ax in zip(draws, flat, strict=True)] == [True] * 8
    assert figures.scatter3d(full, "learning_rate", "filters", "op", ax=turned) is turned
    assert dict(mpl.rcParams) == before


def test_every_still_comes_as_png_and_csv(full, tmp_path):
    names = stills.write(full, tmp_path)
    pngs = {path.stem for path in tmp_path.glob("*.png")}
    csvs = {path.stem for path in tmp_path.glob("*.csv")}
    assert pngs | {"summary", "comparisons", "correlations"} == csvs == set(names)
    wanted = {"dots", "curves_accuracy", "curves_loss", "slices_op", "histogram_op", "time", "confusion", "importance"}
    assert wanted | {"heatmap_learning_rate_filters", "parallel", "space"} <= pngs
    dots = pd.read_csv(tmp_path / "dots.csv")
    np.testing.assert_allclose(dots["mean"], means(full)[dots["arm"]], rtol=1e-6)


def test_a_table_cut_short_says_so_in_its_name(full, tmp_path, monkeypatch):
    monkeypatch.setattr(stills, "MAX_ROWS", 10)
    stills.write(full, tmp_path)
    assert len(pd.read_csv(tmp_path / "summary_first_10_rows.csv")) == 10
    assert not (tmp_path / "summary.csv").exists()


def test_names_of_files_hold_no_slash(tmp_path):
    study = made_up.study({"a/b c": [1, 2]}, lambda v: 0.5)
    stills.write(analyse(dataclasses.replace(study, curves=pd.DataFrame())), tmp_path)
    assert (tmp_path / "slices_a_b_c.png").exists()


def test_a_dollar_is_a_dollar(tmp_path, monkeypatch):
    """Names are no formulas; this one would be a wrong one."""
    made = made_up.study({"a": [1, 2]}, lambda v: 0.5, seeds=2)
    names = {arm: f"{arm} $\\frac{{5$ and $x_1^2$" for arm in made.arms}
    runs, curves = (table.assign(arm=table["arm"].map(names)) for table in (made.runs, made.curves))
    analysis = analyse(dataclasses.replace(made, arms=tuple(names.values()), runs=runs, curves=curves))
    assert "dots" in stills.write(analysis, tmp_path)
    monkeypatch.setitem(style.STYLE, "text.parse_math", True)
    with pytest.raises(ValueError, match="frac"):
        stills.write(analysis, tmp_path)
