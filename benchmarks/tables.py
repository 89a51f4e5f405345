"""Tables of figures: made once, written as Markdown into docs/performance.md and as text into the terminal."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from rich import box
from rich import table as rich
from rich.console import Console
from rich.text import Text

from benchmarks import record


class Table(NamedTuple):
    """What every cell says; one in ** is bold."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


def markdown(table: Table) -> str:
    """The table, below its title where it has one."""
    lines = [table.headings, ["---"] * len(table.headings), *table.rows]
    text = "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)
    return f"**{table.title}**\n\n{text}" if table.title else text


def empty(title: str, *headings: str) -> rich.Table:
    """A table of the terminal without rows, for 80 columns: the first column left, the others right."""
    table = rich.Table(title=title, title_style="bold", title_justify="left", box=box.SIMPLE_HEAD)
    table.pad_edge, table.collapse_padding = False, True
    for i, heading in enumerate(headings):
        table.add_column(heading, justify="right" if i else "left")
    return table


def show(parts: Sequence[Table | str], console: Console) -> None:
    """Tables, and sentences between them, in the terminal."""
    for part in parts:
        if isinstance(part, str):
            console.print(part, highlight=False, markup=False)
            continue
        table = empty(part.title, *part.headings)
        for row in part.rows:
            table.add_row(*(Text(cell.strip("*"), "bold" if cell.startswith("**") else "") for cell in row))
        console.print(table)


def of_goals(rows: Sequence[Mapping]) -> Table:
    """What was to be reached, and what was."""
    lines = []
    for row in rows:
        name = row["workload"] + (f", batch {row['batch']}" if row.get("batch") else "")
        wanted = ("≤ " if row["at_most"] else "≥ ") + record.number(row["goal"], row["unit"])
        reached = "" if row["reached"] is None else record.counted(row["reached"], row["unit"])
        reached += f"; {row['note']}" if row.get("note") else ""
        lines.append([name, row["rival"], wanted, reached, verdict(row)])
    return Table("", ["workload", "rival", "goal", "reached", ""], lines)


def show_goals(rows: Sequence[Mapping], console: Console) -> None:
    """The same in the terminal, which is narrower."""
    lines = [[f"{workload}: {rival}", *rest] for workload, rival, *rest in of_goals(rows).rows]
    show([Table("goals", ["", "goal", "reached", ""], lines)], console)


def verdict(row: Mapping) -> str:
    """passed; missed by 12% of the goal (of shares, by so many points); not measured."""
    if row["reached"] is None:
        return "not measured"
    if record.passed(row):
        return "passed"
    off = abs(row["reached"]["median"] - row["goal"])
    by = f"{100 * off:.1f} points" if row["unit"] == "%" else f"{off / row['goal']:.0%}"
    return f"**missed by {by}**"
