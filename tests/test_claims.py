import dataclasses
import json

import made_up
import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

from fmnist_jax import claims, stats, tidy
from fmnist_jax.claims.outcomes import Outcome, all_of, any_of
from fmnist_jax.claims.replicates import Cube

WIDTH = {256: 0.85, 512: 0.87, 1024: 0.89}  # what the made-up accuracy comes to
DROPOUT = {0.0: -0.02, 0.2: 0.0, 0.5: -0.03, 0.8: -0.06}
WIDE, NARROW = {"model.dense": 1024}, {"dense": 256}
STEP = {"epoch": {"from": 2, "to": "last"}}


def study(*asked, noise=0.001, seeds=8, **settings):
    factors = {"model.dense": tuple(WIDTH), "model.dropout": tuple(DROPOUT)}

    def effect(arm):
        return WIDTH[arm["model.dense"]] + DROPOUT[arm["model.dropout"]]

    return made_up.study(factors, effect, noise=noise, seeds=seeds, claims=asked, **settings)


def one(claim, **settings):
    return claims.judge(study(claim, **settings))[0]


def from_table(values, *asked, **fields):
    """A study of one factor "x": {x: a test accuracy a seed}, NaN where the run diverged."""
    rows = [
        {"arm": f"x={x}", "x": x, "seed": s, "fold": 0, "test_accuracy": v, "diverged_at": np.nan if v == v else 7.0}
        for x, column in values.items()
        for s, v in enumerate(column)
    ]
    runs, common = pd.DataFrame(rows), {"metric": "test_accuracy", "select_by": "test_accuracy", "claims": asked}
    common["curves"] = pd.DataFrame()
    factors, arms = tidy.factors_of(runs, ["x"]), tuple(dict.fromkeys(runs["arm"]))
    return tidy.Study("table", "?", factors=factors, runs=runs, arms=arms, **common | fields)


# kind -> (a claim that holds, one that is refuted; None where a kind never is)
HOLD = {
    "greater": (claims.greater("c", WIDE, NARROW, by=0.02), claims.greater("c", NARROW, WIDE)),
    "less": (claims.less("c", NARROW, WIDE), claims.less("c", NARROW, WIDE, by=0.06)),
    "differ": (claims.differ("c", WIDE, NARROW), None),
    "equivalent": (claims.equivalent("c", WIDE, NARROW, within=0.1), claims.equivalent("c", WIDE, NARROW, within=0.02)),
    "all_equivalent": (claims.all_equivalent("c", "dense", within=0.1), claims.all_equivalent("c", "arm", within=0.03)),
    "best_is": (claims.best_is("c", {"dropout": 0.2}), claims.best_is("c", {"dropout": 0.0})),
    "best of a loss": (claims.best_is("c", WIDE, metric="test_loss"), claims.best_is("c", NARROW, metric="test_loss")),
    "worst_is": (claims.worst_is("c", {"dropout": 0.8}), claims.worst_is("c", {"dropout": 0.2})),
    "at_least": (claims.at_least("c", 0.82, each="dropout", where=WIDE), claims.at_least("c", 0.82, each="dropout")),
    "at_most": (claims.at_most("c", 0.86, where=NARROW), claims.at_most("c", 0.86, where=WIDE)),
    "about": (claims.about("c", 0.842, within=0.02), claims.about("c", 0.9, within=0.02)),
    "increases_with": (claims.increases_with("c", "dense"), claims.increases_with("c", "dropout")),
    "decreases_with": (claims.decreases_with("c", "dropout"), claims.decreases_with("c", "model.dense")),
    "rises_then_falls": (claims.rises_then_falls("c", "dropout"), claims.rises_then_falls("c", "dense")),
    "falls_then_rises": (
        claims.falls_then_rises("c", "dropout", metric="test_loss"),
        claims.falls_then_rises("c", "dropout"),
    ),
    "correlation": (claims.correlation("c", "dense", "positive"), claims.correlation("c", "dense", "negative")),
    "metric_greater": (
        claims.metric_greater("c", "test_accuracy", "train_loss", by=0.6, some="dropout"),
        claims.metric_greater("c", "test_accuracy", "train_loss", by=0.9, some="dropout"),
    ),
    "fails": (claims.fails("c", share=0.2, below=0.855), claims.fails("c", share=0.95, below=0.855)),
    "fails_more": (
        claims.fails_more("c", NARROW, WIDE, below=0.855),
        claims.fails_more("c", WIDE, NARROW, below=0.855),
    ),
    "a change": (
        claims.at_most("c", -0.1, where=STEP, metric="train_loss"),
        claims.at_least("c", 0, where=STEP, metric="train_loss"),
    ),
}


@pytest.mark.parametrize("kind", HOLD)
def test_a_claim_that_holds_is_replicated_and_one_that_does_not_is_not(kind):
    holds, fails = HOLD[kind]
    assert one(holds).verdict == "replicated"
    if fails:
        assert one(fails).verdict == "not replicated"


@pytest.mark.parametrize("kind", sorted({*HOLD} - {"fails", "fails_more", "a change", "at_least", "metric_greater"}))
def test_noise_that_drowns_an_effect_is_inconclusive(kind):
    for claim in filter(None, HOLD[kind]):
        assert one(claim, noise=0.3, seeds=3, seed=4).verdict == "inconclusive"


def test_no_effect_no_verdict():
    """Under no effect at most 5% of verdicts may be decisive; 400 studies of three arms that are alike."""
    asked = [
        claims.differ("c", {"x": 1}, {"x": 2}),
        claims.increases_with("c", "x"),
        claims.best_is("c", {"x": 2}),
        claims.rises_then_falls("c", "x"),
    ]
    rng = np.random.default_rng(0)
    decisive = 0
    for i in range(400):
        table = rng.normal(0.8, 0.01, (3, 5)) + rng.normal(0, 0.01, 5)
        verdict = claims.judge(from_table(dict(enumerate(table, 1)), asked[i % 4]))[0].verdict
        decisive += verdict != "inconclusive"
    assert decisive <= 0.055 * 400


def test_the_replicate_is_the_seed_not_the_run():
    """12 arms of 8 seeds: n = 8, and the test is the paired one of means over the four rates of dropout."""
    asked = study(claims.greater("c", WIDE, NARROW))
    means = asked.runs.pivot_table(index="seed", columns="model.dense", values="test_accuracy")
    by_hand = stats.paired_difference(means[1024] - means[256])
    verdict = claims.judge(asked)[0]
    assert verdict.n == 8
    assert (verdict.effect, verdict.low, verdict.p) == pytest.approx((by_hand.mean, by_hand.low, by_hand.p))


def test_pairing_removes_what_a_seed_has_in_common():
    of_seed = np.array([0.70, 0.95, 0.80, 0.85, 0.60])
    asked = from_table(
        {1: of_seed, 2: of_seed + np.array([0.010, 0.012, 0.009, 0.011, 0.010])},
        claims.greater("c", {"x": 2}, {"x": 1}),
    )
    assert claims.judge(asked)[0].verdict == "replicated"


@pytest.mark.parametrize("sizes", [(900, 100), (0, 0)])
def test_overlapping_folds_take_the_corrected_test(sizes):
    """Without sizes in the ratio of k-fold splits: 10 folds, 9 to 1."""
    asked = study(claims.greater("c", WIDE, NARROW), seeds=1, folds=10, noise=0.01)
    asked = dataclasses.replace(asked, train_size=sizes[0], validation_size=sizes[1])
    means = asked.runs.pivot_table(index="fold", columns="model.dense", values="test_accuracy")
    verdict = claims.judge(asked)[0]
    assert verdict.p == pytest.approx(stats.corrected_resampled(means[1024] - means[256], 9, 1).p)
    assert "n = 10 folds" in verdict.reason


def test_a_claim_about_folds_has_seeds_for_replicates():
    asked = study(claims.increases_with("R6", "fold", metric="validation_accuracy"), seeds=4, folds=5)
    asked.runs["validation_accuracy"] += 0.02 * asked.runs["fold"]
    verdict = claims.judge(asked)[0]
    assert (verdict.verdict, verdict.n) == ("replicated", 4)


def test_increases_with_by_hand():
    """Slopes of 0.01, 0.02, 0.03 a step: mean 0.02, t = 0.02 / (0.01 / sqrt(3)) = 3.46 with 2 degrees of freedom."""
    columns = {x: 0.5 + i * np.array([0.01, 0.02, 0.03]) for i, x in enumerate((3, 30, 300))}
    verdict = claims.judge(from_table(columns, claims.increases_with("c", "x")))[0]
    assert verdict.effect == pytest.approx(0.02)
    assert verdict.p == pytest.approx(2 * scipy_stats.t.sf(12**0.5, 2))
    assert verdict.reason.startswith("The mean slope is 2.00 points a step of x (95% interval -0.48 to 4.48, p = 0.074")
    assert "rises at every step (50.00, 52.00, 54.00)" in verdict.reason
    assert "about 5 seeds" in verdict.reason
    assert stats.seeds_needed(0.01, 0.02) == 5


def test_fails_by_hand():
    """3 of 5 runs fail, one by diverging; Clopper and Pearson's interval is 14.7 to 94.7%."""
    asked = from_table({1: [0.1, np.nan, 0.1, 0.9, 0.9]}, claims.fails("c", share=0.05, below=0.2))
    verdict = claims.judge(asked)[0]
    assert (verdict.effect, verdict.low, verdict.high) == pytest.approx((0.6, 0.1466, 0.9473), abs=1e-4)
    assert verdict.p == pytest.approx(2 * scipy_stats.binom.sf(2, 5, 0.05))
    assert verdict.reason.endswith("n = 5 seeds).")


def test_failures_are_counted_by_seed():
    """Six folds of three seeds are three replicates."""
    asked = (claims.fails("c", share=0.2, below=0.855), claims.fails_more("c", NARROW, WIDE, below=0.855))
    assert [v.n for v in claims.judge(study(*asked, seeds=3, folds=6))] == [3, 3]


def test_correlation_is_over_the_arms_of_a_replicate():
    """The correlation of table 1 of acosta with the number of layers, -0.893, here the same for two seeds but noise."""
    accuracies = [0.815, 0.853, 0.869, 0.842, 0.870, 0.918, 0.623, 0.682, 0.731, 0.702, 0.722, 0.771]
    columns = {i: a + 1e-5 * i * np.array([0, 1, -1]) for i, a in enumerate(accuracies)}
    layers = {i: 1 + i // 6 for i in range(12)}
    verdict = claims.judge(from_table(columns, claims.correlation("A7", "x", "negative", numbers=layers)))[0]
    assert verdict.effect == pytest.approx(-0.893, abs=5e-4)
    assert verdict.verdict == "replicated"


def test_an_order_is_called_what_its_numbers_are():
    layers = {"numbers": {1: 1, 2: 1, 3: 2}, "called": "convolution layers"}
    columns = {x: [0.9 - 0.1 * x + 0.01 * seed for seed in range(3)] for x in (1, 2, 3)}
    trend = claims.decreases_with("A3", "x", **layers)
    correlated = claims.correlation("A7", "x", "negative", **layers)
    fallen, along = claims.judge(from_table(columns, trend, correlated))
    assert fallen.statement == "Test accuracy falls with convolution layers"
    assert "points a step of convolution layers" in fallen.reason
    assert along.statement == "The correlation of test accuracy with convolution layers over the arms is negative"


def test_the_best_is_held_against_the_nearest_too():
    """Against x=3, which scatters, p is the largest; x=2 is the one that it is nearest to."""
    columns = {1: [0.90, 0.91, 0.92, 0.91], 2: [0.89, 0.90, 0.91, 0.901], 3: [0.1, 0.8, 0.2, 0.7]}
    verdict = claims.judge(from_table(columns, claims.best_is("R2", {"x": 1})))[0]
    assert verdict.reason.startswith("Against x=3")
    assert (
        "nearest in the mean, against x=2 the difference is 0.98 points (95% interval 0.90 to 1.05)" in verdict.reason
    )


def test_a_turn_tells_both_sides():
    columns = {1: [0.5, 0.51, 0.52], 2: [0.8, 0.81, 0.83], 3: [0.7, 0.72, 0.71]}
    reason = claims.judge(from_table(columns, claims.rises_then_falls("A6", "x")))[0].reason
    assert "at 2 against 1 the difference is" in reason.lower()
    assert "at 2 against 3 the difference is" in reason.lower()


def test_a_margin_of_one_is_one_point():
    within = [claims.equivalent("R5", {"x": 1}, {"x": 2}, within=margin) for margin in (0.01, 0.11)]
    found = claims.judge(from_table({1: [0.5, 0.6, 0.7], 2: [0.5, 0.6, 0.71]}, *within))
    assert ["less than 1 point between" in found[0].statement, "less than 11 points" in found[1].statement] == [
        True,
        True,
    ]


def test_spread():
    columns = {1: [0.5, 0.7, 0.9, 0.6, 0.8, 0.4, 1.0, 0.3], 2: [0.70, 0.71, 0.72, 0.70, 0.71, 0.69, 0.70, 0.72]}
    more, less = claims.spreads_more("c", {"x": 1}, {"x": 2}), claims.spreads_more("c", {"x": 2}, {"x": 1})
    found = claims.judge(from_table(columns, more, less))
    assert [v.verdict for v in found] == ["replicated", "not replicated"]
    assert found[0].effect == pytest.approx(np.std(columns[1]) / np.std(columns[2]))


def test_interaction():
    factors = {"a": (1, 2), "b": (1, 2)}
    claim = claims.interacts("B4", ["a", "b"])
    for size, verdict in ((0.05, "replicated"), (0.0, "inconclusive")):
        made = made_up.study(factors, lambda v, s=size: 0.7 + s * (v["a"] == v["b"]) + 0.1 * v["a"], claims=(claim,))
        assert claims.judge(made)[0].verdict == verdict


def test_classes():
    """Counts of two runs: the mean run has 100 images a class, 80, 95 and 99 of them recognised."""
    names = ("Shirt", "Coat", "Sandal")
    counts = 2 * np.array([[80, 17, 3], [3, 95, 2], [0, 0, 100]])
    asked = (
        claims.worst_class("X5", "Shirt"),
        claims.worst_class("X5", "Sandal"),
        claims.most_taken_for("X5", "Shirt", "Coat"),
        claims.confuses_more("X5", ("Shirt", "Coat"), ("Coat", "Shirt")),
        claims.best_class("X5", "Sandal"),
    )
    made = from_table({1: [0.9, 0.91]}, *asked, confusions={"x=1": counts}, class_names=names)
    found = claims.judge(made)
    expected = ["replicated", "not replicated", "replicated", "replicated", "inconclusive"]
    assert [v.verdict for v in found] == expected
    assert found[3].p == pytest.approx(scipy_stats.fisher_exact([[17, 83], [3, 97]]).pvalue)
    assert found[2].p == pytest.approx(2 * scipy_stats.binom.cdf(3, 20, 0.5))
    assert found[0].n == 100


def test_holm_is_over_all_claims():
    columns = {1: [0.50, 0.51, 0.49, 0.50], 2: [0.53, 0.52, 0.53, 0.54], 3: [0.50, 0.53, 0.51, 0.50]}
    asked = [
        claims.greater("c", {"x": 2}, {"x": 1}),
        claims.greater("c", {"x": 3}, {"x": 1}),
        claims.at_least("no", 0, each="y"),
    ]
    found = claims.judge(from_table(columns, *asked))
    p = [v.p for v in found]
    assert found[0].adjusted_p == pytest.approx(2 * p[0])
    assert found[1].adjusted_p == pytest.approx(max(2 * p[0], p[1]))
    assert (found[2].verdict, np.isnan(found[2].adjusted_p)) == ("not judged", True)
    # p = 0.014 decides a claim that is alone, and no claim of four.
    assert 0.0125 < p[0] < 0.05
    alone, of_four = (claims.judge(from_table(columns, *asked[:1] * n))[0].verdict for n in (1, 4))
    assert (alone, of_four) == ("replicated", "inconclusive")


def test_the_seeds_it_would_take_are_those_for_all_claims_together():
    """A gap that twelve claims beside it make harder to tell: the smallest p has to get below 0.05 / 13."""
    columns = {1: [0.50, 0.53, 0.51, 0.50], 2: [0.52, 0.53, 0.54, 0.51]}
    claim, same = claims.greater("c", {"x": 2}, {"x": 1}), claims.greater("d", {"x": 2}, {"x": 1})
    difference = np.subtract(columns[2], columns[1])
    for asked, level in (([claim], 0.05), ([claim] + 12 * [same], 0.05 / 13)):
        needed = stats.seeds_needed(difference.std(ddof=1), difference.mean(), alpha=level)
        assert f"about {needed} seeds" in claims.judge(from_table(columns, *asked))[0].reason
    # A claim with a smaller p does not count: it is decided first.
    sure = claims.greater("e", {"x": 3}, {"x": 1})
    columns[3] = [0.90, 0.93, 0.91, 0.90]
    needed = stats.seeds_needed(difference.std(ddof=1), difference.mean())
    assert f"about {needed} seeds" in claims.judge(from_table(columns, claim, sure))[0].reason


def test_several_tests_as_one():
    """p 0.01 and 0.02 of what holds, 0.03 of what does not, each alone and all together."""
    a, b, c = (
        Outcome("", "", supports, 0.0, 0.0, 0.0, p, 5, "seeds")
        for supports, p in ((True, 0.01), (True, 0.02), (False, 0.03))
    )
    both, with_c = all_of([a, b]), all_of([a, b, c])
    assert (both.supports, both.p) == (True, 0.02)
    assert (with_c.supports, with_c.p) == (False, pytest.approx(0.09))
    either, none = any_of([a, b, c]), any_of([c, c])
    assert (either.supports, either.p) == (True, pytest.approx(0.03))
    assert (none.supports, none.p) == (False, 0.03)
    unknown = dataclasses.replace(a, p=np.nan)
    assert np.isnan(all_of([a, unknown]).p)
    assert any_of([a, unknown]).p == pytest.approx(0.02)


def test_what_is_left_out_is_the_line_with_most_gaps():
    """Three settings by four seeds: a gap costs the setting where seeds are few, the seed where settings are few."""
    cube = Cube(np.zeros((1, 3, 4)), np.ones((1, 3), bool), (0, 0), "seeds", ())
    table = np.zeros((3, 4))
    table[1, 2] = np.nan
    assert cube.kept(table)[0].tolist() == [True, True, True]
    assert cube.kept(table)[1].tolist() == [True, True, False, True]
    assert cube.kept(table.T)[0].tolist() == [True, True, False, True]
    assert cube.kept(table[1:2])[1].tolist() == [True, True, False, True]


def test_diverged_runs_cost_replicates_and_the_reason_says_so():
    columns = {1: [0.5, 0.51, 0.5, np.nan], 2: [0.6, 0.61, 0.602, 0.6]}
    verdict = claims.judge(from_table(columns, claims.greater("c", {"x": 2}, {"x": 1})))[0]
    assert verdict.n == 3
    assert "1 run diverged, which leaves 3 of 4 seeds" in verdict.reason
    rival = claims.judge(from_table(columns | {3: [np.nan] * 4}, claims.best_is("R2", {"x": 2})))[0]
    assert "1 other setting diverged in every run" in rival.reason


@pytest.mark.parametrize(
    ("claim", "reason"),
    [
        (claims.greater("c", {"x": 3}, {"x": 1}), "no arm has x=3; there are 1, 2"),
        (claims.greater("c", {"y": 3}, {"y": 1}), "no factor 'y'; there are x"),
        (
            claims.greater("c", {"x": 2}, {"x": 1}, metric="test_loss"),
            "no run has test_loss yet; there are test_accuracy",
        ),
        (claims.greater("c", {"x": 2}, {"x": 1}, where={"epoch": 3}), "there are no curves yet"),
        (
            claims.at_least("c", 0.5, where={"x": 2}),
            "needs two seeds or more, has 1: 1 run diverged, which leaves 1 of 2",
        ),
        (claims.best_is("c", {"x": [1, 2]}), "there is no other setting to compare it with"),
        (claims.rises_then_falls("c", "x"), "needs three values of x or more, there are 2"),
        (claims.worst_class("c", "Shirt"), "there is no confusion matrix yet"),
    ],
)
def test_what_is_not_there_is_not_judged(claim, reason):
    verdict = claims.judge(from_table({1: [0.5, 0.6], 2: [0.5, np.nan]}, claim))[0]
    assert verdict.verdict == "not judged"
    assert reason in verdict.reason
    assert np.isnan(verdict.p)


def test_images_are_of_all_folds():
    with pytest.raises(ValueError, match="where: 'fold': images are counted over all folds, at the end; leave it out"):
        claims.worst_class("X5", "Shirt", where={"fold": 0})


def test_no_runs_at_all():
    empty = dataclasses.replace(study(claims.increases_with("c", "dense")), runs=pd.DataFrame(), curves=pd.DataFrame())
    assert "no run has finished yet" in claims.judge(empty)[0].reason


def test_a_running_studys_verdict_is_provisional():
    running = dataclasses.replace(study(claims.greater("c", WIDE, NARROW)), unfinished=3)
    assert claims.judge(running)[0].reason.endswith("; provisional, 3 runs to come.")


def test_only_runs_that_differ_in_nothing_else_are_compared():
    """Values of x that came with values of y of their own have no partner."""
    made = made_up.study({"x": (1, 2), "y": (1, 2)}, lambda v: 0.2 + 0.1 * v["x"] + 0.2 * v["y"])
    runs = made.runs[made.runs["x"] == made.runs["y"]]
    asked = (claims.greater("c", {"x": 2}, {"x": 1}), claims.greater("c", {"x": 2, "y": 2}, {"x": 1, "y": 1}))
    alone, together = claims.judge(dataclasses.replace(made, runs=runs, claims=asked))
    assert "no run of one side is like one of the other in y" in alone.reason
    assert together.effect == pytest.approx(0.3, abs=0.02)


def test_a_trend_is_over_settings_that_have_all_values():
    """With y=2 there is no x=3; it would bend the means."""
    made = made_up.study({"x": (1, 2, 3), "y": (1, 2)}, lambda v: 0.2 + 0.1 * v["x"] + 0.2 * v["y"])
    runs = made.runs[(made.runs["x"] < 3) | (made.runs["y"] == 1)]
    asked = (claims.increases_with("c", "x"), claims.increases_with("c", "x", where={"y": 2}))
    whole, part = claims.judge(dataclasses.replace(made, runs=runs, claims=asked))
    assert whole.effect == pytest.approx(0.1, abs=0.01)
    assert part.n == 5
    neither = runs[(runs["x"] != 2) | (runs["y"] == 2)]
    verdict = claims.judge(dataclasses.replace(made, runs=neither, claims=asked))[0]
    assert "no setting of the other factors has all values of x" in verdict.reason


def test_a_value_is_the_tables_but_for_rounding():
    made = from_table({0.1 + 0.2: [0.5, 0.6], 0.4: [0.6, 0.7]}, claims.at_least("c", 0.1, where={"x": 0.3}))
    assert claims.judge(made)[0].n == 2


def test_a_list_is_several_values_and_a_tuple_is_one():
    values = (32, "32, 64", 64)  # as the table has (32,), (32, 64), (64,)
    made = made_up.study({"model.filters": values}, lambda v: {32: 0.5, 64: 0.6, "32, 64": 0.8}[v["model.filters"]])
    layers = {(32,): 1, 64: 1, (32, 64): 2}
    asked = (
        claims.at_least("two layers", 0.7, where={"filters": (32, 64)}),
        claims.about("either", 0.55, within=0.02, where={"filters": [32, 64]}),
        claims.increases_with("layers", "filters", numbers=layers),
    )
    found = claims.judge(dataclasses.replace(made, claims=asked))
    assert [v.verdict for v in found] == ["replicated"] * 3
    assert found[2].effect == pytest.approx(0.8 - 0.55, abs=0.01)


def test_the_last_evaluation_is_each_runs_own():
    made = study(claims.at_least("c", 0, where={"epoch": "last"}, metric="train_loss"))
    stopped = (made.curves["seed"] == 0) & (made.curves["epoch"] > 2)
    made = dataclasses.replace(made, curves=made.curves[~stopped])
    last = made.curves.groupby(["arm", "seed"])["train_loss"].last()
    assert claims.judge(made)[0].effect == pytest.approx(last.mean())


def test_the_peak_is_where_an_arms_mean_is_best():
    """Means over seeds 0.5, 0.7, 0.6: epoch 2, though seed 0 is best at epoch 3."""
    curve = {0: (0.4, 0.6, 0.7), 1: (0.6, 0.8, 0.5)}
    rows = [
        {"arm": "x=1", "seed": seed, "fold": 0, "step": 10 * epoch, "epoch": float(epoch), "validation_accuracy": value}
        for seed, values in curve.items()
        for epoch, value in enumerate(values, 1)
    ]
    claim = claims.at_least("c", 0.5, where={"epoch": "peak"}, metric="validation_accuracy")
    verdict = claims.judge(from_table({1: [0.5, 0.6]}, claim, curves=pd.DataFrame(rows)))[0]
    assert verdict.effect == pytest.approx(0.7)
    assert "at the epoch that is best on average" in verdict.statement


def test_a_run_that_diverges_later_has_not_failed_yet():
    made = study(claims.fails("c", share=0.5, below=0.1, where={"epoch": 2}, metric="train_accuracy"))
    runs = made.runs.assign(diverged_at=np.where(made.runs["seed"] < 4, 350.0, np.nan))  # epochs are of 100 steps
    early, late = (
        claims.judge(dataclasses.replace(made, runs=runs, claims=(made.claims[0] | {"where": {"epoch": epoch}},)))[0]
        for epoch in (2, 4)
    )
    assert (early.effect, late.effect) == (0.0, 0.5)


def test_a_mean_over_a_list_needs_all_of_it():
    """No run has both y=2 and x=3, though each is there."""
    made = made_up.study({"x": (1, 2, 3), "y": (1, 2)}, lambda v: 0.2 + 0.1 * v["x"])
    runs = made.runs[(made.runs["x"] < 3) | (made.runs["y"] == 1)]
    asked = [claims.at_least("c", 0.1, where={"x": [1, 3], "y": y}) for y in (1, 2)]
    whole, part = claims.judge(dataclasses.replace(made, runs=runs, claims=tuple(asked)))
    assert whole.verdict == "replicated"
    assert part.verdict == "not judged"
    assert "no run with x=3, y=2 has finished yet" in part.reason


def test_a_diverged_run_has_no_part_in_a_confusion_matrix():
    """Its matrix is not kept; one whole run is left, of 100 images a class."""
    counts = np.array([[80, 20], [5, 95]])
    claim = claims.worst_class("X5", "Shirt")
    made = from_table({1: [0.9, np.nan]}, claim, confusions={"x=1": counts}, class_names=("Shirt", "Coat"))
    made = dataclasses.replace(made, runs=made.runs.fillna({"test_accuracy": 0.1}))
    assert claims.judge(made)[0].n == 100


def test_a_claim_survives_json():
    asked = study(*(claim for pair in HOLD.values() for claim in pair if claim))
    again = dataclasses.replace(asked, claims=tuple(json.loads(json.dumps(asked.claims))))
    assert claims.judge(asked) == claims.judge(again)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"kind": "grater"}, "claim A1: kind='grater': there is none; did you mean 'greater'?"),
        ({"name": ""}, "claim '': needs a name, such as 'A1'"),
        ({"bye": 1.0}, "claim A1: bye=1.0: greater has none; did you mean 'by'?"),
        ({"by": "much"}, "claim A1: by='much': must be a number"),
        ({"a": {}}, "claim A1: a={}: must name at least one factor, or the arm"),
        ({"where": 3}, "claim A1: where=3: must be a mapping of factors to values"),
        ({"where": {"epoch": "end"}}, "claim A1: where={'epoch': 'end'}: epoch: must be a number, 'last' or 'peak'"),
        ({"where": {"model.dens": 3}}, "claim A1: where: 'model.dens' is no factor of this study; did you mean"),
        ({"kind": "equivalent", "by": 0.1}, "claim A1: by=0.1: equivalent has none"),
        ({"kind": "equivalent"}, "claim A1: within: missing; equivalent needs a, b, within"),
        ({"kind": "fails_more"}, "claim A1: below, above: fails_more needs one"),
        (
            {"where": {"model.dense": None}},
            "claim A1: where={'model.dense': None}: model.dense: takes a value",
        ),
        ({"where": {"model.dense": [[1]]}}, "claim A1: where={'model.dense': [[1]]}: model.dense: takes a value"),
    ],
)
def test_a_claim_that_is_not_well_formed_is_refused_in_one_line(change, error):
    good = {"kind": "greater", "name": "A1", "a": WIDE, "b": NARROW}
    claims.check(good, ["model.dense", "model.dropout"])
    with pytest.raises(ValueError, match="^claim") as raised:
        claims.check(good | change, ["model.dense", "model.dropout"])
    assert str(raised.value).startswith(error)
    assert "\n" not in str(raised.value)
