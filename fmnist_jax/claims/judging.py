"""Verdicts: each claim tested, all p values adjusted together, each decision in one sentence."""

import dataclasses

import numpy as np

from fmnist_jax import stats, tidy
from fmnist_jax.claims import kinds, words
from fmnist_jax.claims.checking import check, complete
from fmnist_jax.claims.outcomes import Outcome
from fmnist_jax.claims.replicates import Missing, Results

ALPHA = 0.05
MANY = 1000  # seeds that nobody trains


@dataclasses.dataclass(frozen=True)
class Verdict:
    """A claim, judged. Numbers are NaN where there are none; effect, low and high in the metric's own unit."""

    name: str
    quote: str
    source: str
    paper: str  # the paper's own figure, in words; may be empty
    statement: str  # what was tested, in words
    verdict: str  # "replicated" | "not replicated" | "inconclusive" | "not judged"
    reason: str  # one sentence
    metric: str
    effect: float
    low: float
    high: float
    p: float
    adjusted_p: float
    n: int
    ours: bool = False  # asked by the study, not by the paper


def judge(study: tidy.Study) -> tuple[Verdict, ...]:
    """The verdicts on `study.claims`, in order. All it needs is in the tables; a running study's verdicts may change.

    Raises:
      ValueError: a claim is not well-formed (see `check`).
    """
    for claim in study.claims:
        check(claim)
    claims = [complete(claim) for claim in study.claims]
    results = Results(study)
    found = [_tested(results, claim) for claim in claims]
    p = np.array([outcome.p if isinstance(outcome, Outcome) else np.nan for outcome in found])
    adjusted, level = np.full((2, len(p)), np.nan)
    ours = np.array([claim["ours"] for claim in claims], bool)
    for family in (ours, ~ours):  # what a study asks beside the paper costs the paper's claims nothing
        adjusted[family] = stats.holm(p[family])
        no_less = (p[family] >= p[family][:, None]).sum(1)  # Holm's divisor, where all smaller p are decided
        level[family] = ALPHA / np.maximum(no_less, 1)
    return tuple(_verdict(results, *one) for one in zip(claims, found, adjusted.tolist(), level.tolist(), strict=True))


def _tested(results: Results, claim: dict) -> Outcome | str:
    if not len(results.study.runs):
        return "no run has finished yet"
    try:
        return kinds.TESTS[claim["kind"]](results, claim)
    except Missing as missing:
        return str(missing)


def _verdict(results: Results, claim: dict, outcome: Outcome | str, adjusted: float, level: float) -> Verdict:
    common = {key: claim[key] for key in ("name", "quote", "source", "paper")}
    common["ours"] = claim["ours"]
    common |= {"statement": kinds.statement(claim, results.labels), "metric": claim.get("metric_a", claim["metric"])}
    if isinstance(outcome, str):
        numbers = dict.fromkeys(("effect", "low", "high", "p", "adjusted_p"), np.nan)
        return Verdict(**common, verdict="not judged", reason=f"Not judged: {outcome}.", **numbers, n=0)
    decided = adjusted < ALPHA
    verdict = "inconclusive" if not decided else "replicated" if outcome.supports else "not replicated"
    numbers = {key: float(getattr(outcome, key)) for key in ("effect", "low", "high", "p")}
    reason = _reason(outcome, adjusted, level, results.study.unfinished)
    return Verdict(**common, verdict=verdict, reason=reason, **numbers, adjusted_p=adjusted, n=outcome.n)


def _reason(outcome: Outcome, adjusted: float, level: float, unfinished: int) -> str:
    n = f"n = {outcome.n} {outcome.noun}"
    if np.isnan(outcome.p):
        parts = [f"{outcome.finding}, but without any spread no test is possible ({n})"]
    else:
        inside = [outcome.interval, f"{words.p(adjusted)} after Holm", n]
        parts = [f"{outcome.finding} ({', '.join(part for part in inside if part)})"]
    parts += [part for part in (outcome.extra, outcome.cost) if part]
    if not adjusted < ALPHA and (needed := stats.seeds_needed(outcome.sd, outcome.gap, alpha=level)):
        parts.append(_advice(needed, outcome.n))
    if unfinished:
        parts.append(f"provisional, {words.count(unfinished, 'run')} to come")
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


def _advice(needed: int, n: int) -> str:
    if needed <= n:
        return "so many seeds would do for this claim alone, but not for all claims of the study together"
    if needed > MANY:
        return f"it would take more than {MANY:,} seeds to tell so small a gap"
    return f"it would take about {needed} seeds to tell so small a gap"
