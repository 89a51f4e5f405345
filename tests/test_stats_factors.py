"""Analysis of variance and fANOVA: textbook numbers, statsmodels, laws."""

import itertools
import logging

import numpy as np
import optuna
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf
from hypothesis import given, settings
from hypothesis import strategies as st

from fmnist_jax import stats

# Crampton 1947, tooth length of guinea pigs (`ToothGrowth` in R): ten animals a supplement and dose.
TEETH = {
    ("VC", 0.5): [4.2, 11.5, 7.3, 5.8, 6.4, 10, 11.2, 11.2, 5.2, 7],
    ("VC", 1.0): [16.5, 16.5, 15.2, 17.3, 22.5, 17.3, 13.6, 14.5, 18.8, 15.5],
    ("VC", 2.0): [23.6, 18.5, 33.9, 25.5, 26.4, 32.5, 26.7, 21.5, 23.3, 29.5],
    ("OJ", 0.5): [15.2, 21.5, 17.6, 9.7, 14.5, 10, 8.2, 9.4, 16.5, 9.7],
    ("OJ", 1.0): [19.7, 23.3, 23.6, 26.4, 20, 25.2, 25.8, 21.2, 14.5, 27.3],
    ("OJ", 2.0): [25.5, 26.4, 22.4, 24.5, 24.8, 30.9, 26.4, 27.3, 29.4, 23],
}


def grid(rng=None, **levels):
    """A row a combination, in random order, with y standard normal."""
    rng = np.random.default_rng(0) if rng is None else rng
    table = pd.DataFrame(list(itertools.product(*levels.values())), columns=list(levels))
    table["y"] = rng.normal(size=len(table))
    return table.sample(frac=1, random_state=0)


def two_by_two():
    values = {(0, 0): (1, 3), (0, 1): (5, 7), (1, 0): (2, 4), (1, 1): (10, 12)}
    rows = [(a, b, seed, y) for (a, b), ys in values.items() for seed, y in enumerate(ys)]
    return pd.DataFrame(rows, columns=["a", "b", "seed", "y"])


def test_anova_by_hand():
    # Cell means 2, 6, 3, 11 about 5.5; a: 8 * 1.5^2; b: 8 * 3^2; a × b: 8 * 1^2; within cells 4 * 2, on 4 degrees.
    got = stats.anova(two_by_two(), "y", ["a", "b"])
    assert got.term.tolist() == ["a", "b", "a × b", "seed noise"]
    assert got.df.tolist() == [1, 1, 1, 4]
    assert got.sum_sq.tolist() == pytest.approx([18, 72, 8, 8])
    assert got.share.tolist() == pytest.approx([18 / 106, 72 / 106, 8 / 106, 8 / 106])
    assert got.F.tolist() == pytest.approx([9, 36, 4, np.nan], nan_ok=True)
    assert got.attrs["error"] == "seed noise"
    assert got.columns.tolist() == ["term", "df", "sum_sq", "share", "F", "p"]


def test_one_run_a_cell_by_hand():
    # As above, the means alone: 9, 36, and the interaction's 4 on one degree for an error.
    table = two_by_two().groupby(["a", "b"], as_index=False).y.mean()
    got = stats.anova(table, "y", ["a", "b"])
    assert got.df.tolist() == [1, 1, 1, 0]
    assert got.sum_sq.tolist() == pytest.approx([9, 36, 4, np.nan], nan_ok=True)
    assert got.F.tolist() == pytest.approx([9 / 4, 9, np.nan, np.nan], nan_ok=True)
    assert got.attrs["error"] == "a × b"
    assert got.share.sum() == pytest.approx(1)
    alone = stats.anova(table[table.b == 0], "y", ["a"])
    assert alone.F.isna().all()
    assert alone.attrs["error"] == "none"


def test_block_by_hand():
    """All of the noise above is the seed's: every second repeat is 2 higher. What is left is nothing to judge by."""
    got = stats.anova(two_by_two(), "y", ["a", "b"], block="seed").set_index("term")
    assert got.sum_sq["seed"] == pytest.approx(8)
    assert got.df["seed"] == 1
    assert got.df["seed noise"] == 3
    assert got.sum_sq["seed noise"] == pytest.approx(0)
    assert got.p.isna().all()


def test_anova_by_the_book():
    rows = [(supplement, dose, y) for (supplement, dose), ys in TEETH.items() for y in ys]
    table = pd.DataFrame(rows, columns=["supp", "dose", "len"])
    got = stats.anova(table, "len", ["supp", "dose"])
    # R: summary(aov(len ~ supp * factor(dose), ToothGrowth))
    assert got.sum_sq.tolist() == pytest.approx([205.4, 2426.4, 108.3, 712.1], abs=0.06)
    assert got.F.tolist() == pytest.approx([15.572, 92.0, 4.107, np.nan], abs=6e-4, nan_ok=True)
    assert got.p.tolist()[:3:2] == pytest.approx([0.000231, 0.021860], abs=1e-6)


@pytest.mark.parametrize("block", [None, "seed"])
def test_anova_as_statsmodels(block):
    table = grid(a=["x", "y", "z"], b=[0.1, 0.2], c=[1, 2, 3, 4], seed=range(3))
    table["y"] += (table.a == "x") * table.c + 0.7 * table.seed
    formula = "y ~ C(a) * C(b) * C(c)" + (" + C(seed)" if block else "")
    want = sm.stats.anova_lm(smf.ols(formula, table).fit())
    want.index = [" × ".join(part[2:-1] for part in term.split(":")) for term in want.index[:-1]] + ["seed noise"]
    got = stats.anova(table, "y", ["a", "b", "c"], block).set_index("term")
    want = want.loc[got.index]
    for column, theirs in {"df": "df", "sum_sq": "sum_sq", "F": "F", "p": "PR(>F)"}.items():
        assert got[column].tolist() == pytest.approx(want[theirs].tolist(), nan_ok=True, rel=1e-6, abs=1e-9)


def test_folds_within_seeds():
    """A block may hold several runs of a cell: seed x fold, with the seed for a block."""
    table = grid(a=[1, 2, 3], seed=range(4), fold=range(5))
    table["y"] += table.seed
    got = stats.anova(table, "y", ["a"], block="seed")
    want = sm.stats.anova_lm(smf.ols("y ~ C(a) + C(seed)", table).fit())
    assert got.sum_sq.tolist() == pytest.approx(want.sum_sq.tolist())
    assert got.df.tolist() == want.df.tolist()


@given(st.lists(st.integers(1, 3), min_size=1, max_size=3), st.integers(1, 3), st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_shares_add_up(levels, repeats, seed):
    rng = np.random.default_rng(seed)
    names = list("abc")[: len(levels)]
    table = grid(rng, **{n: range(k) for n, k in zip(names, levels, strict=True)}, seed=range(repeats))
    for block in (None, "seed"):
        got = stats.anova(table, "y", names, block)
        assert got.df.sum() == len(table) - 1
        assert len(table) == 1 or got.share.sum() == pytest.approx(1)
        moved = stats.anova(table.assign(y=100 - 3 * table.y), "y", names, block)
        assert moved.F.tolist() == pytest.approx(got.F.tolist(), nan_ok=True, rel=1e-6, abs=1e-9)


def test_what_does_not_vary():
    table = two_by_two().assign(optimizer="sgd", y=0.1)
    got = stats.anova(table, "y", ["a", "optimizer"])
    assert got.term.tolist() == ["a", "seed noise"]
    assert got[["share", "F", "p"]].isna().all(axis=None)
    # A count of parameters: no noise, only a factor. Its share is all; there is nothing to test it with.
    got = stats.anova(table.assign(y=0.1 * table.a), "y", ["a", "b"])
    assert got.share.tolist() == pytest.approx([1, 0, 0, 0])
    assert got.p.isna().all()
    rounded = np.where(table.seed == 0, 0.3, 0.1 + 0.2) * table.a
    assert stats.anova(table.assign(y=rounded), "y", ["a", "b"]).p.isna().all()


def test_complete_or_not():
    table = grid(a=[1, None], b=[(1, 2), "x"], seed=range(2))
    assert stats.is_complete(table, ["a", "b"])
    assert stats.is_complete(table, ["a", "b", "seed"])
    assert not stats.is_complete(table.iloc[1:], ["a", "b"])  # unequal
    assert not stats.is_complete(table[(table.b == "x") | (table.seed == 0)], ["a", "b"])
    assert not stats.is_complete(table[:0], ["a"])
    search = pd.DataFrame(np.random.default_rng(0).random((500, 8)), columns=list("abcdefgh"))
    assert not stats.is_complete(search, list("abcdefgh"))
    with pytest.raises(ValueError, match="y by"):
        stats.anova(table.iloc[1:], "y", ["a", "b"])
    table.loc[table.index[0], "y"] = np.nan  # a run that diverged is a gap
    with pytest.raises(ValueError, match="fanova"):
        stats.anova(table, "y", ["a", "b"])


@pytest.mark.parametrize("block", [None, "seed"])
def test_anova_keeps_its_word(block):
    """No effect, two factors, 800 studies, with seeds that shift a study's runs together where there is a block."""
    rng = np.random.default_rng(0)
    table = grid(a=[1, 2, 3], b=[1, 2], seed=range(3))
    false = []
    for _ in range(800):
        shift = rng.normal(size=3)[table.seed] if block else 0
        p = stats.anova(table.assign(y=rng.normal(size=len(table)) + shift), "y", ["a", "b"], block).set_index("term").p
        false.extend(p[["a", "b", "a × b"]] < 0.05)
    assert 0.045 <= np.mean(false) <= 0.055


def test_anova_without_the_block_misses():
    """Seeds that share most of the noise hide an effect of which the blocked analysis is sure."""
    rng = np.random.default_rng(0)
    table = grid(rng, a=[1, 2], seed=range(6))
    table["y"] = 0.5 * (table.a == 2) + 0.1 * table.y + rng.normal(size=6)[table.seed]
    assert stats.anova(table, "y", ["a"]).p[0] > 0.2
    assert stats.anova(table, "y", ["a"], block="seed").p[0] < 0.01


def search(rows=200):
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "lr": 10 ** rng.uniform(-4, 0, rows),
            "width": rng.integers(1, 9, rows),
            "act": rng.choice(["relu", None], rows),
        }
    )
    table["y"] = np.log10(table.lr) + 0.25 * table.width
    return table


def test_fanova_of_a_known_function():
    # Variances: log10 lr, uniform on 4 decades, 16 / 12; width, uniform on 1 to 8, 0.25^2 * 63 / 12; activation none.
    # A forest smooths, and gives the outermost values half the weight: the smaller share comes out smaller.
    got = stats.fanova(search(), "y", ["act", "width", "lr"], seed=0)
    assert got.columns.tolist() == ["term", "df", "sum_sq", "share", "F", "p"]
    assert got.term.tolist() == ["act", "width", "lr"]
    whole = 16 / 12 + 0.25**2 * 63 / 12
    assert got.share.tolist() == pytest.approx([0, 0.25**2 * 63 / 12 / whole, 16 / 12 / whole], abs=0.07)
    assert got[["df", "sum_sq", "F", "p"]].isna().all(axis=None)


def test_fanova_repeats_itself_in_silence(capfd):
    table = search(60)
    before = optuna.logging.get_verbosity()
    first, again, other = (stats.fanova(table, "y", ["lr", "width"], seed) for seed in (1, 1, 2))
    assert first.equals(again)
    assert not first.equals(other)
    assert capfd.readouterr() == ("", "")
    assert optuna.logging.get_verbosity() == before != logging.WARNING


def test_fanova_takes_means_over_repeats():
    """Noise that the repeats of a setting cancel changes nothing; diverged runs are left out."""
    table = search(40)
    table["y"] = np.round(64 * table.y) / 64  # so that means are exact
    up, down = table.assign(y=table.y + 5), table.assign(y=table.y - 5)
    lost = table.assign(y=np.nan)
    got = stats.fanova(pd.concat([up, down, lost]), "y", ["lr", "width"], seed=0)
    assert got.share.tolist() == pytest.approx(stats.fanova(table, "y", ["lr", "width"], seed=0).share.tolist())


def test_fanova_of_what_does_not_vary():
    table = search(20).assign(optimizer="sgd", flat=0.5, depth=2)
    assert stats.fanova(table, "flat", ["lr"], seed=0).share.isna().all()
    assert stats.fanova(table[:1], "y", ["lr"], seed=0).share.isna().all()
    assert stats.fanova(table, "y", ["lr", "optimizer", "depth"], seed=0).share.tolist()[1:] == [0, 0]


def test_fanova_draws_from_a_long_table(monkeypatch):
    monkeypatch.setattr("fmnist_jax.stats.factors.MOST_ROWS", 50)
    table = search(200)
    first, again = (stats.fanova(table, "y", ["lr", "width"], seed=3) for _ in range(2))
    assert first.equals(again)
    assert first.share[0] > first.share[1]
