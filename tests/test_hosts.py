"""Hosts as one: who has which runs, what they tell each other, and what becomes of them when one fails."""

import json
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from helpers import mlp
from rich.console import Console

from benchmarks.faults import hosts as faults
from benchmarks.faults import subject
from fmnist_jax import config, hosts, study
from fmnist_jax.errors import RunError, UserError


@pytest.mark.parametrize(("runs", "count"), [(5, 2), (1, 3), (8, 4), (7, 4), (3, 3), (10, 4)])
def test_every_run_is_one_hosts_and_the_shares_are_as_large(runs, count):
    shares, owned = [], []
    for index in range(count):
        one = hosts.Hosts()
        one.index, one.count = index, count
        shares.append(one.share(runs))
        owned += shares[-1][: one.own(runs)].tolist()
    assert owned == list(range(runs))
    assert {len(share) for share in shares} == {-(-runs // count)}
    assert max(share.max() for share in shares) == runs - 1  # what fills up is a copy of a run that there is


def test_alone_they_are_themselves():
    assert hosts.ALONE.leads
    assert hosts.ALONE.gather({"a": 1}) == [{"a": 1}]
    assert hosts.ALONE.tell("x") == "x"
    assert hosts.ALONE.agree(3, max) == 3
    assert np.array_equal(hosts.ALONE.share(4), [0, 1, 2, 3])
    hosts.ALONE.close(0)


@pytest.mark.parametrize("words", ["", "2", "2/2@a:1", "0/2", "0/2@host", "0/2@:1", "-1/2@a:1", "0/0@a:1"])
def test_what_is_no_address_is_refused(words):
    with pytest.raises(UserError, match="must be auto, or I/N@HOST:PORT"):
        hosts.parse(words)


def test_addresses():
    assert hosts.parse(None) is None
    assert hosts.parse("auto") == hosts.Address()
    assert hosts.parse("1/4@node-0.cluster:1234") == hosts.Address("node-0.cluster:1234", 4, 1)


TALK = """
import json, sys
import numpy as np
from fmnist_jax import hosts
hosts.BEAT = 0.2
{before}
together = hosts.join(hosts.parse(sys.argv[1]))
{body}
together.close(0)
"""


def talk(body, count=2, *flags, before=""):
    """What each of so many processes prints, and its exit status."""
    port = faults._free_port()
    code = TALK.format(before=before, body=textwrap.dedent(body))
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": subject.ROOT}
    started = [
        subprocess.Popen([sys.executable, "-c", code, f"{i}/{count}@localhost:{port}", *flags], **pipes)
        for i in range(count)
    ]
    ended = [one.communicate(timeout=60) for one in started]
    return [(one.returncode, out, error) for one, (out, error) in zip(started, ended, strict=True)]


def test_they_gather_tell_and_agree_whatever_the_size():
    body = """
    large = "x" * (3 * 2**20 + 5)
    found = together.gather([together.index, large])
    told = together.tell({"n": float("nan"), "of": len(found)} if together.leads else None)
    most = together.agree(10 * together.index, max)
    print(json.dumps([None if found is None else [[i, len(text)] for i, text in found], told["of"], most]))
    """
    ended = talk(body, 3)
    assert [status for status, _, _ in ended] == [0, 0, 0], ended
    first, second, third = (json.loads(out) for _, out, _ in ended)
    sizes = [[i, 3 * 2**20 + 5] for i in range(3)]
    assert (first, second, third) == ([sizes, 3, 20], [None, 3, 20], [None, 3, 20])


WORKS = """
import time
from pathlib import Path
from fmnist_jax import checkpoint

def said(work):
    try:
        with together.work():
            return work()
    except Exception as error:
        return [type(error).__name__, hosts.out_of_memory(error), str(error)]

def fails():
    if together.index == 1:
        raise MemoryError("no room for 3 runs")
    return together.agree(1, sum)

def unlike():
    try:
        together.same({"a": 1, "config.seeds": 3 + together.index})
    except Exception as error:
        return [type(error).__name__, False, str(error)]

def has_no_room():
    points = checkpoint.Checkpoints(Path(sys.argv[2]), 2, together)
    if together.index == 1:
        def whole(self, state):
            raise MemoryError("no room")
        checkpoint.Checkpoints._whole = whole
    points.save(4, {"a": np.zeros((2, 3), np.float32)}, 1.0)

def fails_for_another():
    if together.index == 1:
        raise MemoryError("no room")
    time.sleep(1)
    raise RuntimeError("DEADLINE_EXCEEDED: a barrier")

print(json.dumps({
    "fails": said(fails),
    "goes on": said(lambda: together.agree(1, sum)),
    "alike": said(lambda: together.same({"a": 1, "b": [1, None]})),
    "unlike": unlike(),
    "saves": said(has_no_room),
    "for another": said(fails_for_another),
}))
"""


@pytest.fixture(scope="module")
def works(tmp_path_factory):
    """What came of these, on both hosts."""
    ended = talk(WORKS, 2, str(tmp_path_factory.mktemp("works") / "c"))
    assert [status for status, _, _ in ended] == [0, 0], ended
    return [json.loads(said) for _, said, _ in ended]


def test_one_that_fails_ends_the_work_of_all_and_the_next_work_goes_on(works):
    assert [one["fails"][:2] for one in works] == [["Failed", True], ["MemoryError", True]]
    assert "host 1 of 2" in works[0]["fails"][2]
    assert [one["goes on"] for one in works] == [2, 2]


def test_hosts_that_are_not_alike_are_refused_by_name_on_all_of_them(works):
    assert [one["alike"] for one in works] == [None, None]
    for name, _, words in (one["unlike"] for one in works):
        assert name == "UserError"
        assert "config.seeds is 4 on host 1 of 2 (process" in words
        assert "and 3 on host 0 of 2" in words


def test_one_that_has_no_memory_for_a_checkpoint_keeps_nobody_waiting(works):
    assert [one["saves"][:2] for one in works] == [["Failed", True], ["MemoryError", True]]


def test_what_another_has_failed_of_is_the_reason_and_not_what_came_of_it(works):
    assert [one["for another"][:2] for one in works] == [["Failed", True], ["MemoryError", True]]


def test_when_the_one_that_leads_ends_the_others_hear_its_status():
    body = """
    if together.leads:
        together.close(7)
        sys.exit(7)
    try:
        together.tell()
    except hosts.Ended as ended:
        print(ended.status)
    """
    (lead, _, _), (other, said, error) = talk(body)
    assert (lead, other, said) == (7, 0, "7\n"), error


def test_two_processes_of_two_devices_have_the_bits_of_one(tmp_path):
    """With runs that do not divide over the hosts, nor over their devices."""
    short = "--config.train.duration=6 epochs"
    whole = subject.undisturbed(tmp_path / "whole", "mapped", *faults.FLAGS, short)[0]
    assert faults._undisturbed(tmp_path / "pair", whole, short).problem == ""


def test_one_that_lives_and_does_not_come_is_named():
    body = """
    import time
    hosts.STUCK = 2.0
    with together.work():
        if together.index:
            time.sleep(30)
        together.gather(1)
    """
    (status, _, said), _ = talk(body)
    assert status == hosts.STATUS
    assert "host 1 of 2 (process" in said
    assert "has not come to where the others are for 2 s, and is gone" in said


@pytest.mark.parametrize("watched", [True, False])
def test_one_that_dies_is_named_and_without_the_watch_it_is_waited_for(watched):
    body = """
    import os, threading, time
    if together.index:
        os.kill(os.getpid(), 9)
    threading.Timer(8, lambda: (print("waits", flush=True), os._exit(3))).start()
    together.gather(1)
    """
    before = "hosts.GONE = 2.0" if watched else "hosts.Hosts._watch = lambda self: None"
    (status, said, error), _ = talk(body, before=before)
    if watched:
        assert status == hosts.STATUS
        assert "host 1 of 2 (process" in error
        assert "is gone; the same command" in error
    else:
        assert (status, said) == (3, "waits\n"), error


def test_one_that_fails_by_itself_says_why_to_the_one_that_leads():
    body = """
    import time
    if together.index:
        together.close(1, "the disk is full")
        sys.exit(1)
    time.sleep(30)
    """
    (status, _, said), _ = talk(body)
    assert status == hosts.STATUS
    assert "has ended: the disk is full; the same command" in said


def test_a_signal_that_one_gets_the_one_that_leads_gets():
    body = """
    import os, signal, time
    from fmnist_jax import signals
    with signals.listen() as heard:
        try:
            if together.leads:
                time.sleep(30)
            with heard.held():
                os.kill(os.getpid(), signal.SIGTERM)
                together.tell()
        except signals.Interrupted as stop:
            print("stopped by", stop.signum)
            together.close(143)
        except hosts.Ended as ended:
            print("ended", ended.status)
    """
    (_, lead, _), (_, other, error) = talk(body)
    assert (lead, other) == ("stopped by 15\n", "ended 143\n"), error


def test_whatever_becomes_of_a_study_the_others_hear_that_it_is_over(tmp_path, monkeypatch):
    def lead(self, retry):
        raise RunError("damaged")

    told = []
    monkeypatch.setattr(study._Study, "lead", lead)
    monkeypatch.setattr(hosts.Hosts, "tell", lambda self, value=None: told.append(value))
    with pytest.raises(RunError, match="damaged"):
        study.run(config.parse(mlp()), tmp_path, Console(quiet=True), hosts=hosts.Hosts())
    assert told == [None]
