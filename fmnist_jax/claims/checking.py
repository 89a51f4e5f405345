"""Whether a claim is well-formed: its kind, its arguments, their types, and the factors that it names."""

import difflib
import math
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from fmnist_jax import tidy

ALL = MappingProxyType({})  # the selector of every run
WHEN = ("epoch", "step")  # with these a selector reads the curves
SELECTED = ("arm", "fold", *WHEN)  # what a selector may name beside factors
CHANGE = {"from", "to"}
COMMON = {"metric": "test_accuracy", "quote": "", "source": "", "paper": "", "where": ALL, "ours": False}
ORDERED = ("factor",), {"numbers": (), "called": ""}
# kind -> (arguments it needs, {others: default})
KINDS = {
    "greater": (("a", "b"), {"by": 0.0, "b_metric": ""}),
    "less": (("a", "b"), {"by": 0.0}),
    "differ": (("a", "b"), {}),
    "equivalent": (("a", "b", "within"), {}),
    "all_equivalent": (("factor", "within"), {}),
    "best_is": (("a",), {}),
    "worst_is": (("a",), {}),
    "at_least": (("value",), {"each": ""}),
    "at_most": (("value",), {"each": ""}),
    "about": (("value", "within"), {"each": ""}),
    "increases_with": ORDERED,
    "decreases_with": ORDERED,
    "rises_then_falls": ORDERED,
    "falls_then_rises": ORDERED,
    "correlation": (("factor", "sign"), {"numbers": (), "called": ""}),
    "spreads_more": (("a", "b"), {}),
    "interacts": (("factors",), {}),
    "fails": (("share",), {"below": None, "above": None}),
    "fails_more": (("a", "b"), {"below": None, "above": None}),
    "metric_greater": (("metric_a", "metric_b"), {"by": 0.0, "each": "", "some": ""}),
    "worst_class": (("label",), {}),
    "best_class": (("label",), {}),
    "most_taken_for": (("label", "taken_for"), {}),
    "confuses_more": (("pair_a", "pair_b"), {}),
}

OF_IMAGES = ("worst_class", "best_class", "most_taken_for", "confuses_more")


def check(claim: dict, factor_keys: Iterable[str] | None = None) -> None:
    """Refuses a claim that no study could judge; with `factor_keys` also one about a factor that is not among them.

    Raises:
      ValueError: one line that names the claim, the argument and what would be right.
    """
    if not isinstance(claim, Mapping):
        raise ValueError(f"claim {claim!r}: is not a claim; one is claims.greater('A1', {{...}}, {{...}})")
    name = claim.get("name")
    if not isinstance(name, str) or not name:
        raise ValueError(f"claim {name!r}: needs a name, such as 'A1'")
    kind = claim.get("kind")
    if kind not in KINDS:
        raise ValueError(f"claim {name}: kind={kind!r}: there is none; {nearest(kind, KINDS)}")
    needed, others = KINDS[kind]
    known = {"kind", "name", *needed, *others, *COMMON}
    for key in claim:
        if key not in known:
            raise ValueError(f"claim {name}: {key}={claim[key]!r}: {kind} has none; {nearest(key, known)}")
    for key in needed:
        if key not in claim:
            raise ValueError(f"claim {name}: {key}: missing; {kind} needs {', '.join(needed)}")
    for key, value in claim.items():
        if key in CHECKS and (problem := CHECKS[key](value)):
            raise ValueError(f"claim {name}: {key}={value!r}: {problem}")
    if kind.startswith("fails") and (claim.get("below") is None) and (claim.get("above") is None):
        raise ValueError(f"claim {name}: below, above: {kind} needs one, the bound past which a run has failed")
    if kind in OF_IMAGES and (wrong := [key for key in claim.get("where", ALL) if key in ("fold", *WHEN)]):
        raise ValueError(
            f"claim {name}: where: {wrong[0]!r}: images are counted over all folds, at the end; leave it out"
        )
    if claim.get("each") and claim.get("some"):
        raise ValueError(f"claim {name}: some={claim['some']!r}: takes no each beside it; leave one out")
    if factor_keys is not None:
        _check_factors(claim, list(factor_keys))


def complete(claim: dict) -> dict:
    """The claim with every argument that it may leave out."""
    return {**COMMON, **KINDS[claim["kind"]][1], **claim}


def names_of(factor_keys: Iterable[str]) -> dict[str, str]:
    """Factor key, or short label, -> key."""
    labels = tidy.short_labels(factor_keys)
    return {**{label: key for key, label in labels.items()}, **{key: key for key in labels}}


def _check_factors(claim: dict, keys: list[str]) -> None:
    known = names_of(keys)
    named = [(argument, key) for argument in ("a", "b", "where") for key in claim.get(argument, ())]
    named += [(argument, claim[argument]) for argument in ("factor", "each", "some") if claim.get(argument)]
    named += [("factors", key) for key in claim.get("factors", ())]
    for argument, key in named:
        if key not in known and key not in SELECTED:
            near = nearest(key, list(dict.fromkeys([*known, *SELECTED])))
            raise ValueError(f"claim {claim['name']}: {argument}: {key!r} is no factor of this study; {near}")


def nearest(word, known: Iterable[str]) -> str:
    """'did you mean ...?', or, where no word is like it, all that there are."""
    close = difflib.get_close_matches(str(word), list(known), n=1)
    return f"did you mean {close[0]!r}?" if close else f"one of {', '.join(known)}"


def is_number(value) -> bool:
    """A finite number; True and False are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _number(value):
    return None if is_number(value) else "must be a number"


def _positive(value):
    return None if is_number(value) and value > 0 else "must be a number above 0, in the metric's unit"


def _bound(value):
    return None if value is None else _number(value)


def _share(value):
    return None if is_number(value) and 0 <= value < 1 else "must be a number from 0 to below 1"


def _text(value):
    return None if isinstance(value, str) else "must be a string"


def _word(value):
    return None if isinstance(value, str) and value else "must be a name"


def _sign(value):
    return None if value in ("positive", "negative") else "must be 'positive' or 'negative'"


def _factors(value):
    good = isinstance(value, (list, tuple)) and all(isinstance(v, str) for v in value) and len(set(value)) >= 2
    return None if good else "must be a list of two factors or more"


def _pair(value):
    good = isinstance(value, (list, tuple)) and len(value) == 2 and all(isinstance(v, str) for v in value)
    return None if good and value[0] != value[1] else "must be (true class, another that it is taken for)"


def numbers(value):
    """What is wrong with the pairs [value of a factor, number]; None where nothing is."""
    good = isinstance(value, (list, tuple)) and all(
        isinstance(pair, (list, tuple)) and len(pair) == 2 and is_number(pair[1]) for pair in value
    )
    return None if good else "must be {value of the factor: number}"


def selector(value):
    """What is wrong with a selector; None where nothing is."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        return "must be a mapping of factors to values, such as {'model.dense': 1024}"
    if set(WHEN) <= set(value):
        return "takes an epoch or a step, not both"
    for key, wanted in value.items():
        if isinstance(wanted, list) and not wanted:
            return f"{key} has an empty list of values"
        if key in WHEN and (problem := _moment(wanted)):
            return f"{key}: {problem}"
        values = wanted if isinstance(wanted, list) else [wanted]
        if key not in WHEN and not all(isinstance(value, (str, int, float, tuple)) for value in values):
            return f"{key}: takes a value, or a list of values"
    return None


def _moment(value):
    ends = list(value.values()) if isinstance(value, Mapping) else [value]
    if isinstance(value, Mapping) and set(value) != CHANGE:
        return "a change is {'from': 3, 'to': 'last'}"
    good = all(end in ("last", "peak") or is_number(end) for end in ends)
    return None if good else "must be a number, 'last' or 'peak'"


def _side(value):
    return selector(value) or (None if value else "must name at least one factor, or the arm")


CHECKS = {
    **dict.fromkeys(("a", "b"), _side),
    "where": selector,
    **dict.fromkeys(("by", "value"), _number),
    **dict.fromkeys(("below", "above"), _bound),
    "within": _positive,
    "share": _share,
    **dict.fromkeys(("factor", "label", "taken_for", "metric", "metric_a", "metric_b"), _word),
    **dict.fromkeys(("each", "some", "quote", "source", "paper", "b_metric", "called"), _text),
    "ours": lambda value: None if isinstance(value, bool) else "must be True or False",
    "sign": _sign,
    "factors": _factors,
    **dict.fromkeys(("pair_a", "pair_b"), _pair),
    "numbers": numbers,
}
