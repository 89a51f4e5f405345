"""What is kept of a paper says the same as its workdir did, and the document is made of it alone."""

import dataclasses

import made_up
import numpy as np
import pandas as pd
import pytest

from fmnist_jax import claims, exhibits, replication, tidy
from fmnist_jax.exhibits import compute


@pytest.fixture(scope="module")
def paper() -> tidy.Paper:
    layers = {32: 1, "32, 32": 2}
    study = made_up.study(
        {"model.filters": [32, "32, 32"], "model.dense": [10, 50]},
        lambda v: 0.8 + 0.05 * (v["model.filters"] != 32) + 0.001 * v["model.dense"],
        claims=(
            claims.increases_with("C1", "filters", numbers=layers, called="layers", quote="Deeper is better"),
            claims.greater("C2", {"epoch": "last"}, {"epoch": 1}, where={"dense": 10}, metric="validation_accuracy"),
        ),
        facts={"machine": "a machine", "wall_seconds": 60.0, "folds": 1, "secret": "/a/path"},
        references=({"name": "svm", "seed": None, "test_accuracy": 0.89},),
    )
    arm = study.arms[0]
    study = dataclasses.replace(
        study, activities={arm: {"logits": np.eye(10)}}, confusions={arm: np.eye(10, dtype=int)}
    )
    rows = [exhibits.row(str(f), {"filters": f}, paper={"A": 80.5}) for f in (32, (32, 32))]
    shown = (
        exhibits.table(
            "t", "T", labels=[""], rows=rows, columns=[exhibits.column("A", "test_accuracy", unit="percent")]
        ),
        exhibits.curves(
            "c", "C", lines=[exhibits.line("10", {"dense": 10})], panels=[exhibits.panel("a", "validation_accuracy")]
        ),
        exhibits.correlations("m", "M", arms=[exhibits.line("own", {"arm": arm})], layers=("logits",)),
    )
    return tidy.Paper("made", "A title: here", "Nobody, 2020", "Why?", ("A note.",), study, shown, (), study.facts)


@pytest.fixture(scope="module")
def kept(paper, tmp_path_factory):
    root = tmp_path_factory.mktemp("docs") / "replication"
    replication.keep(paper, root / "made")
    return root


def test_what_is_kept_gives_the_same_verdicts_and_cells(paper, kept):
    again = replication.load(kept / "made")
    for before, after in zip(claims.judge(paper.study), claims.judge(again.study), strict=True):
        assert (before.verdict, before.n) == (after.verdict, after.n)
        assert after.effect == pytest.approx(before.effect, abs=1e-6)  # measures are kept in float32
    before, after = (compute(p.study, p.exhibits[0]).cells for p in (paper, again))
    pd.testing.assert_frame_equal(before, after, atol=1e-6, check_dtype=False)
    assert again.study.references == paper.study.references
    assert again.study.factors == paper.study.factors
    np.testing.assert_array_equal(again.study.activities[paper.study.arms[0]]["logits"], np.eye(10))


def test_kept_is_small_and_has_no_curves_or_facts_that_nothing_asks_for(paper, kept):
    curves = pd.read_parquet(kept / "made" / "curves.parquet")
    assert "validation_accuracy" in curves
    assert "train_loss" in paper.study.curves
    assert "train_loss" not in curves
    assert "secret" not in (kept / "made" / "paper.json").read_text()


def test_the_document_is_made_of_what_is_kept(kept, capsys):
    (kept / "made.why.md").write_text("### Why\n\nBecause.\n")
    (kept / "head.md").write_text("# Head\n")
    assert replication.main([f"--root={kept}"]) == 0
    path = kept.with_suffix(".md")
    assert capsys.readouterr().out.strip() == str(path)
    text = path.read_text()
    for words in (
        "# Head",
        "| [made](#made-a-title-here) Nobody, 2020 | 2 | 0 |",
        "## made: A title: here",
        "Because.",
        "(replication/made/c.png)",
        "*“Deeper is better”*<br><sub>Tested: Test accuracy rises with layers.</sub>",
    ):
        assert words in text
    assert "The sign behind" not in text  # its head says what the signs are, once
    assert (kept / "made" / "c.png").stat().st_size > 10_000


def test_nothing_kept_is_one_line(tmp_path, capsys):
    assert replication.main([f"--root={tmp_path / 'none'}"]) == 2
    assert "nothing is kept there; python -m fmnist_jax.replication --keep=WORKDIR" in capsys.readouterr().err
