"""docs/scaling.md is made of results and prose, and is what the results make."""

import pytest
from helpers import document_of

from benchmarks import record, scaling_chapters, scaling_document
from benchmarks.fleet import chapters as fleet_chapters

HEAD = {
    **{"command": "python -m benchmarks.costs", "date": "2026-01-02T03:04:05+00:00"},
    **{"hardware": {"cpu": "A CPU", "cores": 2}, "versions": {"jax": "0.10.2"}},
}
ONE = {"median": 1.1, "min": 1.0, "max": 1.2, "n": 3}
COSTS = {
    **HEAD,
    "observed": {"a": [{"cold": True, "others": 0.02}]},
    "costs": {
        "coefficients": {"cnn step": 12.3e-6, "group": 0.5},
        "compile": {"cnn": {"cold": 9.0, "warm": 1.0, "cold test": 2.0}},
        "start": 3.0,
        "end": 1.0,
        "end_run": 0.01,
        "fit": [{"group": "a 0, training", "seconds": 2.0, "fitted": 1.05, "left_out": by} for by in (0.9, 1.15, 1.5)],
    },
    "predictions": [
        {
            "study": "cnn_unseen",
            "cold": True,
            "predicted": {"seconds": 44.0},
            "measured": {"seconds": 40.0},
            "ratio": ratio,
            "training": ONE,
        }
        for ratio in (ONE, {**ONE, "median": 1.3})
    ],
    "traffic": {
        "written": {"terms": {"study": 2e6, "checkpoint byte": 1.5}, "predicted": {"cnn_unseen": 0.9}},
        "read": {"terms": {"study": 5e7}, "predicted": {"cnn_unseen": 1.05}},
        "files": {kind: ONE for kind in ("rows", "done", "test", "predictions", "checkpoint")},
    },
    "books": [{"kind": "Size", "size": [4, 3], "others": 0.5}],
    "bookkeeping": {"look seconds": {"terms": {"look": 0.001, "group": 0.0}, "predicted": ONE}},
}


def simulated(part, devices, rate, way, seconds, changed="", draw=0):
    return {
        **{"part": part, "workload": "cnn", "kind": "cores as here", "way": way, "changed": changed},
        **{"seconds": seconds, "waste": 0.25, "device_seconds": 7200.0, "of_group": 64, "checkpoints": 3},
        **{"spent": {"training": 5400.0, "looking": 1800.0, "nothing": 0.0}, "alone_seconds": 5400.0},
        **{"devices": devices, "preemptions_an_hour": rate, "draw": draw},
    }


FLEET = {
    **{**HEAD, "command": "python -m benchmarks.fleet"},
    "measured": HEAD,
    "costs": [
        {"workload": "cnn", "kind": "cores as here", "of_group": 64, "groups": 15_625}
        | dict.fromkeys(fleet_chapters.COSTS, 1.5)
    ],
    "bytes_left": {"cnn": 1.5e13},
    "study": {"runs": 1_000_000, "arms": 100_000, "programs": 16},
    "measured_at_most": {"arms": 10_000, "runs": 50_000, "groups": 400},
    "assumed": {"kinds": [{"name": "cores as here", "assumed": False, "speed": 1.0}]},
    "rows": [
        *(
            simulated("fleets", devices, rate, way, None if rate == 6.0 else 7200.0)
            for way in ("as it is", "better")
            for rate in (0.0, 1.0, 6.0)
            for devices in (10, 4096)
        ),
        *(
            simulated("halved", 4096, 1.0, "as it is", 7200.0 * ratio * (1 + draw), changed, draw)
            for changed, ratio in (("", 1), ("training", 0.8), ("tables", 0.999), ("looks", 0.6), ("(notice)", 0.5))
            for draw in (0, 1)
        ),
        simulated("cuts", 4096, 1.0, "better", 3600.0),
    ],
}


@pytest.fixture
def place(tmp_path):
    return document_of(scaling_document.main, tmp_path)


def test_figures_and_prose_come_together(place):
    assert place({"costs": COSTS, "fleet": FLEET}, "Head.\n## predictions\nWhy so.\n") == 0
    text = place.document.read_text()
    assert text.startswith("# Scaling\n\nHead.\n\n## Ways to scale\n\n## The cost model")
    assert "## Predictions\n\nWhy so.\n\n*A CPU, 2 cores; 2026-01-02; jax 0.10.2*" in text
    assert "| cnn step | 12.3 µs | run and step |" in text
    assert "| cnn_unseen | cold | 44.0 s | 40.0 s | 1.10 (1.00–1.20), n 3 | 1.10 (1.00–1.20) | yes |" in text
    assert "| 1.30 (1.00–1.20), n 3 | 1.10 (1.00–1.20) | **no** |" in text
    assert "the middle one is off by 15%, the worst by 50%; 2 are within 20%." in text
    assert "| as it is | 4,096 | 1.50 h | 2.00 h, 25% | 2.00 h, 25% | – |" in text
    assert "| devices | device-hours | training | looking |" in text  # and not what had nothing
    assert "| 10 | 2 | 75.0% | 25.0% |" in text
    assert "| looks | **0.60 (0.60–0.60)** |" in text  # the least of what was halved
    assert "| (notice) | 0.50 (0.50–0.50) |" in text
    assert "up to 10,000 arms (here 100,000), 50,000 runs (here 1,000,000), 400 groups (here 15,625)." in text
    assert "**1 of 1 turns were disturbed**: other processes had up to 50% of the cores." in text
    assert "| waiting for a lease | no group is free, but one" in text
    assert "| tables | 1" not in text  # which does not move anything
    assert "| 64 | 1.00 h, 25% |" in text
    assert "| groups | 15,625 |" in text
    assert "alexander CNN, 3 epochs: 15.0 TB." in text
    assert "scaling.png" not in text  # it is not there


def test_a_fleet_of_other_costs_and_prose_without_a_place_are_refused(place, capsys):
    assert place({"costs": COSTS}, "") == 1
    assert "python -m benchmarks.fleet writes it" in capsys.readouterr().err
    assert place({"fleet": {**FLEET, "measured": {**HEAD, "date": "2025-01-01"}}}, "") == 1
    assert "of other costs" in capsys.readouterr().err
    assert place({"fleet": FLEET}, "## predictoins\nText.\n") == 1
    assert "## predictoins" in capsys.readouterr().err
    assert place({"fleet": {**FLEET, "rows": [{"part": "fleets"}]}}, "") == 1
    assert "fleet.json" in capsys.readouterr().err
    assert not place.document.exists()


def test_check_tells_whether_the_document_is_what_the_results_make(place, capsys):
    results = {"costs": COSTS, "fleet": FLEET}
    assert place(results, "", "--check") == 1
    assert place(results, "") == 0
    assert place(results, "", "--check") == 0
    place.document.write_text(place.document.read_text() + "\n")
    assert place(results, "", "--check") == 1
    assert "python -m benchmarks.scaling_document writes it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("make", "value", "said"),
    [
        (scaling_chapters.small, 1.23e-11, "12.3 ps"),
        (scaling_chapters.small, 0.5, "500 ms"),
        (scaling_chapters.small, 0.0, "0"),
        (scaling_chapters.span, 90.0, "1.50 min"),
        (scaling_chapters.span, 86_400 * 1234, "1,234 days"),
        (scaling_chapters.size, 15_500_000, "15.5 MB"),
        (fleet_chapters.rate_words, 1 / 24, "1 a day"),
        (fleet_chapters.rate_words, 6.0, "6 an hour"),
    ],
)
def test_numbers_are_said_with_three_digits_and_a_unit(make, value, said):
    assert make(value) == said


def test_the_document_that_is_kept_is_what_the_results_make():
    assert scaling_document.main(["--check"]) == 0


def test_studies_that_nothing_was_fitted_to_were_predicted_within_a_fifth_but_for_one():
    predictions = scaling_document.read(record.RESULTS)["costs"]["predictions"]
    assert len({one["study"] for one in predictions}) == 4
    off = [abs(one["ratio"]["median"] - 1) for one in predictions]
    assert sum(one <= 0.2 for one in off) >= 7
    assert max(off) <= 0.25  # the one that misses its goal, as the document says
