"""Claims of groups: one holder at a time, none blocked by the dead, and nothing trained by two."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fmnist_jax import leases

LEASE, BEAT = 0.3, 0.05


def watch():
    return leases.Watch(lease=LEASE, beat=BEAT)


def someone(directory, **changes):
    """The claim of a process that this one cannot see."""
    claim = {"held": 1, "holder": "process 1 on elsewhere", "process": None, "beats": "0" * 12} | changes
    (directory / f"{leases.NAME}.0").write_text(json.dumps(claim))


def asleep(claim):
    """As a process that was stopped, or whose machine is gone."""
    claim._ended.set()
    claim._thread.join()


def test_one_alone_has_a_group_until_it_lets_go(tmp_path):
    first, second = watch(), watch()
    claim = first.take(tmp_path)
    claim.check()
    assert second.take(tmp_path) is None
    assert first.take(tmp_path) is None  # nor a second time itself
    claim.close()
    again = second.take(tmp_path)
    again.check()
    assert [path.name for path in tmp_path.iterdir()] == ["claim.1"]
    again.close()


def test_who_beats_keeps_it_and_who_is_silent_loses_it(tmp_path):
    claim, other = watch().take(tmp_path), watch()
    for _ in range(8):
        assert other.take(tmp_path) is None
        time.sleep(LEASE / 4)
    asleep(claim)
    path = tmp_path / f"{leases.NAME}.0"
    path.write_text(path.read_text().replace(leases._process()["space"], "elsewhere"))
    assert other.take(tmp_path) is None
    time.sleep(1.1 * LEASE)
    taken = other.take(tmp_path)
    taken.check()
    with pytest.raises(leases.Lost, match=f"taken over by process {os.getpid()} on "):
        claim.check()
    claim.close()  # and leaves the new one alone
    taken.check()
    taken.close()


def test_a_sleeper_that_beats_or_lets_go_when_it_is_too_late_disturbs_nobody(tmp_path):
    claim, other = watch().take(tmp_path), watch()
    asleep(claim)
    taken = leases.Claim(tmp_path, 1, BEAT)
    claim._change(leases._content(7))
    claim.close()
    taken.check()
    assert other.take(tmp_path) is None
    taken.close()


def test_who_comes_with_what_is_long_past_takes_nothing(tmp_path, monkeypatch):
    """It saw claim 0; since then 1 and 2 were made, and those below removed."""
    holder, late = leases.Claim(tmp_path, 2, BEAT), watch()
    real, seen = leases.Files.numbers, [{0}]
    monkeypatch.setattr(leases.Watch, "_free", lambda *_: True)
    monkeypatch.setattr(leases.Files, "numbers", lambda files: seen.pop() if seen else real(files))
    assert late.take(tmp_path) is None
    holder.check()
    holder.close()


def test_a_link_whose_success_was_not_told_is_ones_own(tmp_path, monkeypatch):
    real = os.link

    def link(own, name):
        real(own, name)
        raise FileExistsError(name)

    monkeypatch.setattr(os, "link", link)
    claim = watch().take(tmp_path)
    claim.check()
    assert leases.Files(tmp_path).numbers() == {claim.number}
    claim.close()
    with pytest.raises(FileExistsError):  # another's is another's
        leases.Claim(tmp_path, claim.number)


DAMAGED = (b"", b"{", b"[]", b"\xff", b'{"held": 1}', b'{"process": {"space": 1, "id": "x"}}')


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_claim_blocks_for_no_longer_than_a_silent_one(content, tmp_path):
    (tmp_path / "claim.0").write_bytes(content)
    other = watch()
    assert other.take(tmp_path) is None
    time.sleep(1.1 * LEASE)
    other.take(tmp_path).close()


def test_of_this_machine_the_dead_are_known_at_once_and_a_number_used_again_is_not_them(tmp_path):
    mine = leases._process()
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    cases = (
        (mine, False),
        (mine | {"id": done.pid}, True),
        (mine | {"began": "1"}, True),  # another process had that number before
        (mine | {"space": "another container", "id": done.pid}, False),
        (None, False),
    )
    for i, (process, gone) in enumerate(cases):
        directory = tmp_path / str(i)
        directory.mkdir()
        someone(directory, process=process)
        claim = watch().take(directory)
        assert (claim is not None) == gone
        if claim:
            claim.close()


def test_a_process_that_may_not_be_looked_at_is_not_known_to_be_dead(tmp_path, monkeypatch):
    someone(tmp_path, process=leases._process() | {"id": 1, "began": "7"})
    read = Path.read_text

    def hidden(path, *args):  # as of another user's with hidepid
        if str(path) == "/proc/1/stat":
            raise FileNotFoundError(path)
        return read(path, *args)

    monkeypatch.setattr(Path, "read_text", hidden)
    assert watch().take(tmp_path) is None


def test_a_child_that_nobody_has_buried_is_dead(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", ""])
    deadline = time.monotonic() + 10
    while leases._began(child.pid) != leases.ENDED and time.monotonic() < deadline:
        time.sleep(0.01)
    assert leases._began(child.pid) == leases.ENDED
    child.wait()


RACE = """
import sys, time
from pathlib import Path
from fmnist_jax import leases
watch = leases.Watch(lease=0.2, beat=0.05)
directories = sorted(Path(sys.argv[1]).iterdir())
while time.time() < float(sys.argv[2]):
    pass
for directory in directories:
    if claim := watch.take(directory):
        claim.check()
        with open(directory / "taken", "a") as file:
            print(sys.argv[3], file=file)
time.sleep(1.5)  # holding all of them, beating
"""


def test_of_many_that_race_for_a_hundred_groups_each_goes_to_one(tmp_path):
    groups = [tmp_path / "groups" / f"{i:03}" for i in range(100)]
    for group in groups:
        group.mkdir(parents=True)
    for group in groups[::2]:  # and half of them have a dead one's claim
        someone(group, process=leases._process() | {"began": "1"})
    start = str(time.time() + 1.5)
    racers = [subprocess.Popen([sys.executable, "-c", RACE, str(tmp_path / "groups"), start, str(i)]) for i in range(4)]
    assert [racer.wait(timeout=60) for racer in racers] == [0] * 4
    assert [len((group / "taken").read_text().splitlines()) for group in groups] == [1] * 100
