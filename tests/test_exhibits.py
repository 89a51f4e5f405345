"""Exhibits: selections, means and intervals worked by hand, gaps with a reason, wrong ones refused in one line."""

import dataclasses
import json
import re

import made_up
import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

from fmnist_jax import exhibits, tidy
from fmnist_jax.report import exhibits as rendered

# Acosta's Table 1: filters, hidden units, accuracy; and its Table 2, computed from it.
TABLE_1 = [
    *(((32,), 256, 0.815), ((32,), 512, 0.853), ((32,), 1024, 0.869)),
    *(((64,), 256, 0.842), ((64,), 512, 0.870), ((64,), 1024, 0.918)),
    *(((32, 32), 256, 0.623), ((32, 32), 512, 0.682), ((32, 32), 1024, 0.731)),
    *(((64, 64), 256, 0.702), ((64, 64), 512, 0.722), ((64, 64), 1024, 0.771)),
]
LAYERS = {32: 1, 64: 1, (32, 32): 2, (64, 64): 2}
SECOND = {32: 0, 64: 0, (32, 32): 32, (64, 64): 64}


def measured(accuracies: dict[str, list[float]], folds: int = 1) -> tidy.Study:
    """A study of a factor `net`; accuracies of each of its values by (seed, fold), folds of a seed together."""
    rows = [
        {"arm": f"net={net}", "net": net, "seed": i // folds, "fold": i % folds, "test_accuracy": value}
        | {"diverged_at": np.nan, "train_seconds": 3600.0 + i}
        for net, values in accuracies.items()
        for i, value in enumerate(values)
    ]  # fmt: skip
    runs = pd.DataFrame(rows)
    arms = tuple(dict.fromkeys(runs["arm"]))
    factors = tidy.factors_of(runs, ["net"])
    return tidy.Study("made", "", factors, "test_accuracy", "test_accuracy", runs, pd.DataFrame(), arms)


def one_cell(study: tidy.Study, where=None, paper=None, **column) -> pd.Series:
    column = {"metric": "test_accuracy", "unit": "share"} | column
    row = exhibits.row("a", where or {}, paper={"x": paper})
    made = exhibits.compute(
        study, exhibits.table("t", "", labels=["net"], rows=[row], columns=[exhibits.column("x", **column)])
    )
    return made.cell(0, "x")


def test_a_cell_is_the_mean_over_replicates_with_a_t_interval():
    cell = one_cell(measured({"a": [0.90, 0.92, 0.94], "b": [0.1, 0.2, 0.3]}), {"net": "a"})
    half = scipy_stats.t.ppf(0.975, 2) * 0.02 / np.sqrt(3)
    np.testing.assert_allclose([cell["mean"], cell["sd"]], [0.92, 0.02])
    np.testing.assert_allclose([cell["low"], cell["high"]], [0.92 - half, 0.92 + half])
    assert cell["n"] == 3


def test_alternatives_are_averaged_within_a_replicate_first():
    cell = one_cell(measured({"a": [0.8, 0.9], "b": [0.6, 0.7]}), {"net": ["a", "b"]})
    assert (cell["n"], cell["mean"]) == (2, pytest.approx(0.75))
    assert cell["sd"] == pytest.approx(np.std([0.7, 0.8], ddof=1))


def test_overlapping_folds_have_the_corrected_interval():
    """Nadeau and Bengio: sd * sqrt(1 / J + 1 / (k - 1)), not sd / sqrt(J)."""
    cell = one_cell(measured({"a": [0.90, 0.91, 0.92, 0.93, 0.94]}, folds=5))
    half = scipy_stats.t.ppf(0.975, 4) * np.std([0.90, 0.91, 0.92, 0.93, 0.94], ddof=1) * np.sqrt(1 / 5 + 1 / 4)
    assert cell["high"] - cell["mean"] == pytest.approx(half)
    alone = one_cell(measured({"a": [0.90, 0.91, 0.92, 0.93]}, folds=2), {"fold": 1})
    assert (alone["n"], alone["mean"]) == (2, pytest.approx(0.92))
    assert alone["high"] - alone["mean"] == pytest.approx(scipy_stats.t.ppf(0.975, 1) * 0.02 / 2)


def test_one_replicate_has_a_mean_and_no_interval():
    cell = one_cell(measured({"a": [0.9]}), paper=0.9)
    assert (cell["n"], cell["mean"], cell["position"]) == (1, 0.9, "")
    assert np.isnan(cell["low"])


@pytest.mark.parametrize(
    ("paper", "position"), [(0.92, "inside"), (0.968, "inside"), (1.0, "run"), (0.835, "run"), (0.8, "below")]
)
def test_where_the_papers_number_lies(paper, position):
    """Interval 0.92 ± 0.0497; one more run falls within 0.92 ± 0.0994 (t = 4.303, sd 0.02)."""
    cell = one_cell(measured({"a": [0.90, 0.92, 0.94]}), paper=paper)
    assert cell["position"] == position


def test_the_papers_number_may_be_off_by_half_its_last_decimal():
    study = measured({"a": [0.9178, 0.9179, 0.9180]})
    low, high = 0.9179 - 0.000249, 0.9179 + 0.000249  # t = 4.303, sd 0.0001
    assert one_cell(study, paper=0.918)["position"] == "inside"
    assert one_cell(study, paper=0.9182)["position"] == "run"  # four decimals: no more than 0.91825
    assert one_cell(study, paper=0.9181)["position"] == "inside"
    assert one_cell(study, paper=0.92)["position"] == "above"  # may be a printed 0.920
    cell = one_cell(study, paper="0.9200")
    assert (cell["printed"], cell["position"]) == ("0.9200", "above")
    np.testing.assert_allclose([cell["low"], cell["high"]], [low, high], atol=1e-6)


def test_a_string_says_itself_to_what_it_is_rounded():
    study = measured({"a": [0.7680, 0.7683, 0.7686]})  # interval 0.7683 ± 0.00075, one more run ± 0.0015
    assert one_cell(study, paper="0.8")["position"] == "inside"  # 0.75 to 0.85
    assert one_cell(study, paper=0.8)["position"] == "above"


def test_another_mean_over_folds_may_differ_by_more_than_folds_do():
    """sd * sqrt(1 / 5 + 1 / 5 + 2 / 4): both means have what folds of one set have in common."""
    values = [0.90, 0.91, 0.92, 0.93, 0.94]
    half = scipy_stats.t.ppf(0.975, 4) * np.std(values, ddof=1) * np.sqrt(1 / 5 + 1 / 5 + 2 / 4)
    column, study = exhibits.column("acc", "test_accuracy", unit="share"), measured({"a": values}, folds=5)
    for off, position in ((0.98 * half, "run"), (1.02 * half + 0.0005, "above")):
        row = exhibits.row("a", paper={"acc": 0.92 + off})
        table = exhibits.table("t", "", labels=[""], rows=[row], columns=[column], paper_n=5)
        assert exhibits.compute(study, table).cells.iloc[0]["position"] == position


def test_correlations_over_arms_are_the_papers_own():
    """Acosta's Table 1 gives its Table 2: -0.893, 0.240, -0.716, 0.354."""
    accuracy = {(tidy.simple(filters), dense): value for filters, dense, value in TABLE_1}
    grid = {"model.filters": [32, 64, "32, 32", "64, 64"], "model.dense": [256, 512, 1024]}
    study = made_up.study(grid, lambda v: accuracy[v["model.filters"], v["model.dense"]], seeds=3, noise=1e-6)
    columns = [
        exhibits.column(name, "test_accuracy", of="correlation", factor=factor, numbers=numbers)
        for name, factor, numbers in (
            ("layers", "filters", LAYERS),
            ("second", "filters", SECOND),
            ("hidden", "dense", None),
        )
    ]
    paper = {"layers": -0.89, "second": -0.72, "hidden": 0.35}
    made = exhibits.compute(
        study, exhibits.table("t", "", labels=[""], rows=[exhibits.row("Accuracy", paper=paper)], columns=columns)
    )
    np.testing.assert_allclose(made.cells["mean"], [-0.893, -0.716, 0.354], atol=6e-4)
    assert set(made.cells["position"]) == {"inside"}
    assert set(made.cells["n"]) == {3}


def test_correlation_intervals_are_fishers():
    study = measured({1: [0.1, 0.1, 0.2], 2: [0.2, 0.3, 0.1], 3: [0.4, 0.2, 0.4]})
    r = [np.corrcoef([1, 2, 3], values)[0, 1] for values in ([0.1, 0.2, 0.4], [0.1, 0.3, 0.2], [0.2, 0.1, 0.4])]
    z = np.arctanh(r)
    half = scipy_stats.t.ppf(0.975, 2) * z.std(ddof=1) / np.sqrt(3)
    cell = one_cell(study, of="correlation", factor="net", unit="")
    expected = np.tanh([z.mean(), z.mean() - half, z.mean() + half])
    np.testing.assert_allclose([cell["mean"], cell["low"], cell["high"]], expected)


def curved() -> tidy.Study:
    """Two seeds, three epochs; validation accuracy is best, on average, at epoch 2."""
    study = measured({"a": [0.9, 0.8]})
    values = {0: [(0.5, 0.6), (0.7, 0.8), (0.9, 0.75)], 1: [(0.5, 0.6), (0.7, 0.9), (0.9, 0.7)]}
    rows = [
        {"arm": "net=a", "seed": seed, "fold": 0, "epoch": float(e), "step": 10 * e}
        | {"train_accuracy": train, "validation_accuracy": validation, "validation_loss": 1 - validation}
        for seed, of_seed in values.items()
        for e, (train, validation) in enumerate(of_seed, 1)
    ]
    return dataclasses.replace(study, curves=pd.DataFrame(rows))


def test_the_peak_is_the_epoch_at_which_the_mean_over_replicates_is_best():
    study = curved()
    assert one_cell(study, metric="", of="peak_epoch", by="validation_accuracy")["mean"] == 2
    assert one_cell(study, metric="", of="peak_epoch", by="validation_loss")["mean"] == 2
    assert one_cell(study, metric="train_accuracy", of="peak", by="validation_accuracy")["mean"] == pytest.approx(0.7)
    assert one_cell(study, metric="validation_accuracy", of="peak")["mean"] == pytest.approx(0.85)
    assert one_cell(study, {"epoch": "last"}, metric="validation_accuracy")["mean"] == pytest.approx(0.725)


def test_the_average_is_over_a_runs_evaluations_and_the_interval_over_runs():
    study = curved()
    first, second = (0.6 + 0.8 + 0.75) / 3, (0.6 + 0.9 + 0.7) / 3
    cell = one_cell(study, metric="validation_accuracy", of="average")
    assert (cell["n"], cell["mean"]) == (2, pytest.approx((first + second) / 2))
    assert cell["sd"] == pytest.approx((second - first) / np.sqrt(2))
    curves = study.curves[(study.curves["seed"] == 0) | (study.curves["epoch"] < 3)]
    short = dataclasses.replace(study, curves=curves)
    assert one_cell(short, metric="validation_accuracy", of="average")["mean"] == pytest.approx(first)


def test_what_is_not_there_is_a_gap_with_a_reason():
    study = measured({"a": [0.9, 0.8]})
    assert one_cell(study, {"net": "b"}, paper=0.5)["missing"] == "no arm has net=b; there are a"
    assert one_cell(study, metric="test_loss")["missing"].startswith("no run has test_loss")
    assert one_cell(study, {"epoch": 3})["missing"]
    assert one_cell(study, {"reference": "svm"})["missing"] == "no svm has been fitted yet"
    empty = dataclasses.replace(study, runs=study.runs.head(0))
    assert one_cell(empty)["missing"]


def test_runs_far_from_normal_get_no_sign():
    """Five nets of fifteen train, ten stay at chance: a t interval holds numbers that none of them comes near."""
    apart = [0.7, 0.75, 0.8, 0.78, 0.72] + [0.1] * 10
    near = one_cell(measured({"a": [0.70, 0.75, 0.80, 0.78, 0.72]}), paper=0.76)
    assert (near["position"], near["note"]) == ("inside", "")
    cell = one_cell(measured({"a": apart}), paper=0.874)
    assert (cell["position"], cell["note"]) == ("", "far from normally distributed, so no sign")
    assert one_cell(measured({"a": apart}))["note"] == ""  # there is nothing to compare


def test_notes_of_several_cells_name_their_rows():
    study = measured({"a": [0.9, 0.8, 0.1], "b": [0.7, 0.6, 0.5]})
    study.runs.loc[[2, 4, 5], "diverged_at"] = 40.0

    def notes(*nets):
        rows = [exhibits.row(net, {"net": net}) for net in nets]
        column = exhibits.column("x", "test_accuracy")
        return rendered.notes(
            exhibits.compute(study, exhibits.table("t", "", labels=["net"], rows=rows, columns=[column]))
        )

    assert "* 1 run diverged." in notes("a")
    assert "* a: 1 run diverged; b: 2 runs diverged." in notes("a", "b")


def test_diverged_runs_are_left_out_and_said():
    study = measured({"a": [0.9, 0.8, 0.1]})
    study.runs.loc[2, "diverged_at"] = 40.0
    cell = one_cell(study)
    assert (cell["n"], cell["mean"], cell["note"]) == (2, pytest.approx(0.85), "1 run diverged")
    study.runs["diverged_at"] = 40.0
    assert one_cell(study)["missing"] == "3 runs diverged"


def test_a_classical_classifier_stands_beside_the_networks():
    fits = tuple({"name": "random_forest", "seed": s, "test_accuracy": a} for s, a in ((0, 0.87), (1, 0.88)))
    study = dataclasses.replace(measured({"a": [0.9, 0.8]}), references=fits)
    cell = one_cell(study, {"reference": "random_forest"}, paper=0.873)
    assert (cell["n"], cell["mean"], cell["position"]) == (2, pytest.approx(0.875), "inside")


def test_papers_numbers_keep_their_decimals_and_empty_cells_stay_empty():
    study = measured({"a": [0.9, 0.8], "b": [0.7, 0.6]})
    columns = [
        exhibits.column("time", "train_seconds", unit="duration"),
        exhibits.column("acc", "test_accuracy", unit="share"),
    ]
    rows = [
        exhibits.row("a", {"net": "a"}, paper={"time": "1:14:42", "acc": 0.853}),
        exhibits.row("b", {"net": "b"}, paper={"time": "-", "acc": 0.87}),
    ]
    made = exhibits.compute(study, exhibits.table("t", "", labels=["net"], rows=rows, columns=columns))
    assert made.cell(1, "acc")["printed"] == "0.870"
    assert made.cell(0, "time")["paper"] == 4482
    assert made.cell(0, "time")["position"] == ""  # another machine's hours
    assert (made.cell(1, "time")["text"], made.cell(1, "time")["n"]) == ("-", 0)
    assert (made.n, made.noun) == (2, "seeds")


def test_curves_are_means_and_intervals_at_every_evaluation():
    panels = [exhibits.panel("Accuracy", ["train_accuracy", "validation_accuracy"])]
    figure = exhibits.compute(curved(), exhibits.curves("f", "", lines=[exhibits.line("a")], panels=panels))
    rows = figure.data[figure.data["metric"] == "validation_accuracy"]
    np.testing.assert_allclose(rows["x"], [1, 2, 3])
    np.testing.assert_allclose(rows["mean"], [0.6, 0.85, 0.725])
    half = scipy_stats.t.ppf(0.975, 1) * np.std([0.8, 0.9], ddof=1) / np.sqrt(2)
    assert rows["high"].iloc[1] - 0.85 == pytest.approx(half)


def test_against_averages_the_other_factors_and_keeps_the_papers_points():
    grid = {"rate": [0.1, 0.2], "net": ["a", "b"]}
    study = made_up.study(grid, lambda v: v["rate"] + 0.1 * (v["net"] == "b"), noise=1e-9)
    lines = [exhibits.line("all", paper=[[0.1, 55.0]])]
    figure = exhibits.compute(study, exhibits.against("f", "", factor="rate", lines=lines))
    ours, paper = (figure.data[figure.data["source"] == who] for who in ("ours", "paper"))
    np.testing.assert_allclose(ours["mean"], [0.15, 0.25], atol=1e-6)
    assert set(ours["n"]) == {5}
    assert (paper["x"].iloc[0], paper["mean"].iloc[0]) == (0.1, pytest.approx(0.55))
    lines = [exhibits.line("by name", {"rate": 0.1})]
    figure = exhibits.compute(study, exhibits.against("f", "", factor="net", lines=lines))
    assert figure.missing == ("by name: net is not a number; say with numbers which its values stand for",)
    numbered = exhibits.against("f", "", factor="net", numbers={"a": 1, "b": 2}, lines=lines)
    np.testing.assert_allclose(exhibits.compute(study, numbered).data["mean"], [0.1, 0.2], atol=1e-6)


def test_grids_histograms_and_confusions():
    grid = {"rate": [0.1, 0.2], "net": ["a", "b"], "depth": [1, 2]}
    study = made_up.study(grid, lambda v: v["rate"], noise=1e-9)
    heat = exhibits.compute(study, exhibits.heatmap("h", "", factors=["rate", "net"]))
    assert len(heat.data) == 4
    np.testing.assert_allclose(heat.data.set_index(["rate", "net"])["mean"].loc[(0.2, "a")], 0.2, atol=1e-6)
    assert len(exhibits.compute(study, exhibits.scatter3d("s", "", factors=["rate", "net", "depth"])).data) == 8
    bars = exhibits.compute(study, exhibits.histograms("b", "", factors=["rate", "net"], bins=2)).data
    rate = bars[(bars["factor"] == "rate") & (bars["value"] == 0.1)]
    assert rate["percent"].tolist() == [100, 0]
    assert bars[bars["factor"] == "net"]["percent"].tolist() == [50, 50, 50, 50]
    counts = {study.arms[0]: np.array([[8, 2], [5, 15]]), study.arms[1]: np.array([[10, 0], [5, 15]])}
    study = dataclasses.replace(study, confusions=counts, class_names=("x", "y"))
    matrix = exhibits.compute(study, exhibits.confusion("c", ""))
    assert matrix.data["percent"].tolist() == [90, 10, 25, 75]
    assert matrix.runs == 10


def test_activities_are_means_over_arms():
    study = measured({"a": [0.9, 0.8]})
    wanted = exhibits.correlations("c", "", arms=[exhibits.line("own", {"net": "a"})])
    assert exhibits.compute(study, wanted).missing
    study = dataclasses.replace(study, activities={"net=a": {"logits": np.array([[1, 0.5], [0.5, 1]])}})
    figure = exhibits.compute(study, wanted)
    assert figure.data["correlation"].tolist() == [0.5]
    assert figure.missing == ("own: the activities of its features have not been kept yet",)


TABLE = {
    "labels": ["net"],
    "columns": [exhibits.column("acc", "test_accuracy", unit="percent")],
    "rows": [exhibits.row("a", {"net": "a"})],
}


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: exhibits.table("", "", **TABLE), "needs a name"),
        (lambda: exhibits.table("t", "", **TABLE | {"labels": ["net", "two"]}), "must be 2, one for each"),
        (lambda: exhibits.table("t", "", **TABLE | {"rows": [exhibits.row("a", paper={"ac": 9})]}), "mean 'acc'"),
        (lambda: exhibits.table("t", "", **TABLE | {"rows": [exhibits.row("a", paper={"acc": 0.9})]}), "prints it: 90"),
        (lambda: exhibits.table("t", "", **TABLE | {"columns": TABLE["columns"] * 2}), "heading of two"),
        (lambda: exhibits.table("t", "", **TABLE | {"columns": [exhibits.column("acc")]}), "mean needs one"),
        (lambda: exhibits.table("t", "", where={"epoch": "first"}, **TABLE), "must be a number, 'last' or 'peak'"),
        (lambda: exhibits.heatmap("h", "", factors=["a", "a"]), "must be 2 different factors"),
        (lambda: exhibits.curves("c", "", lines=[exhibits.line("a")], panels=[], x="epoch"), "panels"),
        (
            lambda: exhibits.curves("c", "", lines=[exhibits.line("a")], panels=[exhibits.panel("a", "acc", log=1)]),
            "panel 1: log=1: must be True or False",
        ),
        (lambda: exhibits.table("t", "", **TABLE | {"rows": [exhibits.row(3) | {"paper": 3}]}), "must be a mapping"),
        (lambda: exhibits.check({"name": "t", "kind": "tabel"}), "did you mean 'table'"),
        (lambda: exhibits.check(exhibits.table("t", "", **TABLE), ["model.dense"]), "'net': is no factor"),
        (lambda: exhibits.check(exhibits.table("t", "", **TABLE) | {"colour": 1}), "table has none"),
    ],
)  # fmt: skip
def test_a_wrong_exhibit_is_refused_in_one_line(make, said):
    with pytest.raises(ValueError, match=re.escape(said)) as error:
        make()
    assert "\n" not in str(error.value)


def test_exhibits_survive_json():
    table = exhibits.table("t", "", **TABLE)
    again = json.loads(json.dumps(table))
    assert again == table
    exhibits.check(again, ["net"])
