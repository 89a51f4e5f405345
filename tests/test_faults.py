"""The faults of docs/reliability.md: made where they say, and what is not as promised is noticed."""

import json
import os
import signal
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from jax._src import lru_cache

from benchmarks.faults import kills, memory, points, processes, racers, row, sessions, signals, storage
from benchmarks.faults.guards import GUARDS, WITHOUT
from benchmarks.faults.points import POINTS, Passing
from benchmarks.faults.row import Trial
from benchmarks.faults.sessions import Ended, Whole
from fmnist_jax import leases, program_cache, workdir, writers

ROWS = [{"arm": "base", "seed": seed, "fold": 0, "step": 40} for seed in (0, 1)]
WHOLE = Whole({"0/done.json": b'{"results": [1]}'}, 1.0, 100, {"0": 80}, 8)


@pytest.fixture
def put(monkeypatch):
    """What a point is put in its place with; away after the test."""
    monkeypatch.delenv(points.MARK, raising=False)
    return monkeypatch.setattr


# Points


def test_a_point_is_passed_the_nth_time_alone_and_marked(tmp_path, monkeypatch):
    monkeypatch.setenv(points.MARK, str(tmp_path / "mark"))
    seen = []
    passing = Passing(2, lambda: seen.append("there"))
    passing()
    assert (seen, (tmp_path / "mark").exists()) == ([], False)
    passing()
    passing()
    assert (seen, (tmp_path / "mark").exists()) == (["there"], True)


@pytest.mark.parametrize(("point", "there"), [("half a row", 2), ("rows not synced", 3), ("rows written", 3)])
def test_in_the_rows(tmp_path, put, point, there):
    path, seen = tmp_path / "metrics.jsonl", []
    POINTS[point](Passing(2, lambda: seen.append(path.read_bytes())), put)
    rows = writers.RowWriter(path, -1)
    rows.write(ROWS[:1])
    rows.write(ROWS)
    rows.close()
    assert seen[0].count(b"\n") == there
    assert seen[0].endswith(b"\n") == (point != "half a row")
    assert path.read_bytes().count(b"\n") == 3  # where it is not killed, all are there


@pytest.mark.parametrize(("when", "temporary", "there"), [("before", 0, 0), ("within", 1, 0), ("after", 0, 1)])
def test_in_a_file(tmp_path, put, when, temporary, there):
    path, seen = tmp_path / "done.json", []
    POINTS[f"{when} done.json"](Passing(1, lambda: seen.append(sorted(p.name for p in tmp_path.iterdir()))), put)
    writers.write_json(tmp_path / "test.json", {})
    writers.write_json(path, {})
    assert len(seen[0]) == 1 + temporary + there  # test.json, and
    assert (path.name in seen[0]) == there


def test_in_the_pruning_of_a_checkpoint(tmp_path, put):
    for name in ("a", "b"):
        (tmp_path / "20").mkdir(exist_ok=True)
        (tmp_path / "20" / name).touch()
    seen = []
    POINTS["prune"](Passing(1, lambda: seen.append([p.name for p in (tmp_path / "20").iterdir()])), put)
    points.deleter.PathDeleter(tmp_path).delete(points.deleter.epath.Path(tmp_path / "20"))
    assert seen == [["b"]]
    assert not (tmp_path / "20").exists()


def test_in_a_compiled_program_and_of_such_a_kill_nothing_is_left(tmp_path, put):
    put(lru_cache.LRUCache, "put", program_cache._put)
    cache, seen = lru_cache.LRUCache(str(tmp_path), max_size=-1), []
    POINTS["within program"](Passing(1, lambda: seen.append(cache.get("key"))), put)
    cache.put("key", b"program")
    cache.put("key", b"another")
    assert (seen, cache.get("key")) == ([None], b"program")


@pytest.mark.parametrize("guarded", [True, False])
def test_without_the_guard_half_a_program_is_there_for_ever(tmp_path, put, guarded):
    """Of a kill in the middle of writing it, in whatever way it is written."""
    cache, write = lru_cache.LRUCache(str(tmp_path), max_size=-1), Path.write_bytes

    def half(path, content):
        write(path, content[: len(content) // 2])
        raise KeyboardInterrupt

    put(lru_cache.LRUCache, "put", program_cache._put if guarded else program_cache._put_in_place)
    if guarded:
        put(os, "replace", lambda *args: half(tmp_path / ".temporary", b"program"))
    put(type(cache.path), "write_bytes", half)
    with pytest.raises(KeyboardInterrupt):
        cache.put("key", b"program")
    assert cache.get("key") == (None if guarded else b"pro")


def test_a_program_that_cannot_be_kept_stops_nothing(tmp_path, put):
    asked = []

    def full(path, content):
        asked.append(path.name)
        raise OSError(28, "no space")

    put(lru_cache.LRUCache, "put", program_cache._put)
    put(writers, "write_atomically", full)
    cache = lru_cache.LRUCache(str(tmp_path), max_size=-1)
    cache.put("key", b"program")
    assert (asked, cache.get("key")) == (["key-cache"], None)


def test_every_kill_is_of_a_point_that_there_is():
    named = {*kills.NTH, *kills.SHORT, *kills.AFTER_ANOTHER, *(point for point, _ in kills.AFTER_ANOTHER.values())}
    named |= {point for point, _ in (*kills.TEN, *signals.PLACES)} | {point for point, *_ in storage.FULL_AT}
    assert named <= POINTS.keys()
    assert len(kills.TEN) == 10
    assert len(POINTS) <= kills.KILLS


# What is counted


def test_a_trial_that_raises_has_broken_its_promise(tmp_path):
    def work(own):
        assert own.is_dir()
        raise ValueError("no")

    trials = [sessions.trial("a, 1", lambda own: "", tmp_path), sessions.trial("b, 1", work, tmp_path)]
    made = row.of("fault", "promise", trials, sessions.kind)
    assert (made.trials, made.kept, dict(made.broken)) == (2, 1, {"b, 1": "ValueError: no"})
    assert made.kinds == {"a": 1, "b": 1}
    assert list(tmp_path.iterdir()) == []


class Scripted:
    """In the place of a Session: ends as it is told to, one after the other."""

    def __init__(self, *ends: Ended):
        self.ends = list(ends)

    def __call__(self, *args, **kwargs):
        ended = self.ends.pop(0)
        return SimpleNamespace(end=lambda: ended, send=lambda signum: None)


def ended(status=0, error="", seconds=0.1, reached=True) -> Ended:
    return Ended(status, seconds, reached, "", error)


@pytest.fixture
def outcome(put):
    """What a scripted study has come to; all right, until the test changes it."""
    found = dict(WHOLE.outcome)
    put(sessions, "everything", lambda workdir: found)
    for module in (kills, signals):
        put(module, "whole", lambda *args: WHOLE)
    return found


def workdir_with(directory: Path, steps=(40, 80), manifests=(40, 80)) -> Path:
    """A group with rows and manifests of these steps."""
    checkpoints = directory / "w/groups/0/checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints.parent / "group.json").write_text("{}")
    lines = [json.dumps({**ROWS[0], "step": step}) + "\n" for step in steps]
    (checkpoints.parent / "metrics.jsonl").write_text("".join(lines))
    for step in manifests:
        (checkpoints / f"{step}.manifest.json").write_text("{}")
    return directory / "w"


KILLED = ended(-signal.SIGKILL)


def test_a_kill_that_never_came_is_no_proof(tmp_path, put, outcome):
    put(kills, "Session", Scripted(ended(0, reached=False)))
    assert "not killed at step" in kills.killed(tmp_path, tmp_path, [("step", 1)], "mapped")


@pytest.mark.parametrize(
    ("next_one", "steps", "changed", "problem"),
    [
        (ended(), (40, 80), {}, ""),
        (ended(1, "error: gone"), (40, 80), {}, "the next session: exit status 1: error: gone"),
        (ended(0, "UserWarning: x"), (40, 80), {}, "the next session"),
        (ended(), (40, 40), {}, "1 rows are there twice"),
        (ended(), (40, 80), {"0/done.json": b"{}"}, "differs in 0/done.json"),
        (ended(), (40, 80), {"1/done.json": b"{}"}, "differs in 1/done.json"),
    ],
)
def test_what_comes_of_a_kill_is_judged(tmp_path, put, outcome, next_one, steps, changed, problem):
    put(kills, "Session", Scripted(KILLED))
    put(sessions, "Session", Scripted(next_one))
    workdir_with(tmp_path, steps)
    outcome.update(changed)
    found = kills.killed(tmp_path, tmp_path, [("step", 1)], "mapped")
    assert found.startswith(problem)
    assert bool(found) == bool(problem)


SAVED = "stopped at step 80, all saved; the same command goes on from there\n"
AT_ONCE = "\nstopped at once; the same command goes on from the newest checkpoint\n"


@pytest.mark.parametrize(
    ("end", "times", "manifests", "problem"),
    [
        (ended(143, SAVED), 1, (40, 80), ""),
        (ended(143, AT_ONCE), 2, (40,), ""),
        (ended(143, AT_ONCE), 1, (40, 80), "said 'stopped at once"),
        (ended(130, SAVED), 1, (40, 80), "exit status 130"),
        (ended(-15, ""), 1, (40, 80), "exit status -15"),
        (ended(143, SAVED + "Traceback"), 1, (40, 80), "exit status 143"),
        (ended(143, SAVED, seconds=26), 1, (40, 80), "took 26 s"),
        (ended(143, SAVED), 1, (40,), "1 segments are lost"),
        (ended(143, AT_ONCE), 2, (), "2 segments are lost"),
        (ended(143, SAVED), 1, (40, 80, 120), f"{SAVED.strip()!r}, but the newest checkpoint is of step 120"),
    ],
)
def test_the_end_that_a_signal_makes_is_judged(tmp_path, put, outcome, end, times, manifests, problem):
    put(sessions, "Session", Scripted(ended()))
    place, figures = workdir_with(tmp_path, manifests=manifests), signals.Figures()
    found = signals.judged(end, place, tmp_path, signal.SIGTERM, times, figures)
    assert found.startswith(problem)
    assert bool(found) == bool(problem)
    assert figures.facts()["longest seconds to exit"] == end.seconds


def test_a_signal_that_is_heeded_without_saving_is_noticed(tmp_path, put, outcome):
    put(signals, "Session", Scripted(ended(143, SAVED.replace(" at step 80", ""))))
    found = signals.stopped_at(tmp_path, tmp_path, "step", 1, "mapped", "term", signal.SIGTERM, signals.Figures())
    assert found.startswith("it did not say at which step")


ENOSPC = "error: w: No space left on device; free or choose another place with --workdir=DIR\n"


@pytest.mark.parametrize(
    ("end", "done", "problem"),
    [
        (ended(1, ENOSPC), "[1]", ""),
        (ended(0, ""), "[1]", "exit status 0"),
        (ended(1, "Traceback\n" + ENOSPC), "[1]", "exit status 1"),
        (ended(1, "error: something else\n"), "[1]", "exit status 1"),
        (ended(1, ENOSPC), "[]", "0/done.json is false"),
    ],
)
def test_the_end_that_a_full_disk_makes_is_judged(tmp_path, end, done, problem):
    (tmp_path / "groups/0").mkdir(parents=True)
    (tmp_path / "groups/0/done.json").write_text(f'{{"results": {done}}}')
    found = storage.failed_well(end, storage.FULL, tmp_path, WHOLE)
    assert found.startswith(problem)
    assert bool(found) == bool(problem)


def test_a_checkpoint_that_a_full_disk_damaged_is_noticed(tmp_path):
    place = workdir_with(tmp_path, manifests=(40,))
    assert storage.failed_well(ended(1, ENOSPC), storage.FULL, place, WHOLE) == ""
    (place / "groups/0/checkpoints/40.manifest.json").write_text('{"default/x": "0"}')
    found = storage.failed_well(ended(1, ENOSPC), storage.FULL, place, WHOLE)
    assert found == "default/x of checkpoint 40 is not whole"


def test_what_was_saved_and_is_gone_is_noticed_and_so_is_what_is_trained_again(tmp_path):
    place = workdir_with(tmp_path)
    before = sessions.saved(place)
    assert before == {"0": 80}
    assert storage.gone(before, before) == ""
    (place / "groups/0/checkpoints/80.manifest.json").unlink()
    assert storage.gone(before, sessions.saved(place)) == "group 0: checkpoint 80 is gone"
    (place / "groups/0/done.json").write_text('{"step": 160}')
    (place / "groups/0/sessions").mkdir()
    for images, problem in ((40, ""), (41, "group 0: 41 images trained, where 40 were left")):
        (place / "groups/0/sessions/a.json").write_text(json.dumps({"images": images}))
        assert sessions.again(place, WHOLE, before, set()) == problem


def test_a_disk_that_may_not_be_made_is_said(tmp_path, put):
    put(storage.subprocess, "run", lambda *a, **k: SimpleNamespace(returncode=32, stderr="must be superuser\n"))
    put(storage, "whole", lambda *args: WHOLE)
    made = storage._too_small(0.5, "mapped", tmp_path)()
    assert made.problem == "NotMadeError: not made: must be superuser"


def test_what_several_processes_do_is_judged():
    def said(number):
        return f"workdir w: in use by process {number} on {processes.socket.gethostname()}; wait for it, or stop it"

    assert processes.locked("", said(7), (7, 8)) == processes.locked(said(8), "", (7, 8)) == ""
    assert "process 7 has it, but" in processes.locked("", said(9), (7, 8))
    assert processes.locked("", "", (7, 8))
    assert processes.locked(said(8), said(7), (7, 8))
    assert processes.claimed("taken", "", (7, 8)) == ""
    assert processes.claimed("taken", "taken", (7, 8))
    assert processes.claimed("", "", (7, 8))


@pytest.mark.parametrize(
    ("images", "killed", "problem"), [(80, False, ""), (160, False, "x"), (90, True, ""), (91, True, "x")]
)
def test_a_group_that_was_trained_twice_is_noticed(tmp_path, images, killed, problem):
    place = workdir_with(tmp_path)
    (place / "groups/0/sessions").mkdir()
    for i, share in enumerate((images - 40, 40)):
        (place / f"groups/0/sessions/{i}.json").write_text(json.dumps({"images": share}))
    assert bool(processes.trained_twice(place, WHOLE, killed)) == bool(problem)


def test_memory_that_suffices_is_no_proof(tmp_path, put):
    put(memory, "undisturbed", lambda scratch: {})
    put(memory, "limited", lambda *args: ended())
    assert memory.narrower(tmp_path, tmp_path, 750, 1).startswith("0 groups were split")
    assert memory.alone(tmp_path, tmp_path).startswith("exit status 0")


# Guards, and what is noticed without them


def raced(run, directories):
    """What two threads find, each as a process of its own would."""
    barrier, found = threading.Barrier(2), []
    ends = [SimpleNamespace(send=found.append) for _ in range(2)]
    threads = [threading.Thread(target=run, args=(directories, barrier, end)) for end in ends]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [sorted(both) for both in zip(*found, strict=True)]


def left(tmp_path, there):
    for i, what in enumerate(there):
        (tmp_path / str(i)).mkdir()
        racers.leave(tmp_path / str(i), what)
    return [tmp_path / str(i) for i in range(len(there))]


THERE = ("nothing there", "a dead one's there", "a used number's there")


def test_a_lock_is_one_threads_and_without_the_guard_both_have_it(tmp_path, put):
    directories = left(tmp_path, THERE)
    for first, second in raced(racers.locks, directories):
        assert first == ""
        assert f"in use by process {os.getpid()} on" in second
    put(workdir.fcntl, "flock", lambda file, operation: None)
    assert raced(racers.locks, directories) == [["", ""]] * 3


def test_a_claim_is_one_threads_and_without_the_guard_both_have_it(tmp_path, put):
    assert raced(racers.claims, left(tmp_path, THERE)) == [["", "taken"]] * 3
    put(leases.Watch, "take", lambda self, directory: SimpleNamespace(check=lambda: None, close=lambda: None))
    assert raced(racers.claims, left(tmp_path / "0", THERE)) == [["taken", "taken"]] * 3


def test_claims_are_judged_and_without_the_guard_the_dead_block_or_the_living_are_robbed(tmp_path, put):
    assert {made.problem for made in (one() for one in processes._claims(tmp_path))} == {""}
    put(leases, "dead", lambda content: False)
    broken = {made.name for made in (one() for one in processes._claims(tmp_path)) if made.problem}
    assert broken == {"its process has ended", "its number is another's"}
    put(leases, "dead", lambda content: True)
    broken = {made.name for made in (one() for one in processes._claims(tmp_path)) if made.problem}
    assert "its process lives" in broken


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    """With a cache for the sessions of this file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
        yield tmp_path_factory.mktemp("scratch")


# Guard -> the trial that shows that it is there, and what that says without it.
SHOWS = {
    "rows past the newest checkpoint are cut": (lambda scratch: kills._at("rows written", scratch), "rows"),
    "a session goes on from its checkpoint": (lambda scratch: kills._at("save", scratch), "images trained, where"),
    "a signal waits until all is saved": (
        lambda scratch: signals._at("step", 9, "mapped", "term", signal.SIGTERM, signals.Figures(), scratch),
        "it did not say at which step",
    ),
    "one process at a time": (
        lambda scratch: sessions.trial("two", lambda own: processes.two_commands(own, scratch), scratch),
        "exit status",
    ),
}


@pytest.mark.parametrize("guard", GUARDS)
def test_without_a_guard_its_fault_is_noticed(guard, scratch, monkeypatch):
    """A real one, of some seconds; that it is kept with the guard, `python -m benchmarks.faults` shows."""
    sessions.whole(scratch, "mapped", *kills.QUICK)
    monkeypatch.setenv(WITHOUT, guard)
    trial, words = SHOWS[guard]
    made = trial(scratch)()
    assert isinstance(made, Trial)
    assert words in made.problem
    assert "was not reached" not in made.problem
    assert "hangs" not in made.problem
