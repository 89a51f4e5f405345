"""Where a session may find itself: what `places` tries."""

import dataclasses
from collections.abc import Mapping

# On the PYTHONPATH of a session: a clock that starts at CLOCK and goes SPEED seconds a second.
CLOCK = """
import os, time
_now, _first, _speed = time.time, float(os.environ["CLOCK"]), float(os.environ["SPEED"])
_start = _now()
time.time = lambda: _first + _speed * (_now() - _start)
time.time_ns = lambda: int(1e9 * time.time())
"""
ENVIRONMENTS: dict[str, Mapping[str, str]] = {
    "LC_ALL=C": {"LC_ALL": "C"},
    "LC_ALL=C, and ASCII alone": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "LC_ALL=de_DE.UTF-8": {"LC_ALL": "de_DE.UTF-8"},
    "LC_ALL=tr_TR.UTF-8": {"LC_ALL": "tr_TR.UTF-8"},
    "PYTHONIOENCODING=latin-1": {"PYTHONIOENCODING": "latin-1"},
    "TZ=Asia/Kathmandu": {"TZ": "Asia/Kathmandu"},
    "TZ=Pacific/Kiritimati": {"TZ": "Pacific/Kiritimati"},
    "TZ=nonsense": {"TZ": "nonsense"},
    "PYTHONHASHSEED=0": {"PYTHONHASHSEED": "0"},
    "PYTHONHASHSEED=4242": {"PYTHONHASHSEED": "4242"},
    "a clock that goes backwards": {"CLOCK": "2e9", "SPEED": "-1000"},
    "a clock in 1970": {"CLOCK": "1000", "SPEED": "1"},
    "a clock in 2100": {"CLOCK": "4.1e9", "SPEED": "1"},
}
SHORT_ENVIRONMENTS = ("LC_ALL=C, and ASCII alone", "a clock that goes backwards")


@dataclasses.dataclass(frozen=True)
class Where:
    """How a session is told of a workdir, which is `there` below a directory of its own."""

    told: str  # {base} is that directory
    cwd: str = ""  # below it; "": the repository
    there: str = "w"
    link: str = ""  # to make: a link to `there`
    umask: int = -1


PLACES = {
    "a relative path": Where("w", cwd="."),
    "a path with ..": Where("{base}/x/../w"),
    "another directory": Where("{base}/w", cwd="x"),
    "a link": Where("{base}/link", link="link"),
    "a deep path": Where("{base}/" + "d/" * 40 + "w", there="d/" * 40 + "w"),
    "umask 077": Where("{base}/w", umask=0o077),
    "umask 0": Where("{base}/w", umask=0),
}
SHORT_PLACES = ("a relative path",)

NAMES: dict[str, str | bytes] = {  # of workdirs
    "everything odd": "a 'b' \"c\" $d^2$ `id` [bold] <script>alert(1)< &amp; {{x}} %s 写真\nf",
    "spaces": "with  two spaces ",
    "letters of many languages": "Ünï cødé 写真 🍎",
    "a new line": "line\nbreak",
    "quotes": "'single' \"double\"",
    "a shell's signs": "$HOME `id` $(id) * ? ; | !",
    "TeX": "$x^2$ \\frac_{1",
    "markup of rich": "[bold]red[ [/]".replace("/", "\\"),
    "HTML": '<img src=x onerror="alert(1)">&lt;',
    "templates": "{{x}} {%x%} ${y} %s %(z)s",
    "a pattern": "a[b]*?\\",
    "a dash": "-rf",
    "a tilde": "~no such user",
    "commas and equals": "a,b=c",
    "what a terminal obeys": "\x1b[31mred\x07",
    "200 letters": "x" * 200,
    "bytes that are no UTF-8": b"\xff\xfe",
}
TOLD_ALONE = ("a dash", "a tilde")  # they say something at the beginning of a path: told as they are
SHORT_NAMES = ("everything odd",)
CLASSES = ("<script>alert(1)<", '[bold] $x^2$ & "q" 写真')
