"""docs/reliability.md is made of the results of the faults and of prose, and shows what was broken."""

import dataclasses
import json
from types import SimpleNamespace

import pytest
from helpers import document_of

from benchmarks import prose
from benchmarks.faults import __main__ as faults
from benchmarks.faults import document, row

ROW = {
    "room": "checkpoints",
    "fault": "a file damaged",
    "promise": "found",
    "trials": 3,
    "kept": 3,
    "seconds": 61.0,
    "broken": {},
    "kinds": {"cut": 2, "deleted": 1},
    "facts": {"bytes": 12345, "slowest": 0.25},
}
FOUND = {
    "command": "python -m benchmarks.faults --full",
    "date": "2026-01-02T03:04:05+00:00",
    "hardware": {"cpu": "A CPU", "cores": 2},
    "versions": {"jax": "0.10.2"},
    "full": True,
    "rows": [ROW],
}


@pytest.fixture
def place(tmp_path):
    """What makes the document of these results, if there are any."""
    return document_of(document.main, tmp_path, "results/faults.json")


def test_a_row_becomes_a_line_with_its_kinds_and_figures(place):
    assert place({"faults": FOUND}, "Words.\n\n## checkpoints\n\nWhy.\n") == 0
    text = place.document.read_text()
    assert text.startswith("# Reliability\n\nWords.\n")
    assert "| a file damaged | found | 3 of 3 | 61 |" in text
    assert "## Checkpoints\n\nWhy.\n\n*a file damaged*: cut 2, deleted 1.\n" in text
    assert "| a file damaged | bytes | 12,345 |" in text
    assert "A CPU, 2 cores; 2026-01-02; jax 0.10.2" in text
    assert "**3 of 3 faults were survived as promised**" in text
    assert "Not made: kills, signals" in text


def test_what_was_broken_is_shown(place):
    broken = {**ROW, "kept": 2, "broken": {"cut at 7": "loaded other numbers"}}
    assert place({"faults": {**FOUND, "rows": [broken]}}, "") == 0
    text = place.document.read_text()
    assert "| **2 of 3** |" in text
    assert "- a file damaged: cut at 7: loaded other numbers" in text


def test_results_that_are_not_there_or_of_a_short_run_are_refused(place, capsys):
    assert place({}, "") == 1
    assert "python -m benchmarks.faults --full writes it" in capsys.readouterr().err
    assert place({"faults": {**FOUND, "full": False}}, "") == 1
    assert "of the short run" in capsys.readouterr().err
    assert not place.document.exists()


def test_a_section_without_a_place_is_refused(place, capsys):
    assert place({"faults": FOUND}, "## weather\nRain.\n") == 1
    assert "## weather" in capsys.readouterr().err


def test_check_tells_whether_the_document_is_what_the_results_make(place):
    assert place({"faults": FOUND}, "", "--check") == 1
    assert place({"faults": FOUND}, "") == 0
    assert place({"faults": FOUND}, "", "--check") == 0
    assert place({"faults": FOUND}, "More.", "--check") == 1


def test_every_room_of_faults_has_a_heading_and_the_prose_a_place():
    assert set(document.ROOMS) == set(faults.ROWS)
    assert set(prose.sections(document.DOCUMENT.with_suffix(".why.md").read_text())) - {""} <= set(document.HEADINGS)


def test_the_document_that_is_kept_is_what_the_results_make():
    assert document.main(["--check"]) == 0
    rows = document.read(document.RESULTS)["rows"]
    assert {one["room"] for one in rows} == set(faults.ROWS)
    assert [one["fault"] for one in rows if one["broken"]] == []


def test_resume_keeps_what_is_kept_and_makes_the_rest(tmp_path, monkeypatch, capsys):
    made, good = [], row.Row("a fault", "found", 1, 1, 1.0, {}, {}, {})

    def room(name):
        bad = dataclasses.replace(good, kept=0, broken={"a": "b"}) if name.endswith("rows") and not made else good
        return SimpleNamespace(measure=lambda full, scratch: made.append(name.rpartition(".")[2]) or [bad])

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name in ("keep_programs", "configure"):
        monkeypatch.setattr(faults.sharding, name, lambda *args: None)
    monkeypatch.setattr(faults.importlib, "import_module", room)
    command = ["--only=places,rows,devices", f"--out={tmp_path / 'o.json'}"]
    assert [faults.main(command), made] == [1, ["rows", "places", "devices"]]
    assert [faults.main([*command, "--resume"]), made[3:]] == [0, ["rows"]]
    found = json.loads((tmp_path / "o.json").read_text())
    assert [(one["room"], one["kept"]) for one in found["rows"]] == [("rows", 1), ("places", 1), ("devices", 1)]
    with pytest.raises(SystemExit):
        faults.main([*command, "--resume", "--full"])
    assert "differs in full" in capsys.readouterr().err
