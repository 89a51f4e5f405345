"""Each kind's test, and how it reads. The rules are with the functions of `vocabulary`."""

from collections.abc import Mapping

from fmnist_jax.claims import classes, counts, levels, means, pairs, rivals, words

# Each takes the results and a complete claim, and raises Missing where the study has not what it needs.
TESTS = {
    "greater": pairs.greater,
    "less": pairs.less,
    "differ": pairs.differ,
    "equivalent": pairs.equivalent,
    "all_equivalent": levels.all_equivalent,
    "best_is": rivals.best(1),
    "worst_is": rivals.best(-1),
    "at_least": means.bound(1),
    "at_most": means.bound(-1),
    "about": means.about,
    "increases_with": levels.trend(1),
    "decreases_with": levels.trend(-1),
    "rises_then_falls": levels.turn(1),
    "falls_then_rises": levels.turn(-1),
    "correlation": levels.correlation,
    "spreads_more": pairs.spreads_more,
    "interacts": counts.interacts,
    "fails": counts.fails,
    "fails_more": counts.fails_more,
    "metric_greater": means.metric_greater,
    "worst_class": classes.extreme(-1),
    "best_class": classes.extreme(1),
    "most_taken_for": classes.most_taken_for,
    "confuses_more": classes.confuses_more,
}
STATEMENTS = {
    "greater": "{metric} is greater {with_a} than {b_metric}{with_b}{by}",
    "less": "{metric} is less {with_a} than {with_b}{by}",
    "differ": "{metric} differs between {a} and {b}",
    "equivalent": "{metric} differs by less than {within} between {a} and {b}",
    "all_equivalent": "{metric} differs by less than {within} between any two values of {factor}",
    "best_is": "{metric} is best {with_a}",
    "worst_is": "{metric} is worst {with_a}",
    "at_least": "{metric} is above {value}",
    "at_most": "{metric} is below {value}",
    "about": "{metric} is within {within} of {value}",
    "increases_with": "{metric} rises with {factor}",
    "decreases_with": "{metric} falls with {factor}",
    "rises_then_falls": "{metric} rises with {factor}, then falls",
    "falls_then_rises": "{metric} falls with {factor}, then rises",
    "correlation": "the correlation of {metric} with {factor} over the arms is {sign}",
    "spreads_more": "{metric} scatters more {with_a} than {with_b}",
    "interacts": "{factors} interact in {metric}",
    "fails": "more than {share} of the runs fail ({bounds})",
    "fails_more": "more runs fail ({bounds}) {with_a} than {with_b}",
    "metric_greater": "{metric_a} is greater than {metric_b}{by}",
    "worst_class": "{label} is the class recognised least",
    "best_class": "{label} is the class recognised best",
    "most_taken_for": "{label} is taken for {taken_for} more often than for any other class",
    "confuses_more": "{pair_a[0]} is taken for {pair_a[1]} more often than {pair_b[0]} for {pair_b[1]}",
}


def statement(claim: Mapping, labels: Mapping[str, str]) -> str:
    """What is tested of a complete claim, in words; `labels` by factor key."""
    unit = words.unit(claim.get("metric_a", claim["metric"]))
    shown = {key: value for key, value in claim.items() if isinstance(value, (str, list, tuple))}
    shown |= {key: words.metric(claim[key]) for key in ("metric", "metric_a", "metric_b") if key in claim}
    shown |= {key: words.selection(claim[key], labels) for key in ("a", "b") if key in claim}
    shown |= {f"with_{key}": words.side(claim[key], labels) for key in ("a", "b") if key in claim}
    shown["b_metric"] = f"{words.metric(claim['b_metric'])} " if claim.get("b_metric") else ""
    if "factor" in claim:
        shown["factor"] = words.factor(claim, labels)
    if "factors" in claim:
        shown["factors"] = " and ".join(labels.get(key, key) for key in claim["factors"])
    shown |= {"value": f"{unit.given(claim['value'])}{unit.value}"} if "value" in claim else {}
    shown |= {"within": unit.margin(claim["within"])} if "within" in claim else {}
    shown["by"] = f", by more than {unit.margin(claim['by'])}" if claim.get("by") else ""
    shown["share"] = f"{100 * claim.get('share', 0):g}%"
    ends = [f"{side} {claim[side]:g}" for side in ("below", "above") if claim.get(side) is not None]
    shown["bounds"] = " or ".join([f"{shown['metric']} {end}" for end in ends] + ["diverged"])
    text = STATEMENTS[claim["kind"]].format(**shown)
    if claim.get("each") or claim.get("some"):
        quantifier = "every" if claim.get("each") else "some"
        name = claim.get("each") or claim["some"]
        text += f", for {quantifier} value of {labels.get(name, name)}"
    text += words.among(claim["where"], labels)
    return text[0].upper() + text[1:]
