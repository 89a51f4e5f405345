"""Hosts as one: who has which runs, what they tell each other, and what becomes of them when one fails."""

import json
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from benchmarks.faults import hosts as faults
from benchmarks.faults import subject
from fmnist_jax import hosts
from fmnist_jax.errors import UserError


@pytest.mark.parametrize(("runs", "count"), [(5, 2), (1, 3), (8, 4), (7, 4), (3, 3), (10, 4)])
def test_every_run_is_one_hosts_and_the_shares_are_as_large(runs, count):
    shares = [hosts.Hosts(i, 1).share(runs) for i in range(0)]
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
together = hosts.join(hosts.parse(sys.argv[1]))
{body}
together.close(0)
"""


def talk(body, count=2):
    """What each of so many processes prints, and its exit status."""
    port = faults._free_port()
    code = TALK.format(body=textwrap.dedent(body))
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": subject.ROOT}
    started = [
        subprocess.Popen([sys.executable, "-c", code, f"{i}/{count}@localhost:{port}"], **pipes) for i in range(count)
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


def test_one_that_fails_ends_the_work_of_all_and_the_next_work_goes_on():
    body = """
    for attempt in range(2):
        try:
            with together.work():
                if together.index == 1 and attempt == 0:
                    raise MemoryError("no room for 3 runs")
                print(together.agree(1, sum))
        except (hosts.Failed, MemoryError) as error:
            print(type(error).__name__, hosts.out_of_memory(error), "host 1 of 2" in str(error))
    """
    (status, lead, error), (_, other, _) = talk(body)
    assert status == 0, error
    assert lead.splitlines() == ["Failed True True", "2"]
    assert other.splitlines() == ["MemoryError True False", "2"]


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
    whole = subject.undisturbed(tmp_path / "whole", "mapped", *faults.FLAGS)[0]
    assert faults._undisturbed(tmp_path / "pair", whole).problem == ""
