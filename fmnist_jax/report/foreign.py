"""A CSV of someone else's sweep as a Study: a row a run, columns of any name.

Arms are the combinations of the factors' values; rows of one combination are its repeats. Where no column holds the
seed, the repeats of an arm are numbered in the order of the rows: row 1 of one arm is then compared with row 1 of
another, which is fair but finds less than true pairs would.

Besides the metric asked for, columns of numbers named train, val(idation), test, ... (`val/acc`, `test_loss`) are shown
as metrics, with the split spelled out. A row without a number in the metric is a run that failed: counted, in no mean.
"""

import csv
import difflib
import itertools
import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from fmnist_jax import tidy
from fmnist_jax.errors import UserError

NOTHING = ("", "nan", "na", "n/a", "null", "none", "-")
SPLITS = {"val": "validation", "valid": "validation", "dev": "validation", "eval": "validation", "training": "train"}
# Columns that a runs table has anyway; one of the CSV's of this name gets another.
OURS = (*tidy.AXES, "diverged_at", "stopped_at", "train_seconds", "parameters", "epoch")


def read(
    path: Path,
    metric: str,
    factors: Sequence[str],
    seed: str | None = None,
    fold: str | None = None,
    seconds: str | None = None,
    lower: bool = False,
) -> tidy.Study:
    """The study in a CSV (separated by commas, semicolons or tabs; the first row names the columns).

    Args:
      metric: the column to compare arms by; keeps its name, with "_error" behind it where `lower` and its name does not
        say so itself (`tidy.lower_is_better`).
      factors: the columns that make an arm.
      seed, fold: the columns that tell repeats apart; by default those of that name, where there are.
      seconds: the column with a run's training time.

    Raises:
      UserError: no such file or column, text where numbers belong, a factor that never changes, rows that are the same
        run, no rows.
    """
    rows = _rows(path)
    asked = {metric, *factors}  # a column of that name is what it says: without it, pairs would be of the wrong runs
    seed = seed or ("seed" if "seed" in rows and "seed" not in asked else None)
    fold = fold or ("fold" if "fold" in rows and "fold" not in asked else None)
    _check_columns(path, rows, metric, factors, [c for c in (seed, fold, seconds) if c])
    values = _numbers(rows, metric)
    keys = {column: f"csv.{column}" if column in OURS else column for column in factors}
    runs = pd.DataFrame({keys[column]: _factor(rows, column) for column in factors})
    labels = tidy.short_labels(keys.values())
    names = [[f"{labels[key]}={_show(value)}" for value in runs[key]] for key in runs]
    runs.insert(0, "arm", [",".join(parts) for parts in zip(*names, strict=True)])
    runs.insert(1, "seed", _codes(rows[seed]) if seed else 0)
    runs.insert(2, "fold", _codes(rows[fold]) if fold else 0)
    if not seed:
        runs["seed"] = runs.groupby(["arm", "fold"]).cumcount()
    _check_repeats(path, runs, seed, fold)
    name = f"{metric}_error" if lower and not tidy.lower_is_better(metric) else metric
    name = f"csv.{name}" if name in OURS or name in runs else name
    runs[name] = values
    runs = runs.assign(**{k: v for k, v in _others(rows, {metric, *factors, seed, fold, seconds}).items() if k != name})
    if seconds:
        runs["train_seconds"] = _numbers(rows, seconds)
    runs["diverged_at"] = np.where(np.isfinite(values), np.nan, 0.0)
    runs["stopped_at"] = np.nan
    found = tidy.factors_of(runs, list(keys.values()))
    arms = runs[["arm", *keys.values()]].drop_duplicates("arm")
    order = arms.sort_values(list(keys.values()), key=_in_order(found), kind="stable")["arm"]
    facts = {
        "file": str(path),
        "rows": len(rows),
        "repeats": f"column {seed}" if seed else "numbered in the order of rows",
    }
    return tidy.Study(
        name=path.stem,
        question=f"What do {_listed(factors)} do to {metric}?",
        factors=found,
        metric=name,
        select_by=name,
        runs=runs,
        curves=pd.DataFrame(),
        arms=tuple(order),
        facts=facts,
    )


def _rows(path: Path) -> pd.DataFrame:
    """The CSV as text, a column a column."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: {(error.strerror or str(error)).lower()}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not text in UTF-8; save it as CSV UTF-8") from None
    header = text.lstrip().split("\n", 1)[0]
    separator = max(",;\t", key=header.count)
    try:
        lines = [line for line in csv.reader(text.splitlines(), delimiter=separator, strict=True) if any(line)]
    except csv.Error as error:
        raise UserError(f"{path}: not a CSV: {error}") from None
    if not lines:
        raise UserError(f"{path}: empty; the first row must name the columns")
    columns = [name.strip() for name in lines[0]]
    if twice := [name for name in dict.fromkeys(columns) if columns.count(name) > 1]:
        raise UserError(f"{path}: two columns are named {twice[0]!r}; rename one")
    for number, line in enumerate(lines[1:], 2):
        if len(line) != len(columns):
            raise UserError(f"{path}: row {number} has {len(line)} fields, the first row has {len(columns)}")
    if len(lines) == 1:
        raise UserError(f"{path}: no rows below the names of the columns")
    return pd.DataFrame([[field.strip() for field in line] for line in lines[1:]], columns=columns)


def _check_columns(path: Path, rows: pd.DataFrame, metric: str, factors: Sequence[str], others: list[str]) -> None:
    asked = [metric, *factors, *others]
    if not factors:
        raise UserError("--factors: none; name the columns that make an arm, as in --factors=learning_rate,optimizer")
    for column in asked:
        if column not in rows:
            near = difflib.get_close_matches(column, list(rows.columns), 1)
            meant = f"; did you mean {near[0]!r}?" if near else ""
            raise UserError(f"{path}: no column {column!r}{meant} There are {', '.join(map(repr, rows.columns))}")
    if twice := [column for column in dict.fromkeys(asked) if asked.count(column) > 1]:
        raise UserError(f"column {twice[0]!r} is asked for twice; it is the metric, a factor, the seed or the fold")
    for column in factors:
        first = rows[column].iloc[0]
        if (rows[column] == first).all():
            raise UserError(f"factor {column!r}: {first!r} in every row; a factor needs two values or more")


def _numbers(rows: pd.DataFrame, column: str) -> np.ndarray:
    """A column's numbers, NaN where there is none.

    Raises:
      UserError: text that is no number, with its row.
    """
    values = np.full(len(rows), np.nan)
    for i, text in enumerate(rows[column]):
        try:
            values[i] = float("nan" if text.lower() in NOTHING else text)
        except ValueError:
            raise UserError(f"column {column!r}, row {i + 2}: {text!r} is not a number") from None
    return np.where(np.isfinite(values), values, np.nan)


def _factor(rows: pd.DataFrame, column: str) -> list:
    """A factor's values: numbers where all are, else text."""
    try:
        values = [float(text) for text in rows[column]]
    except ValueError:
        return [text or "none" for text in rows[column]]
    if not all(map(math.isfinite, values)):
        return [text or "none" for text in rows[column]]
    whole = all(value.is_integer() and abs(value) < 2**53 for value in values)
    return [int(value) for value in values] if whole else values


def _show(value) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _codes(column: pd.Series) -> np.ndarray:
    """Seeds or folds as whole numbers: their own where they are, else numbered as they come."""
    if column.str.fullmatch(r"\d{1,15}").all():
        return column.astype("int64").to_numpy()
    return pd.factorize(column)[0]


def _check_repeats(path: Path, runs: pd.DataFrame, seed: str | None, fold: str | None) -> None:
    again = runs.duplicated(["arm", "seed", "fold"]).to_numpy()
    if not again.any():
        return
    second = int(np.flatnonzero(again)[0])
    same = (runs[["arm", "seed", "fold"]] == runs.loc[second, ["arm", "seed", "fold"]]).all(axis=1)
    first = int(np.flatnonzero(same)[0])
    more = "" if fold else ", or name the column of the folds with --fold"
    run = f"{runs['arm'][second]}, {seed} {runs['seed'][second]}"
    raise UserError(
        f"{path}: rows {first + 2} and {second + 2} are the same run ({run}); name every column that tells arms apart "
        f"in --factors{more}, or leave --seed out to number the rows"
    )


def _others(rows: pd.DataFrame, taken: set) -> dict[str, np.ndarray]:
    """The columns of numbers that are metrics by their name, under the name that says of which split."""
    found = {}
    for column in rows:
        split, _, rest = re.sub(r"[\s/.\-]+", "_", column.lower()).partition("_")
        split = SPLITS.get(split, split)
        if column in taken or not rest or split not in ("train", "validation", "test"):
            continue
        try:
            found.setdefault(f"{split}_{rest}", _numbers(rows, column))
        except UserError:  # text: not a metric
            continue
    return {name: values for name, values in found.items() if name not in OURS and np.isfinite(values).any()}


def _in_order(factors: Sequence[tidy.Factor]):
    """A sort key: every column by the order of its factor's values."""
    places = {f.key: dict(zip(f.values, itertools.count(), strict=False)) for f in factors}
    return lambda column: column.map(places[column.name])


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
