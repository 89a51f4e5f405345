"""Whether an exhibit is well-formed: its kind, its arguments, their types, and the factors that it names."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from fmnist_jax.claims import checking as selecting
from fmnist_jax.claims.checking import SELECTED, WHEN, is_number, names_of, nearest

QUANTITIES = ("mean", "average", "peak", "peak_epoch", "correlation", "text")
UNITS = ("percent", "share", "duration", "")
EMPTY = "-"
REFERENCE = "reference"  # in a row's selector: a classical classifier by name
COMMON = ("kind", "name", "title", "where", "source", "note")
SHOWN = ("metric", "unit")
# kind -> its arguments beside the common ones
KINDS = {
    "table": ("labels", "rows", "columns", "paper_n"),
    "curves": ("lines", "panels", "x", "band", "x_label"),
    "against": ("factor", "lines", *SHOWN, "log", "x_label", "y_label", "numbers"),
    "heatmap": ("factors", *SHOWN),
    "scatter3d": ("factors", *SHOWN),
    "histograms": ("factors", *SHOWN, "bins", "by"),
    "confusion": (),
    "correlations": ("arms", "layers"),
}
DEFAULTS = {"where": selecting.ALL, "source": "", "note": "", "paper_n": 1}
ROW = ("labels", "where", "paper", "text", "metrics")
COLUMN = ("heading", "metric", "of", "where", "unit", "digits", "by", "factor", "numbers")
LINE = ("label", "where", "metric", "paper")
PANEL = ("label", "metrics", "unit", "log")
FACTORS = {"heatmap": 2, "scatter3d": 3}
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_TIME = re.compile(r"\d+:[0-5]\d:[0-5]\d")


def check(exhibit: dict, factor_keys: Iterable[str] | None = None) -> None:
    """Refuses an exhibit that no study could fill; with `factor_keys` also one that names a factor not among them.

    Raises:
      ValueError: one line that names the exhibit, the argument and what would be right.
    """
    if not isinstance(exhibit, Mapping):
        raise ValueError(f"exhibit {exhibit!r}: is not an exhibit; one is exhibits.table('table_1', ...)")
    name = exhibit.get("name")
    if not isinstance(name, str) or not re.search(r"\w", name):
        raise ValueError(f"exhibit {name!r}: needs a name, such as 'table_1'; its file is called by it")
    for where, problem in _problems(exhibit, factor_keys):
        raise ValueError(f"exhibit {name}: {where}: {problem}")


def slug(name: str) -> str:
    """An exhibit's name as the name of its files."""
    return re.sub(r"[^\w.-]+", "_", name).strip("._").lower()


def seconds(value: float | str) -> float:
    """'1:14:42', or a number of seconds, in seconds."""
    if isinstance(value, str):
        hours, minutes, rest = map(int, value.split(":"))
        return 3600.0 * hours + 60 * minutes + rest
    return float(value)


Problems = Iterator[tuple[str, str]]


def _problems(exhibit: Mapping, factor_keys: Iterable[str] | None) -> Problems:
    """What is wrong: (argument, what would be right); what later ones stand on comes first."""
    kind = exhibit.get("kind")
    if kind not in KINDS:
        yield f"kind={kind!r}", f"there is none; {nearest(kind, KINDS)}"
        return
    yield from _keys(exhibit, (*COMMON, *KINDS[kind]), DEFAULTS, f"{kind} ")
    for key in ("title", "source", "note", "x_label", "y_label"):
        if not isinstance(exhibit.get(key, ""), str):
            yield f"{key}={exhibit[key]!r}", "must be a string"
    yield from _selection("where", exhibit.get("where", {}))
    yield from OF_KIND[kind](exhibit)
    if factor_keys is not None:
        yield from _unknown(exhibit, names_of(factor_keys))


def _keys(given: Mapping, known: Sequence[str], optional: Iterable[str], what: str = "") -> Problems:
    for key in given:
        if key not in known:
            yield f"{key}={given[key]!r}", f"{what}has none; {nearest(key, known)}"
    for key in known:
        if key not in given and key not in optional:
            yield key, f"missing; {what}needs {', '.join(k for k in known if k not in optional)}"


def _selection(argument: str, where) -> Problems:
    if problem := selecting.selector(where):
        yield f"{argument}={where!r}", problem


def _many(argument: str, values, noun: str) -> Problems:
    if not isinstance(values, (list, tuple)) or not values:
        yield f"{argument}={values!r}", f"must be a list of {noun}, one or more"


def _words(argument: str, values, noun: str) -> Problems:
    yield from _many(argument, values, noun)
    if not all(isinstance(value, str) and value for value in values):
        yield f"{argument}={list(values)!r}", f"must be {noun} by name"


def _one_of(argument: str, value, known: Sequence) -> Problems:
    if value not in known:
        yield f"{argument}={value!r}", f"must be one of {', '.join(repr(k) for k in known)}"


def _table(exhibit: Mapping) -> Problems:
    yield from _many("labels", exhibit["labels"], "headings")
    if not all(isinstance(label, str) for label in exhibit["labels"]):
        yield f"labels={exhibit['labels']!r}", "must be headings, strings; one may be empty"
    yield from _many("rows", exhibit["rows"], "exhibits.row(...)")
    yield from _many("columns", exhibit["columns"], "exhibits.column(...)")
    for i, column in enumerate(exhibit["columns"], 1):
        yield from _column(f"column {i}", column)
    headings = [column["heading"] for column in exhibit["columns"]]
    for heading in headings:
        if headings.count(heading) > 1:
            yield f"columns: {heading!r}", "is the heading of two; the paper's numbers could not be told apart"
    if not isinstance(exhibit.get("paper_n", 1), int) or exhibit.get("paper_n", 1) < 1:
        yield f"paper_n={exhibit['paper_n']!r}", "must be how many runs the paper's numbers are means of, 1 or more"
    by_heading = {column["heading"]: column for column in exhibit["columns"]}
    for i, row in enumerate(exhibit["rows"], 1):
        yield from _row(f"row {i}", row, by_heading, len(exhibit["labels"]))


def _column(place: str, column) -> Problems:
    if not isinstance(column, Mapping):
        yield f"{place}={column!r}", "must be made by exhibits.column(...)"
    yield from _keys(column, COLUMN, (), f"{place} ")
    of, place = column["of"], f"{place} ({column['heading']})"
    if not isinstance(column["heading"], str) or not column["heading"]:
        yield f"{place}: heading", "must be a string"
    yield from _one_of(f"{place}: of", of, QUANTITIES)
    yield from _one_of(f"{place}: unit", column["unit"], UNITS)
    yield from _selection(f"{place}: where", column["where"])
    digits = column["digits"]
    if digits is not None and not (isinstance(digits, int) and 0 <= digits <= 8):
        yield f"{place}: digits={digits!r}", "must be a number of decimals from 0 to 8, or None"
    if of not in ("text", "peak_epoch") and not (isinstance(column["metric"], str) and column["metric"]):
        yield f"{place}: metric={column['metric']!r}", f"{of} needs one, such as 'test_accuracy'"
    if of.startswith("peak") and not column["by"]:
        yield f"{place}: by", f"{of} needs the metric that is at its best there, such as 'validation_accuracy'"
    if of == "correlation" and not column["factor"]:
        yield f"{place}: factor", "correlation needs the factor to correlate with"
    if problem := selecting.numbers(column["numbers"]):
        yield f"{place}: numbers", problem


def _row(place: str, row, columns: Mapping, labels: int) -> Problems:
    if not isinstance(row, Mapping):
        yield f"{place}={row!r}", "must be made by exhibits.row(...)"
    yield from _keys(row, ROW, (), f"{place} ")
    if not isinstance(row["labels"], (list, tuple)) or len(row["labels"]) != labels:
        yield f"{place}: labels={row['labels']!r}", f"must be {labels}, one for each of the table's"
    place = f"{place} ({', '.join(map(str, row['labels']))})"
    yield from _selection(f"{place}: where", row["where"])
    for argument in ("paper", "text", "metrics"):
        if not isinstance(row[argument], Mapping):
            yield f"{place}: {argument}={row[argument]!r}", "must be a mapping of headings"
        for heading in row[argument]:
            if heading not in columns:
                yield f"{place}: {argument}: {heading!r}", f"is no column; {nearest(heading, columns)}"
    for heading, value in row["paper"].items():
        if problem := _printed(value, columns[heading]):
            yield f"{place}: paper: {heading}={value!r}", problem
    for heading, column in columns.items():
        if column["of"] == "text" and heading not in row["text"]:
            yield f"{place}: text", f"has no {heading!r}, a column of text"


def _printed(value, column: Mapping) -> str | None:
    """What is wrong with a number of the paper's."""
    if value is None or value == EMPTY or column["of"] == "text":
        return None
    if column["unit"] == "duration":
        good = (isinstance(value, str) and _TIME.fullmatch(value)) or is_number(value)
        return None if good else "must be 'h:mm:ss', or seconds"
    if not is_number(value) and not (isinstance(value, str) and _NUMBER.fullmatch(value)):
        return f"must be a number, None, or {EMPTY!r}"
    return _in_unit(float(value), column["unit"])


def _in_unit(value: float, unit: str) -> str | None:
    if unit == "percent" and 0 < abs(value) <= 1:
        return f"must be in percent, as the paper prints it: {100 * value:g}"
    if unit == "share" and abs(value) > 1:
        return f"must be a share, as the paper prints it: {value / 100:g}"
    return None


def _line(place: str, line) -> Problems:
    if not isinstance(line, Mapping):
        yield f"{place}={line!r}", "must be made by exhibits.line(...)"
    yield from _keys(line, LINE, (), f"{place} ")
    if not isinstance(line["label"], str):
        yield f"{place}: label={line['label']!r}", "must be a string"
    yield from _selection(f"{place} ({line['label']}): where", line["where"])


def _flag(argument: str, value) -> Problems:
    if not isinstance(value, bool):
        yield f"{argument}={value!r}", "must be True or False"


def _lines(argument: str, lines) -> Problems:
    yield from _many(argument, lines, "exhibits.line(...)")
    for i, line in enumerate(lines, 1):
        yield from _line(f"{argument} {i}", line)
    labels = [line["label"] for line in lines]
    for label in labels:
        if labels.count(label) > 1:
            yield f"{argument}: {label!r}", "is the label of two; a reader could not tell them apart"


def _curves(exhibit: Mapping) -> Problems:
    yield from _lines("lines", exhibit["lines"])
    yield from _many("panels", exhibit["panels"], "exhibits.panel(...)")
    for i, panel in enumerate(exhibit["panels"], 1):
        if not isinstance(panel, Mapping):
            yield f"panel {i}={panel!r}", "must be made by exhibits.panel(...)"
        yield from _keys(panel, PANEL, (), f"panel {i} ")
        yield from _words(f"panel {i}: metrics", panel["metrics"], "metrics")
        yield from _one_of(f"panel {i}: unit", panel["unit"], UNITS)
        yield from _flag(f"panel {i}: log", panel["log"])
    yield from _one_of("x", exhibit["x"], WHEN)
    yield from _one_of("band", exhibit["band"], ("interval", "sd", "none"))
    for where in (exhibit.get("where", {}), *(line["where"] for line in exhibit["lines"])):
        for key in WHEN:
            if key in where:
                yield f"where: {key}={where[key]!r}", "curves show every evaluation; leave it out"


def _against(exhibit: Mapping) -> Problems:
    yield from _shown(exhibit)
    yield from _lines("lines", exhibit["lines"])
    if not isinstance(exhibit["factor"], str) or not exhibit["factor"]:
        yield f"factor={exhibit['factor']!r}", "must be the name of a factor"
    yield from _flag("log", exhibit["log"])
    if problem := selecting.numbers(exhibit["numbers"]):
        yield "numbers", problem
    for line in exhibit["lines"]:
        if not isinstance(line["paper"], (list, tuple)):
            yield f"line {line['label']}: paper={line['paper']!r}", "must be a list of [value of the factor, number]"
        for point in line["paper"]:
            good = isinstance(point, (list, tuple)) and len(point) == 2 and is_number(point[1])
            problem = _in_unit(point[1], exhibit["unit"]) if good else "must be [value of the factor, number]"
            if problem:
                yield f"line {line['label']}: paper: {point!r}", problem


def _shown(exhibit: Mapping) -> Problems:
    if not isinstance(exhibit["metric"], str) or not exhibit["metric"]:
        yield f"metric={exhibit['metric']!r}", "must be a metric, such as 'test_accuracy'"
    yield from _one_of("unit", exhibit["unit"], UNITS)


def _of_factors(exhibit: Mapping) -> Problems:
    yield from _shown(exhibit)
    yield from _words("factors", exhibit["factors"], "factors")
    needed = FACTORS.get(exhibit["kind"])
    if needed and len(set(exhibit["factors"])) != needed:
        yield f"factors={list(exhibit['factors'])!r}", f"must be {needed} different factors"


def _histograms(exhibit: Mapping) -> Problems:
    yield from _of_factors(exhibit)
    yield from _one_of("by", exhibit["by"], ("run", "arm"))
    bins = exhibit["bins"]
    if not isinstance(bins, int) or isinstance(bins, bool) or not 2 <= bins <= 200:
        yield f"bins={bins!r}", "must be a number from 2 to 200"


def _confusion(exhibit: Mapping) -> Problems:
    yield from ()


def _correlations(exhibit: Mapping) -> Problems:
    yield from _lines("arms", exhibit["arms"])
    yield from _words("layers", exhibit["layers"], "layers")


OF_KIND = {
    "table": _table,
    "curves": _curves,
    "against": _against,
    "heatmap": _of_factors,
    "scatter3d": _of_factors,
    "histograms": _histograms,
    "confusion": _confusion,
    "correlations": _correlations,
}


def _unknown(exhibit: Mapping, known: Mapping[str, str]) -> Problems:
    """Factors that the study does not have."""
    named = [("where", key) for key in exhibit.get("where", ())]
    named += [("factor", exhibit["factor"])] if exhibit.get("factor") else []
    named += [("factors", key) for key in exhibit.get("factors", ())]
    for i, row in enumerate(exhibit.get("rows", ()), 1):
        named += [(f"row {i}", key) for key in row["where"] if key != REFERENCE]
    for column in exhibit.get("columns", ()):
        named += [(f"column {column['heading']}", key) for key in column["where"]]
        named += [(f"column {column['heading']}: factor", column["factor"])] if column["factor"] else []
    for argument in ("lines", "arms"):
        named += [(f"line {line['label']}", key) for line in exhibit.get(argument, ()) for key in line["where"]]
    for argument, key in named:
        if key not in known and key not in SELECTED:
            near = nearest(key, list(dict.fromkeys([*known, *SELECTED])))
            yield f"{argument}: {key!r}", f"is no factor of this study; {near}"
