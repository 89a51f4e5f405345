"""The page as text: its numbers are the analysis's, what users wrote stays text, and what is not there is left out."""

import base64
import dataclasses
import hashlib
import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import made_up
import numpy as np
import pandas as pd
import pytest

from fmnist_jax import claims
from fmnist_jax.analysis import Analysis, analyse
from fmnist_jax.report import effects, findings, page, paper, payload, words
from fmnist_jax.report.payload import unpack


@pytest.fixture(scope="module")
def full() -> Analysis:
    """A study with something for every section, with claims."""
    asked = (
        claims.greater(
            "A2", {"filters": 16}, {"filters": 4}, quote="more filters", source="a paper", paper="0.82 → 0.92"
        ),
        claims.at_least("K6", 0.8, where={"learning_rate": 1e-3}),
    )
    return analyse(made_up.full_study(claims=asked))


class Elements(HTMLParser):
    """Tags with their attributes, and the text of each script; void elements do not matter here."""

    def __init__(self, text: str):
        super().__init__()
        self.tags, self.scripts, self._inside = [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self._inside = tag == "script"
        if self._inside:
            self.scripts.append("")

    def handle_endtag(self, tag):
        self._inside = False

    def handle_data(self, data):
        if self._inside:
            self.scripts[-1] += data

    def ids(self) -> set[str]:
        return {attributes["id"] for _, attributes in self.tags if "id" in attributes}

    def data(self) -> dict:
        return json.loads(next(s for s in self.scripts if s.lstrip().startswith("{")))


def made_of(arms: int, seeds: int, metrics=("test_accuracy", "test_loss"), steps: int = 0) -> Analysis:
    """An analysis of many arms in no time: random numbers where statistics would be."""
    rng = np.random.default_rng(0)
    names = [f"learning_rate=1e-{i % 7},weight_decay=1e-{i % 5},arm={i}" for i in range(arms)]
    runs = pd.DataFrame({"arm": np.repeat(names, seeds), "seed": np.tile(np.arange(seeds), arms), "fold": 0})
    runs["rate"] = 10.0 ** -(np.arange(len(runs)) // seeds % 7)
    runs = runs.assign(diverged_at=np.nan, **{m: rng.random(len(runs)) for m in metrics})
    numbers = {name: rng.random(arms * len(metrics)) for name in payload.SUMMARY}
    summary = pd.DataFrame(
        {"arm": np.repeat(names, len(metrics)), "metric": list(metrics) * arms, "n": seeds, "diverged": 0, **numbers}
    )
    curves = pd.DataFrame(columns=["arm", "metric", "step", "epoch", "n", "mean", "sd", "low", "high"])
    if steps:
        index = pd.MultiIndex.from_product([names, ["train_loss", "validation_loss"], range(1, steps + 1)])
        curves = index.to_frame(index=False, name=["arm", "metric", "step"])
        curves = curves.assign(
            epoch=curves["step"] * 1.0, n=seeds, sd=0.1, **dict.fromkeys(("mean", "low", "high"), 0.5)
        )
    study = made_up.tidy.Study(
        name="many",
        question="?",
        factors=made_up.tidy.factors_of(runs, ["rate"]),
        metric=metrics[0],
        select_by=metrics[0],
        runs=runs,
        curves=pd.DataFrame(),
        arms=tuple(names),
    )
    compared = pd.DataFrame({"arm": names[1:], "difference": -0.1, "p": 0.001, "distinguishable": True})
    empty = pd.DataFrame(columns=["term", "method", "share", "df", "F", "p"])
    correlations = pd.DataFrame(
        columns=["factor", "metric", "n", "pearson", "low", "high", "p", "spearman", "spearman_p"]
    )
    return Analysis(study, summary, names[0], compared, curves, empty, correlations, (), ())


def test_every_number_of_the_summary_is_in_the_page(full):
    data = Elements(page.render(full)).data()
    assert data["arms"] == list(full.study.arms)
    for metric in ("test_accuracy", "validation_loss"):
        rows = full.summary[full.summary["metric"] == metric].set_index("arm").loc[list(full.study.arms)]
        for name in payload.SUMMARY:
            np.testing.assert_allclose(unpack(data["summary"][metric][name]), rows[name], rtol=1e-6)
        for name in ("n", "diverged"):
            assert unpack(data["summary"][metric][name]).tolist() == rows[name].tolist()


def test_every_run_and_factor_value_is_in_the_page(full):
    data = payload.payload(full)
    study = full.study
    arms = np.array(data["arms"])[unpack(data["runs"]["arm"])]
    assert arms.tolist() == study.runs["arm"].tolist()
    kept = study.runs["test_accuracy"].mask(study.runs["diverged_at"].notna())
    np.testing.assert_allclose(unpack(data["runs"]["metrics"]["test_accuracy"]), kept, rtol=1e-6)
    for factor in data["factors"]:
        names = np.array(factor["names"])[unpack(factor["codes"])]
        first = study.runs.drop_duplicates("arm")[factor["key"]]
        assert names.tolist() == [words.factor_value(value) for value in first]


def test_curves_lie_where_their_offsets_say(full):
    data = payload.payload(full)
    table = data["curves"]["metrics"]["validation_accuracy"]
    starts, arms = unpack(table["start"]), unpack(table["arm"])
    rows = full.curves[full.curves["metric"] == "validation_accuracy"]
    for i, arm in enumerate(arms):
        own = rows[rows["arm"] == full.study.arms[arm]].sort_values("step")
        np.testing.assert_allclose(unpack(table["mean"])[starts[i] : starts[i + 1]], own["mean"], rtol=1e-6)
        assert unpack(table["step"])[starts[i] : starts[i + 1]].tolist() == own["step"].tolist()


def test_the_answer_names_the_best_arm_and_what_cannot_be_told_from_it(full):
    text = page.render(full)
    row = full.summary[(full.summary["arm"] == full.best) & (full.summary["metric"] == "test_accuracy")].iloc[0]
    assert f"<b>{100 * row['mean']:.2f}%</b>" in text
    assert f"95% interval {100 * row['low']:.2f} – {100 * row['high']:.2f}; n = {row['n']}" in text
    rows = full.comparisons
    near = rows[~rows["distinguishable"] & rows["p"].notna()]
    assert near["arm"].tolist() == full.near
    assert f"{len(near)} of the {len(full.comparisons)} others are not distinguishable from it" in text


def test_an_arm_that_no_test_is_possible_of_is_not_called_alike():
    """15 points less in every repeat alike: no spread, so no p."""
    study = made_up.study({"a": [1, 2]}, lambda v: 0.5, seeds=3)
    values = {1: (0.80, 0.81, 0.83), 2: (0.65, 0.66, 0.68)}
    runs = study.runs.assign(
        test_accuracy=[values[a][s] for a, s in zip(study.runs["a"], study.runs["seed"], strict=True)]
    )
    found = analyse(dataclasses.replace(study, runs=runs, select_by="test_accuracy"))
    assert (found.near, found.untested) == ([], ["a=2"])
    text = page.render(found)
    assert "Of 1 other arm no test is possible" in text
    assert "not distinguishable from it:" not in text


def test_an_arm_without_a_result_is_not_near_the_best():
    study = made_up.study({"a": [1, 2, 3]}, lambda v: 0.5 + 0.1 * v["a"])
    runs = study.runs.copy()
    runs.loc[runs["a"] == 1, "diverged_at"] = 1.0
    analysis = analyse(dataclasses.replace(study, runs=runs))
    assert "a=1" not in analysis.near


def test_verdicts_are_written_with_effect_interval_p_and_the_papers_figure(full):
    first, second = findings.claims(full.study, full.verdicts)
    verdict = full.verdicts[0]
    assert first["effect"] == f"{100 * verdict.effect:+.2f}".replace("-", "−")
    assert first["effect_label"] == "difference in test accuracy, points"
    assert second["effect"] == f"{100 * full.verdicts[1].effect:.2f}%"
    text = page.render(full)
    assert "0.82 → 0.92" in text
    assert verdict.reason in text
    assert f"n = {verdict.n}" in text


@pytest.mark.parametrize(
    ("claim", "value", "shown"),
    [
        ({"kind": "greater"}, -0.0123, "−1.23"),
        ({"kind": "about", "value": 0.65}, 0.6512, "65.12%"),
        ({"kind": "correlation"}, 0.24, "+0.240"),
        ({"kind": "spreads_more"}, 1.5, "1.50"),
        ({"kind": "fails", "share": 0.1}, 0.25, "25.0%"),
        ({"kind": "confuses_more"}, 0.031, "+3.10"),
        ({}, 0.0123, "+1.23"),
    ],
)
def test_an_effect_is_written_as_what_it_is(claim, value, shown):
    assert effects.of("test_accuracy", True, claim).show(value) == shown


@pytest.mark.parametrize(
    ("value", "share", "shown"),
    [
        (0.92614, True, "92.61"),
        (0.212, False, "0.2120"),
        (12.3456, False, "12.35"),
        (8422.3, False, "8,422"),
        (1.234e-5, False, "1.234e-05"),
        (0.0, False, "0.0000"),
        (np.nan, True, "–"),
    ],
)
def test_numbers(value, share, shown):
    assert words.number(value, share) == shown


def test_a_metric_is_in_percent_where_its_name_and_its_values_say_so():
    assert words.is_share("test_accuracy", [0.5, 1.0, np.nan])
    assert not words.is_share("accuracy", [50.0, 93.0])
    assert not words.is_share("test_loss", [0.5])


EVIL = "</script><img src=x onerror=alert(1)>&amp;\u2028'\"`${x}{{x}}"


def test_what_users_wrote_stays_text():
    study = made_up.study({"a": [1, 2]}, lambda v: 0.5)
    arms = {arm: arm + EVIL for arm in study.arms}
    study = dataclasses.replace(
        study,
        name=EVIL,
        question=EVIL,
        arms=tuple(arms.values()),
        runs=study.runs.assign(arm=study.runs["arm"].map(arms), diverged_at=[1.0] + [np.nan] * 9),
        curves=study.curves.assign(arm=study.curves["arm"].map(arms)),
        failures=({"group": EVIL, "arms": [EVIL], "runs": [EVIL], "error": EVIL},),
        wrong=({"index": 0, "label": EVIL, "predicted": EVIL, "share": 0.5, "png": '"><script>'},),
        facts={"command": [EVIL], "machine": EVIL, "config": {EVIL: EVIL}, "packages": {EVIL: EVIL}},
        class_names=(EVIL,) * 2,
        confusions={arm: np.eye(2, dtype=int) for arm in arms.values()},
    )
    text = page.render(analyse(study))
    found = Elements(text)
    assert EVIL not in text
    assert "<img src=x" not in text
    assert [tag for tag, _ in found.tags].count("script") == 4
    assert "img" not in [tag for tag, _ in found.tags]  # its picture was no picture
    assert found.data()["arms"] == list(study.arms)


def policy_of(found: Elements) -> dict[str, list[str]]:
    (content,) = (a["content"] for tag, a in found.tags if a.get("http-equiv") == "Content-Security-Policy")
    return {name: values for name, *values in (rule.split() for rule in content.split(";"))}


def test_a_browser_runs_the_scripts_of_a_page_by_their_hashes_and_no_other(full):
    """And it stands before the first of them, or it would not hold for that."""
    found = Elements(page.render(full))
    rules = policy_of(found)
    code = [text for text in found.scripts if text and not text.lstrip().startswith("{")]
    code = [text.replace("\r\n", "\n").replace("\r", "\n") for text in code]  # as a browser reads it
    hashes = [f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in code]
    assert len(code) == 3
    assert rules.pop("script-src") == [*hashes, "'unsafe-eval'"]  # which Plotly's drawing with WebGL wants
    assert rules == {
        "default-src": ["'none'"],
        "style-src": ["'unsafe-inline'"],
        "img-src": ["data:", "blob:"],
        "worker-src": ["blob:"],
        "base-uri": ["'none'"],
        "form-action": ["'none'"],
    }
    order = [tag for tag, a in found.tags if tag == "script" or "http-equiv" in a]
    assert order[0] == "meta"
    assert not [name for _, a in found.tags for name in a if name.startswith("on")]  # no code in attributes


def test_without_plotly_nothing_is_compiled():
    made = page.scripts(("format.js",), plotly=False)
    assert "unsafe-eval" not in made["policy"]
    assert made["plotly"] == ""
    assert made["policy"].count("sha256-") == 2


def test_nothing_comes_from_the_network(full):
    text = page.render(full)
    plotly = page.offline.get_plotlyjs()
    assert text.count(plotly) == 1
    rest = text.replace(plotly, "")
    assert "http://" not in rest
    assert "https://" not in rest
    assert "default-src 'none'" in rest
    for tag, attributes in Elements(rest).tags:
        assert tag not in ("iframe", "object", "embed")
        assert attributes.get("src", "data:").startswith("data:")
        assert attributes.get("href", "#").startswith(("#", "data:"))


ALL = {"answer", "arms", "dots", "curves", "slices", "heat", "parallel", "space", "histogram", "time"} | {
    *("importance", "correlations", "confusion", "wrong", "failed", "notes", "reproduce")
}


def sections(analysis: Analysis) -> set[str]:
    found = Elements(page.render(analysis))
    there = {attributes["id"] for tag, attributes in found.tags if tag == "section" and "id" in attributes}
    links = {attributes["href"][1:] for tag, attributes in found.tags if tag == "a"}
    assert there <= links  # each is in the table of contents
    return there


def test_a_full_study_has_every_section(full):
    assert sections(full) == ALL


def test_empty_sections_are_left_out():
    study = made_up.study({}, lambda v: 0.8)
    alone = analyse(dataclasses.replace(study, curves=pd.DataFrame(), facts={}))
    assert sections(alone) == {"answer", "arms", "histogram", "notes"}


def test_a_study_without_a_result_still_has_a_page():
    study = made_up.study({"a": [1, 2]}, lambda v: 0.8)
    nothing = study.runs.iloc[:0][["arm", "seed", "fold", "a", "diverged_at", "stopped_at"]]
    waiting = dataclasses.replace(
        study, runs=nothing, curves=pd.DataFrame(), unfinished=10, facts={"seeds": 5, "folds": 1}
    )
    text = page.render(analyse(waiting))
    assert "No run has a result yet." in text
    assert "10 of 10 runs not finished: this page is a snapshot." in text


def test_what_a_reader_must_know_is_said_loudly(full):
    study = dataclasses.replace(full.study, synthetic=True, unfinished=12, facts={"seeds": 3, "folds": 1})
    text = page.render(dataclasses.replace(full, study=study))
    assert "Synthetic data." in text
    assert "12 of 72 runs not finished: this page is a snapshot." in text
    assert "1 group, 1 run; the errors are below." in text
    assert "2 of 72 runs; they are in no mean." in text
    assert "out of memory" in text


def test_the_command_can_be_pasted():
    study = made_up.study({"a": [1, 2]}, lambda v: 0.8, facts={"command": ["python", "-m", "x", "--workdir=my runs"]})
    assert "python -m x &#39;--workdir=my runs&#39;" in page.render(analyse(study))


def test_an_ordinary_page_is_under_6_mb():
    study = made_up.study({"a": list(range(10)), "b": [1, 2, 3, 4, 5, 6]}, lambda v: 0.5, evaluations=20)
    assert len(study.runs) == 300
    assert len(page.render(analyse(study)).encode()) < 6e6


def test_50_000_runs_are_under_10_mb():
    metrics = [f"{split}_{name}" for split in ("test", "validation", "train") for name in ("accuracy", "loss")]
    many = made_of(5000, 10, metrics, steps=20)
    text = page.render(many)
    assert len(text.encode()) < 10e6
    data = Elements(text).data()
    assert data["runs"]["shown"] == 50_000  # none had to be left out
    assert 6 < len(data["curves"]["arms"]) < 5000
    assert f"{len(data['curves']['arms']):,} of 5,000 arms have their curves in this page" in data["notices"]["curves"]


def test_what_is_left_out_is_said():
    data = payload.payload(made_of(12_000, 30))
    assert len(data["arms"]) == 10_000
    assert data["notices"]["arms"].startswith("10,000 of 12,000 arms are in this page")
    assert data["notices"]["runs"].startswith("150,000 of 300,000 runs")
    assert data["arms"][data["standing"].index(0)] == "learning_rate=1e-0,weight_decay=1e-0,arm=0"


def test_long_curves_are_thinned_and_keep_their_end():
    data = payload.payload(made_of(60, 2, steps=600))
    table = data["curves"]["metrics"]["train_loss"]
    starts, steps = unpack(table["start"]), unpack(table["step"])
    assert np.diff(starts).max() <= payload.MAX_CURVE_LENGTH + 1
    assert set(steps[starts[1:] - 1]) == {600}
    assert "Every 6th evaluation is drawn." in data["notices"]["curves"]


def test_write_makes_the_page_and_its_figures(full, tmp_path):
    path = page.write(full, tmp_path / "new")
    assert path == tmp_path / "new" / "report.html"
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert (tmp_path / "new" / "figures" / "dots.png").exists()
    other = page.write(full, tmp_path / "new", "other.html")
    assert (other.parent / "other_figures" / "dots.csv").exists()


def test_every_asset_is_used():
    used = {*page.SCRIPTS, "early.js", "page.css", "page.html.j2", *paper.SCRIPTS, "paper.css", "paper.html.j2"}
    assert {path.name for path in page.ASSETS.iterdir()} == used


def test_a_start_waits_for_nothing_that_only_the_end_needs():
    code = """
import sys, threading
from fmnist_jax import main, results
late = "scipy.stats", "matplotlib", "plotly", "torch"
print(*[name for name in late if name in sys.modules], "at first")
results.import_meanwhile(True)
[one.join() for one in threading.enumerate() if one.name == "imports"]
print(*[name for name in late if name in sys.modules])
from fmnist_jax import writers
with writers.without("torch"):
    import tensorboardX
print("torch" in sys.modules)
"""
    assert _printed(code).splitlines() == ["at first", "scipy.stats matplotlib plotly", "False"]


def test_the_page_needs_no_jax():
    code = """
import sys
from fmnist_jax.report import __main__, foreign, page
from fmnist_jax import analysis
print(*{"jax", "flax", "optax", "orbax", "tensorflow", "matplotlib.pyplot"} & set(sys.modules))
"""
    assert _printed(code).split() == []


def _printed(code: str) -> str:
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=True, cwd=Path(__file__).parent.parent, capture_output=True, text=True)
    return done.stdout
