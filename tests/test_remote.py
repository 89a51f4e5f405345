"""A workdir in a bucket: what is there counts, in whatever moment one looks, and whoever comes goes on from it."""

import contextlib
import io
import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers import mlp
from rich.console import Console

from benchmarks.faults import hosts as faults
from benchmarks.faults import subject
from fmnist_jax import bucket, claims, config, leases, remote, store, study
from fmnist_jax.errors import StorageError, UserError
from fmnist_jax.share import Share
from fmnist_jax.signals import Interrupted

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.usefixtures("shared_programs")

SHORT = ("--config.seeds=2", "--config.train.duration=30 epochs")
MINE = SimpleNamespace(check=lambda: None)  # a claim that nobody takes over


@pytest.fixture(scope="module")
def s3():
    """A stand-in for S3, and what a process finds it by."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    found = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    os.environ.update(found)
    import s3fs

    s3fs.S3FileSystem().mkdir("studies")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    yield found
    server.stop()
    for name in found:
        del os.environ[name]


@pytest.fixture
def place(s3, request):
    """A place in it that no other test has."""
    return f"s3://studies/{request.node.name}"


def mirror(place, directory):
    return remote.Mirror(place, directory)


def filled(directory, **files):
    for name, content in files.items():
        path = directory / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def content(directory):
    return {path.relative_to(directory).as_posix(): path.read_text() for path in remote._files(directory)}


def there(place):
    """The names of what is there, but for claims."""
    return sorted(name for name in bucket.Bucket(place).marks() if not remote._of_claims(name))


def test_of_many_that_create_an_object_one_has(place):
    made, start = [], threading.Barrier(8)

    def create(i):
        there = bucket.Bucket(place)
        start.wait()
        try:
            there.create("claim", str(i).encode())
            made.append(str(i).encode())
        except FileExistsError:
            pass

    threads = [threading.Thread(target=create, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [bucket.Bucket(place).read("claim")]


def test_what_is_kept_is_there_for_another_and_what_is_gone_goes(place, tmp_path):
    one, other = mirror(place, tmp_path / "a"), mirror(place, tmp_path / "b")
    with one.lock(True), one.turn():
        filled(one.directory, config="{}", groups__0__metrics="1\n", groups__0__rows="x")
    with other.lock(True), other.turn():
        assert content(other.directory) == content(one.directory)
        (other.directory / "groups/0/rows").unlink()
        filled(other.directory, groups__0__metrics="1\n2\n")
    with one.lock(True):
        assert content(one.directory) == {"config": "{}", "groups/0/metrics": "1\n2\n"}


def test_what_makes_it_count_goes_last_and_is_removed_first(place, tmp_path, monkeypatch):
    one, order = mirror(place, tmp_path), []
    write, remove = bucket.Bucket.write, bucket.Bucket.remove
    monkeypatch.setattr(bucket.Bucket, "write", lambda self, name, data: (order.append(name), write(self, name, data)))
    monkeypatch.setattr(bucket.Bucket, "remove", lambda self, names: (order.extend(names), remove(self, names)))
    with one.lock(True), one.working(tmp_path / "groups/0", MINE):
        filled(tmp_path, **{"groups__0__checkpoints__4.manifest.json": "{}", "groups__0__checkpoints__4__a": "a"})
        filled(tmp_path, groups__0__zzz="z", **{"groups__0__done.json": "{}"})
        one.keep()
        sent = [name.removeprefix("groups/0/") for name in order]
        assert sorted(sent[:2]) == ["checkpoints/4/a", "zzz"]
        assert sent[2:] == ["checkpoints/4.manifest.json", "done.json"]
        order.clear()
        for name in ("checkpoints/4.manifest.json", "checkpoints/4/a", "done.json"):
            (tmp_path / "groups/0" / name).unlink()
        filled(tmp_path, **{"groups__0__group.json": "{}", "groups__0__checkpoints__8.manifest.json": "{}"})
        one.keep()
        new = ["checkpoints/8.manifest.json", "group.json"]  # which no old done.json may be read with
        gone = ["checkpoints/4.manifest.json", "checkpoints/4/a"]  # which are all there is, until the new ones are
        assert order == [f"groups/0/{name}" for name in ["done.json", *new, *gone]]


def test_a_checkpoint_that_was_pruned_meanwhile_gets_no_manifest(place, tmp_path, monkeypatch):
    one = mirror(place, tmp_path)
    filled(tmp_path, **{"groups__0__checkpoints__4.manifest.json": "{}", "groups__0__checkpoints__4__a": "a"})
    one._own(tmp_path, MINE.check)
    read = Path.read_bytes

    def pruned(path):
        if path.name == "a":
            path.unlink()
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", pruned)
    one.keep()
    assert bucket.Bucket(place).marks() == {}


def test_of_others_groups_nothing_is_sent(place, tmp_path):
    one = mirror(place, tmp_path)
    with one.lock(True):
        with one.working(tmp_path / "groups/1", MINE):
            filled(tmp_path, groups__0__done="{}", groups__1__done="{}", groups__10__done="{}", config="{}")
            one.fetch(tmp_path / "groups/2")  # to read it
            filled(tmp_path, groups__2__more="{}")
        filled(tmp_path, groups__1__more="{}")
    assert list(bucket.Bucket(place).marks()) == ["groups/1/done"]


@pytest.mark.parametrize("stop", [Interrupted(signal.SIGTERM), StorageError("full"), MemoryError()])
def test_however_it_ends_what_was_done_is_there(place, tmp_path, stop):
    one = mirror(place, tmp_path)
    with contextlib.suppress(type(stop)), one.lock(True), one.working(tmp_path / "groups/0", MINE):
        filled(tmp_path, groups__0__rows="1\n")
        raise stop
    with contextlib.suppress(type(stop)), one.lock(True), one.turn():
        filled(tmp_path, config="{}")
        raise stop
    assert there(place) == ["config", "groups/0/rows"]


def test_of_a_group_that_was_lost_nothing_is_ever_sent(place, tmp_path):
    lost, one = [], mirror(place, tmp_path)
    bucket.Bucket(place).write("groups/0/rows", b"1\n2\n")  # of who has it now
    bucket.Bucket(place).write("groups/0/checkpoints/2/a", b"a")

    def check():
        if lost:
            raise leases.Lost("taken over")

    with one.lock(True):
        with contextlib.suppress(leases.Lost), one.working(tmp_path / "groups/0", SimpleNamespace(check=check)):
            one.fetch(tmp_path / "groups/0")
            filled(tmp_path, **{"groups__0__rows": "1\n", "groups__0__checkpoints__4__a": "a"})
            filled(tmp_path, groups__0__checkpoints__2__a="mine")
            lost.append(1)
            one.keep()  # as the thread does, before anyone has looked
        assert not (tmp_path / "groups/0/checkpoints/4/a").exists()
        with one.turn():
            filled(tmp_path, config="{}")
    with one.lock(True), one.turn():
        pass
    assert there(place) == ["config", "groups/0/checkpoints/2/a", "groups/0/rows"]
    assert bucket.Bucket(place).read("groups/0/rows") == b"1\n2\n"
    assert bucket.Bucket(place).read("groups/0/checkpoints/2/a") == b"a"


def test_names_that_would_lead_elsewhere_are_refused_and_folders_are_no_files(place, tmp_path):
    there = bucket.Bucket(place)
    for name in ("", "groups/", "groups/0/rows"):
        there.files.pipe_file(f"{there.root}/{name}", b"")
    assert list(there.marks()) == ["groups/0/rows"]
    there.files.pipe_file(f"{there.root}//etc/x", b"")
    with pytest.raises(StorageError, match="'/etc/x' can be no file of a workdir; remove that object"):
        mirror(place, tmp_path)._bring(lambda name: False)


def test_an_object_that_another_is_making_at_this_moment_is_there(place, monkeypatch):
    def conflict(*args, **options):
        raise OSError(5, "An error occurred (ConditionalRequestConflict) when calling the PutObject operation")

    one = bucket.Bucket(place)
    monkeypatch.setattr(one.files, "pipe_file", conflict)
    with pytest.raises(FileExistsError):
        one.create("claim", b"1")


def test_a_claim_beats_on_after_its_bucket_was_away(place, monkeypatch):
    one, failures = bucket.Bucket(place), [StorageError("away")]
    write = bucket.Bucket.write

    def failing(self, name, content):
        if failures:
            raise failures.pop()
        write(self, name, content)

    monkeypatch.setattr(bucket.Bucket, "write", failing)
    claim = leases.Watch(beat=0.05, claims_of=lambda _: bucket.Objects(one, "g")).take(Path("g"))
    deadline = time.monotonic() + 20
    while '"beats": "000000000000"' in one.read("g/claim/0").decode():
        assert time.monotonic() < deadline
    failures.append(StorageError("away again"))
    claim.close()
    assert json.loads(one.read("g/claim/0"))["held"] in (0, 1)


def test_two_processes_of_one_machine_have_a_directory_each(place):
    one, other = remote.Mirror(place), remote.Mirror(place)
    assert one.directory != other.directory
    first = one.directory
    os.close(one._held)
    assert remote.Mirror(place).directory == first


def test_a_paper_leaves_its_parts_to_themselves_and_old_checkpoints_are_not_sent(place, tmp_path):
    one = mirror(place, tmp_path)
    filled(tmp_path, **{"a__groups__0__checkpoints__4__x": "old", "groups__0__checkpoints__4__x": "old"})
    with one.lock(True):
        part = one.part("a")
        with part.lock(True), part.working(part.directory / "groups/0", MINE):
            filled(part.directory, groups__0__done="{}")
            with one.turn():
                filled(tmp_path, paper="{}")
            assert there(place) == ["paper"]
    assert there(place) == ["a/groups/0/done", "paper"]


def test_a_bucket_that_cannot_be_reached_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://localhost:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(StorageError, match=r"^s3://nowhere/x: \w+: [^\n]*$"):
        bucket.Bucket("s3://nowhere/x").marks()


def test_a_library_that_is_missing_and_a_place_of_no_kind_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    import fsspec

    fsspec.registry._registry.pop("gs", None) if hasattr(fsspec.registry, "_registry") else None
    with pytest.raises(UserError, match="needs gcsfs; pip install gcsfs"):
        bucket.Bucket("gs://bucket/dir")
    with pytest.raises(UserError, match="gs://BUCKET/DIR and s3://BUCKET/DIR are known"):
        bucket.Bucket("what://bucket/dir")


@pytest.fixture
def google(monkeypatch):
    """A stand-in for Google's buckets, but for one thing: it makes an object anew where there is one."""
    from gcp_storage_emulator.server import create_server

    port = faults._free_port()
    server = create_server("localhost", port, in_memory=True, default_bucket="studies")
    server.start()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://localhost:{port}")
    yield "gs://studies"
    server.stop()


def test_googles_buckets_too(google, tmp_path, monkeypatch):
    import gcsfs

    one, other = (mirror(f"{google}/x", tmp_path / name) for name in "ab")
    with one.lock(True), one.turn():
        filled(one.directory, config="{}", groups__0__rows="x", groups__0__gone="y")
    with other.lock(True), other.turn():
        assert content(other.directory) == content(one.directory)
        (other.directory / "groups/0/gone").unlink()
    assert there(f"{google}/x") == ["config", "groups/0/rows"]
    with pytest.raises(FileNotFoundError):
        one.bucket.read("nothing")
    asked, call = [], gcsfs.GCSFileSystem._call

    async def listening(self, *args, **options):
        asked.append(options.get("ifGenerationMatch"))
        return await call(self, *args, **options)

    monkeypatch.setattr(gcsfs.GCSFileSystem, "_call", listening)
    one.bucket.create("claim", b"1")
    assert "0" in asked  # "only where there is none"


def session(place, cache, *flags, keep=0.3):
    """A process with a cache of its own, as on another machine."""
    env = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    code = f"import sys; from fmnist_jax import main, remote; remote.KEEP = {keep}; sys.argv[0] = 'main'; main.run()"
    command = [sys.executable, "-c", code, *subject.command(place, "mapped", *flags)[3:]]
    return subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(process):
    shown, said = process.communicate(timeout=240)
    assert process.returncode == 0, shown + said


def brought(place, directory):
    """All of a workdir in a bucket."""
    one = mirror(place, directory)
    one._bring(lambda name: False)
    return directory


@pytest.fixture(scope="module")
def whole(tmp_path_factory, shared_programs):
    return subject.undisturbed(tmp_path_factory.mktemp("whole") / "w", "mapped", *SHORT)[0]


def test_a_study_in_a_bucket_killed_goes_on_elsewhere_with_the_same_bits(place, whole, tmp_path):
    first = session(place, tmp_path / "one", *SHORT)
    there, deadline = bucket.Bucket(place), time.monotonic() + 120
    while not any(name.endswith(".manifest.json") for name in there.marks()):
        assert first.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.2)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    ended(session(place, tmp_path / "two", *SHORT))
    found = brought(place, tmp_path / "found")
    assert subject.differing(subject.outcome(found), whole) == ""
    assert len(list(found.glob("groups/0/sessions/*.json"))) == 2


def test_a_study_in_a_bucket_that_is_stopped_has_sent_what_it_saved(place, tmp_path):
    flags = ("--config.seeds=1", "--config.train.duration=400 epochs")
    first = session(place, tmp_path / "one", *flags, keep=1e6)
    there, deadline = bucket.Bucket(place), time.monotonic() + 120
    while not list((tmp_path / "one").rglob("*.manifest.json")):
        assert (first.poll(), time.monotonic() < deadline) == (None, True)
        time.sleep(0.1)
    first.send_signal(signal.SIGTERM)
    _, said = first.communicate(timeout=60)
    assert first.returncode == 143
    step = int(re.search(r"stopped at step ([\d,]+), all saved", said)[1].replace(",", ""))
    assert f"groups/0/checkpoints/{step}.manifest.json" in there.marks()


def test_two_that_come_to_a_bucket_share_its_groups(place, tmp_path):
    flags = ("--config.seeds=2", "--config.population.most_runs=1", "--config.train.duration=16 epochs")
    both = [session(place, tmp_path / str(i), *flags) for i in range(2)]
    for one in both:
        ended(one)
    found = brought(place, tmp_path / "found")
    sessions = [len(list(group.glob("sessions/*.json"))) for group in found.glob("groups/*")]
    assert sessions == [1] * 2
    assert json.loads((found / "groups/0/test.json").read_text())["runs"] == [0]


def studied(place, directory, **changes):
    """In this process, by what is in the bucket, as on another machine."""
    shown = io.StringIO()
    checked = config.parse(mlp(**{"population__mode": "map", "seeds": 2, **changes}))
    found = study.run(checked, mirror(place, directory), Console(file=shown, width=120), share=Share(claim=True))
    return found, shown.getvalue()


def test_a_finished_study_in_a_bucket_is_asked_something_new_elsewhere(place, tmp_path):
    studied(place, tmp_path / "a")
    found, _ = studied(place, tmp_path / "b", claims=(claims.at_least("A", 0.0),))
    assert [verdict.name for verdict in found.verdicts] == ["A"]
    assert [one["name"] for one in json.loads(bucket.Bucket(place).read("study.json"))["claims"]] == ["A"]


def test_a_last_checkpoint_that_was_damaged_in_the_bucket_is_trained_again(place, tmp_path):
    studied(place, tmp_path / "a", evaluation__test="none", metric="validation_accuracy")
    there = bucket.Bucket(place)
    name = max(name for name in there.marks() if "/checkpoints/26/" in name and name.endswith("_METADATA"))
    there.write(name, b"")
    found, shown = studied(place, tmp_path / "b")
    assert "its last checkpoint is not whole" in shown
    assert len(found.table["test_accuracy"].dropna()) == 2


def test_a_disk_needs_nothing_of_it(tmp_path):
    disk = store.opened(tmp_path)
    disk.look(), disk.fetch(tmp_path), disk.keep()
    with disk.working(tmp_path, MINE):
        pass
    assert disk.part("a").directory == tmp_path / "a"
    assert not store.in_bucket(tmp_path)
    assert store.in_bucket("gs://a/b")
