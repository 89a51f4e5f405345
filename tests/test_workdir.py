"""What a workdir keeps of the machine and the versions, and whose turn it is in it."""

import json
import threading
import time

import pytest

from fmnist_jax import workdir
from fmnist_jax.errors import UserError


def test_what_of_the_environment_has_changed_is_said_and_what_was_is_kept(tmp_path, monkeypatch):
    assert workdir.keep_environment(tmp_path) == []
    first = json.loads((tmp_path / "environment.json").read_text())
    assert workdir.keep_environment(tmp_path) == []
    assert json.loads((tmp_path / "environment.json").read_text()) == first
    packages = first["packages"] | {"jax": "0.0.1"}
    changed = first | {"packages": packages, "git": "another", "command": ["another"], "machine": "a Cray"}
    monkeypatch.setattr(workdir, "environment", lambda: changed)
    said = workdir.keep_environment(tmp_path)
    assert said == [
        f"machine was {first['machine']}, is a Cray",
        f"git was {first['git']}, is another",
        f"jax was {first['packages']['jax']}, is 0.0.1",
    ]
    found = json.loads((tmp_path / "environment.json").read_text())
    assert found.pop("earlier") == [first]
    assert found == changed
    monkeypatch.setattr(workdir, "environment", lambda: first)
    assert len(workdir.keep_environment(tmp_path)) == 3
    assert [one["machine"] for one in json.loads((tmp_path / "environment.json").read_text())["earlier"]] == [
        first["machine"],
        "a Cray",
    ]


def test_what_moves_last_bits_and_is_free_to_change_is_said(tmp_path):
    assert workdir.keep_environment(tmp_path, {"population.devices": 2}) == []
    assert workdir.keep_environment(tmp_path, {"population.devices": 1}) == ["population.devices was 2, is 1"]


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


KEYS = {"optimizer.learning_rate": 0.1, "population.mode": "map", "mesh": 1}


def begin(directory, name="groups/0/checkpoints/7.manifest.json"):
    """A workdir of KEYS that has results."""
    assert workdir.claim(directory, KEYS, {"set": "f00"}) == []
    (directory / name).parent.mkdir(parents=True)
    (directory / name).write_text("{}")
    return directory


@pytest.mark.parametrize(
    "name", ["checkpoints/7.manifest.json", "metrics.jsonl", "done.json", "checkpoints/set_aside/7-0/x"]
)
def test_results_bind_a_workdir_to_its_config(name, tmp_path):
    assert not workdir.begun(tmp_path)
    begin(tmp_path, f"groups/0/{name}")
    assert workdir.begun(tmp_path)
    with pytest.raises(UserError, match=r"optimizer.learning_rate: 0.1 there, 0.2 now"):
        workdir.claim(tmp_path, {**KEYS, "optimizer.learning_rate": 0.2}, {"set": "f00"}, allow_change=True)


def test_what_binds_nothing_may_be_corrected(tmp_path):
    begin(tmp_path, "groups/0/group.json")
    (tmp_path / "groups/0/metrics.jsonl").touch()  # a session has opened it, and no more
    assert not workdir.begun(tmp_path)
    assert workdir.claim(tmp_path, {**KEYS, "optimizer.learning_rate": 0.2}, {"set": "f00"}) == []
    assert not (tmp_path / "groups").exists()
    assert not (tmp_path / "changes.jsonl").exists()


def test_what_moves_last_bits_may_change_where_it_is_allowed_and_is_noted(tmp_path):
    begin(tmp_path)
    vmapped = {**KEYS, "population.mode": "vmap"}
    with pytest.raises(UserError, match=r"'map' there, 'vmap' now.*or go on with --allow-config-change"):
        workdir.claim(tmp_path, vmapped, {"set": "f00"})
    with pytest.raises(UserError, match=r"go on with --allow-config-change"):
        workdir.check_same(tmp_path, vmapped)
    workdir.check_same(tmp_path, vmapped, allow_change=True)
    assert workdir.claim(tmp_path, vmapped, {"set": "f00"}, allow_change=True) == [
        "population.mode was 'map', is 'vmap'"
    ]
    assert workdir.claim(tmp_path, vmapped, {"set": "f00"}, allow_change=True) == []
    assert workdir.claim(tmp_path, {**vmapped, "mesh": 2}, {"set": "f00"}, allow_change=True) == ["mesh was 1, is 2"]
    log = [json.loads(line) for line in (tmp_path / "changes.jsonl").read_text().splitlines()]
    assert [one["changed"] for one in log] == [{"population.mode": ["map", "vmap"]}, {"mesh": [1, 2]}]
    assert json.loads((tmp_path / "config.json").read_text())["mesh"] == 2
    both = {**vmapped, "mesh": 4, "optimizer.learning_rate": 0.2}
    with pytest.raises(UserError, match="mesh: 2 there, 4 now") as error:
        workdir.claim(tmp_path, both, {"set": "f00"}, allow_change=True)
    assert "--allow-config-change" not in str(error.value)
    with pytest.raises(UserError, match=r"dataset.fingerprint: .*'f00'} there, .*'f01'} now"):
        workdir.claim(tmp_path, {**vmapped, "mesh": 2}, {"set": "f01"}, allow_change=True)


def test_a_lock_that_is_let_go_names_nobody(tmp_path):
    with workdir.lock(tmp_path):
        assert (tmp_path / "lock").read_text().startswith("process ")
    assert (tmp_path / "lock").read_text() == ""
    with workdir.lock(tmp_path, shared=True), workdir.lock(tmp_path, shared=True):
        pass
