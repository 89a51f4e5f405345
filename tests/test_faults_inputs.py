"""Damaged files, bombs, odd names and links: loaded rightly or refused, and seen not to be where the guard is out."""

import functools
import io
import os

import numpy as np
import pytest
from PIL import Image

from benchmarks.faults import bombs, damage, inputs, names, originals, readers, weight_readers
from fmnist_jax import terminal
from fmnist_jax.data import cache, folder, idx, images


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def problems_of(reader, place, cases) -> list[str]:
    """What is wrong with how a reader takes (original, bytes)."""
    place.mkdir()
    read = reader(place)
    return [problem for name, content in cases(read.originals) if (problem := read(name, content)[1])]


def every_byte_lost(name):
    return lambda originals: [(name, originals[name][:length]) for length in range(len(originals[name]))]


def test_an_idx_file_is_as_long_as_it_says(tmp_path, monkeypatch):
    assert problems_of(readers.IdxFile, tmp_path / "1", every_byte_lost("rank2.gz")) == []

    def careless(data, path):
        raw = readers.gzip.decompress(data)
        return np.frombuffer(raw[12:], np.uint8).reshape(-1, 4)

    monkeypatch.setattr(idx, "_parse", careless)
    cases = every_byte_lost("rank2.gz")
    with pytest.raises(OSError, match="gzip"):  # what would be a traceback
        problems_of(readers.IdxFile, tmp_path / "2", cases)
    torn = originals.zipped(originals.encoded(np.zeros((2, 4)))[:-4])
    assert problems_of(readers.IdxFile, tmp_path / "3", lambda _: [("rank2.gz", torn)])


def other_labels(*labels):
    content = originals.zipped(originals.encoded(labels))
    return lambda _: [("t10k-labels-idx1-ubyte.gz", content)]


def test_labels_are_in_range(tmp_path, monkeypatch):
    assert problems_of(readers.IdxSet, tmp_path / "1", other_labels(0, 1, 2, 0, 1, 9)) == []
    monkeypatch.setattr(idx, "check_labels", lambda *_: None)
    assert problems_of(readers.IdxSet, tmp_path / "2", other_labels(0, 1, 2, 0, 1, 9)) == [
        "loaded a label out of range"
    ]


def swapped(files):
    train, labels, test, test_labels = files
    return [("set", (test, test_labels, train, labels))]


def test_known_files_are_where_they_belong(tmp_path, monkeypatch):
    assert problems_of(readers.KnownSet, tmp_path / "1", swapped) == []
    monkeypatch.setattr(idx, "_verify", lambda data, name, where: "")
    assert problems_of(readers.KnownSet, tmp_path / "2", swapped) == ["loaded what has another hash"]


def test_images_have_no_more_pixels_than_are_allowed(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "MAX_PIXELS", 400)
    large = functools.partial(bombs.refused_image, "a.png", lambda: bombs.black(21, 20))
    assert large(tmp_path) == ("refused", "")
    monkeypatch.setattr(images, "MAX_PIXELS", 500)
    assert large(tmp_path) == ("loaded", "loaded what should be refused")


def test_other_decoders_than_those_of_images_are_not_asked(tmp_path, monkeypatch):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "TGA")
    other = functools.partial(bombs.refused_image, "a.png", buffer.getvalue)
    assert other(tmp_path) == ("refused", "")
    monkeypatch.setattr(images, "FORMATS", None)
    assert other(tmp_path) == ("loaded", "loaded what should be refused")


@pytest.mark.parametrize("case", [case for case, (_, refused) in names.LINKS.items() if refused])
def test_no_link_leads_out_of_a_folder(case, tmp_path):
    assert names.CASES[case](tmp_path) == ("refused", "")


def test_links_would_lead_out_of_a_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "_check_link", lambda path, inside: None)
    for case in ("a link to a file outside", "a link by ../ to a file outside", "a link to a link that leads out"):
        assert names.CASES[case](tmp_path) == ("loaded", "loaded an image from outside the folder")


@pytest.mark.parametrize("case", [case for case in names.CASES if case not in names.LINKS])
def test_odd_names_are_kept_or_refused(case, tmp_path):
    assert names.CASES[case](tmp_path)[1] == ""


def test_what_a_terminal_obeys_would_get_there(tmp_path, monkeypatch):
    monkeypatch.setattr(terminal, "printable", lambda text: text)
    assert "holds what is no text" in names.CASES["bad file of what a terminal obeys"](tmp_path)[1]


def changed_cache(files):
    (pixels,) = (name for name in files if name.startswith("train_images"))
    changed = bytearray(files[pixels])
    changed[-1] ^= 1
    return [
        (pixels, bytes(changed)),
        ("meta.json", files["meta.json"].replace(b"apple", b"grape")),
        ("meta.json", b"[]"),
        ("meta.json", b'{"about": 3}'),
    ]


def test_a_changed_cache_is_made_anew(tmp_path, monkeypatch):
    assert problems_of(readers.Cached, tmp_path / "1", changed_cache) == []
    monkeypatch.setattr(cache, "_digests", lambda directory, about: {})
    assert problems_of(readers.Cached, tmp_path / "2", changed_cache)[:2] == ["loaded what is not there"] * 2


def evil(files):
    return [(name, content) for name, content in files.items() if name.startswith(weight_readers.EVIL)]


def test_a_state_dict_runs_nothing(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch", reason="torch is not installed; pip install -r benchmarks/requirements.txt")
    assert problems_of(weight_readers.Torch, tmp_path / "1", evil) == []
    load = torch.load
    monkeypatch.setattr(torch, "load", lambda *args, weights_only, **given: load(*args, weights_only=False, **given))
    assert "code in the file was run" in problems_of(weight_readers.Torch, tmp_path / "2", evil)


@pytest.mark.parametrize(
    "case", [case for case in bombs.CASES if "256 MiB" not in case and "all the pixels" not in case]
)
def test_what_promises_too_much_is_refused(case, tmp_path):
    assert bombs.CASES[case](tmp_path)[1] == ""


def test_damaged_files_are_drawn_alike_every_time_and_counted(tmp_path, monkeypatch):
    files = originals.idx_files()
    drawn = damage.drawn(damage.damaged(files), 40)
    assert drawn == damage.drawn(damage.damaged(files), 40)
    assert len(drawn) == 40
    assert len({done for _, done, _ in drawn}) > 5
    trials, found = inputs.fuzzed(readers.IdxFile, 40, tmp_path / "1")
    assert [trial.problem for trial in trials] == [""] * 40
    assert found["loaded"] + found["refused"] == 40
    monkeypatch.setattr(inputs, "MOST_SECONDS", -1)
    assert all("took" in trial.problem for trial in inputs.fuzzed(readers.IdxFile, 5, tmp_path / "2")[0])
    monkeypatch.setattr(idx, "read_idx", lambda path: 1 / 0)
    problems = [trial.problem for trial in inputs.fuzzed(readers.IdxFile, 5, tmp_path / "3")[0]]
    assert problems == ["ZeroDivisionError: division by zero"] * 5


def test_ten_thousand_files_are_damaged():
    of_images = [long for fault, (_, _, long) in inputs.KINDS.items() if not fault.startswith("weights")]
    assert sum(of_images) * 29 / 30 >= 10_000  # one of thirty is left as it was


def die():
    os.abort()


def test_a_process_that_dies_of_a_file_has_broken_its_promise():
    (trial,) = inputs._in_a_process(die, {})
    assert "BrokenProcessPool" in trial().problem


@pytest.mark.parametrize("megabytes", [1, 200, 350])
@pytest.mark.parametrize("most", [inputs.MOST_MEGABYTES, inputs.MOST_MEGABYTES_OF_A_BOMB])
def test_memory_that_a_refusal_took_is_noticed(tmp_path, megabytes, most):
    def case(size):
        np.ones(size * 2**17)  # float64
        return readers.REFUSED, ""

    cases = [("large", functools.partial(case, 400)), ("then", functools.partial(case, megabytes))]
    trials, _ = inputs._made(cases, tmp_path, most)  # what an earlier one took hides nothing
    assert trials[0].problem.startswith("took")
    assert trials[1].problem.startswith("took") == (megabytes > most[readers.REFUSED])
