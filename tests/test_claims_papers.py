"""Every claim of a paper's config gets, of made-up results, the verdict that they deserve."""

import dataclasses
import functools
import json
import re
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from test_claims_said import TEXTS
from test_studies import PAPERS, asked, module

from fmnist_jax import claims, config, paper, tidy
from fmnist_jax.claims.checking import WHEN, complete
from fmnist_jax.claims.replicates import RUN, Results, same

GAP, NOISE = 0.05, 0.0005  # of what is made up to be so, and of replicates
IMAGES, CONFUSED = 1000, 30  # images of a class, and how many of them are taken for each other class
CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
NEVER_AGAINST = ("differ", "interacts")  # without the effect they are inconclusive; see `vocabulary`


class Blank(NamedTuple):
    """A paper's runs and evaluations without results."""

    parts: dict[str, config.Experiment]
    study: tidy.Study
    run_of: np.ndarray  # row of the curves -> row of the runs


@functools.cache
def blank(name, text, least=1) -> Blank:
    """The paper with the seeds and folds it has, but no fewer seeds than `least`."""
    checked = asked(name, text)
    parts = config.parts(checked)
    settings = paper._settings(parts)
    made = {part: _part(one, settings[part], least) for part, one in parts.items()}
    study = tidy.combined(made, settings, name, checked.metric)
    run_of = pd.MultiIndex.from_frame(study.runs[RUN]).get_indexer(pd.MultiIndex.from_frame(study.curves[RUN]))
    return Blank(parts, study, run_of)


def _part(one, arms, least):
    axes = [list(arms), range(max(one.seeds, least)), range(one.folds)]
    runs = pd.MultiIndex.from_product(axes, names=RUN).to_frame(index=False)
    count, unit = one.train.duration.split()
    if unit == "epochs":
        when = pd.DataFrame({"epoch": np.arange(1.0, int(count) + 1)}).assign(step=lambda frame: 1000 * frame["epoch"])
    else:
        steps = sorted({*range(500, int(count), 500), int(count)})
        when = pd.DataFrame({"step": steps}).assign(epoch=lambda frame: frame["step"] / 2000)
    images = one.dataset.images or 60_000
    sizes = {"train_size": images - images // one.folds, "validation_size": images // one.folds}
    return tidy.Study(
        name="",
        question="",
        factors=(),
        metric=one.metric,
        select_by=one.metric,
        runs=runs.assign(finished=True, diverged_at=np.nan),
        curves=runs.merge(when, how="cross"),
        arms=tuple(arms),
        facts={"folds": one.folds},
        class_names=CLASSES,
        **(sizes if one.folds > 1 else {}),
    )


class MadeUp:
    """Results of a paper, at first of no order at all; `put` makes them so, where a selector reads."""

    def __init__(self, of: Blank, claim: dict):
        self.of, self.claim, self.results = of, claim, Results(of.study)
        self.rng = np.random.default_rng(0)
        named = [claim.get(key) for key in ("metric_a", "metric_b", "b_metric", "metric")]
        self.metrics = [metric for metric in dict.fromkeys([*named, "test_accuracy"]) if metric]
        self.runs, self.curves = (self._disorder(frame) for frame in (of.study.runs, of.study.curves))
        self.confusions = {}

    def _disorder(self, frame):
        return frame.assign(**{metric: self.rng.normal(0.5, 0.2, len(frame)) for metric in self.metrics})

    def chosen(self, selector) -> np.ndarray:
        """Which runs a selector is about, [runs] bool."""
        mask = np.ones(len(self.runs), bool)
        for name, wanted in selector.items():
            if (key := self.results.key(name)) not in WHEN:
                mask &= self.runs[key].isin(self.results.values(key, wanted)).to_numpy()
        return mask

    def put(self, selector, value, metric="", noise=NOISE):
        """The results that `selector` reads are `value`, of all or [runs]; of a change, that is what it ends with."""
        metric, runs = metric or self.claim["metric"], self.chosen(selector)
        value = np.broadcast_to(np.asarray(value, np.float64), len(runs))
        if moment := next(((axis, selector[axis]) for axis in WHEN if axis in selector), None):
            axis, at = moment
            if isinstance(at, dict):
                self.put({**selector, axis: at["from"]}, 0.0, metric)
                at = at["to"]
            rows = runs[self.of.run_of] & self._at(axis, at)
            self._write(self.curves, metric, rows, value[self.of.run_of], noise)
        else:
            self._write(self.runs, metric, runs, value, noise)

    def _at(self, axis, moment):
        if moment == "peak":  # wherever that will be
            return np.ones(len(self.curves), bool)
        if moment == "last":
            return (self.curves["step"] == self.curves.groupby(RUN)["step"].transform("max")).to_numpy()
        return np.isclose(self.curves[axis], moment)

    def _write(self, frame, metric, rows, value, noise):
        replicates = frame[rows].groupby(["seed", "fold"]).ngroup().to_numpy()
        of_replicate = self.rng.normal(0, noise, replicates.max(initial=-1) + 1)[replicates]
        frame.loc[rows, metric] = value[rows] + of_replicate + self.rng.normal(0, noise / 2, len(replicates))

    def levels(self) -> list[list]:
        """The values of the claim's factor in order, those together that `numbers` takes for one."""
        key, runs = self.results.key(self.claim["factor"]), self.chosen(self.claim["where"])
        column = self.curves.loc[runs[self.of.run_of], key] if key in WHEN else self.runs.loc[runs, key]
        values = column.unique().tolist()
        if numbers := self.claim.get("numbers"):
            order = sorted({number for _, number in numbers})
            return [[v for v in values if any(same(v, w) and n == number for w, n in numbers)] for number in order]
        return [[value] for value in (values if isinstance(values[0], str) else sorted(values))]

    def put_levels(self, of_rank):
        """The claim's metric is of_rank(rank, number of levels) with each level of its factor."""
        levels = self.levels()
        for rank, values in enumerate(levels):
            for value in values:
                self.put({**self.claim["where"], self.claim["factor"]: value}, of_rank(rank, len(levels)))

    def study(self) -> tidy.Study:
        """What there is of it with the claim, as paper.json holds it: a part has only what it measures."""
        for frame, curve in ((self.runs, False), (self.curves, True)):
            part = frame["arm"].str.split(": ").str[0]
            for metric in self.metrics:
                measured = {name for name, one in self.of.parts.items() if _measures(one, metric, curve)}
                frame[metric] = frame[metric].where(part.isin(measured))
        claim = json.loads(json.dumps(self.claim))
        tables = {"runs": self.runs, "curves": self.curves, "confusions": self.confusions}
        return dataclasses.replace(self.of.study, **tables, claims=(claim,))


def _measures(one, metric, curve):
    evaluation = one.evaluation
    if metric.endswith(("_mean", "_sd", "_offdiagonal")):
        return evaluation.activities > 0 and not curve
    if metric == "alone_seconds":
        return evaluation.timed_steps > 0 and not curve
    if metric.startswith("test_") or metric.endswith("_recall"):
        return evaluation.test == "all" and (evaluation.test_curves or not curve)
    if metric.startswith("validation_"):
        return one.folds > 1 or one.dataset.validation_fraction > 0
    return metric in ("train_loss", "train_accuracy")


# Each makes a claim true, or with `holds` False its opposite. The verdict follows from what is put, not from a test.


def _differ_by(sign):
    """a - b is on the claim's side of `by`, or past it on the other."""

    def put(made, claim, holds):
        where, offset = claim["where"], sign * (claim.get("by", 0.0) + (GAP if holds else -GAP))
        made.put({**where, **claim["b"]}, 0.5, claim.get("b_metric", ""))
        made.put({**where, **claim["a"]}, 0.5 + offset)

    return put


def _differ(made, claim, holds):
    made.put({**claim["where"], **claim["b"]}, 0.5)
    made.put({**claim["where"], **claim["a"]}, 0.5 + GAP * holds)


def _equivalent(made, claim, holds):
    made.put({**claim["where"], **claim["b"]}, 0.5)
    made.put({**claim["where"], **claim["a"]}, 0.5 + (0 if holds else 3 * claim["within"]))


def _all_equivalent(made, claim, holds):
    made.put_levels(lambda rank, _: 0.5 + (0 if holds else 3 * rank * claim["within"]))


def _ahead(sign):
    """The setting of `a` is better than all others (1) or worse than all (-1)."""

    def put(made, claim, holds):
        better = -GAP if tidy.lower_is_better(claim["metric"]) else GAP
        made.put(claim["where"], 0.5)
        made.put({**claim["where"], **claim["a"]}, 0.5 + sign * (better if holds else -better))

    return put


def _bound(sign):
    def put(made, claim, holds):
        made.put(claim["where"], claim["value"] + sign * (GAP if holds else -GAP))

    return put


def _about(made, claim, holds):
    made.put(claim["where"], claim["value"] + (0 if holds else 3 * claim["within"]))


def _slope(sign):
    def put(made, claim, holds):
        made.put_levels(lambda rank, _: 0.5 + sign * (GAP if holds else -GAP) * rank)

    return put


def _turn(sign):
    """An arch (1) or a valley (-1) over the levels of the factor."""

    def put(made, claim, holds):
        made.put_levels(lambda rank, n: 0.5 - sign * (GAP if holds else -GAP) * abs(rank - (n - 1) / 2))

    return put


def _correlation(made, claim, holds):
    _slope(1 if claim["sign"] == "positive" else -1)(made, claim, holds)


def _spreads_more(made, claim, holds):
    for side, wide in (("a", holds), ("b", not holds)):
        made.put({**claim["where"], **claim[side]}, 0.5, noise=GAP if wide else NOISE)


def _interacts(made, claim, holds):
    """Effects of all factors add up, or they multiply each other."""
    rows, total, product = made.chosen(claim["where"]), np.zeros(len(made.runs)), np.ones(len(made.runs))
    for name in claim["factors"]:
        codes = np.zeros(len(rows))
        codes[rows] = pd.factorize(made.runs.loc[rows, made.results.key(name)])[0]
        total, product = total + codes, product * codes
    made.put(claim["where"], 0.5 + GAP * (product if holds else total))


def _failing(claim):
    return claim["below"] - GAP if claim["below"] is not None else claim["above"] + GAP


def _well(claim):
    return claim["below"] + GAP if claim["below"] is not None else claim["above"] - GAP


def _fails(made, claim, holds):
    made.put(claim["where"], _failing(claim) if holds else _well(claim))


def _fails_more(made, claim, holds):
    made.put({**claim["where"], **claim["a"]}, _failing(claim) if holds else _well(claim))
    made.put({**claim["where"], **claim["b"]}, _well(claim) if holds else _failing(claim))


def _metric_greater(made, claim, holds):
    """With `some`, of one value alone."""
    where, by = claim["where"], claim["by"]
    made.put(where, 0.5, claim["metric_b"])
    made.put(where, 0.5 + by + (GAP if holds and not claim["some"] else -GAP), claim["metric_a"])
    if holds and (some := claim["some"]):
        value = made.runs.loc[made.chosen(where), made.results.key(some)].iloc[0]
        made.put({**where, some: value}, 0.5 + by + GAP, claim["metric_a"])


def _recognised(sign):
    """The class is taken for others less often than any (1), or more often (-1)."""

    def confused(claim, holds):
        return {(claim["label"], other): 1 if (sign > 0) == holds else 2 * CONFUSED for other in CLASSES}

    return _by_class(confused)


def _by_class(confused):
    """Of arms that the claim is not about, the opposite."""

    def put(made, claim, holds):
        about, there = made.runs.loc[made.chosen(claim["where"]), "arm"].unique(), made.runs.groupby("arm").size()
        for arm, runs in there.items():
            counts = np.full((len(CLASSES), len(CLASSES)), CONFUSED)
            for (true, taken), number in confused(claim, holds == (arm in about)).items():
                counts[CLASSES.index(true), CLASSES.index(taken)] = number
            np.fill_diagonal(counts, 0)
            made.confusions[arm] = runs * (counts + np.diag(IMAGES - counts.sum(1)))

    return put


TRUTHS = {
    "greater": _differ_by(1),
    "less": _differ_by(-1),
    "differ": _differ,
    "equivalent": _equivalent,
    "all_equivalent": _all_equivalent,
    "best_is": _ahead(1),
    "worst_is": _ahead(-1),
    "at_least": _bound(1),
    "at_most": _bound(-1),
    "about": _about,
    "increases_with": _slope(1),
    "decreases_with": _slope(-1),
    "rises_then_falls": _turn(1),
    "falls_then_rises": _turn(-1),
    "correlation": _correlation,
    "spreads_more": _spreads_more,
    "interacts": _interacts,
    "fails": _fails,
    "fails_more": _fails_more,
    "metric_greater": _metric_greater,
    "worst_class": _recognised(-1),
    "best_class": _recognised(1),
    "most_taken_for": _by_class(lambda c, holds: {(c["label"], c["taken_for"]): 3 * CONFUSED if holds else 1}),
    "confuses_more": _by_class(lambda c, holds: {tuple(c["pair_a" if holds else "pair_b"]): 3 * CONFUSED}),
}


def verdict(of: Blank, claim: dict, holds: bool) -> claims.Verdict:
    """Of the claim alone, on results of which it holds or does not."""
    claim = complete(claim)
    made = MadeUp(of, claim)
    TRUTHS[claim["kind"]](made, claim, holds)
    return claims.judge(made.study())[0]


def judged(name, text) -> list[dict]:
    """The claims, without those about an arm that is not run: weights from ImageNet need a network, or a file."""
    arms = {*blank(name, text).study.arms}
    return [c for c in asked(name, text).claims if {side["arm"] for side in _sides(c) if "arm" in side} <= arms]


def _sides(claim):
    return [claim[key] for key in ("a", "b", "where") if key in claim]


def every_claim(texts):
    for name, text in texts:
        for i, claim in enumerate(judged(name, text)):
            words = [name, text, re.sub(r"\W+", "_", claim["name"]), str(i)]
            yield pytest.param(name, text, claim, id="-".join(word for word in words if word))


@pytest.mark.parametrize("holds", [True, False], ids=["so", "opposite"])
@pytest.mark.parametrize(("name", "text", "claim"), every_claim(TEXTS))
def test_a_claim_gets_the_verdict_it_should(name, text, claim, holds):
    found = verdict(blank(name, text, least=8), claim, holds)
    against = "inconclusive" if claim["kind"] in NEVER_AGAINST else "not replicated"
    assert found.verdict == ("replicated" if holds else against), found.reason
    assert found.reason.endswith(".")
    assert "\n" not in found.reason


def undecidable(name, text) -> dict[str, str]:
    """The paper's own claims that the seeds and folds of its parts cannot tell, however clear-cut the truth."""
    found = {}
    for i, claim in enumerate(judged(name, text)):
        told = verdict(blank(name, text), claim, True)
        if not claim.get("ours") and not told.p < 0.05:
            found[f"{claim['name']}-{i} {claim['kind']}"] = told.reason
    return found


@pytest.mark.parametrize(("name", "text"), [*TEXTS, *((name, "full") for name in PAPERS)])
def test_a_paper_has_the_seeds_to_decide_its_claims(name, text):
    assert not undecidable(name, text)


def test_a_claim_about_an_arm_that_is_not_run_is_not_judged():
    left_out = [c for c in asked("report234591", "").claims if c not in judged("report234591", "")]
    assert [c["name"] for c in left_out] == ["R7", "R7"]
    for claim in left_out:
        (found,) = claims.judge(MadeUp(blank("report234591", ""), complete(claim)).study())
        assert (found.verdict, found.ours) == ("not judged", False)
        assert "pretrained: base" in found.reason


@pytest.mark.parametrize("name", PAPERS)
def test_quick_may_not_tell_but_never_says_the_opposite(name):
    for claim in judged(name, "quick"):
        found = verdict(blank(name, "quick"), claim, True)
        assert found.verdict != "not replicated", found.reason


@pytest.mark.parametrize(
    ("name", "topic"),
    [(name, topic) for name in PAPERS for topic in module(name).PARTS if topic not in ("quick", "full")],
)
def test_a_topic_asked_alone_has_what_its_claims_read(name, topic):
    for claim in judged(name, topic):
        found = verdict(blank(name, topic, least=8), claim, True)
        assert found.verdict == "replicated", found.reason
