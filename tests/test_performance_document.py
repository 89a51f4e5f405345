"""docs/performance.md is made of results and prose: figures from the first, missed goals explained in the second."""

import pytest
from helpers import document_of

from benchmarks import chapters, document, prose, record

HEAD = {
    "command": "python -m benchmarks.startup",
    "date": "2026-01-02T03:04:05+00:00",
    "hardware": {"cpu": "A CPU", "cores": 2},
    "versions": {"jax": "0.10.2"},
}


def goal(reached, **more):
    return record.goal("second start", "first start", 0.15, record.summary(reached), at_most=True, unit="%", **more)


def startup(*ratios):
    times = {key: record.summary([1.0, 2.0, 3.0]) for key in ("compile_seconds", "all_seconds")}
    return {
        **HEAD,
        "config": "configs/cnn.py",
        "starts": {"first": times, "second": times},
        "second_over_first": {key: record.summary(ratios) for key in times},
        "goals": [goal(ratios)],
    }


@pytest.fixture
def place(tmp_path):
    return document_of(document.main, tmp_path)


def test_a_goal_becomes_a_row_with_median_range_and_n(place):
    assert place({"startup": startup(0.12, 0.1, 0.13)}, "Prose.\n") == 0
    text = place.document.read_text()
    assert "| second start | first start | ≤ 15.0% | 12.0% (10.0–13.0), n 3 | passed |" in text
    assert text.startswith("# Performance\n\nProse.\n")
    assert "A CPU, 2 cores; 2026-01-02; jax 0.10.2" in text
    assert "| compile | 2.00 s (1.00–3.00) | 2.00 s (1.00–3.00) | 0.12× (0.10–0.13), n 3 |" in text


def test_what_was_not_measured_says_so(place):
    assert place({"startup": startup(0.12)}, "") == 0
    text = place.document.read_text()
    assert "| mlp, 1024 runs, on a GPU | PyTorch eager, one after the other | ≥ 100× |  | not measured |" in text
    assert "## On a GPU\n\nNot measured." in text


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (goal([0.2]), "**missed by 5.0 points**"),
        (record.goal("w", "r", 1.5, record.summary([1.2])), "**missed by 20%**"),
        (record.goal("w", "r", 1.0, record.summary([1.1]), at_most=True), "**missed by 10%**"),
        (record.goal("w", "r", 1.5, record.summary([1.5])), "passed"),
        (record.goal("w", "r", 1.5, None), "not measured"),
    ],
)
def test_a_verdict_says_by_how_much(row, said):
    assert document.verdict(row) == said


def test_a_missed_goal_must_be_explained(place, capsys):
    results = {"startup": startup(0.2)}
    assert place(results, "") == 1
    assert "## missed: second start, first start" in capsys.readouterr().err
    assert not place.document.exists()
    assert place(results, "", "--smoke") == 0
    assert place(results, "## missed: second start, first start\nBecause.\n") == 0
    assert "### Missed: second start, first start\n\nBecause.\n" in place.document.read_text()


def test_an_explanation_of_a_goal_that_is_reached_is_reported(place, capsys):
    assert place({"startup": startup(0.1)}, "## missed: second start, first start\nBecause.\n") == 1
    assert "a goal that is reached: ## missed: second start, first start" in capsys.readouterr().err
    assert place({"startup": startup(0.1)}, "## missed: lunch, dinner\nBecause.\n") == 1
    assert "is not one that was measured" in capsys.readouterr().err


def test_one_paragraph_serves_all_batch_sizes_while_one_is_missed():
    row = record.goal("cnn", "PyTorch", 1.5, record.summary([1.2]))
    rows = [{**row, "batch": 32}, {**row, "batch": 128, "reached": record.summary([1.6])}]
    document.check(rows, {"missed: cnn, PyTorch": "Because."})
    with pytest.raises(prose.Refused, match="is reached"):
        document.check(rows[1:], {"missed: cnn, PyTorch": "Because."})


def test_a_section_without_a_place_is_refused(place, capsys):
    assert place({}, "## scalling\nText.\n") == 1
    assert "## scalling" in capsys.readouterr().err
    assert place({}, "## scaling\nOne.\n## scaling\nTwo.\n") == 1


def test_results_of_another_version_are_refused_by_name(place, capsys):
    assert place({"startup": {**HEAD, "goals": []}}, "") == 1
    assert "startup.json" in capsys.readouterr().err


def test_check_tells_whether_the_document_is_what_the_results_make(place, capsys):
    results = {"startup": startup(0.1)}
    assert place(results, "", "--check") == 1
    assert place(results, "") == 0
    assert place(results, "", "--check") == 0
    place.document.write_text(place.document.read_text() + "\n")
    assert place(results, "", "--check") == 1
    assert "python -m benchmarks.document writes it" in capsys.readouterr().err


def test_the_prose_that_is_kept_has_a_place_for_every_section():
    headings = prose.sections(document.DOCUMENT.with_suffix(".why.md").read_text())
    assert {h for h in headings if h and not h.startswith("missed: ")} <= set(chapters.SECTIONS)


def test_the_document_that_is_kept_is_what_the_results_make():
    if not document.DOCUMENT.exists():
        pytest.skip("docs/performance.md is not there yet")
    assert document.main(["--check"]) == 0
