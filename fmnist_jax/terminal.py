"""What a person sees in the terminal while a study trains."""

import math
import os
import time
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

import numpy as np
from rich import box
from rich.console import Console, Group
from rich.live import Live as RichLive
from rich.markup import escape
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:  # it takes half a second to import, which a start need not wait for
    from fmnist_jax import stats

PLAIN_EVERY_SECONDS = 10.0
NEWS_SECONDS = 3.0
REDRAW_EVERY_SECONDS = 0.5
ARMS_SHOWN = 15


class Steadfast:
    """A text stream whose reader may leave (`... | head`), and whose encoding may lack letters: the study goes on."""

    def __init__(self, stream: TextIO):
        self._stream = stream
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")

    def __getattr__(self, name: str):
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """As the stream's; into nothing, once its reader has gone."""
        self._try(self._stream.write, text)
        return len(text)

    def flush(self) -> None:
        """As the stream's."""
        self._try(self._stream.flush)

    def _try(self, method: Callable, *given) -> None:
        try:
            method(*given)
        except BrokenPipeError:
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, self._stream.fileno())  # what is buffered goes there too, when Python ends
            os.close(nothing)


@dataclass
class Progress:
    """How far a group is; `line` says so in words."""

    runs: int
    total_steps: int
    steps_per_epoch: int
    batch_size: int
    step: int = 0
    first_step: int = 0  # from which this process went on
    images_per_second: float = math.nan
    validation: str = ""

    @property
    def left(self) -> float:
        """Seconds to its end at the speed it has; NaN before that is known."""
        return (self.total_steps - self.step) * self.batch_size * self.runs / self.images_per_second

    def line(self) -> str:
        """One line: step, epoch, images/s, time left, mean validation accuracy and spread."""
        runs, epochs = f"{self.runs} run{'s' if self.runs > 1 else ''}", self.total_steps / self.steps_per_epoch
        if not self.total_steps:
            return "  ".join([runs, "not trained, measured as loaded", *([self.validation] if self.validation else [])])
        if not self.step:
            return f"{runs}  compiling"
        parts = [
            runs,
            f"step {self.step:,}/{self.total_steps:,}",
            f"epoch {self.step / self.steps_per_epoch:.2f}/{epochs:g}",
        ]
        if math.isfinite(self.images_per_second):
            parts += [f"{self.images_per_second:,.0f} images/s", f"{duration(self.left)} left"]
        return "  ".join([*parts, self.validation] if self.validation else parts)


class Live:
    """What moves while a study trains: a line of progress, and of several arms a table of their means so far.

    Redrawn where there is a terminal; elsewhere the line is printed every ten seconds, with news every three, and the
    table's best arm when a group has ended.
    """

    def __init__(self, console: Console, name: str, arms: Sequence[str]):
        self.console, self.name = console, name
        self.arms = {arm: i for i, arm in enumerate(arms)}
        self._live = RichLive(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        self._drawn_at = -math.inf
        self._validation = ""
        self._latest: dict[tuple, tuple[float, float]] = {}  # run -> epoch, accuracy
        self._seen = "training"  # where the accuracy is measured
        self._names = {arm: arm for arm in arms}
        self._group, self._groups, self._done, self._share = 0, 1, 0.0, 1.0
        self._started, self._started_at = None, time.monotonic()  # what was done before, and when this began

    def __enter__(self):
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *exc):
        if self._live:
            self._live.stop()

    def of_study(self, group: int, groups: int, done: float, share: float) -> None:
        """Which group is next, and its and the finished ones' share of the study's work."""
        self._group, self._groups, self._done, self._share = group, groups, done, share

    def called(self, names: dict[str, str]) -> None:
        """What the arms of the rows to come are called now, where that is not what the rows say."""
        self._names = names

    def add(self, rows: Iterable[dict]) -> None:
        """The newest row of each of these runs."""
        for row in rows:
            arm = self._names.get(row["arm"])
            if arm not in self.arms:
                continue  # of an arm that the sweep has no longer
            self._seen = "validation" if "validation_accuracy" in row else "training"
            accuracy = row.get("validation_accuracy", row.get("train_accuracy"))
            if row["diverged_at"] is None and accuracy is not None:
                self._latest[arm, row["seed"], row["fold"]] = row["epoch"], accuracy

    def say(self, text: str) -> None:
        """A line that stays."""
        say(self.console, text)

    def note(self, line: str) -> None:
        """How far something is that is no training: a line in the place of the progress."""
        now = time.monotonic()
        if self._live:
            self._live.update(Text(line, no_wrap=True, overflow="ellipsis"), refresh=True)
        elif now - self._drawn_at >= PLAIN_EVERY_SECONDS:
            self._drawn_at = now
            self.say(line)

    def update(self, progress: Progress) -> None:
        """Shows how far the group is, at most every half second, or every ten where it cannot be redrawn."""
        now = time.monotonic()
        line = self._line(progress)
        if self._live:
            if now - self._drawn_at >= REDRAW_EVERY_SECONDS:
                self._drawn_at = now
                table = [self._table()] if len(self.arms) > 1 and self._latest else []
                self._live.update(Group(*table, Text(line, no_wrap=True, overflow="ellipsis")), refresh=True)
        else:
            news = progress.validation != self._validation
            ended = news and progress.step == progress.total_steps
            if ended or now - self._drawn_at >= (NEWS_SECONDS if news else PLAIN_EVERY_SECONDS):
                self._drawn_at, self._validation = now, progress.validation
                self.say(line)

    def _line(self, progress: Progress) -> str:
        line = progress.line()
        if len(self.arms) > 1 and self._latest and not self._live:  # else the table says so
            arm, at, _ = self.means(1)[0]
            line += f"  best {self._seen} accuracy so far {arm} {_percent(at.mean)}%"
        if self._groups == 1:
            return f"{self.name}  {line}"
        done = self._done + self._share * progress.step / max(1, progress.total_steps)
        head = f"group {self._group + 1}/{self._groups}  {100 * done:.0f}% of the study"
        if self._started is None:  # what was done before this process took none of its time
            self._started = self._done + self._share * progress.first_step / max(1, progress.total_steps)
        if done > self._started and progress.step:
            pace = (time.monotonic() - self._started_at) / (done - self._started)
            own = progress.left if math.isfinite(progress.left) else pace * (self._done + self._share - done)
            head += f", {duration(own + pace * (1 - self._done - self._share))} left"
        return f"{head}  {line}"

    def means(self, most: int = ARMS_SHOWN) -> list[tuple[str, "stats.Interval", float]]:
        """(arm, its accuracy so far, mean epoch), the best arm first; an interval for the arms shown alone."""
        from fmnist_jax import stats

        count, total, epochs = (np.zeros(len(self.arms)) for _ in range(3))
        index = np.array([self.arms[run[0]] for run in self._latest])
        values = np.array(list(self._latest.values()))
        np.add.at(count, index, 1)
        np.add.at(total, index, values[:, 1])
        np.add.at(epochs, index, values[:, 0])
        with np.errstate(invalid="ignore"):
            mean, epochs = total / count, epochs / count
        names = list(self.arms)
        order = [i for i in np.argsort(-mean, kind="stable") if count[i]][:most]
        return [(names[i], stats.mean_interval(values[index == i, 1]), float(epochs[i])) for i in order]

    def _table(self) -> Table:
        table = Table(title=escape(self.name), title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("arm, best so far first", overflow="ellipsis", no_wrap=True)
        for heading in ("runs", f"{self._seen} accuracy, %", "95% interval", "epoch"):
            table.add_column(heading, justify="right", no_wrap=True)
        shown = self.means()
        for arm, at, epoch in shown:
            table.add_row(escape(arm), str(at.n), _percent(at.mean), _interval(at, _percent), f"{epoch:.1f}")
        if more := len({run[0] for run in self._latest}) - len(shown):
            table.caption = f"and {more} more"
        return table


def say(console: Console, text: str) -> None:
    """A line as it is, whatever is in it, to be cut by nobody."""
    console.print(printable(text), markup=False, highlight=False, soft_wrap=True)


def printable(text: str) -> str:
    """`text` with escapes for what is none: what a terminal would obey (a file may be called so), half a character."""
    odd = ("Cc", "Cf", "Cs")
    return "".join(
        c if c in "\n\t" or unicodedata.category(c) not in odd else c.encode("unicode_escape").decode() for c in text
    )


def duration(seconds: float) -> str:
    """62.3 -> '1 min 02 s'."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


def _percent(value) -> str:
    return "–" if value is None or math.isnan(value) else f"{100 * value:.2f}"


def _interval(at: "stats.Interval", number: Callable) -> str:
    return f"{number(at.low)} – {number(at.high)}" if at.n > 1 else "–"
