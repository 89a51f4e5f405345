"""Image folders: what is decoded, what is cached, and what is refused."""

import errno
import fcntl
import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fmnist_jax import data
from fmnist_jax.data import cache, images
from fmnist_jax.errors import RunError, UserError

FRUITS = Path(__file__).resolve().parents[2] / "shared" / "data" / "fruits-360"


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "fmnist_jax" / "decoded"


def paint(path, colour, size=(6, 4), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)


@pytest.fixture
def folder(tmp_path):
    """Two classes, 3 + 2 images to train on and 1 + 1 to test on, 6 wide and 4 high, without loss."""
    root = tmp_path / "fruit"
    for i in range(3):
        paint(root / "Training" / "apple" / f"{i}.png", (200, i, 0))
    for i in range(2):
        paint(root / "Training" / "banana" / f"{i}.png", (250, 240, i))
    paint(root / "Test" / "apple" / "9.png", (190, 9, 0))
    paint(root / "Test" / "banana" / "9.png", (240, 230, 9))
    return root


def load(root, image_size=0):
    return data.load("folder", data_dir=str(root), image_size=image_size)


def message_of(root, error=UserError, **kwargs):
    with pytest.raises(error) as caught:
        load(root, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_images_and_labels_are_those_of_the_files(folder):
    dataset = load(folder)
    assert dataset.class_names == ("apple", "banana")
    assert dataset.train_images.shape == (5, 4, 6, 3)
    assert dataset.train_images.dtype == np.uint8
    assert not dataset.train_images.flags.writeable
    np.testing.assert_array_equal(dataset.train_labels, [0, 0, 0, 1, 1])
    np.testing.assert_array_equal(dataset.test_labels, [0, 1])
    np.testing.assert_array_equal(
        dataset.train_images[:, 0, 0], [(200, 0, 0), (200, 1, 0), (200, 2, 0), (250, 240, 0), (250, 240, 1)]
    )
    assert dataset.train_labels.dtype == np.int32
    assert not dataset.synthetic


def test_the_second_load_decodes_nothing(folder, monkeypatch):
    first = load(folder)
    monkeypatch.setattr(images, "decode", None)
    again = load(folder)
    np.testing.assert_array_equal(first.train_images, again.train_images)
    assert (first.fingerprint, first.class_names) == (again.fingerprint, again.class_names)


def test_the_fingerprint_is_of_the_content(folder, tmp_path, own_cache):
    one = load(folder).fingerprint
    elsewhere = shutil.copytree(folder, tmp_path / "elsewhere", copy_function=shutil.copyfile)
    assert load(elsewhere).fingerprint == one
    assert load(folder, image_size=2).fingerprint != one
    paint(elsewhere / "Training" / "apple" / "1.png", (201, 1, 0))
    changed = load(elsewhere)
    assert changed.fingerprint != one
    assert changed.train_images[1, 0, 0, 0] == 201
    assert len(list(own_cache.iterdir())) == 4


def test_image_size_resizes(folder):
    paint(folder / "Test" / "apple" / "8.png", (190, 9, 0), size=(9, 9))
    dataset = load(folder, image_size=5)
    assert dataset.train_images.shape == (5, 5, 5, 3)
    np.testing.assert_array_equal(dataset.test_images[0], np.broadcast_to(np.uint8([190, 9, 0]), (5, 5, 3)))


def test_all_grey_stays_grey_and_one_colour_makes_all_rgb(tmp_path):
    for part in ("Training", "Test"):
        paint(tmp_path / part / "a" / "1.png", 7, mode="L")
        paint(tmp_path / part / "b" / "1.png", 8, mode="L")
    grey = load(tmp_path)
    assert grey.train_images.shape == (2, 4, 6, 1)
    np.testing.assert_array_equal(grey.train_images[:, 0, 0, 0], [7, 8])
    paint(tmp_path / "Test" / "b" / "1.png", (1, 2, 3))
    np.testing.assert_array_equal(load(tmp_path).train_images[:, 0, 0], [[7, 7, 7], [8, 8, 8]])


def test_what_is_not_an_image_by_its_name_is_left_alone(folder):
    (folder / "Training" / "apple" / "Thumbs.db").write_bytes(b"x")
    (folder / "Training" / "apple" / ".hidden.jpg").write_bytes(b"x")
    (folder / "Training" / ".git").mkdir()
    (folder / "Training" / "README.md").write_text("x")
    assert len(load(folder).train_images) == 5


# --- refused


def test_missing_parts(folder, tmp_path):
    shutil.rmtree(folder / "Test")
    assert message_of(folder).startswith(f"{folder}: no folder Test/ in it")
    assert "no folder Training/" in message_of(tmp_path / "none")
    with pytest.raises(UserError, match=r"--config\.dataset\.data_dir=DIR"):
        data.load("folder")


def test_one_class(folder):
    shutil.rmtree(folder / "Training" / "banana")
    assert "Training: only one class ('apple')" in message_of(folder)


def test_a_class_that_is_only_in_test(folder):
    paint(folder / "Test" / "cherry" / "1.png", (9, 9, 9))
    assert f"{folder}/Test/cherry: this class is not in Training/" in message_of(folder)


def test_a_class_without_images(folder):
    (folder / "Training" / "cherry").mkdir()
    assert f"{folder}/Training/cherry: no images in it" in message_of(folder)
    shutil.rmtree(folder / "Training")
    (folder / "Training").mkdir()
    assert "no class folders" in message_of(folder)


@pytest.mark.parametrize("content", [b"", b"no image at all", "cut"])
def test_an_unreadable_image_is_named(folder, own_cache, content):
    path = folder / "Training" / "banana" / "1.png"
    if content == "cut":  # a sound header, and pixels that end early: seen only while decoding
        noise = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
        Image.fromarray(noise).save(path)
        content = path.read_bytes()[:-60]
    path.write_bytes(content)
    assert f"{path}: cannot be read as an image" in message_of(folder)
    assert not own_cache.exists() or not list(own_cache.iterdir())
    paint(path, (250, 240, 1))
    assert len(load(folder).train_images) == 5


def test_mixed_sizes_name_two_files_and_the_remedy(folder):
    paint(folder / "Test" / "banana" / "9.png", (0, 0, 0), size=(5, 4))
    assert message_of(folder) == (
        f"images of mixed sizes: {folder}/Training/apple/0.png is 6x4, {folder}/Test/banana/9.png is 5x4; "
        "resize them all with --config.dataset.image_size=N"
    )


@pytest.mark.parametrize("side", [9_000, 10_000, 20_000])  # below, between and above Pillow's own two limits
def test_a_decompression_bomb_is_refused(folder, side):
    path = folder / "Training" / "apple" / "0.png"
    Image.new("1", (side, side)).save(path)
    assert f"{path}: more than 64,000,000 pixels" in message_of(folder)


def test_deep_images_are_refused_rather_than_clipped(folder):
    path = folder / "Training" / "apple" / "0.png"
    Image.fromarray(np.full((4, 6), 40_000, np.uint16)).save(path)
    assert f"{path}: mode I;16 has more than 8 bits" in message_of(folder)


@pytest.mark.parametrize("what", ["Training/apple/link.png", "Training/cherry", "Test"])
def test_links_out_of_the_folder_are_refused(folder, tmp_path, what):
    paint(tmp_path / "outside" / "apple" / "1.png", (0, 0, 0))
    if what == "Test":
        shutil.rmtree(folder / "Test")
    (folder / what).symlink_to(tmp_path / "outside" / ("apple/1.png" if what.endswith("png") else ""))
    assert f"{folder / what}: a link out of the dataset" in message_of(folder)


@pytest.mark.parametrize("name", [b"a\nb", b"\x1b[31m", b"\xff"])
def test_a_class_is_called_something_that_can_be_printed(folder, name):
    os.rename(folder / "Training" / "banana", os.path.join(os.fsencode(folder / "Training"), name))
    message = message_of(folder)
    assert message.startswith(f"{folder}/Training: a folder called ")
    assert message.isprintable()


def test_a_file_too_large_for_an_image_is_refused_by_its_name(folder, monkeypatch):
    path = folder / "Test" / "banana" / "9.png"
    monkeypatch.setattr(images, "MAX_BYTES", max(p.stat().st_size for p in folder.rglob("*.png")))
    load(folder)
    path.write_bytes(path.read_bytes() + bytes(images.MAX_BYTES))
    assert f"{path}: " in message_of(folder)
    assert "bytes are too many for an image" in message_of(folder)


def test_links_within_the_folder_are_followed_and_broken_ones_named(folder):
    link = folder / "Training" / "apple" / "3.png"
    link.symlink_to("0.png")
    assert len(load(folder).train_images) == 6
    link.unlink()
    link.symlink_to("none.png")
    assert f"{link}: a link to {folder}/Training/apple/none.png, which does not exist" in message_of(folder)


# --- the cache


def test_a_build_that_breaks_off_leaves_nothing(folder, own_cache, monkeypatch):
    def full(*args, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", full)  # after the images of the first part are written
        assert "No space left on device" in message_of(folder, error=RunError)
    assert not list(own_cache.iterdir())
    assert len(load(folder).train_images) == 5


def test_a_cache_that_cannot_be_made(folder, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert "set XDG_CACHE_HOME to a writable directory" in message_of(folder, error=RunError)


@pytest.mark.parametrize("file", ["train_images.npy", "test_labels.npy", "meta.json"])
@pytest.mark.parametrize("damage", ["cut", "gone", "flipped"])
def test_a_damaged_cache_is_built_again(folder, own_cache, file, damage):
    whole = load(folder)
    expected, fingerprint = np.array(whole.train_images), whole.fingerprint
    del whole
    path = next(own_cache.iterdir()) / file
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(content[:-7])
    else:  # in meta.json a letter of what is said of the arrays, or of a hash
        path.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    again = load(folder)
    np.testing.assert_array_equal(again.train_images, expected)
    assert again.fingerprint == fingerprint
    assert len(list(own_cache.iterdir())) == 1


def test_what_a_killed_build_left_is_swept_and_a_living_one_is_not(folder, own_cache):
    """Whatever the clock says: what counts is whether the kernel still holds the lock for someone."""
    dead, living, begun = (own_cache / f".building-{name}" for name in ("dead", "living", "begun"))
    for left in (dead, living, begun):
        left.mkdir(parents=True)
    os.utime(living, (0, 0))
    (dead / "lock").touch()
    with open(living / "lock", "wb") as lock:  # `begun` has none yet
        fcntl.flock(lock, fcntl.LOCK_EX)
        load(folder)
        assert not dead.exists()
        assert living.exists()
        assert begun.exists()
    shutil.rmtree(next(path for path in own_cache.iterdir() if not path.name.startswith(".")))
    load(folder)
    assert not living.exists()


def test_in_threads_keeps_order_over_chunks():
    count = 2 * images._CHUNK + 3
    assert list(images.in_threads(lambda i: i * i, range(count))) == [i * i for i in range(count)]


def test_in_threads_is_a_few_ahead_of_its_reader_and_stops_where_it_does():
    drawn, made = [], []
    gate = threading.Event()

    def items():
        for i in range(1000):
            drawn.append(i)
            yield i

    found = images.in_threads(lambda i: (gate.wait(10), made.append(i)), items())
    gate.set()
    next(found)
    ahead = 2 * min(os.cpu_count() or 1, images._MOST_THREADS) + 1
    assert len(drawn) == ahead
    found.close()
    assert len(drawn) == ahead
    assert len(made) <= ahead


def test_in_threads_ends_with_the_first_that_fails():
    def fail(i):
        if i == 3:
            raise UserError("three")
        return i

    found = images.in_threads(fail, range(1000))
    with pytest.raises(UserError, match="three"):
        list(found)


def test_the_loser_of_a_race_uses_the_winners_arrays(folder, own_cache, monkeypatch):
    real = cache._write
    raced = []

    def slow(directory, part, source):
        if not raced:
            raced.append(True)
            load(folder)  # another process, quicker
        real(directory, part, source)

    monkeypatch.setattr(cache, "_write", slow)
    assert len(load(folder).train_images) == 5
    assert len(list(own_cache.iterdir())) == 1


@pytest.mark.skipif(not FRUITS.is_dir(), reason="real Fruits-360 is not at ../shared/data/fruits-360")
def test_real_fruits(tmp_path):
    classes = sorted(path.name for path in (FRUITS / "Training").iterdir())[:3]
    for part, count in (("Training", 4), ("Test", 2)):
        for label in classes:
            (tmp_path / part / label).mkdir(parents=True)
            for path in sorted((FRUITS / part / label).iterdir())[:count]:
                shutil.copy(path, tmp_path / part / label)
    dataset = load(tmp_path)
    assert dataset.class_names == tuple(classes)
    assert dataset.train_images.shape == (12, 100, 100, 3)
    assert dataset.test_images.shape == (6, 100, 100, 3)
    np.testing.assert_array_equal(dataset.train_labels, np.repeat([0, 1, 2], 4))
    # Fruits-360 is cut out on white.
    assert (dataset.train_images[:, 0, 0] > 240).all()


def test_no_program_is_started_for_what_calls_itself_an_image(tmp_path, monkeypatch):
    """Pillow would have Ghostscript draw an EPS, whatever its file is called."""
    ghostscript = tmp_path / "bin" / "gs"
    ghostscript.parent.mkdir()
    ghostscript.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    ghostscript.chmod(0o755)
    monkeypatch.setenv("PATH", str(ghostscript.parent), prepend=os.pathsep)
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 6 4\n%%EndComments\nshowpage\n%%EOF\n"
    with pytest.raises(UserError, match="x.png: cannot be read as an image"):
        images.decode(eps, "x.png", 3)
    assert not (tmp_path / "started").exists()
