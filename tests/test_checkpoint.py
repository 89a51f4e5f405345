"""A checkpoint comes back bit for bit, or not at all."""

import json
import logging
import os
import shutil

import numpy as np
import pytest

from fmnist_jax import checkpoint, train
from fmnist_jax.errors import RunError


def state(step, runs=2):
    rng = np.random.default_rng(step)
    return train.State(
        step=np.full(runs, step, np.int32),
        seed=np.arange(runs, dtype=np.uint32),
        params={"dense": {"kernel": rng.normal(size=(runs, 5, 3)).astype(np.float32)}},
        batch_stats={},
        opt_state=(),
        sums=train.TrainSums(np.zeros(runs, np.float32), np.zeros(runs, np.int32), np.zeros(runs, np.int32)),
        diverged_at=np.array([-1, 3], np.int32),
        watch=(),
    )


def same(a, b):
    return (
        a.step.tolist() == b.step.tolist()
        and np.array_equal(a.params["dense"]["kernel"], b.params["dense"]["kernel"])
        and a.diverged_at.tolist() == b.diverged_at.tolist()
        and type(a) is type(b)
    )


@pytest.fixture
def saved(tmp_path):
    """Checkpoints 1, 2 and 3 in a directory."""
    checkpoints = checkpoint.Checkpoints(tmp_path / "c", keep=2)
    for step, metric in ((1, 0.9), (2, 0.2), (3, 0.3), (4, 0.4)):
        checkpoints.save(step, state(step), metric)
    checkpoints.close()
    return tmp_path / "c"


def test_the_newest_two_and_the_best_are_kept_and_the_newest_comes_back(saved):
    assert sorted(p.name for p in saved.iterdir() if p.is_dir()) == ["1", "3", "4"]
    assert sorted(p.name for p in saved.glob("*.json")) == ["1.manifest.json", "3.manifest.json", "4.manifest.json"]
    step, restored = checkpoint.Checkpoints(saved, 2).restore(state(0))
    assert step == 4
    assert same(restored, state(4))


def test_nothing_there(tmp_path):
    assert checkpoint.Checkpoints(tmp_path / "none", 2).restore(state(0)) is None


def test_every_file_truncated_flipped_or_deleted_is_noticed_and_the_one_before_used(saved, tmp_path, caplog):
    names = [p.relative_to(saved) for p in sorted((saved / "4").rglob("*")) if p.is_file()]
    assert len(names) >= 3
    for name in [*names, "4.manifest.json"]:
        for damage in ("truncate", "flip", "delete"):
            copy = tmp_path / "copy"
            shutil.copytree(saved, copy)
            path = copy / name
            content = bytearray(path.read_bytes())
            if damage == "delete":
                path.unlink()
            elif damage == "truncate":
                path.write_bytes(content[: len(content) // 2])
            else:
                content[len(content) // 2] ^= 1
                path.write_bytes(content)
            with caplog.at_level(logging.WARNING, logger="fmnist_jax"):
                caplog.clear()
                step, restored = checkpoint.Checkpoints(copy, 2).restore(state(0))
            assert step == 3, (name, damage)
            assert same(restored, state(3))
            assert not (copy / "4").exists()
            assert not (copy / "4.manifest.json").exists()
            assert "set aside" in caplog.text
            lost = (str(name), damage) == ("4.manifest.json", "delete")
            assert [p.name for p in (copy / "set_aside").iterdir()] == ["unconfirmed" if lost else "4-0"]
            shutil.rmtree(copy)


def test_a_save_that_was_cut_off_or_has_lost_its_manifest_is_set_aside_the_newest_alone(saved):
    torn = saved / "5.orbax-checkpoint-tmp-1"
    torn.mkdir()
    (saved / "4.manifest.json").unlink()
    assert checkpoint.Checkpoints(saved, 2).restore(state(0))[0] == 3
    assert not torn.exists()
    assert not (saved / "4").exists()
    aside = saved / "set_aside" / "unconfirmed"
    assert (aside / "default" / "_METADATA").exists()
    (aside / "of 4").touch()
    (saved / "3.manifest.json").unlink()
    assert checkpoint.Checkpoints(saved, 2).restore(state(0))[0] == 1
    assert [p.name for p in (saved / "set_aside").iterdir()] == ["unconfirmed"]
    assert not (aside / "of 4").exists()
    (saved / "1.manifest.json").unlink()
    assert checkpoint.Checkpoints(saved, 2).restore(state(0)) is None


def test_saving_goes_on_after_a_restore(saved):
    (saved / "4" / "default" / "_METADATA").write_text("{}")
    checkpoints = checkpoint.Checkpoints(saved, 2)
    assert checkpoints.restore(state(0))[0] == 3
    checkpoints.save(4, state(4), 0.5)
    checkpoints.close()
    assert checkpoint.Checkpoints(saved, 2).restore(state(0))[0] == 4


def test_all_damaged_is_as_none(saved):
    for manifest in saved.glob("*.manifest.json"):
        manifest.write_text(json.dumps({"default/x": "0"}))
    assert checkpoint.Checkpoints(saved, 2).restore(state(0)) is None


def test_a_checkpoint_of_another_shape_is_refused(saved):
    with pytest.raises(RunError, match="4: whole, but not readable"):
        checkpoint.Checkpoints(saved, 2).restore(state(0, runs=3))


def test_a_damaged_older_checkpoint_is_set_aside_and_a_half_pruned_one_removed(saved):
    metadata = saved / "3" / "default" / "_METADATA"
    metadata.write_bytes(b"x" + metadata.read_bytes()[1:])
    (saved / "1" / "default" / "_METADATA").unlink()
    assert checkpoint.Checkpoints(saved, 2).restore(state(0))[0] == 4
    assert (saved / "set_aside" / "3-0").is_dir()
    assert not (saved / "1").exists()


def test_a_name_that_was_damaged_in_an_older_manifest_is_no_half_pruned_checkpoint(saved):
    manifest = saved / "3.manifest.json"
    manifest.write_text(manifest.read_text().replace("_METADATA", "^METADATA", 1))  # one is missing, one not foreseen
    assert checkpoint.Checkpoints(saved, 2).restore(state(0))[0] == 4
    assert (saved / "set_aside" / "3-0").is_dir()


def test_a_manifest_that_is_no_object_is_unreadable(saved):
    (saved / "4.manifest.json").write_text("[]")
    assert checkpoint.Checkpoints(saved, 2).restore(state(0))[0] == 3


@pytest.mark.parametrize("name", ["a[b]c", "a*", "**", "a?", "a\\b", os.fsdecode(b"\xff"), "é 写\n$x 'y' \"z\" <b> %s"])
def test_a_directory_may_have_any_name(name, tmp_path):
    """Orbax globs in it, and TensorStore takes a backslash for a slash, and no byte that is no UTF-8."""
    (tmp_path / "ab" / "c").mkdir(parents=True)  # what a glob, or such a slash, would lead to
    checkpoints = checkpoint.Checkpoints(tmp_path / name / "c", keep=2)
    checkpoints.save(1, state(1), 0.5)
    checkpoints.close()
    assert same(checkpoint.Checkpoints(tmp_path / name / "c", 2).restore(state(0))[1], state(1))
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["ab", name])
    assert not list((tmp_path / "ab" / "c").iterdir())
