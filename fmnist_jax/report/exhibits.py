"""A paper's tables as HTML, as GitHub's Markdown and in the terminal; the drawn figures are in `drawings`."""

import dataclasses
import math

import markupsafe
import pandas as pd
from rich import box
from rich.markup import escape
from rich.table import Table as Terminal

from fmnist_jax.exhibits import Figure, Table
from fmnist_jax.report import words

NOT_RUN = "not run"
DIGITS = {"percent": 2, "share": 4, "": 4}
OF_DIGITS = {"peak_epoch": 0, "correlation": 3}
# Where the paper's number lies, as one sign behind it.
MARKS = {"inside": "=", "run": "≈", "above": "↑", "below": "↓"}
MEANINGS = {
    "inside": "= it lies in our 95% interval",
    "run": "≈ where one more run of ours falls 95% of the time",
    "above": "↑ higher than that",
    "below": "↓ lower than that",
}
MAX_REASONS = 4

WORST = 6  # confusions that are named under a matrix


@dataclasses.dataclass(frozen=True)
class Shown:
    """A cell in words; any of them may be empty."""

    mean: str = ""
    interval: str = ""  # "± 0.0062", or "(−0.90 to −0.88)" where it is not the same to both sides
    paper: str = ""
    position: str = ""
    n: str = ""  # where not all cells have the same
    note: str = ""
    missing: str = ""

    @property
    def mark(self) -> str:
        return MARKS.get(self.position, "")


def caption(exhibit: dict) -> str:
    """'Table 1. Performance of the different CNNs.'"""
    return ". ".join(part.rstrip(".") for part in (exhibit["source"], exhibit["title"]) if part) + "."


def shown(table: Table) -> list[list[Shown]]:
    """The cells, row by row."""
    columns = {column["heading"]: column for column in table.exhibit["columns"]}
    same = table.n is not None
    rows = [[] for _ in table.exhibit["rows"]]
    for cell in table.cells.to_dict("records"):
        rows[cell["row"]].append(_shown(cell, columns[cell["column"]], same))
    return rows


def _shown(cell: dict, column: dict, same: bool) -> Shown:
    paper = {"paper": cell["printed"].replace("-", "−"), "position": cell["position"]}
    if cell["text"]:
        return Shown(mean="–" if cell["text"] == "-" else cell["text"], paper=cell["printed"])
    if cell["missing"]:
        return Shown(missing=cell["missing"], **paper)
    n = "" if same or column["of"] == "peak_epoch" else f"(n {cell['n']})"
    mean = number(cell["mean"], column)
    return Shown(mean=mean, interval=_interval(cell, column), n=n, note=cell["note"], **paper)


def heading(column: dict) -> str:
    """A column's heading, with its unit where that is not in it."""
    text = column["heading"]
    return f"{text} (%)" if column["unit"] == "percent" and "%" not in text else text


def number(value: float, column: dict, least: float | None = None) -> str:
    """A value in a column's unit; a duration is written as one of at least `least` seconds."""
    unit, digits = column["unit"], column["digits"]
    if digits is None:
        digits = OF_DIGITS.get(column["of"], DIGITS.get(unit, 4))
    if unit == "duration":
        return _duration(value, max(value, least or 0))
    return f"{(100 if unit == 'percent' else 1) * value:.{digits}f}".replace("-", "−")


def _duration(value: float, like: float) -> str:
    """'1:14:42' as the papers have it; under a minute '3.01 s', which would there be 0:00:03."""
    if like < 60:
        return f"{value:.2f} s"
    whole = round(value)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def _interval(cell: dict, column: dict) -> str:
    if not (words.known(cell["low"]) and words.known(cell["high"])):
        return ""
    if column["of"] == "correlation":
        return f"({number(cell['low'], column)} to {number(cell['high'], column)})"
    return f"± {number((cell['high'] - cell['low']) / 2, column, least=cell['mean']).removesuffix(' s')}"


def label_cells(table: Table) -> list[list[tuple[str, int]]]:
    """The rows' labels as (text, rows that it spans); a label like the one above, all before it alike, has no cell."""
    labels = [row["labels"] for row in table.exhibit["rows"]]
    width = len(table.exhibit["labels"])

    def repeated(i, j):
        return i > 0 and j < width - 1 and labels[i][: j + 1] == labels[i - 1][: j + 1]

    found = []
    for i, row in enumerate(labels):
        cells = []
        for j, label in enumerate(row):
            if not repeated(i, j):
                span = 1
                while i + span < len(labels) and repeated(i + span, j):
                    span += 1
                cells.append((label, span))
        found.append(cells)
    return found


def notes(table: Table, legend: bool = True) -> list[str]:
    """What a reader must know of the numbers, a sentence each; with a `legend` of the signs, if asked."""
    cells = table.cells
    told = cells[cells["mean"].notna()]
    found = [table.exhibit["note"]] if table.exhibit["note"] else []
    if told["low"].notna().any():
        n = f", n = {table.n} {table.noun}" if table.n is not None else ", n beside it"
        found.append(f"Mean and its 95% interval{n}.")
    elif len(told) and table.n is not None:
        found.append(f"n = {table.n}: no interval is possible." if table.n == 1 else f"n = {table.n} {table.noun}.")
    if legend and (positions := [_meaning(table.exhibit, p) for p in MARKS if (cells["position"] == p).any()]):
        found.append(f"The sign behind the paper’s number: {'; '.join(positions)}.")
    if starred := _starred(table):
        found.append(f"* {_some(starred)}.")
    if reasons := list(dict.fromkeys(cells.loc[cells["missing"] != "", "missing"])):
        found.append(f"Not run: {_some(reasons)}.")
    return found


def _starred(table: Table) -> list[str]:
    """The notes of cells, with the labels of their rows where there are several."""
    rows = table.exhibit["rows"]
    noted = table.cells[table.cells["note"] != ""]
    of_note = {note: noted.loc[noted["note"] == note, "row"].unique() for note in dict.fromkeys(noted["note"])}
    if len(of_note) < 2:
        return list(of_note)
    places = {note: " and ".join(", ".join(map(str, rows[i]["labels"])) for i in of_note[note]) for note in of_note}
    return [f"{place}: {note}" for note, place in places.items()]


def _meaning(exhibit: dict, position: str) -> str:
    """What the sign says of a paper's number, which may be a mean of several runs."""
    of = exhibit.get("paper_n", 1)
    one = f"the mean of {of} more runs" if of > 1 else "one more run"
    return MEANINGS[position].replace("one more run", one)


def _some(reasons: list[str]) -> str:
    more = len(reasons) - MAX_REASONS
    return "; ".join(reasons[:MAX_REASONS]) + (f"; and {more} more" if more > 0 else "")


def figure_notes(figure: Figure) -> list[str]:
    """The same of a figure."""
    kind, data = figure.exhibit["kind"], figure.data
    found = [figure.exhibit["note"]] if figure.exhibit["note"] else []
    if kind in ("curves", "against", "heatmap", "scatter3d") and len(data):
        ours = data[data["n"] > 0]["n"].astype(int)
        n = f"n = {ours.min()}" + (f" to {ours.max()}" if ours.max() > ours.min() else "") if len(ours) else "n = 0"
        of = {
            "interval": "Mean and its 95% interval",
            "sd": "Mean and one standard deviation",
            "none": "Mean",
        }[figure.exhibit.get("band", "none" if kind == "scatter3d" else "interval")]
        found.append(f"{of} over {figure.noun}, {n}.")
        if kind == "against" and (data["source"] == "paper").any():
            found.append("Open diamonds are the paper’s numbers.")
    if kind == "histograms" and len(data):
        one = "an arm’s mean" if figure.exhibit["by"] == "arm" else "a run"
        first = data[data["factor"] == data["factor"].iloc[0]]
        found.append(f"Each of the {int(first['results'].sum()):,} results is {one}.")
    if kind == "confusion" and figure.runs:
        found.append(f"Percent of the images of a class, over {words.plural(figure.runs, 'run')}.")
        wrong = data[data["true"].astype(str) != data["predicted"].astype(str)].nlargest(WORST, "percent")
        pairs = [f"{row.true} taken for {row.predicted} {row.percent:.1f}%" for row in wrong.itertuples()]
        found.append(f"Most often: {', '.join(pairs)}.")
    if figure.missing:
        found.append(f"Not run: {_some(list(figure.missing))}.")
    return found


def html(table: Table) -> markupsafe.Markup:
    """A <table> with a caption; whatever a user wrote is escaped."""
    exhibit, tag = table.exhibit, markupsafe.Markup
    heads = [tag('<th scope="col" class="text">{}</th>').format(label) for label in exhibit["labels"]]
    heads += [tag('<th scope="col">{}</th>').format(heading(column)) for column in exhibit["columns"]]
    body = []
    for labels, cells in zip(label_cells(table), shown(table), strict=True):
        row = [
            tag('<th scope="row{}" class="text"{}>{}</th>').format(
                "group" if span > 1 else "", tag(' rowspan="{}"').format(span) if span > 1 else "", label
            )
            for label, span in labels
        ]
        body.append(tag("<tr>{}</tr>").format(tag("").join([*row, *map(_html_cell, cells)])))
    return tag(
        '<div class="scroller"><table class="data exhibit-table"><caption class="sr">{}</caption>'
        "<thead><tr>{}</tr></thead>\n<tbody>{}</tbody></table></div>"
    ).format(caption(exhibit), tag("").join(heads), tag("\n").join(body))


def _html_cell(cell: Shown) -> markupsafe.Markup:
    tag = markupsafe.Markup
    if cell.missing:
        first = tag('<span class="not-run" title="{}">{}</span>').format(cell.missing, NOT_RUN)
    else:
        star = tag("<abbr title='{}'>*</abbr>").format(cell.note) if cell.note else ""
        small = " ".join(part for part in (cell.interval, cell.n) if part)
        first = tag('<span class="ours">{}</span>{}').format(cell.mean, star)
        if small:
            first += tag(' <span class="pm">{}</span>').format(small)
    if cell.paper:
        mark = (
            tag('<i class="{0}" title="{1}">{2}</i>').format(cell.position, MEANINGS[cell.position], cell.mark)
            if cell.position
            else tag("<i></i>")
        )
        first += tag('<span class="paper">paper {}{}</span>').format(cell.paper, mark)
    return tag("<td>{}</td>").format(first)


def markdown(table: Table, legend: bool = True) -> str:
    """GitHub's Markdown: the table, and its notes under it."""
    exhibit = table.exhibit
    heads = [*exhibit["labels"], *(heading(column) for column in exhibit["columns"])]
    rules = ["---"] * len(exhibit["labels"]) + ["---:"] * len(exhibit["columns"])
    lines = [_line(map(safe, heads)), _line(rules)]
    for labels, cells in zip(label_cells(table), shown(table), strict=True):
        blank = [""] * (len(exhibit["labels"]) - len(labels))
        lines.append(_line([*blank, *(safe(label) for label, _ in labels), *map(_markdown_cell, cells)]))
    return "\n".join([*lines, "", *footnote(notes(table, legend))])


def _line(cells) -> str:
    return f"| {' | '.join(cells)} |"


def safe(text: str) -> str:
    """Text that ends no cell and starts no markup."""
    for sign in "\\|*_`<>[]":
        text = text.replace(sign, f"&#{ord(sign)};" if sign in "<>|" else f"\\{sign}")
    return " ".join(text.split())


def footnote(sentences: list[str]) -> list[str]:
    """Sentences as one small line of Markdown; none where there are none."""
    return [f"<sub>{' '.join(map(safe, sentences))}</sub>"] if sentences else []


def _markdown_cell(cell: Shown) -> str:
    text = f"*{NOT_RUN}*" if cell.missing else " ".join(filter(None, (safe(cell.mean), cell.interval, cell.n)))
    text += "\\*" if cell.note else ""
    if cell.paper:
        text += f"<br><sub>paper {safe(cell.paper)}{cell.mark and f' {cell.mark}'}</sub>"
    return text


def terminal(table: Table) -> Terminal:
    """The table for a rich console."""
    exhibit = table.exhibit
    made = Terminal(
        title=escape(caption(exhibit)),
        title_style="bold",
        title_justify="left",
        caption=escape(" ".join(notes(table))),
        caption_style="dim",
        caption_justify="left",
        header_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for label in exhibit["labels"]:
        made.add_column(escape(label), overflow="fold")
    for column in exhibit["columns"]:
        made.add_column(escape(heading(column)), justify="right", overflow="fold")
    for labels, cells in zip(label_cells(table), shown(table), strict=True):
        blank = [""] * (len(exhibit["labels"]) - len(labels))
        made.add_row(*blank, *(escape(label) for label, _ in labels), *map(_terminal_cell, cells))
    return made


def _terminal_cell(cell: Shown) -> str:
    if cell.missing:
        text = f"[dim]{NOT_RUN}[/dim]"
    else:
        small = " ".join(part for part in (cell.interval, cell.n) if part)
        text = f"{escape(cell.mean)}{'*' if cell.note else ''}{f' [dim]{escape(small)}[/dim]' if small else ''}"
    mark = f" {cell.mark}" if cell.mark else ""
    return text + (f"\n[dim]paper {escape(cell.paper)}{mark}[/dim]" if cell.paper else "")


def csv(made: Table | Figure) -> pd.DataFrame:
    """The data of an exhibit as a table for a file, in the metrics' own units."""
    if isinstance(made, Figure):
        return made.data
    labels = made.exhibit["labels"]
    names = [label or ("row" if len(labels) == 1 else f"label {i}") for i, label in enumerate(labels, 1)]
    named = pd.DataFrame([row["labels"] for row in made.exhibit["rows"]], columns=names)
    cells = made.cells
    return pd.concat([named.loc[cells["row"]].reset_index(drop=True), cells.drop(columns="row")], axis=1)


def plain(value):
    """A number for JSON: None where there is none."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
