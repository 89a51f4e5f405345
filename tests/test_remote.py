"""A workdir in a bucket: what is there counts, in whatever moment one looks, and whoever comes goes on from it."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from benchmarks.faults import hosts as faults
from benchmarks.faults import subject
from fmnist_jax import bucket, remote, store
from fmnist_jax.errors import StorageError, UserError

ROOT = Path(__file__).parent.parent


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
    with one.lock(True):
        one.fetch(tmp_path / "groups/0")
        filled(tmp_path, **{"groups__0__checkpoints__4.manifest.json": "{}", "groups__0__checkpoints__4__a": "a"})
        filled(tmp_path, groups__0__zzz="z", **{"groups__0__done.json": "{}"})
        one.keep()
        sent = [name.removeprefix("groups/0/") for name in order]
        assert sorted(sent[:2]) == ["checkpoints/4/a", "zzz"]
        assert sorted(sent[2:]) == ["checkpoints/4.manifest.json", "done.json"]
        order.clear()
        for name in ("checkpoints/4.manifest.json", "checkpoints/4/a"):
            (tmp_path / "groups/0" / name).unlink()
        one.keep()
        assert order == ["groups/0/checkpoints/4.manifest.json", "groups/0/checkpoints/4/a"]


def test_a_checkpoint_that_was_pruned_meanwhile_gets_no_manifest(place, tmp_path, monkeypatch):
    one = mirror(place, tmp_path)
    filled(tmp_path, **{"groups__0__checkpoints__4.manifest.json": "{}", "groups__0__checkpoints__4__a": "a"})
    one._owned = frozenset({""})
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
        one.fetch(tmp_path / "groups/1")
        filled(tmp_path, groups__0__done="{}", groups__1__done="{}", groups__10__done="{}", config="{}")
        one.keep()
        assert list(bucket.Bucket(place).marks()) == ["groups/1/done"]
        one.give_up(tmp_path / "groups/1")
        filled(tmp_path, groups__1__more="{}")
    assert list(bucket.Bucket(place).marks()) == ["groups/1/done"]


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
        with part.lock(True):
            part.fetch(part.directory / "groups/0")
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


def session(place, cache, *flags):
    """A process with a cache of its own, as on another machine."""
    env = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    often = "import sys; from fmnist_jax import main, remote; remote.KEEP = 0.3; sys.argv[0] = 'main'; main.run()"
    command = [sys.executable, "-c", often, *subject.command(place, "mapped", *flags)[3:]]
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
def whole(tmp_path_factory):
    return subject.undisturbed(tmp_path_factory.mktemp("whole") / "w", "mapped", "--config.seeds=2")[0]


def test_a_study_in_a_bucket_killed_goes_on_elsewhere_with_the_same_bits(place, whole, tmp_path):
    first = session(place, tmp_path / "one", "--config.seeds=2")
    there, deadline = bucket.Bucket(place), time.monotonic() + 120
    while not any(name.endswith(".manifest.json") for name in there.marks()):
        assert first.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.2)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    ended(session(place, tmp_path / "two", "--config.seeds=2"))
    found = brought(place, tmp_path / "found")
    assert subject.differing(subject.outcome(found), whole) == ""
    assert len(list(found.glob("groups/0/sessions/*.json"))) == 2


def test_two_that_come_to_a_bucket_share_its_groups(place, tmp_path):
    flags = ("--config.seeds=4", "--config.population.most_runs=1", "--config.train.duration=20 epochs")
    both = [session(place, tmp_path / str(i), *flags) for i in range(2)]
    for one in both:
        ended(one)
    found = brought(place, tmp_path / "found")
    sessions = [len(list(group.glob("sessions/*.json"))) for group in found.glob("groups/*")]
    assert sessions == [1] * 4
    assert json.loads((found / "groups/0/test.json").read_text())["runs"] == [0]


def test_a_disk_needs_nothing_of_it(tmp_path):
    disk = store.opened(tmp_path)
    disk.look(), disk.fetch(tmp_path), disk.give_up(tmp_path), disk.keep()
    assert disk.part("a").directory == tmp_path / "a"
    assert not store.in_bucket(tmp_path)
    assert store.in_bucket("gs://a/b")
