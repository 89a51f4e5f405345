"""What the terminal says while a study trains."""

import io
import subprocess
import sys
from pathlib import Path

from rich.console import Console

from fmnist_jax import terminal

ROOT = Path(__file__).parent.parent


def test_the_time_left_counts_from_where_the_study_went_on(monkeypatch):
    now = 0.0
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now)
    live = terminal.Live(Console(file=io.StringIO()), "study", ["a"])
    live.of_study(0, 2, 0.0, 0.5)
    live._line(terminal.Progress(1, 10, 10, 1, step=1))
    now = 100.0
    live.of_study(1, 2, 0.5, 0.5)
    assert "group 2/2  60% of the study, 1 min 07 s left" in live._line(terminal.Progress(1, 10, 10, 1, step=2))
    resumed = terminal.Live(Console(file=io.StringIO()), "study", ["a"])
    resumed.of_study(1, 2, 0.5, 0.5)  # what was done before took none of this process's time
    now = 200.0
    assert "75% of the study, 1 min 40 s left" in resumed._line(terminal.Progress(1, 10, 10, 1, step=5))
    within = terminal.Live(Console(file=io.StringIO()), "study", ["a"])
    within.of_study(0, 2, 0.0, 0.5)  # a group that goes on from 8 of its 10 steps
    now = 200.0
    within._line(terminal.Progress(1, 10, 10, 1, step=8, first_step=8))
    now = 210.0
    assert "45% of the study, 1 min 50 s left" in within._line(terminal.Progress(1, 10, 10, 1, step=9, first_step=8))


def test_the_time_left_has_the_groups_own_speed(monkeypatch):
    """Half of the work in 100 s; of the other half's group 90% are left, at 1 image a second 900 s."""
    now = [0.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now[0])
    live = terminal.Live(Console(), "s", ["a"])
    live.of_study(0, 3, 0.0, 0.5)
    live._line(terminal.Progress(1, 10, 10, 1))
    now[0] = 100.0
    live.of_study(1, 3, 0.5, 0.25)
    slow = terminal.Progress(1, 1000, 10, 1, step=100, images_per_second=1.0)
    pace = 100 / 0.525
    assert f"52% of the study, {terminal.duration(900 + 0.25 * pace)} left" in live._line(slow)


def test_the_accuracy_so_far_says_where_it_is_measured():
    live = terminal.Live(Console(file=io.StringIO()), "study", {"a": 0, "b": 1})
    live.of_study(0, 1, 0.0, 1.0)
    live.called({"a": "a", "b": "b"})
    row = {"arm": "a", "seed": 0, "fold": 0, "epoch": 1.0, "diverged_at": None, "train_accuracy": 0.5}
    live.add([row])
    assert live._line(terminal.Progress(1, 10, 10, 1, step=1)).endswith("best training accuracy so far a 50.00%")
    live.add([{**row, "validation_accuracy": 0.25}])
    assert live._line(terminal.Progress(1, 10, 10, 1, step=1)).endswith("best validation accuracy so far a 25.00%")
    assert live._table().columns[2].header == "validation accuracy, %"


def test_names_are_shown_as_they_are():
    """What in rich's markup would be a style, or an end without a beginning."""
    name = "width=[3] [/b]"
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    live = terminal.Live(console, "a [red] study", [name, "other"])
    live.add([{"arm": name, "seed": 0, "fold": 0, "epoch": 1.0, "validation_accuracy": 0.5, "diverged_at": None}])
    console.print(live._table())
    live.say("[/b]")
    shown = console.file.getvalue()
    assert name in shown
    assert "a [red] study" in shown
    assert shown.rstrip().endswith("[/b]")


def test_a_reader_that_leaves_ends_nothing():
    """`fmnist_jax ... | head -1`, which closes the pipe after a line."""
    code = (
        "import sys; from fmnist_jax import terminal; sys.stdout = terminal.Steadfast(sys.stdout)\n"
        "for i in range(10**5): print(i, flush=i % 100 == 0)\n"
        "print('came to its end', file=sys.stderr)"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"0\n"
        process.stdout.close()
        assert process.stderr.read() == b"came to its end\n"
    assert process.returncode == 0


def test_a_stream_that_lacks_letters_shows_them_as_escapes():
    raw = io.BytesIO()
    stream = terminal.Steadfast(io.TextIOWrapper(raw, encoding="ascii"))
    assert stream.write("é – 写\n") == 6
    stream.flush()
    assert raw.getvalue() == b"\\xe9 \\u2013 \\u5199\n"
    assert stream.encoding == "ascii"  # all else is the stream's own


def test_what_a_terminal_would_obey_is_shown_as_escapes():
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    terminal.say(console, "a\x1b[2Jb\x07 \u202ec \udcff é写🍎 and\na second line")
    assert console.file.getvalue().rstrip() == "a\\x1b[2Jb\\x07 \\u202ec \\udcff é写🍎 and\na second line"
