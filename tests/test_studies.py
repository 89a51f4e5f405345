"""Configs of several parts: each ends on a tiny budget; tables have the papers' shape; claims judge both ways."""

import dataclasses
import importlib.util
import io
from pathlib import Path

import pytest
from rich.console import Console

from fmnist_jax import config, paper

ROOT = Path(__file__).parent.parent
PAPERS = ("acosta", "report234591", "kunze", "blagg", "alexander")


def module(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "configs" / f"{name}.py")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def asked(name, part="quick"):
    return config.parse(module(name).get_config(part))


def table(name, exhibit, part=""):
    found = [one for one in asked(name, part).paper.exhibits if one["name"] == exhibit]
    assert len(found) == 1
    return found[0]


def headings(exhibit):
    return [*exhibit["labels"], *(column["heading"] for column in exhibit["columns"])]


def labels(exhibit):
    return [row["labels"] for row in exhibit["rows"]]


def test_table_1_of_acosta_is_the_papers():
    found = table("acosta", "table_1")
    assert headings(found) == [
        "Number of convolutional layers",
        "Number of filters in layer 1",
        "Number of filters in layer 2",
        "Number of neurons in the hidden layer",
        "Training time",
        "Accuracy",
    ]
    assert labels(found)[0] == ["1", "32", "-", "256"]
    assert labels(found)[5] == ["1", "64", "-", "1024"]
    assert labels(found)[11] == ["2", "64", "64", "1024"]
    assert [row["paper"]["Accuracy"] for row in found["rows"]] == [
        *(0.815, 0.853, 0.869, 0.842, 0.870, 0.918),
        *(0.623, 0.682, 0.731, 0.702, 0.722, 0.771),
    ]
    assert found["rows"][5]["paper"]["Training time"] == "1:44:23"
    assert len(found["rows"]) == 12


def test_tables_2_and_3_of_acosta_are_the_papers():
    second = table("acosta", "table_2")
    assert [row["labels"] for row in second["rows"]] == [["Accuracy"]]
    assert list(second["rows"][0]["paper"].values()) == [-0.89, 0.24, -0.72, 0.35]
    third = table("acosta", "table_3")
    assert labels(third) == [["1", "64", "-", "1024", "Average"], ["1", "64", "-", "1024", "Maximum"]]


@pytest.mark.parametrize(
    ("figure", "heading", "names"),
    [
        (6, "Model Type", 4),
        (7, "Learning Rate", 6),  # the report has no row of 1, and none of 0.1 set as its text says
        (8, "Batch Size", 4),
        (9, "Weight Initialization", 4),
    ],
)
def test_the_tables_of_report234591_have_two_rows_an_arm(figure, heading, names):
    found = table("report234591", f"figure_{figure}")
    assert headings(found) == [heading, "Epoch", "Loss", "Accuracy"]
    assert [label[1] for label in labels(found)] == ["1", "10"] * names
    assert [row["where"].get("epoch") for row in found["rows"]] == [1, None] * names  # None: as it ended
    assert all(row["paper"]["Accuracy"] == "-" for row in found["rows"][::2])


def test_figures_10_to_12_of_report234591():
    assert headings(table("report234591", "figure_10"))[1:] == ["Epoch 1 Loss", "Epoch 10 Loss", "Final Accuracy (%)"]
    folds = table("report234591", "figure_11")
    assert labels(folds) == [["1"], ["2"], ["3"], ["4"], ["5"]]
    leaking = [row["paper"]["Fold Accuracy (%), leaking"] for row in folds["rows"]]
    assert leaking == [91.33, 93.88, 96.12, 97.45, 99.07]
    assert len(folds["columns"]) == 6
    alike = table("report234591", "figure_12")
    assert headings(alike)[:4] == [
        *("Model", "Correlation Matrix Shape", "Correlation Mean", "Correlation Standard Deviation")
    ]
    assert labels(alike) == [["ResNet-18, trained here"], ["Your Model"]]
    assert alike["rows"][1]["paper"] == {"Correlation Mean": 0.1635, "Correlation Standard Deviation": 0.5271}
    assert alike["rows"][1]["metrics"]["Correlation Mean"] == "test_logits_correlation_mean"


def test_the_tables_of_alexander_are_the_papers():
    names = ["Baseline", "Variant Learning Rate", "Variant Dropout", "Variant Softpool", "Variant Leaky ReLU"]
    first, second, third = (table("alexander", f"table_{n}") for n in (1, 2, 3))
    assert headings(first)[1:] == ["Mean training accuracy", "Mean validation accuracy", "Epoch"]
    assert [label for (label,) in labels(first)] == [label for (label,) in labels(second)] == names
    assert [row["paper"]["Epoch"] for row in first["rows"]] == [9, 7, 10, 9, 9]
    assert headings(third)[1:] == ["Accuracy", "Loss"]
    assert [row["paper"] for row in third["rows"]] == [
        {"Accuracy": 0.916, "Loss": 0.383},
        {"Accuracy": 0.915, "Loss": 0.297},
        {"Accuracy": 0.921, "Loss": 0.379},
    ]


@pytest.mark.parametrize(
    ("name", "figures"),
    [
        ("acosta", ["figure_4", "learning_rate"]),
        ("report234591", [f"figure_{n}" for n in range(1, 6)] + ["correlation_matrices"]),
        ("kunze", [f"figure_{n}" for n in range(6, 11)] + ["initial_deviation"]),
        ("blagg", [f"figure_{n}" for n in range(1, 8)]),
        ("alexander", [f"figure_{n}" for n in range(1, 10)]),
    ],
)
def test_every_figure_of_a_paper_is_there(name, figures):
    there = {one["name"] for one in asked(name, "").paper.exhibits if one["kind"] != "table"}
    assert there >= set(figures)


@pytest.mark.parametrize("name", PAPERS)
def test_every_claim_of_a_paper_is_judged_at_every_scale(name):
    letter = {"acosta": "A", "report234591": "R", "kunze": "K", "blagg": "B", "alexander": "X"}[name]
    numbers = {"acosta": 7, "report234591": 7, "kunze": 6, "blagg": 4, "alexander": 5}[name]
    for part in ("quick", "", "full"):
        names = {claim["name"] for claim in asked(name, part).claims if not claim.get("ours")}
        assert names >= {f"{letter}{i}" for i in range(1, numbers + 1)}


@pytest.mark.parametrize("name", PAPERS)
def test_full_has_nothing_scaled_down_and_five_repeats(name):
    checked = asked(name, "full")
    assert not any(note.startswith(("Scaled", "Quick")) for note in checked.paper.notes)
    for part in config.parts(checked).values():
        assert part.dataset.images == 0
        assert part.seeds * part.folds >= 5
    scaled = asked(name, "quick").paper.notes
    assert any(note.startswith(("Scaled", "Quick")) for note in scaled)


# The smallest that still has every arm: what changes nothing of what is tested here is cut.
TINY = {
    "dataset.name": "synthetic:240",
    "dataset.images": 0,
    "dataset.image_size": 0,
    "train.batch_size": 20,
    "train.duration": "2 steps",
    "train.eval_every": "1 steps",
    "evaluation.batch_size": 60,
    "evaluation.timed_steps": 0,
    "evaluation.activities": 0,
    "population.devices": 1,
    "writers.tensorboard": False,
    "writers.page": False,
    "seeds": 2,
}
SMALL = {"model.filters": 2, "model.dense": 4}  # a layer: nets that compile in a moment, in place of the papers'


def tiny(name, checked):
    """The paper with its parts on a tiny budget, in nets that compile in a moment; of a part's arms the first."""
    whole = config.flatten(checked)

    def small(keys):
        kept = {k: v for k, v in keys.items() if k not in TINY and k not in ("references", "reference_images")}
        return kept | {k: (SMALL[k],) * len(v) for k, v in kept.items() if k in SMALL}

    def cut(override):
        folds = {"folds": 2} if "folds" in override else {}
        size = {"dataset.image_size": 64} if name == "blagg" else {}
        convolves = override.get("model.family", whole["model.family"]) != "mlp"
        conv = {"population.conv": "lax"} if convolves else {}  # compiles soonest
        net = {k: whole[k] for k in SMALL if convolves or k != "model.filters"}
        return {
            **small(net | override),
            **TINY,
            **folds,
            **size,
            **conv,
            "sweep": tuple(map(small, override.get("sweep", ())[:1])),
        }

    parts = tuple(cut(part) for part in checked.paper.parts)
    tables = [one for one in checked.paper.exhibits if one["kind"] == "table"]
    figures = [one for one in checked.paper.exhibits if one["kind"] != "table"][:2]  # drawing takes its time
    shown = {"parts": parts, "exhibits": (*tables, *figures)}
    return dataclasses.replace(checked, paper=dataclasses.replace(checked.paper, **shown))


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("kunze", "units,crash,filters"),
        ("acosta", "pooling,between"),
        ("report234591", "folds"),
        ("blagg", "as_published"),
        ("alexander", "folds,test"),
        ("speedrun", "five,ablation"),
    ],
)
def test_a_paper_ends_on_a_tiny_budget_with_its_page(name, part, tmp_path):
    checked = tiny(name, asked(name, part))
    found = paper.run(checked, tmp_path / "w", Console(file=io.StringIO()))
    assert found.study.unfinished == 0
    assert set(found.study.runs["part"]) == set(config.parts(checked))
    page = (tmp_path / "w" / "report.html").read_text()
    assert "SYNTHETIC" in page.upper()
    for exhibit in checked.paper.exhibits:
        assert exhibit["title"].split(":")[0][:40] in page
    assert len(found.verdicts) == len(checked.claims)
