"""What each paper says, as a table of literals, and that its config claims just that."""

import json
from collections.abc import Mapping

import pytest
from test_studies import PAPERS, asked

from fmnist_jax.claims.checking import complete

TEXTS = [(name, "") for name in PAPERS] + [("report234591", "pretrained")]  # what is behind the config's colon
# Read off the papers' texts and shared/papers/README.md, not off configs/: (name, kind, arguments that are not the
# kind's defaults). `...` is left to the config, as a key for all others; so is `where` at the scale quick, and the
# learning rate that acosta leaves out. `within` is the widest margin that still says what the paper does.
LAYERS = {32: 1, 64: 1, "32, 32": 2, "64, 64": 2}  # filters by layer -> convolution layers
FIRST = {32: 32, 64: 64, "32, 32": 32, "64, 64": 64}  # -> filters of the first layer
SECOND = {32: 0, 64: 0, "32, 32": 32, "64, 64": 64}  # -> filters of the second; 0 where there is none
GRID = {"part": "paper", "pool": "average", "dense_dropout": 0.2}
TIME = {"where": GRID, "metric": "alone_seconds"}
FIGURE_4 = {"part": "paper", "pool": "average", "filters": 64, "dense": 1024}  # the net of the best accuracy
NETS = ["baseline", "learning rate", "dropout", "softpool", "leaky ReLU"]
TESTED = {"part": "test", "variant": "baseline"}
VALIDATED = {"metric": "validation_accuracy"}
UNITS = {"part": "dense", "init_stddev": 0.5}
RESNET = {"a": {"arm": "activities: own net"}, "b": {"arm": "pretrained: base"}}  # whose weights are ImageNet's
MEANS = {"metric": "test_logits_correlation_mean", "b_metric": "test_features_correlation_mean"}
SPREADS = {"metric": "test_logits_correlation_sd", "b_metric": "test_features_correlation_sd"}
FROM_IMAGENET = ("R7", "greater", {**RESNET, **MEANS}), ("R7", "greater", {**RESNET, **SPREADS})
SAID = {
    "acosta": (
        ("A1", "increases_with", {"factor": "dense", "where": GRID}),
        ("A2", "increases_with", {"factor": "filters", "numbers": FIRST, "where": GRID}),
        ("A3", "decreases_with", {"factor": "filters", "numbers": LAYERS, "where": GRID}),
        ("A4", "increases_with", {"factor": "dense", **TIME}),
        ("A4", "increases_with", {"factor": "filters", "numbers": FIRST, **TIME}),
        ("A4", "decreases_with", {"factor": "filters", "numbers": LAYERS, **TIME}),
        (
            "A5",
            "greater",
            {
                "a": {"pool": "average"},
                "b": {"pool": "max"},
                "where": {"part": "paper", "dense_dropout": 0.2, "filters": 64, "dense": 1024},
            },
        ),
        ("A6", "decreases_with", {"factor": "dense_dropout", "metric": "train_accuracy", "where": FIGURE_4}),
        ("A6", "rises_then_falls", {"factor": "dense_dropout", "where": FIGURE_4}),
        (
            "A6",
            "metric_greater",
            {
                "metric_a": "test_accuracy",
                "metric_b": "train_accuracy",
                "some": "dense_dropout",
                "where": FIGURE_4,
            },
        ),
        ("A7", "correlation", {"factor": "filters", "numbers": LAYERS, "sign": "negative", "where": GRID}),  # -0.89
        ("A7", "correlation", {"factor": "filters", "numbers": FIRST, "sign": "positive", "where": GRID}),  # 0.24
        ("A7", "correlation", {"factor": "filters", "numbers": SECOND, "sign": "negative", "where": GRID}),  # -0.72
        ("A7", "correlation", {"factor": "dense", "sign": "positive", "where": GRID}),  # 0.35
    ),
    "report234591": (
        ("R1", "best_is", {"a": {"variant": "2 conv, 1 FC"}, "where": {"part": "architecture"}}),
        ("R2", "best_is", {"a": {"learning_rate": 0.01}, "where": {"part": "rate"}}),
        ("R2", "at_least", {"value": 0.8, "where": {"part": "rate", "learning_rate": 0.1}}),  # 87.43%
        (
            "R3",
            "greater",
            {
                "a": {"kernel_init": ["kaiming_normal", "kaiming_uniform"]},
                "b": {"kernel_init": ["xavier_normal", "xavier_uniform"]},
                "where": {"part": "init"},
            },
        ),
        ("R3", "best_is", {"a": {"kernel_init": "kaiming_normal"}, "where": {"part": "init"}}),
        ("R4", "best_is", {"a": {"batch_size": 64}, "where": {"part": "batch"}}),
        ("R5", "all_equivalent", {"factor": "variant", "within": 0.01, "where": {"part": "augmentation"}}),
        ("R5", "best_is", {"a": {"variant": "ToTensor, Normalize"}, "where": {"part": "augmentation"}}),
        ("R6", "increases_with", {"factor": "fold", "where": {"part": "folds", "variant": "leaking"}, **VALIDATED}),
        *FROM_IMAGENET,
    ),
    "report234591:pretrained": FROM_IMAGENET,
    "kunze": (
        # 65, 50 and 30% are told apart: a margin is less than half of what is between two of them.
        (
            "K1",
            "about",
            {"value": 0.65, "within": 0.07, "each": "dense", "where": {**UNITS, "dense": [5, 10]}, **VALIDATED},
        ),
        ("K1", "about", {"value": 0.3, "within": 0.07, "where": {**UNITS, "dense": 3}, **VALIDATED}),
        ("K1", "about", {"value": 0.5, "within": 0.07, "where": {**UNITS, "dense": 4}, **VALIDATED}),
        ("K1", "best_is", {"a": {"dense": 5, ...: ...}, "metric": "validation_loss", "where": ...}),
        (
            "K2",
            "less",
            {
                "a": {"dense": [50, 100, 200, 800], "learning_rate": [0.001, 0.0001]},
                "b": {"dense": [5, 10, 20], "learning_rate": 0.001},
                "where": UNITS,
                **VALIDATED,
            },
        ),
        (
            "K2",
            "all_equivalent",
            {
                "factor": "init_stddev",
                "within": 0.02,
                "where": {"part": "dense", "dense": [3, 5, 10, 20, 50, 100, 200], "learning_rate": [0.001, 0.0001]},
                **VALIDATED,
            },
        ),
        ("K3", "fails", {"share": 0.5, "below": 0.2, "where": {"part": "crash"}, **VALIDATED}),
        ("K3", "fails", {"share": 0.5, "below": 0.2, "where": {"part": "crash", "step": 4000}, **VALIDATED}),
        (
            "K3",
            "greater",
            {
                "a": {"part": "dense", "learning_rate": 0.0001},
                "b": {"part": "crash", "learning_rate": 0.001},
                "where": {"dense": 800, "init_stddev": 0.5},
                **VALIDATED,
            },
        ),
        ("K4", "at_least", {"value": 0.8, "each": "filters", "where": {"part": "cnn", "kernel": 3}, **VALIDATED}),
        (
            "K4",
            "all_equivalent",
            {"factor": "filters", "within": 0.08, "where": {"part": "cnn", "kernel": 3}, **VALIDATED},  # 80 to 88%
        ),
        ("K4", "best_is", {"a": {"filters": 15}, "where": {"part": "cnn", "kernel": 3}, **VALIDATED}),
        ("K5", "decreases_with", {"factor": "kernel", "where": {"part": "cnn", "filters": 32}, **VALIDATED}),
        ("K6", "about", {"value": 0.659, "within": 0.01, "where": {**UNITS, "dense": 5}}),
        ("K6", "about", {"value": 0.89, "within": 0.01, "where": {"part": "cnn", "filters": 32, "kernel": 2}}),
        (
            "K6",
            "greater",
            {
                "a": {"part": "cnn", "filters": 32, "kernel": 2, "dense": "none"},
                "b": {"part": "dense", "dense": 5, "init_stddev": 0.5, "learning_rate": 0.001},
            },
        ),
    ),
    "blagg": (
        ("B1", "worst_is", {"a": {"learning_rate": 0.01}, "where": {"part": "sweep"}}),
        (
            "B1",
            "spreads_more",
            {"a": {"learning_rate": 0.01}, "b": {"learning_rate": 0.001}, "where": {"part": "sweep"}},
        ),
        (
            "B2",
            "greater",
            {
                "a": {"learning_rate": [0.0001, 0.0005, 0.001, 0.005]},
                "b": {"learning_rate": 0.01},
                "where": {"part": "sweep"},
            },
        ),
        (
            "B3",
            "greater",
            {
                "a": {
                    "learning_rate": [0.0005, 0.001, 0.005],
                    "filters": ["24, 48, 96", "36, 72, 144", "48, 96, 192"],
                },
                "b": ...,
                "where": {"part": "sweep"},
            },
        ),
        ("B4", "interacts", {"factors": ["learning_rate", "filters", "loss.name"], "where": {"part": "sweep"}}),
    ),
    "alexander": (
        (
            "X1",
            "all_equivalent",
            {
                "factor": "variant",
                "within": 0.003,
                "where": {"part": "folds", "variant": NETS, "epoch": "last"},
                **VALIDATED,
            },
        ),
        ("X1", "all_equivalent", {...: ...}),  # after the exact one, which it would match as well
        (
            "X2",
            "falls_then_rises",
            {"factor": "epoch", "where": {"part": "folds", "variant": "baseline"}, "metric": "validation_loss"},
        ),
        (
            "X2",
            "less",
            {
                "a": {"epoch": "last"},
                "b": {"epoch": 3},
                "where": {"part": "folds", "variant": "baseline"},
                "metric": "train_loss",
            },
        ),
        (
            "X3",
            "less",
            {
                "a": {"variant": "dropout"},
                "b": {"variant": "baseline"},
                "where": {"part": "folds", "epoch": {"from": 3, "to": "last"}},
                "metric": "validation_loss",
            },
        ),
        (
            "X3",
            "spreads_more",
            {
                "a": {"variant": "dropout"},
                "b": {"variant": "baseline"},
                "where": {"part": "folds", "epoch": "last"},
                **VALIDATED,
            },
        ),
        (
            "X4",
            "greater",
            {"a": {"variant": "halved learning rate"}, "b": {"variant": "baseline"}, "where": {"part": "test"}},
        ),
        ("X4", "best_is", {"a": {"variant": "halved learning rate"}, "where": {"part": "test"}}),
        ("X5", "worst_class", {"label": "Shirt", "where": TESTED}),
        ("X5", "about", {"value": 0.79, "within": 0.03, "metric": "Shirt_recall", "where": TESTED}),
        ("X5", "best_class", {"label": "Sandal", "where": TESTED}),
        ("X5", "about", {"value": 0.991, "within": 0.01, "metric": "Sandal_recall", "where": TESTED}),
        ("X5", "most_taken_for", {"label": "Shirt", "taken_for": "T-shirt/top", "where": TESTED}),
        ("X5", "confuses_more", {"pair_a": ["Pullover", "Coat"], "pair_b": ["Coat", "Pullover"], "where": TESTED}),
    ),
}
READERS = ("quote", "source", "paper", "ours", "called")  # what a verdict does not hang on


def agrees(said, found) -> bool:
    """Whether an argument of a claim, or the whole of it, is what is said of it."""
    if said is ... or not isinstance(said, dict):
        return said is ... or said == found
    keys = said.keys() - {...}
    if not isinstance(found, dict) or not keys <= found.keys() or (... not in said and keys != found.keys()):
        return False
    return all(found[key] <= said[key] if key == "within" else agrees(said[key], found[key]) for key in keys)


def in_full(claim: dict, name: str, text: str) -> dict:
    """A claim with its defaults, as SAID has them, without what the config may choose at this scale."""
    whole = claim if ... in claim else complete(claim)
    found = {key: value for key, value in whole.items() if key not in READERS}
    if isinstance(found.get("where"), Mapping):
        unreported = ("learning_rate",) if name == "acosta" else ()
        found["where"] = {key: value for key, value in found["where"].items() if key not in unreported}
    if "numbers" in found:
        found["numbers"] = dict(found["numbers"])
    if text == "quick" and "where" in found:
        found["where"] = ...
    return found


def strays(given, name, text) -> tuple[list, list]:
    """What the paper says and no claim of those given does; claims that say what it does not."""
    unsaid, left = [], [in_full(json.loads(json.dumps(claim)), name, text) for claim in given if not claim.get("ours")]
    for title, kind, arguments in SAID[f"{name}:{text}" if text == "pretrained" else name]:
        said = in_full({"name": title, "kind": kind, **arguments}, name, text)
        if (first := next((claim for claim in left if agrees(said, claim)), None)) is None:
            unsaid.append(said)
        else:
            left.remove(first)
    return unsaid, left


@pytest.mark.parametrize(("name", "text"), [*TEXTS, *((name, scale) for name in PAPERS for scale in ("full", "quick"))])
def test_the_claims_are_the_papers(name, text):
    assert strays(asked(name, text).claims, name, text) == ([], [])


TURNED = (
    ("greater", "less"),
    ("increases_with", "decreases_with"),
    ("rises_then_falls", "falls_then_rises"),
    ("best_is", "worst_is"),
    ("best_class", "worst_class"),
    ("at_least", "at_most"),
    ("differ", "equivalent"),
)
OPPOSITE = dict(TURNED) | {b: a for a, b in TURNED} | {"positive": "negative", "negative": "positive"}
SIDES = (("a", "b"), ("metric_a", "metric_b"), ("pair_a", "pair_b"), ("label", "taken_for"), ("metric", "b_metric"))


def opposites(claim):
    """The claim with its kind, its sign or its sides turned round; with another metric or value; as one of ours."""
    yield from (claim | {key: OPPOSITE[claim[key]]} for key in ("kind", "sign") if claim.get(key) in OPPOSITE)
    yield from (claim | {a: claim[b], b: claim[a]} for a, b in SIDES if claim.get(a) and claim.get(b))
    yield from (claim | {key: claim[key][:-1]} for key in ("numbers", "factors") if claim.get(key))
    yield from (claim | {key: 0.9 - claim[key]} for key in ("value", "share") if claim.get(key))
    yield claim | {"ours": True}


@pytest.mark.parametrize(("name", "text"), [*TEXTS, *((name, "quick") for name in PAPERS)])
def test_a_claim_turned_round_is_not_the_papers(name, text):
    given = asked(name, text).claims
    for i, claim in enumerate(given):
        for turned in () if claim.get("ours") else opposites(claim):
            assert strays([*given[:i], turned, *given[i + 1 :]], name, text) != ([], []), turned
