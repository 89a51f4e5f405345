"""Differences between arms: textbook numbers, SciPy and statsmodels, and how often a verdict is false."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import ttost_paired

from fmnist_jax import stats

# Student 1908, hours of sleep gained with two drugs by the same ten patients (`sleep` in R).
DRUG_1 = np.array([0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0])
DRUG_2 = np.array([1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4])
NOTHING = st.floats(-1e3, 1e3, allow_subnormal=False) | st.just(math.nan)


def p_of_3(t):
    """Two-sided p of Student's t with 3 degrees of freedom, in closed form."""
    x = abs(t) / math.sqrt(3)
    return 1 - 2 / math.pi * (x / (1 + x * x) + math.atan(x))


def test_paired_by_student():
    got = stats.paired_difference(DRUG_2 - DRUG_1)
    assert got.n == 10
    assert (got.mean, got.low, got.high) == pytest.approx((1.58, 0.7001142, 2.4598858), abs=1e-6)  # R: t.test
    assert got.p == pytest.approx(0.002833, abs=1e-6)


def test_paired_by_hand():
    # 1, 2, 3, 4: sd sqrt(5/3), t = 2.5 / (sd / 2) = sqrt(15). Hedges: G(1.5) / (sqrt(1.5) G(1)) = 0.723601.
    got = stats.paired_difference([1, 2, 3, 4])
    assert got.p == pytest.approx(p_of_3(math.sqrt(15)))
    assert got.effect_size == pytest.approx(0.723601 * 2.5 / math.sqrt(5 / 3), rel=1e-6)
    assert stats.paired_difference([1, 2, 3, 4], null=2.5).p == 1


def test_corrected_by_hand():
    # 4 folds, 25 images to judge on 75: the variance of the mean is (1/4 + 1/3) * 5/3 = 35/36.
    got = stats.corrected_resampled([1, 2, 3, 4], train_size=75, test_size=25)
    half = 3.182446305 * math.sqrt(35 / 36)
    assert (got.low, got.high) == pytest.approx((2.5 - half, 2.5 + half))
    assert got.p == pytest.approx(p_of_3(2.5 / math.sqrt(35 / 36)))


def test_unpaired_by_student():
    got = stats.unpaired_difference(DRUG_1, DRUG_2)
    assert got.n == 20
    assert (got.mean, got.low, got.high) == pytest.approx((-1.58, -3.3654832, 0.2054832), abs=1e-6)  # R: t.test
    assert got.p == pytest.approx(0.07939, abs=1e-5)
    # Pooled sd of equal halves: sqrt of the mean variance; Hedges' factor for 18 is 0.95765 (1 - 3 / 71 = 0.95775).
    assert got.effect_size == pytest.approx(0.95765 * -1.58 / got.sd, rel=1e-4)
    assert got.sd == pytest.approx(math.sqrt((DRUG_1.var(ddof=1) + DRUG_2.var(ddof=1)) / 2))


def test_as_scipy():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.5, 1, 7), rng.normal(0, 3, 12)
    want = scipy_stats.ttest_ind(a, b, equal_var=False)
    got = stats.unpaired_difference(a, b, confidence=0.9)
    assert (got.p, got.low, got.high) == pytest.approx((want.pvalue, *want.confidence_interval(0.9)))
    want = scipy_stats.ttest_1samp(a, 0.2)
    got = stats.paired_difference(a, confidence=0.9, null=0.2)
    assert (got.p, got.low, got.high) == pytest.approx((want.pvalue, *want.confidence_interval(0.9)))


def test_no_word_on_spread_no_verdict():
    """Twice the same number is no proof: it may be one deterministic run, seen twice."""
    for few in ([], [0.3], [0.3, np.nan]):
        got = stats.paired_difference(few)
        assert np.isnan([got.sd, got.low, got.high, got.effect_size, got.p]).all()
    got = stats.paired_difference([0.3, 0.1 + 0.2, 0.3])  # they differ by rounding alone
    assert (got.n, got.sd) == (3, 0)
    assert got.mean == pytest.approx(0.3)
    assert np.isnan([got.low, got.high, got.effect_size, got.p]).all()
    assert stats.paired_difference([0.0, 0.0]).p == 1
    assert stats.paired_difference([0.5, 0.5], null=0.5).p == 1
    assert np.isnan(stats.paired_difference([1.0, 2.0]).effect_size)
    assert stats.unpaired_difference([1, 1], [1, 1]).p == 1
    assert np.isnan(stats.unpaired_difference([1, 1], [2, 2]).p)
    assert np.isnan(stats.unpaired_difference([1], [2, 3]).p)
    assert np.isnan(stats.unpaired_difference([], [2, 3]).mean)
    assert stats.unpaired_difference([1, 1], [2, 3]).p < 1
    assert np.isnan(stats.equivalence([0.1, 0.1], margin=1).p)


@pytest.mark.parametrize("sizes", [{}, {"train_size": 900, "test_size": 100}])
def test_rows_are_as_the_scalar_says(sizes):
    rng = np.random.default_rng(0)
    table = rng.normal(0.3, 1, (40, 6))
    table[rng.random(table.shape) < 0.3] = np.nan
    table[0], table[1], table[2, 1:] = 0.0, 0.25, np.nan
    rows = stats.paired_differences(table, **sizes)
    assert rows.columns.tolist() == list(stats.Difference._fields)
    for got, row in zip(rows.itertuples(index=False), table, strict=True):
        want = stats.corrected_resampled(row, **sizes) if sizes else stats.paired_difference(row[np.isfinite(row)])
        assert tuple(got) == pytest.approx(want, nan_ok=True)


@pytest.mark.parametrize("n", [3, 5, 10, 30])
def test_paired_difference_keeps_its_word(n):
    """20,000 studies without an effect: 5% false verdicts, and the interval says the same as p."""
    rows = stats.paired_differences(np.random.default_rng(n).normal(size=(20_000, n)))
    assert 0.045 <= (rows.p < 0.05).mean() <= 0.055
    assert ((rows.p < 0.05) == ((rows.low > 0) | (rows.high < 0))).all()


@pytest.mark.parametrize("folds", [5, 10])
def test_folds_overlap(folds):
    """Differences over folds share their training images. Taken as independent, they convict the innocent.

    Nadeau & Bengio's model: any two differences correlate by test / (train + test).
    """
    rng = np.random.default_rng(folds)
    shared, own = rng.normal(size=(20_000, 1)), rng.normal(size=(20_000, folds))
    rho = 1 / folds
    table = math.sqrt(rho) * shared + math.sqrt(1 - rho) * own
    assert (stats.paired_differences(table).p < 0.05).mean() > 0.10
    corrected = stats.paired_differences(table, train_size=folds - 1, test_size=1)
    assert 0.045 <= (corrected.p < 0.05).mean() <= 0.055
    assert 0.945 <= ((corrected.low <= 0) & (corrected.high >= 0)).mean() <= 0.955


def test_welch_with_unequal_spreads():
    rng = np.random.default_rng(0)
    false = [stats.unpaired_difference(rng.normal(0, 1, 6), rng.normal(0, 3, 12)).p < 0.05 for _ in range(4000)]
    assert np.mean(false) <= 0.055


def test_holm_by_hand():
    # In order: 0.005 * 4, 0.01 * 3, 0.03 * 2, and 0.04 may not fall below 0.06.
    assert stats.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert stats.holm([0.01, np.nan, 0.04]) == pytest.approx([0.02, np.nan, 0.04], nan_ok=True)
    assert stats.holm([]).shape == (0,)
    assert np.isnan(stats.holm([np.nan])).all()


def test_holm_as_statsmodels():
    p = np.random.default_rng(0).random(40) ** 3
    assert stats.holm(p) == pytest.approx(multipletests(p, method="holm")[1])


@given(st.lists(st.floats(0, 1, allow_subnormal=False) | st.just(math.nan), max_size=12))
@settings(max_examples=60, deadline=None)
def test_holm_keeps_order_and_only_adds(p):
    p = np.array(p)
    adjusted = stats.holm(p)
    assert (np.isnan(p) == np.isnan(adjusted)).all()
    known = p[~np.isnan(p)]
    adjusted = adjusted[~np.isnan(p)]
    assert (adjusted >= known).all()
    assert (adjusted <= np.minimum(1, known * len(known)) + 1e-12).sum() >= min(1, len(known))
    assert (np.diff(adjusted[np.argsort(known)]) >= 0).all()


def against_first(rng, studies, arms, seeds):
    values = rng.normal(size=(studies, arms, seeds))
    return values[:, 1:] - values[:, :1]


def p_of(differences):
    rows = stats.paired_differences(differences.reshape(-1, differences.shape[-1]))
    return rows.p.to_numpy().reshape(differences.shape[:2])


def test_holm_holds_the_family():
    """12 equal arms of 5 seeds against a baseline: half of the studies err without Holm, at most 5.5% with."""
    p = p_of(against_first(np.random.default_rng(1), 2000, 12, 5))
    assert (p.min(1) < 0.05).mean() > 0.2
    assert np.mean([stats.holm(row).min() < 0.05 for row in p]) <= 0.055


def test_the_best_is_not_a_baseline():
    """Against the arm that came out best Holm over the 11 comparisons is not enough; over all 66 pairs it is."""
    rng = np.random.default_rng(2)
    values = rng.normal(size=(2000, 12, 5))
    order = np.argsort(-values.mean(2), axis=1)[..., None]
    ranked = np.take_along_axis(values, order, 1)
    p = p_of(ranked[:, 1:] - ranked[:, :1])
    assert 0.10 <= np.mean([stats.holm(row).min() < 0.05 for row in p]) <= 0.13
    assert np.mean([stats.holm(np.minimum(1, row * 12 / 2)).min() < 0.05 for row in p]) <= 0.05


def test_equivalence_by_hand():
    # -1, 0, 1, 2: mean 0.5, standard error sqrt(5/12); the nearer edge is 2.5 away: t = sqrt(15). t(0.95, 3) = 2.35336.
    got = stats.equivalence([-1, 0, 1, 2], margin=3)
    assert got.p == pytest.approx(p_of_3(math.sqrt(15)) / 2)
    half = 2.353363435 * math.sqrt(5 / 12)
    assert (got.mean, got.low, got.high) == pytest.approx((0.5, 0.5 - half, 0.5 + half))
    # With folds: (1/4 + 1/3) * 5/3 = 35/36 in place of 5/12.
    got = stats.equivalence([-1, 0, 1, 2], margin=3, train_size=75, test_size=25)
    assert got.p == pytest.approx(p_of_3(2.5 / math.sqrt(35 / 36)) / 2)


def test_equivalence_as_statsmodels():
    differences = np.random.default_rng(0).normal(0.1, 1, 9)
    want = ttost_paired(differences, np.zeros(9), -1, 1)[0]
    assert stats.equivalence(differences, margin=1).p == pytest.approx(want)


def test_equivalence_at_the_edge():
    """A difference as large as the margin is called equivalent in at most 5% of studies, a small one mostly."""
    rng = np.random.default_rng(0)
    found = [stats.equivalence(rng.normal(1, 1, 10), margin=1) for _ in range(4000)]
    assert 0.035 <= np.mean([f.p < 0.05 for f in found]) <= 0.05
    assert all((f.p < 0.05) == (f.low > -1 and f.high < 1) for f in found)
    assert np.mean([stats.equivalence(rng.normal(0, 1, 20), margin=1).p < 0.05 for _ in range(500)]) > 0.9


@pytest.mark.parametrize("difference", [0.2, 0.5, 0.8, 1.0, 3.0])
def test_seeds_needed_as_statsmodels(difference):
    n = stats.seeds_needed(1.0, difference)
    power = TTestPower().power
    assert power(difference, n, 0.05) >= 0.8
    assert n == 2 or power(difference, n - 1, 0.05) < 0.8


def test_seeds_needed_by_the_book():
    # G*Power 3, matched pairs, two-sided, alpha 0.05, power 0.8: dz = 0.5 needs 34, 0.2 needs 199, 0.8 needs 15.
    assert [stats.seeds_needed(0.02, d) for d in (0.01, 0.004, -0.016)] == [34, 199, 15]
    assert stats.seeds_needed(1e-9, 1.0) == 2
    assert stats.seeds_needed(1.0, 0.5, at_most=34) == 34
    for nothing in ((1, 0), (1, np.nan), (np.nan, 1), (0, 1), (1, 1e-4)):
        assert stats.seeds_needed(*nothing) is None
    assert stats.seeds_needed(1.0, 0.5, at_most=33) is None


def test_seeds_needed_are_enough():
    found = stats.paired_differences(np.random.default_rng(0).normal(0.8, 1, (20_000, stats.seeds_needed(1.0, 0.8))))
    assert 0.79 <= (found.p < 0.05).mean() <= 0.86


@given(st.lists(st.integers(-40, 40), min_size=2, max_size=8), st.sampled_from([0.25, 2.0, 100.0]))
@settings(max_examples=60, deadline=None)
def test_units_and_signs_change_no_verdict(differences, scale):
    differences = np.array(differences, float)
    got, scaled, turned = (stats.paired_difference(d) for d in (differences, scale * differences, -differences))
    assert (scaled.p, scaled.effect_size) == pytest.approx((got.p, got.effect_size), nan_ok=True)
    assert (turned.p, -turned.low) == pytest.approx((got.p, got.high), nan_ok=True)
    moved = stats.paired_difference(differences + 7, null=7)
    assert (moved.p, moved.low - 7) == pytest.approx((got.p, got.low), nan_ok=True, abs=1e-9)


@given(st.lists(NOTHING, max_size=8))
@settings(max_examples=60, deadline=None)
def test_missing_pairs_do_not_count(differences):
    known = [d for d in differences if not math.isnan(d)]
    assert stats.paired_difference(differences) == pytest.approx(stats.paired_difference(known), nan_ok=True)


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: stats.corrected_resampled([1, 2], 0, 1), "train_size=0"),
        (lambda: stats.paired_differences([[1, 2]], train_size=9), "test_size=0"),
        (lambda: stats.equivalence([1, 2], margin=0), "margin=0"),
    ],
)
def test_bad_input(call, word):
    with pytest.raises(ValueError, match=word):
        call()
