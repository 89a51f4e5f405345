"""The kinds of claims: each function returns a claim, a dict of plain JSON values, and says by which rule it is judged.

A selector (`a`, `b`, `where`) is a dict. Its keys are factors (a dotted config key or its short label), "arm", "fold",
"epoch" or "step". A value is one value; a list is several, over which is averaged; a tuple is one value, as in a sweep:
`(32, 64)` are the filters of two layers, `[32, 64]` is either. With "epoch" or "step" the curves are read at that
evaluation ("last": each run's last; "peak": each arm's where the mean over its runs is best) in place of the final
results, and {"from": 3, "to": "last"} is the change between two. `where` narrows both sides.

Settings of factors that a comparison does not name are matched: a run is compared with the run that differs in the
named factors alone. With "arm" nothing is matched but the (seed, fold).

All take `metric` ("test_accuracy" unless told), and for the reader `quote`, `source` and `paper` (the paper's own
figures, in words). With `ours=True` a claim is none of the paper's: its p is adjusted among those like it, and it is
counted apart. All raise ValueError, by `check`. Values are in the metric's unit: 0.01 is one point of accuracy.
"""

from collections.abc import Mapping, Sequence

from fmnist_jax import tidy
from fmnist_jax.claims import checking

Claim = dict
Selector = Mapping


def greater(
    name: str,
    a: Selector,
    b: Selector,
    *,
    by: float = 0.0,
    b_metric: str = "",
    where: Selector = checking.ALL,
    **common,
) -> Claim:
    """The metric is greater with `a` than with `b`, by more than `by`; `b_metric` is that of `b`, if it is another.

    Test of the mean difference a - b against `by`; the sign decides.
    """
    return _claim("greater", name, common, a=a, b=b, by=by, b_metric=b_metric, where=where)


def less(name: str, a: Selector, b: Selector, *, by: float = 0.0, where: Selector = checking.ALL, **common) -> Claim:
    """The metric is less with `a` than with `b`, by more than `by`: `greater` with the sides exchanged."""
    return _claim("less", name, common, a=a, b=b, by=by, where=where)


def differ(name: str, a: Selector, b: Selector, *, where: Selector = checking.ALL, **common) -> Claim:
    """`a` and `b` differ, either way. Never "not replicated": for that, claim `equivalent`."""
    return _claim("differ", name, common, a=a, b=b, where=where)


def equivalent(
    name: str, a: Selector, b: Selector, *, within: float, where: Selector = checking.ALL, **common
) -> Claim:
    """The mean difference of `a` and `b` is less than `within`, either way.

    Replicated by two one-sided tests (TOST); not replicated where the difference is significantly beyond `within`.
    """
    return _claim("equivalent", name, common, a=a, b=b, within=within, where=where)


def all_equivalent(name: str, factor: str, *, within: float, where: Selector = checking.ALL, **common) -> Claim:
    """Every two values of `factor`, or every two arms with factor="arm", are `equivalent`.

    Replicated by the largest p of all pairs (intersection-union); not replicated where one pair is significantly
    beyond `within` (Bonferroni over all pairs).
    """
    return _claim("all_equivalent", name, common, factor=factor, within=within, where=where)


def best_is(name: str, a: Selector, *, where: Selector = checking.ALL, **common) -> Claim:
    """`a` is better than every other setting of the factors it names; lower is better for losses and the like.

    Replicated by the largest p against a competitor (intersection-union), `a` being ahead of all; not replicated where
    a competitor is significantly better (Bonferroni over all competitors).
    """
    return _claim("best_is", name, common, a=a, where=where)


def worst_is(name: str, a: Selector, *, where: Selector = checking.ALL, **common) -> Claim:
    """`a` is worse than every other setting of the factors it names; judged as `best_is`."""
    return _claim("worst_is", name, common, a=a, where=where)


def at_least(name: str, value: float, *, where: Selector = checking.ALL, each: str = "", **common) -> Claim:
    """The mean is above `value`; with `each`, for every value of that factor (or "arm") on its own.

    Test of the mean against `value`. `each`: replicated by the largest p, not replicated where one is significantly
    on the other side (Bonferroni over the values).
    """
    return _claim("at_least", name, common, value=value, where=where, each=each)


def at_most(name: str, value: float, *, where: Selector = checking.ALL, each: str = "", **common) -> Claim:
    """The mean is below `value`; judged as `at_least`."""
    return _claim("at_most", name, common, value=value, where=where, each=each)


def about(name: str, value: float, *, within: float, where: Selector = checking.ALL, each: str = "", **common) -> Claim:
    """The mean is `value`, give or take `within`: `equivalent` of the metric and `value`; `each` as in `at_least`."""
    return _claim("about", name, common, value=value, within=within, where=where, each=each)


def increases_with(
    name: str,
    factor: str,
    *,
    where: Selector = checking.ALL,
    numbers: Mapping | None = None,
    called: str = "",
    **common,
) -> Claim:
    """The metric rises with `factor`: test of the slope on the factor's rank, the slope of each replicate one number.

    `factor` may also be "fold", "epoch" or "step". `numbers` {value: number} puts its values in an order, groups them
    ({32: 1, 64: 1, (32, 32): 2}: the number of layers) or, by leaving them out, drops them; `called` says what they are
    ("convolution layers") where they are not the factor itself. The reason also says whether the means rise from each
    value to the next, which a slope does not require.
    """
    return _claim("increases_with", name, common, factor=factor, where=where, numbers=pairs(numbers), called=called)


def decreases_with(
    name: str,
    factor: str,
    *,
    where: Selector = checking.ALL,
    numbers: Mapping | None = None,
    called: str = "",
    **common,
) -> Claim:
    """The metric falls with `factor`; judged as `increases_with`."""
    return _claim("decreases_with", name, common, factor=factor, where=where, numbers=pairs(numbers), called=called)


def rises_then_falls(
    name: str,
    factor: str,
    *,
    where: Selector = checking.ALL,
    numbers: Mapping | None = None,
    called: str = "",
    **common,
) -> Claim:
    """The metric has its maximum over `factor` inside: some value between is greater than the first and the last.

    Each value between is tested against both ends (largest p), and the clearest of them counts (Bonferroni over the
    values between). Not replicated where every one of them is significantly below an end. `factor`, `numbers`
    and `called` as in `increases_with`.
    """
    return _claim("rises_then_falls", name, common, factor=factor, where=where, numbers=pairs(numbers), called=called)


def falls_then_rises(
    name: str,
    factor: str,
    *,
    where: Selector = checking.ALL,
    numbers: Mapping | None = None,
    called: str = "",
    **common,
) -> Claim:
    """The metric has its minimum over `factor` inside; judged as `rises_then_falls`."""
    return _claim("falls_then_rises", name, common, factor=factor, where=where, numbers=pairs(numbers), called=called)


def correlation(
    name: str,
    factor: str,
    sign: str,
    *,
    where: Selector = checking.ALL,
    numbers: Mapping | None = None,
    called: str = "",
    **common,
) -> Claim:
    """Over the arms, the metric correlates with `factor`, with the `sign` "positive" or "negative".

    Pearson's r over the arms of each replicate; test of the mean of Fisher's z over replicates. `numbers` and
    `called` as in `increases_with`; needed where the factor is not a number.
    """
    return _claim(
        "correlation", name, common, factor=factor, sign=sign, where=where, numbers=pairs(numbers), called=called
    )


def spreads_more(name: str, a: Selector, b: Selector, *, where: Selector = checking.ALL, **common) -> Claim:
    """The metric scatters more over replicates with `a` than with `b`: test of the ratio of standard deviations."""
    return _claim("spreads_more", name, common, a=a, b=b, where=where)


def interacts(name: str, factors: Sequence[str], *, where: Selector = checking.ALL, **common) -> Claim:
    """The effect of one of `factors` depends on another: two-way interactions, ANOVA with the seed as block.

    The clearest pair counts (Bonferroni over pairs). Other factors and folds are averaged over. Never "not replicated".
    """
    return _claim("interacts", name, common, factors=list(factors), where=where)


def fails(
    name: str,
    *,
    share: float,
    below: float | None = None,
    above: float | None = None,
    where: Selector = checking.ALL,
    **common,
) -> Claim:
    """More than `share` of the runs fail: they diverge, or their metric ends `below` or `above` the bound.

    Exact binomial test and Clopper-Pearson interval, over seeds: where several runs share a seed, their share of
    failures counts, so that arms and folds add nothing to n. share=0 needs but one failure to be replicated.
    """
    return _claim("fails", name, common, share=share, below=below, above=above, where=where)


def fails_more(
    name: str,
    a: Selector,
    b: Selector,
    *,
    below: float | None = None,
    above: float | None = None,
    where: Selector = checking.ALL,
    **common,
) -> Claim:
    """More runs fail (see `fails`) with `a` than with `b`: sign test over the seeds where the shares differ.

    With one run a side and seed that is McNemar's exact test. Six seeds, all one way, are the fewest that can tell.
    """
    return _claim("fails_more", name, common, a=a, b=b, below=below, above=above, where=where)


def metric_greater(
    name: str,
    metric_a: str,
    metric_b: str,
    *,
    by: float = 0.0,
    where: Selector = checking.ALL,
    each: str = "",
    some: str = "",
    **common,
) -> Claim:
    """One metric is greater than another in the same runs, by more than `by`; `each` as in `at_least`.

    With `some`, for at least one value of that factor: the clearest counts (Bonferroni over the values); not replicated
    where for every value it is significantly the other way. `metric` is not read.
    """
    claim = {"metric_a": metric_a, "metric_b": metric_b, "by": by, "where": where, "each": each, "some": some}
    return _claim("metric_greater", name, common, **claim)


def worst_class(name: str, label: str, *, where: Selector = checking.ALL, **common) -> Claim:
    """The class `label` is recognised less often than every other class.

    From confusion matrices on the test set. Here the replicate is the image, not the run: counts are those of a mean
    run, as if all runs agreed on every image, which is cautious. Fisher's exact test, largest p over the other classes.
    """
    return _claim("worst_class", name, common, label=label, where=where)


def best_class(name: str, label: str, *, where: Selector = checking.ALL, **common) -> Claim:
    """The class `label` is recognised more often than every other class; judged as `worst_class`."""
    return _claim("best_class", name, common, label=label, where=where)


def most_taken_for(name: str, label: str, taken_for: str, *, where: Selector = checking.ALL, **common) -> Claim:
    """Images of `label` are taken for `taken_for` more often than for any other class; judged as `worst_class`."""
    return _claim("most_taken_for", name, common, label=label, taken_for=taken_for, where=where)


def confuses_more(name: str, a: Sequence[str], b: Sequence[str], *, where: Selector = checking.ALL, **common) -> Claim:
    """The confusion `a` = (true class, predicted class) is more frequent than the confusion `b`; as `worst_class`."""
    return _claim("confuses_more", name, common, pair_a=list(a), pair_b=list(b), where=where)


def _claim(kind: str, name: str, common: dict, **arguments) -> Claim:
    claim = {"kind": kind, "name": name, **arguments, **common}
    for key in ("a", "b", "where"):
        if isinstance(claim.get(key), Mapping):
            claim[key] = {k: plain(v) for k, v in claim[key].items()}
    checking.check(claim)
    return claim


def plain(value):
    """A selector's value in JSON: alternatives a list, anything else as a table holds it."""
    if isinstance(value, Mapping):
        return dict(value)
    return [tidy.simple(v) for v in value] if isinstance(value, list) else tidy.simple(value)


def pairs(numbers: Mapping | None) -> list[list]:
    """{value: number} in JSON, whose keys are strings alone: [value, number] each."""
    return [[tidy.simple(value), number] for value, number in (numbers or {}).items()]
