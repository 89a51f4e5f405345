"""Claims about confusion matrices. The replicate is the test image: see `vocabulary.worst_class`."""

import numpy as np
from scipy.stats import binomtest, fisher_exact
from statsmodels.stats.proportion import confint_proportions_2indep

from fmnist_jax.claims import outcomes
from fmnist_jax.claims.outcomes import Outcome
from fmnist_jax.claims.replicates import Missing, Results

Pair = tuple[int, int]  # (true class, predicted class)


def extreme(sign: int):
    """Tests of `best_class` (1) and `worst_class` (-1)."""

    def test(results: Results, claim: dict) -> Outcome:
        counts, names = _mean_run(results, claim)
        ours = _index(claim["label"], names)
        others = [i for i in range(len(names)) if i != ours]
        return outcomes.all_of([_compared(counts, names, (ours, ours), (i, i), sign) for i in others])

    return test


def most_taken_for(results: Results, claim: dict) -> Outcome:
    """Tests `vocabulary.most_taken_for`."""
    counts, names = _mean_run(results, claim)
    true, taken = _index(claim["label"], names), _index(claim["taken_for"], names)
    others = [i for i in range(len(names)) if i not in (true, taken)]
    if true == taken or not others:
        raise Missing("needs two classes that it could be taken for")
    return outcomes.all_of([_compared(counts, names, (true, taken), (true, i), 1) for i in others])


def confuses_more(results: Results, claim: dict) -> Outcome:
    """Tests `vocabulary.confuses_more`."""
    counts, names = _mean_run(results, claim)
    a, b = (tuple(_index(label, names) for label in claim[key]) for key in ("pair_a", "pair_b"))
    return _compared(counts, names, a, b, 1)


def _mean_run(results: Results, claim: dict) -> tuple[np.ndarray, tuple[str, ...]]:
    """Counts [C, C] of a mean run over the arms of `where`, and the names of the classes."""
    study = results.study
    frame = results.rows(claim["where"], "test_accuracy")
    tested = frame[frame["value"].notna() & frame["arm"].isin(list(study.confusions))]
    if not len(tested):
        raise Missing("there is no confusion matrix yet")
    total = sum(np.asarray(study.confusions[arm]) for arm in tested["arm"].unique())
    return total / len(tested), study.class_names


def _index(label: str, names: tuple[str, ...]) -> int:
    if label not in names:
        raise Missing(f"no class {label!r}; there are {', '.join(names) or 'no names of classes'}")
    return names.index(label)


def _compared(counts: np.ndarray, names: tuple[str, ...], a: Pair, b: Pair, sign: int) -> Outcome:
    """Whether a's share of its class is above b's (sign 1) or below (-1)."""
    # Whole images, for the tests: each rounded by itself, as rounded cells need not add up to a class.
    hits = np.rint([counts[a], counts[b]]).astype(int)
    images = np.rint([counts[a[0]].sum(), counts[b[0]].sum()]).astype(int)
    if not images.all():
        raise Missing(f"no test image of {names[a[0]]} or {names[b[0]]}")
    if a[0] == b[0]:  # an image is one or the other: the binomial test of the images that are either
        p = binomtest(int(hits[0]), int(hits.sum())).pvalue if hits.sum() else 1.0
    else:
        p = fisher_exact([hits, images - hits]).pvalue
    low, high = confint_proportions_2indep(hits[0], images[0], hits[1], images[1])
    shares = hits / images
    words = [
        f"{100 * share:.1f}% of {names[true]}"
        + (f" taken for {names[predicted]}" if predicted != true else " recognised")
        for share, (true, predicted) in zip(shares, (a, b), strict=True)
    ]
    return Outcome(
        finding=f"{words[0]} against {words[1]}",
        interval=f"95% interval of the difference {100 * low:.1f} to {100 * high:.1f} points",
        supports=bool(sign * (shares[0] - shares[1]) > 0),
        effect=float(shares[0] - shares[1]),
        low=float(low),
        high=float(high),
        p=float(p),
        n=int(images.min()),
        noun="images",
    )
