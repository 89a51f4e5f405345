"""What a value of a config may be: fields of a dataclass that carry their own limits. A leaf."""

import dataclasses
import difflib
import math
import re

import numpy as np

# What a value of each type is called in an error.
KIND = {int: "a whole number", float: "a number", str: "a string", bool: "True or False", tuple: "a tuple"}


def field(default, check):
    """A field whose value must pass `check`: value -> what is wrong with it, or None."""
    return dataclasses.field(default=default, metadata={"check": check})


def choice(default, options):
    """One of `options`."""
    names = ", ".join(map(str, options))

    def check(value):
        if value in options:
            return None
        close = difflib.get_close_matches(str(value), map(str, options), n=1)
        return (f"did you mean {close[0]!r}? " if close else "") + f"one of {names}"

    return field(default, check)


def number(default, low=-math.inf, high=math.inf, above=None, below=None):
    """A number in [low, high], or in an interval open at `above` or `below`."""

    def check(value):
        if isinstance(value, float):
            with np.errstate(over="ignore"):
                value = float(np.float32(value))  # what a run will see of it
        elif abs(value) >= 2**63:
            return "is too large for any machine"
        if not math.isfinite(value):
            return "must be a finite number"
        if above is not None and value <= above:
            return f"must be above {above}"
        if below is not None and value >= below:
            return f"must be below {below}"
        if value < low:
            return f"must be at least {low}"
        if value > high:
            return f"must be at most {high}"
        return None

    return field(default, check)


def each(default, one):
    """A tuple whose every entry passes the check of the field `one`."""

    def check(value):
        for entry in value:
            if type(entry) not in ((int, float) if isinstance(one.default, float) else (type(one.default),)):
                return f"holds {entry!r}, where {KIND[type(one.default)]} belongs"
            if problem := one.metadata["check"](entry):
                return problem
        return None

    return field(default, check)


def overrides(values):
    """Check of a tuple of mappings from names to values."""
    for entry in values:
        if not isinstance(entry, dict) or not all(isinstance(key, str) for key in entry):
            return f"holds {entry!r}, where a mapping of names to values belongs"
    return None


def padding(values):
    """Check of a tuple of paddings."""
    good = all(
        value in ("same", "valid") if isinstance(value, str) else type(value) is int and value >= 0 for value in values
    )
    return None if good else "'same', 'valid' or a number of pixels"


_DURATION = re.compile(r"\s*([0-9.]+)\s*(steps?|epochs?|%)\s*")


def duration(text):
    """Check of a duration."""
    found = _DURATION.fullmatch(text)
    if not found or found[1].count(".") > 1 or found[1] == ".":
        return "a number and a unit, such as '500 steps' or '3 epochs'"
    if float(found[1]) == 0:
        return "must be more than zero"
    if found[2].startswith("step") and not float(found[1]).is_integer():
        return "must be a whole number of steps"
    return None


def training(text):
    """Check of a duration, or "0 steps"."""
    return None if untrained(text) else duration(text)


def untrained(text: str) -> bool:
    """Whether a duration says that nothing is trained."""
    return bool(re.fullmatch(r"\s*0\s*steps?\s*", text))


def steps_of(text: str, steps_per_epoch: int, total_steps: int | None = None) -> int:
    """'500 steps', '3 epochs' or '10%' (of total_steps) as a number of steps, at least 1."""
    number, unit = _DURATION.fullmatch(text).groups()
    scale = 1 if unit.startswith("step") else steps_per_epoch if unit.startswith("epoch") else total_steps / 100
    return max(1, round(float(number) * scale))
