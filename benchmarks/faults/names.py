"""Names and links in folders of images: what may be a class's name, and what a link may lead to.

Cases as those of `bombs`.
"""

import functools
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.faults import originals
from benchmarks.faults.bombs import Case
from benchmarks.faults.readers import LOADED, REFUSED, attempt
from fmnist_jax import data, terminal

SECRET = (11, 222, 33)  # the colour of what lies outside
# Of classes: shown as they are, on the page too, which escapes them.
FINE = (
    *("$x^2$ \\frac", "<script>alert(1)<", '<img src=x onerror="alert(1)">', "a&amp;b", "\"double\" 'single'"),
    *("[bold]red[", "{{x}} {%", "%s %d", "-rf", "~", "$HOME `id`", "Ünï cødé 写真 🍎", "a,b=c", "x" * 255),
)
REFUSED_NAMES = {
    "a line and another": b"a\nb",
    "what a terminal obeys": b"\x1b[31mred",
    "text from right to left": "a\u202eb".encode(),
    "bytes that are no UTF-8": b"\xff\xfe",
    "a bell": b"\x07",
}


def _folder(place: Path) -> Path:
    root = place / "odd"
    shutil.rmtree(root, ignore_errors=True)
    return originals.image_folder(root)


def _outside(place: Path) -> Path:
    """A folder beside the data set, with an image of its own colour."""
    outside = place / "outside"
    outside.mkdir(exist_ok=True)
    Image.new("RGB", originals.SIZE[::-1], SECRET).save(outside / "secret.png")
    return outside


def _tried(root: Path, refused: bool, *names: str) -> tuple[str, str]:
    """What came of loading it; nothing from outside may be among its images."""
    found, problem = attempt(lambda: data.load("folder", data_dir=str(root)), *names)
    if problem is not None:
        return REFUSED, problem if refused else problem or "refused, although nothing is wrong"
    images = np.concatenate([found.train_images, found.test_images])
    if (images == SECRET).all(-1).any():
        return LOADED, "loaded an image from outside the folder"
    return LOADED, "loaded what should be refused" if refused else ""


def _class_called(name: str | bytes, refused: bool, place: Path) -> tuple[str, str]:
    root = _folder(place)
    for part in ("Training", "Test"):
        os.rename(root / part / "apple", os.path.join(os.fsencode(root / part), os.fsencode(name)))
    shown = os.fsdecode(name)
    outcome = _tried(root, refused, str(root))
    if outcome == (LOADED, "") and data.load("folder", data_dir=str(root)).class_names != tuple(
        sorted(("banana", shown))
    ):
        return LOADED, "loaded under another name"
    return outcome


def _file_called(name: bytes, sound: bool, place: Path) -> tuple[str, str]:
    root = _folder(place)
    path = os.path.join(os.fsencode(root / "Training" / "apple"), name + b".png")
    with open(path, "wb") as file:
        file.write(originals.images()["colour.png"] if sound else b"no image")
    return _tried(root, not sound, os.fsdecode(path))


def _linked(make: Callable[[Path, Path], Path], refused: bool, place: Path) -> tuple[str, str]:
    root = _folder(place)
    return _tried(root, refused, str(make(root, _outside(place))))


def _link(target: str | Path, *path: str) -> Callable[[Path, Path], Path]:
    """A link in the folder; of a relative target, OUTSIDE is the folder outside."""

    def make(root: Path, outside: Path) -> Path:
        place = root.joinpath(*path)
        if place.is_dir():
            shutil.rmtree(place)
        place.symlink_to(str(target).replace("OUTSIDE", outside.name).replace("ABSOLUTE", str(outside)))
        return place

    return make


def _twice(root: Path, outside: Path) -> Path:
    """A link to a link, which leads out."""
    (root / "Training" / "banana" / "way").symlink_to(outside)
    path = root / "Training" / "apple" / "x.png"
    path.symlink_to("../banana/way/secret.png")
    return path


def _pipe(root: Path, outside: Path) -> Path:
    path = root / "Training" / "apple" / "pipe.png"
    os.mkfifo(path)  # whoever opens it waits for ever
    return path


def _directory(root: Path, outside: Path) -> Path:
    path = root / "Training" / "apple" / "directory.png"
    path.mkdir()
    return path


APPLE = ("Training", "apple", "x.png")
LINKS: dict[str, tuple[Callable[[Path, Path], Path], bool]] = {
    "a link to a file outside": (_link("ABSOLUTE/secret.png", *APPLE), True),
    "a link by ../ to a file outside": (_link("../../../OUTSIDE/secret.png", *APPLE), True),
    "a link to a folder outside, as a class": (_link("ABSOLUTE", "Training", "cherry"), True),
    "a link to a folder outside, as Test": (_link("ABSOLUTE", "Test"), True),
    "a link to a link that leads out": (_twice, True),
    "a link to /dev/zero": (_link("/dev/zero", *APPLE), True),
    "a link to /etc/passwd": (_link("/etc/passwd", *APPLE), True),
    "a link to itself": (_link("x.png", *APPLE), True),
    "a link to nothing": (_link("nothing.png", *APPLE), True),
    "a link within the folder": (_link("../banana/0.png", *APPLE), False),
    "a pipe called .png": (_pipe, False),
    "a directory called .png": (_directory, False),
}

CASES: dict[str, Case] = {
    **{f"class {terminal.printable(name[:20])}": functools.partial(_class_called, name, False) for name in FINE},
    **{f"class of {what}": functools.partial(_class_called, name, True) for what, name in REFUSED_NAMES.items()},
    **{f"file of {what}": functools.partial(_file_called, name, True) for what, name in REFUSED_NAMES.items()},
    **{f"bad file of {what}": functools.partial(_file_called, name, False) for what, name in REFUSED_NAMES.items()},
    **{what: functools.partial(_linked, make, refused) for what, (make, refused) in LINKS.items()},
}
