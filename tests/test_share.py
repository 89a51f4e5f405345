"""Studies that several processes share: every run once, by someone, to the numbers of one process alone."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from helpers import mlp
from rich.console import Console

from fmnist_jax import arms, carry, config, groups, leases, merge, places, reading, study, sweep, testing, workdir
from fmnist_jax.errors import UserError
from fmnist_jax.report import __main__ as report
from fmnist_jax.share import ALONE, Share, parse

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.usefixtures("shared_programs")

AXES = ["arm", "seed", "fold"]
WIDTHS = sweep.product({"model.dense": ((3,), (6,))})


def asked(**changes):
    """Two programs of two seeds, mapped: a run's bits depend on no company."""
    return mlp(**{"population__mode": "map", "population__devices": 1, "seeds": 2, "sweep": WIDTHS, **changes})


def go(c, directory, share=ALONE, **options):
    """What the terminal showed."""
    shown = io.StringIO()
    study.run(config.parse(c), directory, Console(file=shown, width=120), share=share, **options)
    return shown.getvalue()


def numbers(directory):
    """The results of a workdir without what differs by clock and by group."""
    table = reading.read(directory).runs.drop(columns=["train_seconds", "group"], errors="ignore")
    return table.sort_values(AXES).reset_index(drop=True)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The numbers of the study, trained by one process."""
    directory = tmp_path_factory.mktemp("alone")
    go(asked(), directory)
    return numbers(directory)


@pytest.mark.parametrize(
    ("shard", "claim", "message"),
    [
        ("2/2", False, "--shard=2/2: must be I/N, the I-th of N shares, from 0/N to N-1/N"),
        ("1", False, "--shard=1: must be I/N"),
        ("-1/3", False, "--shard=-1/3: must be I/N"),
        ("0/0", False, "--shard=0/0: must be I/N"),
        ("0/2", True, "--shard with --claim: take one"),
    ],
)
def test_what_is_no_share_is_refused(shard, claim, message):
    with pytest.raises(UserError, match=message):
        parse(shard, claim)


def test_shares_are_said_as_they_are_asked_for():
    assert [str(parse(None, False)), str(parse(None, True)), str(parse("1/3", False))] == [
        "all of it",
        "--claim",
        "--shard=1/3",
    ]


def shards(c, n):
    """The runs of each of n shards, and all runs."""
    checked = config.parse(c)
    study_arms = arms.arms_of(checked)
    workshop = groups.Workshop(checked)
    every = {key for _, key in groups.wanted(checked, study_arms)}
    return [groups.of_shard((i, n), workshop, study_arms) for i in range(n)], every


@pytest.mark.parametrize("n", [1, 2, 3, 5, 7, 40])
def test_shards_are_a_partition_of_the_runs_by_equal_work(n):
    widths = sweep.product({"model.dense": ((3,), (4,), (5,)), "optimizer.learning_rate": (0.1, 0.2)})
    parts, every = shards(asked(sweep=widths, seeds=4), n)
    assert sorted(key for part in parts for key in part) == sorted(every)
    if n in (2, 3):  # runs of nearly equal cost: none has more than one beyond its share
        assert max(map(len, parts)) - min(map(len, parts)) <= 2


def test_a_shard_is_of_as_few_programs_as_can_be():
    programs = sweep.product({"model.dense_activation": (("relu",), ("tanh",), ("gelu",), ("silu",))})
    parts, _ = shards(asked(sweep=programs, seeds=5), 4)
    assert [len({key.arm for key in part}) for part in parts] == [1] * 4


def test_folds_that_leak_stay_together():
    parts, _ = shards(asked(folds=3, train__carry_over=True, seeds=4), 3)
    for part in parts:
        assert set(Counter((key.arm, key.seed) for key in part).values()) <= {3}


def test_shards_in_workdirs_of_their_own_are_joined_to_the_study(alone, tmp_path):
    for i in range(3):
        shown = go(asked(), tmp_path / str(i), Share(shard=(i, 3)))
        assert "of 4 runs are trained; tables and page are of those" in shown
    shards = ",".join(str(tmp_path / str(i)) for i in range(3))
    assert report.main([f"--workdir={shards}", f"--out={tmp_path / 'all'}"]) == 0
    pd.testing.assert_frame_equal(numbers(tmp_path / "all"), alone)
    assert "runs are trained" not in go(asked(), tmp_path / "all")  # all is there, and tested
    pd.testing.assert_frame_equal(numbers(tmp_path / "all"), alone)


def test_the_shard_that_comes_last_in_a_workdir_concludes(alone, tmp_path):
    c = asked(evaluation__test="chosen", metric="validation_accuracy")
    assert "2 of 4 runs are trained" in go(c, tmp_path, Share(shard=(1, 2)))
    assert not places.tested(tmp_path, {})
    shown = go(c, tmp_path, Share(shard=(0, 2)))
    assert "runs are trained" not in shown
    pd.testing.assert_series_equal(numbers(tmp_path)["validation_loss"], alone["validation_loss"])
    assert numbers(tmp_path)["test_accuracy"].notna().sum() == 2  # of the arm that all four chose


def test_what_cannot_be_joined_is_refused(tmp_path):
    go(asked(), tmp_path / "0", Share(shard=(0, 2)))
    go(asked(optimizer__learning_rate=0.5), tmp_path / "1", Share(shard=(1, 2)))
    with pytest.raises(UserError, match=r"optimizer.learning_rate: 0.001 there, 0.5"):
        merge.into(tmp_path / "all", [tmp_path / "0", tmp_path / "1"])
    with pytest.raises(UserError, match="a run is in both"):
        merge.into(tmp_path / "twice", [tmp_path / "0", tmp_path / "0"])
    with pytest.raises(UserError, match="no study"):
        merge.into(tmp_path / "none", [tmp_path / "0", tmp_path])
    assert not (tmp_path / "twice").exists()


def test_one_alone_and_those_that_share_keep_out_of_each_others_way(tmp_path):
    with workdir.lock(tmp_path), pytest.raises(UserError, match=f"in use by process {os.getpid()}"):
        go(asked(), tmp_path, Share(claim=True))
    with workdir.lock(tmp_path, shared=True):
        with pytest.raises(UserError, match="which shares it"):
            go(asked(), tmp_path)
        with workdir.lock(tmp_path, shared=True):
            pass


def test_a_config_that_others_may_be_at_work_on_is_not_corrected(tmp_path):
    workdir.claim(tmp_path, {"seeds": 1}, {}, shared=True)
    with pytest.raises(UserError, match="holds results of another config"):
        workdir.claim(tmp_path, {"seeds": 2}, {}, shared=True)
    workdir.claim(tmp_path, {"seeds": 2}, {})


def test_folds_that_leak_are_not_taken_before_the_one_they_start_from(tmp_path):
    c = config.parse(asked(folds=3, train__carry_over=True, sweep=(), seeds=1))
    workshop = groups.Workshop(c)
    places.make(tmp_path, groups.divide(workshop, arms.arms_of(c)))
    waiting = places.there(tmp_path)
    assert [place.runs[0].fold for place in carry.ready(waiting, c)] == [0]


CLAIMER = """
import os, sys
sys.path[:0] = [{tests!r}, {root!r}]
from pathlib import Path
from rich.console import Console
import test_share
from fmnist_jax import config, leases, sharding, study, testing
from fmnist_jax.share import Share
measure = testing.measure_group
def measured(group, runs, dataset, directory, *arguments, **options):
    measure(group, runs, dataset, directory, *arguments, **options)
    with (directory / "tested_by").open("a") as file:
        print(os.getpid(), file=file)
testing.measure_group = measured
study.POLL_SECONDS = 0.05
leases.BEAT, leases.LEASE = 0.2, 2.0
leases.Watch.__init__.__defaults__ = (2.0, 0.2, leases.Files)
sharding.configure("cpu")
c = test_share.asked(population__most_runs=1, seeds=4, train__duration=sys.argv[2])
study.run(config.parse(c), Path(sys.argv[1]), Console(quiet=True), share=Share(claim=True))
"""


def claimer(directory, duration):
    """A process that takes groups of one run of a study of eight."""
    script = CLAIMER.format(tests=str(ROOT / "tests"), root=str(ROOT))
    return subprocess.Popen([sys.executable, "-c", script, str(directory), duration], stderr=subprocess.PIPE, text=True)


def sessions(directory):
    """How many sessions each group had."""
    return [len(list(place.directory.glob("sessions/*.json"))) for place in places.there(directory)]


def test_those_that_claim_train_and_test_every_group_once(alone, tmp_path):
    claimers = [claimer(tmp_path, "2 epochs") for _ in range(2)]
    for one in claimers:
        _, said = one.communicate(timeout=120)
        assert one.returncode == 0, said
    assert sessions(tmp_path) == [1] * 8
    by = [(place.directory / "tested_by").read_text().split() for place in places.there(tmp_path)]
    assert [len(pids) for pids in by] == [1] * 8
    assert {pid for pids in by for pid in pids} == {str(one.pid) for one in claimers}
    first = numbers(tmp_path)
    pd.testing.assert_frame_equal(first[first["seed"] < 2].reset_index(drop=True), alone)


def test_a_dead_ones_group_is_taken_over_and_no_row_is_lost_or_twice(tmp_path):
    first = claimer(tmp_path, "20 epochs")
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("groups/*/checkpoints/*.manifest.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    first.send_signal(signal.SIGSTOP)  # as a machine that hangs
    second = claimer(tmp_path, "20 epochs")
    _, said = second.communicate(timeout=120)
    assert second.returncode == 0, said
    first.send_signal(signal.SIGCONT)  # and comes back when all is done
    _, said = first.communicate(timeout=60)
    assert first.returncode == 0, said
    # To be trained, by one or by both, and to be tested.
    assert sorted(max(leases.Files(place.directory).numbers()) for place in places.there(tmp_path)) == [1] * 7 + [2]
    for place in places.there(tmp_path):
        steps = [json.loads(line)["step"] for line in (place.directory / "metrics.jsonl").read_text().splitlines()]
        assert steps == sorted(set(steps))
    assert len(numbers(tmp_path)) == 8


def test_what_another_takes_over_while_it_is_tested_is_not_written(alone, tmp_path, monkeypatch):
    c = asked(population__most_runs=1)
    go(asked(population__most_runs=1, evaluation__test="none", metric="validation_accuracy"), tmp_path)
    predict, first, asked_for = testing.predict_test, tmp_path / "groups/0", []

    def taken_over(*arguments):
        found = predict(*arguments)
        asked_for.append((first / "test.json").exists())
        if len(asked_for) == 1:  # by one that has let go of it since
            (number,) = leases.Files(first).numbers()
            (first / f"{leases.NAME}.{number + 1}").write_text(json.dumps({"held": 0}))
        return found

    monkeypatch.setattr(testing, "predict_test", taken_over)
    monkeypatch.setattr(study, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(study._Study, "_test_all", lambda self: None)  # which would mend what claims have left undone
    go(c, tmp_path, Share(claim=True))
    assert asked_for == [False] * 5  # four groups, the first of them again at the end
    pd.testing.assert_frame_equal(numbers(tmp_path), alone)
