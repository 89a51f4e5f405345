"""What a workdir keeps of the machine and the versions, and whose turn it is in it."""

import json
import threading
import time

from fmnist_jax import workdir


def test_what_of_the_environment_has_changed_is_said_and_what_was_is_kept(tmp_path, monkeypatch):
    assert workdir.keep_environment(tmp_path) == []
    first = json.loads((tmp_path / "environment.json").read_text())
    assert workdir.keep_environment(tmp_path) == []
    assert json.loads((tmp_path / "environment.json").read_text()) == first
    packages = first["packages"] | {"jax": "0.0.1"}
    changed = first | {"packages": packages, "git": "another", "command": ["another"], "machine": "a Cray"}
    monkeypatch.setattr(workdir, "environment", lambda: changed)
    said = workdir.keep_environment(tmp_path)
    assert said == [f"machine was {first['machine']}, is a Cray", f"jax was {first['packages']['jax']}, is 0.0.1"]
    found = json.loads((tmp_path / "environment.json").read_text())
    assert found.pop("earlier") == [first]
    assert found == changed
    monkeypatch.setattr(workdir, "environment", lambda: first)
    assert len(workdir.keep_environment(tmp_path)) == 2
    assert [one["machine"] for one in json.loads((tmp_path / "environment.json").read_text())["earlier"]] == [
        first["machine"],
        "a Cray",
    ]


def test_a_turn_is_waited_for_and_may_be_taken_within_itself(tmp_path):
    order = []

    def other():
        with workdir.turn(tmp_path / "other" / ".."):  # a path of its own: within one process a turn is one
            order.append("other")

    with workdir.turn(tmp_path):
        with workdir.turn(tmp_path):
            order.append("within")
        (tmp_path / "other").mkdir()
        thread = threading.Thread(target=other)
        thread.start()
        time.sleep(0.3)
        order.append("first")
    thread.join(timeout=10)
    assert order == ["within", "first", "other"]
