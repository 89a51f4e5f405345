"""The claims of the five studies, in the vocabulary: each can be written, and each is judged by the data of a study."""

import json

import made_up
import numpy as np
import pytest

from fmnist_jax import claims

LAYERS = {32: 1, 64: 1, (32, 32): 2, (64, 64): 2}
FILTERS = {32: 32, (32, 32): 32, 64: 64, (64, 64): 64}
SECOND = {32: 0, 64: 0, (32, 32): 32, (64, 64): 64}
VARIANTS = ("baseline", "learning rate", "dropout", "softpool", "leaky relu", "halved")
BASELINE, DROPOUT = {"variant": "baseline"}, {"variant": "dropout"}
FIVE = {"variant": list(VARIANTS[:5])}
VALIDATION, LOSS = {"metric": "validation_accuracy"}, {"metric": "validation_loss"}
RISE = {"epoch": {"from": 3, "to": "last"}}

PAPERS = {
    "acosta": (
        ["model.filters", "model.dense", "model.pool", "model.dense_dropout"],
        [
            claims.increases_with("A1", "dense"),
            claims.increases_with("A2", "filters", numbers=FILTERS),
            claims.decreases_with("A3", "filters", numbers=LAYERS),
            claims.increases_with("A4", "dense", metric="train_seconds"),
            claims.increases_with("A4", "filters", numbers=FILTERS, metric="train_seconds"),
            claims.decreases_with("A4", "filters", numbers=LAYERS, metric="train_seconds"),
            claims.greater("A5", {"pool": "average"}, {"pool": "max"}, paper="0.918 against 0.893"),
            claims.decreases_with("A6", "dense_dropout", metric="train_accuracy"),
            claims.rises_then_falls("A6", "dense_dropout"),
            claims.metric_greater("A6", "test_accuracy", "train_accuracy", some="dense_dropout"),
            claims.correlation("A7", "filters", "negative", numbers=LAYERS, paper="-0.89"),
            claims.correlation("A7", "filters", "positive", numbers=FILTERS, paper="0.24"),
            claims.correlation("A7", "filters", "negative", numbers=SECOND, paper="-0.72"),
            claims.correlation("A7", "dense", "positive", paper="0.35"),
        ],
    ),
    "report234591": (
        ["variant", "optimizer.learning_rate", "model.kernel_init", "train.batch_size", "augment.ops"],
        [
            claims.best_is("R1", {"variant": "2 conv + 1 FC"}),
            claims.best_is("R2", {"learning_rate": 0.01}),
            claims.about("R2", 0.87, within=0.02, where={"learning_rate": 0.1}),
            claims.fails("R2", share=0.5, below=0.2, where={"learning_rate": 1.0}),
            claims.greater("R3", {"kernel_init": ["he_normal", "he_uniform"]}, {"kernel_init": ["glorot_normal"]}),
            claims.best_is("R3", {"kernel_init": "he_normal"}),
            claims.best_is("R4", {"batch_size": 64}),
            claims.all_equivalent("R5", "augment.ops", within=0.01),
            claims.increases_with("R6", "fold", where={"variant": "leaking"}, **VALIDATION, paper="91.3 to 99.1"),
            claims.greater("R6", {"variant": "leaking"}, {"variant": "re-initialised"}, **VALIDATION),
            claims.greater("R7", {"variant": "own"}, {"variant": "resnet18"}, metric="test_correlation_mean"),
            claims.greater("R7", {"variant": "own"}, {"variant": "resnet18"}, metric="test_correlation_sd"),
        ],
    ),
    "kunze": (
        ["model.family", "model.dense", "model.filters", "model.kernel", "optimizer.learning_rate"],
        [
            claims.about("K1", 0.65, within=0.03, where={"dense": [5, 10]}, each="dense", **VALIDATION),
            claims.about("K1", 0.30, within=0.05, where={"dense": 3}, **VALIDATION),
            claims.greater("K2", {"dense": [5, 10, 20]}, {"dense": [50, 100, 200]}, **VALIDATION),
            claims.fails("K3", share=0.5, below=0.2, where={"dense": 800, "learning_rate": 1e-3, "step": 4000}),
            claims.fails_more(
                "K3", {"learning_rate": 1e-3}, {"learning_rate": 1e-4}, below=0.2, where={"dense": 800}, **VALIDATION
            ),
            claims.at_least("K4", 0.8, where={"family": "cnn"}, each="filters", **VALIDATION),
            claims.best_is("K4", {"filters": 15}, where={"family": "cnn"}, **VALIDATION),
            claims.decreases_with("K5", "kernel", **VALIDATION),
            claims.about("K6", 0.659, within=0.01, where={"family": "mlp", "dense": 5}),
            claims.about("K6", 0.890, within=0.01, where={"family": "cnn", "filters": 32, "kernel": 2}),
        ],
    ),
    "blagg": (
        ["optimizer.learning_rate", "model.filters", "loss.name"],
        [
            claims.worst_is("B1", {"learning_rate": 0.01}),
            claims.fails("B1", share=0, below=0.02, where={"learning_rate": 0.01}),
            claims.spreads_more("B1", {"learning_rate": 0.01}, {"learning_rate": 0.001}),
            claims.greater("B2", {"learning_rate": [1e-4, 5e-4, 1e-3, 5e-3]}, {"learning_rate": 0.01}),
            claims.greater("B3", {"arm": ["kept 1", "kept 2"]}, {"arm": ["trimmed 1", "trimmed 2"]}),
            claims.interacts("B4", ["learning_rate", "filters", "loss.name"]),
        ],
    ),
    "alexander": (
        ["variant"],
        [
            claims.all_equivalent("X1", "variant", within=0.003, where=FIVE, **VALIDATION, paper="0.916 to 0.919"),
            claims.greater("X2", {"epoch": "last"}, {"epoch": 3}, where=BASELINE, **LOSS),
            claims.falls_then_rises("X2", "epoch", where=BASELINE, **LOSS),
            claims.less("X2", {"epoch": "last"}, {"epoch": 3}, where=BASELINE, metric="train_loss"),
            claims.less("X3", DROPOUT, BASELINE, where=RISE, **LOSS, quote="goes up more slowly"),
            claims.spreads_more("X3", DROPOUT, BASELINE, **VALIDATION),
            claims.best_is("X4", {"variant": "halved"}, paper="92.1 against 91.6"),
            claims.worst_class("X5", "Shirt", where=BASELINE, paper="79%"),
            claims.most_taken_for("X5", "Shirt", "T-shirt/top", where=BASELINE),
            claims.best_class("X5", "Sandal", where=BASELINE, paper="99.1%"),
            claims.confuses_more("X5", ("Pullover", "Coat"), ("Coat", "Pullover"), where=BASELINE),
        ],
    ),
}
WANTED = {"acosta": "A1234567", "report234591": "R1234567", "kunze": "K123456", "blagg": "B1234", "alexander": "X12345"}


@pytest.mark.parametrize("paper", PAPERS)
def test_every_claim_of_a_paper_can_be_written(paper):
    keys, asked = PAPERS[paper]
    for claim in asked:
        claims.check(json.loads(json.dumps(claim)), keys)
    letter, *numbers = WANTED[paper]
    assert sorted({claim["name"] for claim in asked}) == [letter + number for number in numbers]


def _alexander():
    """Ten folds of six variants that are alike, but that the baseline overfits and the halved one is a point better."""

    def accuracy(arm):
        return 0.925 if arm["variant"] == "halved" else 0.915

    names = ("T-shirt/top", "Pullover", "Coat", "Sandal", "Shirt")
    counts = np.diag([850, 850, 900, 991, 790])
    counts[4, 0], counts[4, 1], counts[4, 2] = 120, 50, 40
    counts[1, 2], counts[2, 1], counts[0, 4], counts[2, 4], counts[3, 0] = 150, 60, 150, 40, 9
    study = made_up.study(
        {"variant": VARIANTS},
        accuracy,
        seeds=1,
        folds=10,
        noise=0.001,
        evaluations=8,
        claims=tuple(PAPERS["alexander"][1]),
        class_names=names,
        confusions={"variant=baseline": 10 * counts},
        train_size=54_000,
        validation_size=6_000,
    )
    rng, curves, runs = np.random.default_rng(1), study.curves, study.runs
    slope = curves["variant"] if "variant" in curves else curves["arm"].map({"variant=dropout": 0.005}).fillna(0.02)
    curves["validation_loss"] += (slope + rng.normal(0, 0.001, len(curves))) * (curves["epoch"] - 3).clip(0) * 2
    wide = runs["variant"] == "dropout"
    runs.loc[wide, "validation_accuracy"] = 0.914 + 0.004 * rng.choice([-1, 1], wide.sum())
    return study


def test_the_claims_of_alexander_on_made_up_results():
    found = claims.judge(_alexander())
    decided = [(v.name, v.verdict) for v in found]
    replicated = [("X2", "replicated")] * 3 + [("X3", "replicated")] * 2 + [("X4", "replicated")]
    assert decided == [("X1", "inconclusive"), *replicated, *[("X5", "replicated")] * 4]
    assert found[0].n == 10
    assert all(v.reason.endswith(".") and "\n" not in v.reason for v in found)
    assert found[6].statement == "Test accuracy is best with variant=halved"
    assert found[6].paper == "92.1 against 91.6"
