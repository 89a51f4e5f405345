import dataclasses
import time

import made_up
import numpy as np
import pandas as pd
import pytest

from fmnist_jax import claims, stats, tidy
from fmnist_jax.analysis import analyse

COLUMNS = {
    "summary": "arm metric n diverged mean sd median iqm low high bca_low bca_high best worst",
    "comparisons": "arm n difference low high effect_size p adjusted_p distinguishable seeds_needed",
    "curves": "arm metric step epoch n mean sd low high",
    "importance": "term method share df F p",
    "correlations": "factor metric n pearson low high p spearman spearman_p",
}


def linear(arm):
    return 0.5 + 0.1 * arm["x"] + 0.01 * arm["y"]


def study(factors=None, of=linear, **settings):
    return made_up.study({"x": (1, 2, 3), "y": (1, 2)} if factors is None else factors, of, **settings)


def with_values(values, of="test_accuracy", **fields):
    """Arms of one factor x with these values of the metric `of` by seed; NaN is a run that diverged."""
    made = study({"x": tuple(values)}, lambda _: 0.5, seeds=len(next(iter(values.values()))))
    made.runs[of] = np.concatenate(list(values.values()))
    made.runs["diverged_at"] = np.where(made.runs[of].isna(), 7.0, np.nan)
    return dataclasses.replace(made, **fields)


def test_summary_by_hand():
    """Of 1, 2, 3, 6 and a diverged run: mean 3, sd sqrt(14/3), interval 3 ± 3.182 sd / 2; the middle half is 2, 3."""
    made = with_values({1: [0.1, 0.2, 0.3, 0.6, np.nan], 2: [0.5] * 5})
    row = analyse(made).summary.query("arm == 'x=1' and metric == 'test_accuracy'").iloc[0]
    sd = (0.14 / 3) ** 0.5
    assert (row["n"], row["diverged"]) == (4, 1)
    assert (row["mean"], row["sd"], row["median"], row["iqm"]) == pytest.approx((0.3, sd, 0.25, 0.25))
    assert (row["low"], row["high"]) == pytest.approx((0.3 - 3.18245 * sd / 2, 0.3 + 3.18245 * sd / 2), rel=1e-5)
    assert (row["best"], row["worst"]) == (0.6, 0.1)
    assert row["low"] < row["bca_low"] < 0.3 < row["bca_high"] < row["high"]


def test_summary_is_in_the_studys_order_its_own_metric_first():
    made = study()
    summary = analyse(made).summary
    assert list(dict.fromkeys(summary["arm"])) == list(made.arms)
    assert summary["metric"].iloc[0] == "test_accuracy"
    assert "train_seconds" in set(summary["metric"])
    assert not summary.duplicated(["arm", "metric"]).any()


def test_a_factor_or_text_is_no_metric_and_infinity_no_number():
    made = with_values({1: [0.1, 0.2], 2: [0.5, np.inf]})
    runs = made.runs.rename(columns={"x": "train_images"}).assign(test_remark="fine")
    factors = tidy.factors_of(runs, ["train_images"])
    summary = analyse(dataclasses.replace(made, runs=runs, factors=factors)).summary
    assert {"train_images", "test_remark"}.isdisjoint(summary["metric"])
    assert summary.query("arm == 'x=2' and metric == 'test_accuracy'")["n"].item() == 1
    assert summary.query("arm == 'x=2' and metric == 'test_accuracy'")["best"].item() == 0.5


def test_lower_is_better_of_a_loss():
    made = with_values({1: [0.3, 0.1], 2: [0.5, 0.4]}, "test_loss", metric="test_loss", select_by="test_loss")
    found = analyse(made)
    row = found.summary.query("arm == 'x=1' and metric == 'test_loss'").iloc[0]
    assert (row["best"], row["worst"]) == (0.1, 0.3)
    assert found.best == "x=1"
    assert found.comparisons["difference"].tolist() == pytest.approx([0.25])


def test_the_best_is_chosen_by_validation_not_by_the_metric():
    made = study()
    made.runs["validation_accuracy"] = 1 - made.runs["test_accuracy"]
    found = analyse(made)
    assert found.best == "x=1,y=1"
    assert (found.comparisons["difference"] > 0).all()
    assert any("chosen by validation accuracy; its test accuracy had no part" in note for note in found.notes)
    made = dataclasses.replace(made, select_by="test_accuracy")
    assert any("flattered" in note for note in analyse(made).notes)


def test_comparisons_are_paired_adjusted_and_say_how_many_seeds():
    made = with_values({1: [0.50, 0.61, 0.42], 2: [0.52, 0.64, 0.43], 3: [0.1, 0.2, 0.3]}, select_by="test_accuracy")
    found = analyse(made).comparisons.set_index("arm")
    by_hand = stats.paired_difference([-0.02, -0.03, -0.01])
    row = found.loc["x=1"]
    assert (row["n"], row["difference"], row["low"], row["p"]) == pytest.approx((3, -0.02, by_hand.low, by_hand.p))
    p = np.array([by_hand.p, found.loc["x=3", "p"]])
    assert found["adjusted_p"].to_numpy() == pytest.approx(
        stats.holm(np.minimum(1, 1.5 * p))
    )  # 3 arms: 3 pairs, 2 rows
    assert row["seeds_needed"] == stats.seeds_needed(0.01, 0.02, alpha=0.05 / 3) > stats.seeds_needed(0.01, 0.02)
    assert not row["distinguishable"]


def test_equal_arms_are_seldom_told_apart():
    """12 equal arms, the best of them picked: without that in the p values 11% of studies would err."""
    rng, wrong = np.random.default_rng(0), 0
    made = study({"x": tuple(range(12))}, lambda _: 0.5, seeds=5, evaluations=0)
    made = dataclasses.replace(made, select_by="test_accuracy", curves=pd.DataFrame())
    made = dataclasses.replace(
        made, runs=made.runs[["arm", "x", "seed", "fold", "test_accuracy", "diverged_at"]], factors=()
    )
    for _ in range(200):
        made.runs["test_accuracy"] = rng.normal(0.8, 0.01, len(made.runs))
        wrong += analyse(made).comparisons["distinguishable"].any()
    assert wrong <= 0.055 * 200


def test_folds_take_the_corrected_variance():
    made = dataclasses.replace(study(seeds=1, folds=10), train_size=9, validation_size=1)
    found = analyse(made)
    table = made.runs.pivot_table(index="fold", columns="arm", values="test_accuracy")
    by_hand = stats.corrected_resampled(table["x=1,y=1"] - table[found.best], 9, 1)
    row = found.comparisons.iloc[0]
    assert (row["n"], row["p"], row["low"]) == pytest.approx((10, by_hand.p, by_hand.low))
    assert np.isnan(row["seeds_needed"])
    low = stats.corrected_resampled(table["x=1,y=1"], 9, 1).low
    assert found.summary["low"].iloc[0] == pytest.approx(low)
    assert any("overlap" in note for note in found.notes)


def test_curves_by_hand():
    made = study(seeds=3, evaluations=2)
    made.runs.loc[(made.runs["arm"] == "x=1,y=1") & (made.runs["seed"] == 2), "diverged_at"] = 150.0
    curves = made.curves
    found = analyse(made).curves
    assert len(found) == 6 * 4 * 2
    here = curves[(curves["arm"] == "x=1,y=1") & (curves["step"] == 200) & (curves["seed"] < 2)]["train_loss"]
    row = found.query("arm == 'x=1,y=1' and metric == 'train_loss' and step == 200").iloc[0]
    assert (row["n"], row["epoch"], row["mean"]) == pytest.approx((2, 2.0, here.mean()))
    assert row["sd"] == pytest.approx(here.std())
    assert found["arm"].drop_duplicates().tolist() == list(made.arms)


def test_curves_of_arms_with_evaluations_of_their_own():
    made = study(seeds=2, evaluations=4)
    other = made.curves["arm"] == "x=1,y=1"
    made.curves.loc[other, "step"] = made.curves["step"][other] // 2
    made.curves.loc[other, "validation_loss"] = np.nan
    found = analyse(made).curves
    assert (found["n"] == 2).all()
    assert len(found.query("metric == 'validation_loss'")) == 5 * 4
    assert found.query("arm == 'x=1,y=1' and metric == 'train_loss'")["step"].tolist() == [50, 100, 150, 200]


def test_importance_of_a_complete_grid_is_exact():
    found = analyse(study()).importance
    assert found["term"].tolist() == ["x", "y", "x × y", "seed", "seed noise"]
    assert set(found["method"]) == {"ANOVA"}
    assert found["share"].sum() == pytest.approx(1)
    assert found["share"].iloc[0] > 0.95


def test_importance_with_a_gap_is_fanova_and_with_few_arms_nothing():
    found = analyse(study())
    assert any("analysis of variance" in note for note in found.notes)
    few = study()
    few.runs.loc[0, "diverged_at"] = 3.0
    assert analyse(few).importance.empty
    many = study({"x": (1, 2, 3, 4), "y": (1, 2, 3)})
    many.runs.loc[0, "diverged_at"] = 3.0
    found = analyse(many)
    assert found.importance["method"].tolist() == ["fANOVA"] * 2
    assert found.importance["term"].tolist() == ["x", "y"]
    assert any("fANOVA" in note for note in found.notes)


def test_seeds_of_their_own_are_no_blocks():
    made = study({"x": (1, 2)}, lambda v: 0.4 + 0.1 * v["x"], seeds=4)
    made.runs["seed"] = made.runs["seed"] + 10 * made.runs["x"]
    assert analyse(made).importance["term"].tolist() == ["x", "seed noise"]


def test_correlations_are_over_arms():
    found = analyse(study(noise=0)).correlations
    row = found[(found["factor"] == "x") & (found["metric"] == "test_accuracy")].iloc[0]
    x, y = np.repeat([1, 2, 3], 2), np.tile([1, 2], 3)
    assert (row["n"], row["pearson"]) == pytest.approx((6, np.corrcoef(x, 0.1 * x + 0.01 * y)[0, 1]))
    names = study({"x": ("a", "b", "c")}, lambda _: 0.5)
    assert analyse(names).correlations.empty


def test_verdicts_come_along():
    found = analyse(study(claims=(claims.increases_with("c", "x"),)))
    assert [v.verdict for v in found.verdicts] == ["replicated"]


def test_same_seed_same_analysis():
    first, second, other = (analyse(study(), seed=seed).summary for seed in (0, 0, 1))
    pd.testing.assert_frame_equal(first, second)
    assert not first["bca_low"].equals(other["bca_low"])


def _no_runs():
    return dataclasses.replace(study(), runs=pd.DataFrame(), curves=pd.DataFrame(), unfinished=30)


def _all_diverged():
    made = study()
    made.runs["diverged_at"] = 3.0
    return made


def _no_metric():
    made = study()
    return dataclasses.replace(made, runs=made.runs.drop(columns=["test_accuracy", "validation_accuracy"]))


def _only_axes():
    made = study()
    return dataclasses.replace(made, runs=made.runs.iloc[:0][["arm", "x", "y", "seed", "fold", "diverged_at"]])


DEGENERATE = {
    "no runs": _no_runs,
    "no runs, but columns": _only_axes,
    "all diverged": _all_diverged,
    "no metric": _no_metric,
    "one arm": lambda: study({"x": (1,)}, lambda _: 0.5),
    "no factors": lambda: study({}, lambda _: 0.5),
    "one run": lambda: study({}, lambda _: 0.5, seeds=1),
    "one seed": lambda: study(seeds=1),
    "no noise": lambda: study(noise=0),
    "no curves": lambda: dataclasses.replace(study(), curves=pd.DataFrame()),
    "a foreign table": lambda: dataclasses.replace(
        study(), runs=study().runs[["arm", "x", "y", "seed", "fold", "test_accuracy"]]
    ),
}


@pytest.mark.parametrize("kind", DEGENERATE)
def test_degenerate_studies_have_the_same_columns_and_raise_nothing(kind):
    asked = (claims.increases_with("c", "x"), claims.best_is("c", {"x": 1}), claims.about("c", 0.5, within=0.1))
    found = analyse(dataclasses.replace(DEGENERATE[kind](), claims=asked))
    for name, columns in COLUMNS.items():
        assert list(getattr(found, name).columns) == columns.split()
    assert len(found.verdicts) == 3
    assert (found.best is None) == (kind not in ("one seed", "no noise", "no curves", "a foreign table"))
    if "one" in kind or "no factors" in kind:
        assert found.comparisons.empty or kind == "one seed"
    if kind == "all diverged":
        assert found.curves.empty
    if kind in ("one run", "one seed"):
        assert found.importance.empty
        assert any("n = 1" in note for note in found.notes)
        assert {v.verdict for v in found.verdicts} == {"not judged"}


def test_notes_say_what_is_missing():
    made = study()
    made.runs.loc[made.runs["seed"] == 0, "diverged_at"] = 3.0  # of every arm; else a whole one would be the best
    made.runs.loc[(made.runs["seed"] == 1) & (made.runs["arm"] == "x=3,y=2"), "diverged_at"] = 3.0
    notes = " ".join(analyse(dataclasses.replace(made, unfinished=1_200)).notes)
    assert "unfinished, 1,200 runs to come" in notes
    assert "7 runs of 30 diverged" in notes
    assert "The best arm has 3 of 4 replicates" in notes
    assert "at n = 3 they hold the mean in 72% of studies" in notes


def test_thousands_of_runs_take_seconds():
    """5,000 runs, 100,000 rows of curves; benchmarks have ten times as many. A loop over arms in pandas would show."""
    made = _big(levels=(10, 10, 5), seeds=10, evaluations=20)
    start = time.perf_counter()
    found = analyse(made)
    assert time.perf_counter() - start < 10
    assert (len(found.summary), len(found.comparisons), len(found.curves)) == (500 * 2, 499, 500 * 2 * 20)


def _big(levels, seeds, evaluations):
    rng = np.random.default_rng(0)
    keys = [f"k{i}" for i in range(len(levels))]
    grid = np.indices(levels).reshape(len(levels), -1).T
    arms = np.array([",".join(map(str, row)) for row in grid], object)
    arm = np.repeat(np.arange(len(arms)), seeds)
    runs = pd.DataFrame(
        {"arm": arms[arm], "seed": np.tile(np.arange(seeds), len(arms)), "fold": 0, "diverged_at": np.nan}
    )
    runs[keys] = grid[arm]
    runs["test_accuracy"] = 0.5 + 0.01 * runs["k0"] + rng.normal(0, 0.01, len(runs))
    runs["validation_accuracy"] = runs["test_accuracy"] + rng.normal(0, 0.01, len(runs))
    curves = runs[["arm", "seed", "fold"]].loc[np.repeat(runs.index, evaluations)].reset_index(drop=True)
    curves["step"] = np.tile(np.arange(1, evaluations + 1), len(runs))
    curves["epoch"] = curves["step"].astype(float)
    curves[["train_loss", "validation_loss"]] = rng.random((len(curves), 2))
    factors = tidy.factors_of(runs, keys)
    asked = (claims.increases_with("c", "k0"), claims.best_is("c", {"arm": arms[0]}))
    return tidy.Study("big", "?", factors, "test_accuracy", "validation_accuracy", runs, curves, tuple(arms), asked)
