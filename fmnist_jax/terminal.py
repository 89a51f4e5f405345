"""What a person sees: a live line a group while it trains, one table at the end."""

import math
import time
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

PLAIN_EVERY_SECONDS = 10.0


@dataclass
class Progress:
    """How far a group is; `line` says so in words."""

    name: str
    runs: int
    total_steps: int
    steps_per_epoch: int
    batch_size: int
    step: int = 0
    images_per_second: float = math.nan
    validation: str = ""

    def line(self) -> str:
        """One line: step, epoch, images/s, time left, mean validation accuracy and spread."""
        epochs = self.total_steps / self.steps_per_epoch
        if not self.step:
            return f"{self.name}  {self.runs} run{'s' if self.runs > 1 else ''}  compiling"
        parts = [
            f"{self.name}  {self.runs} run{'s' if self.runs > 1 else ''}",
            f"step {self.step:,}/{self.total_steps:,}",
            f"epoch {self.step / self.steps_per_epoch:.2f}/{epochs:g}",
        ]
        if math.isfinite(self.images_per_second):
            left = (self.total_steps - self.step) * self.batch_size * self.runs / self.images_per_second
            parts += [f"{self.images_per_second:,.0f} images/s", f"{duration(left)} left"]
        return "  ".join([*parts, self.validation] if self.validation else parts)


class LiveLine:
    """Redraws the line where there is a terminal; elsewhere prints it every ten seconds and when it has news."""

    def __init__(self, console: Console):
        self.console = console
        self._live = Live(console=console, refresh_per_second=4, transient=True) if console.is_terminal else None
        self._printed_at = -math.inf
        self._validation = ""

    def __enter__(self):
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *exc):
        if self._live:
            self._live.stop()

    def update(self, progress: Progress) -> None:
        """Shows the line, at most every ten seconds where it cannot be redrawn."""
        if self._live:
            self._live.update(Text(progress.line(), no_wrap=True, overflow="ellipsis"))
            return
        now = time.monotonic()
        if now - self._printed_at >= PLAIN_EVERY_SECONDS or progress.validation != self._validation:
            self._printed_at, self._validation = now, progress.validation
            self.console.print(progress.line(), highlight=False, soft_wrap=True)


def duration(seconds: float) -> str:
    """62.3 -> '1 min 02 s'."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


def summary_table(summary: dict) -> Table:
    """Mean, sd, 95% interval, n, best and worst (its seed) of every split and metric; fits 80 columns."""
    title = summary["name"]
    if summary["synthetic"]:
        title += "  (SYNTHETIC DATA: drawn garments, not a real data set)"
    table = Table(
        title=title, title_style="bold", header_style="bold", box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False
    )
    for heading in ("", "mean", "sd", "95% interval", "n", "best", "worst"):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for metric, heading in (("accuracy", "accuracy, %"), ("loss", "loss")):
        table.add_row(f"[italic]{heading}[/]")
        for split in ("train", "validation", "test"):
            if (row := summary["metrics"].get(f"{split}_{metric}")) is None:
                continue
            number = _percent if metric == "accuracy" else _four_digits
            table.add_row(
                f"  {split}",
                number(row["mean"]),
                number(row["sd"]),
                f"{number(row['low'])} – {number(row['high'])}" if row["n"] > 1 else "–",
                str(row["n"]),
                f"{number(row['best'])} ({row['best_seed']})",
                f"{number(row['worst'])} ({row['worst_seed']})",
                style="bold" if (split, metric) == ("test", "accuracy") else None,
            )
        if metric == "accuracy":
            table.add_section()
    return table


def footer(summary: dict) -> list[str]:
    """Wall time, compile time, images/s, diverged runs, the workdir."""
    lines = [
        f"{summary['runs']} runs of {summary['parameters']:,} parameters, {summary['steps']:,} steps each, "
        f"{summary['mode']}ped over {summary['devices']} device{'s' if summary['devices'] > 1 else ''}",
        f"wall {duration(summary['wall_seconds'])}, of which compiling {duration(summary['compile_seconds'])}; "
        f"{summary['images_per_second']:,.0f} training images/s",
    ]
    if summary["diverged"]:
        runs = ", ".join(f"seed {r['seed']} at step {r['diverged_at']:,}" for r in summary["diverged"])
        lines.append(f"diverged, and not in the table: {runs}")
    return [*lines, f"in {summary['workdir']}"]


def _percent(value) -> str:
    return "–" if value is None or math.isnan(value) else f"{100 * value:.2f}"


def _four_digits(value) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.4f}"
