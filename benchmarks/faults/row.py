"""What a fault came to: so many trials of which so many kept the promise, and which did not, and how."""

import concurrent.futures
import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping


@dataclasses.dataclass(frozen=True)
class Trial:
    """One fault, made once.

    Attributes:
      name: which: "SIGKILL in the rename of checkpoint 2".
      problem: how the promise was broken; "" where it was kept.
    """

    name: str
    problem: str = ""


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
      fault: what was made to happen.
      promise: what was to come of it.
      trials: how often.
      kept: how often the promise was kept.
      seconds: all of them together.
      broken: name -> problem of those in which it was not.
      kinds: what there were: name -> how many; of thousands of generated ones, their kinds.
      facts: other figures, such as the longest time to an end.
    """

    fault: str
    promise: str
    trials: int
    kept: int
    seconds: float
    broken: Mapping[str, str]
    kinds: Mapping[str, int]
    facts: Mapping[str, float | int | str] = dataclasses.field(default_factory=dict)


def of(
    fault: str,
    promise: str,
    trials: Iterable[Callable[[], Trial]],
    kind: Callable[[Trial], str] = lambda trial: trial.name,
    facts: Callable[[], Mapping] = dict,
    at_once: int = 1,
) -> Row:
    """Makes every trial, and counts. A trial that raises has broken its promise.

    Args:
      trials: each makes the fault once.
      kind: what a trial is counted under in `kinds`.
      facts: asked when all are made.
      at_once: how many trials, in threads; more than one where each is a process of its own.
    """
    start = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        made = list(pool.map(_made, trials))
    kinds: dict[str, int] = {}
    for one in made:
        kinds[kind(one)] = kinds.get(kind(one), 0) + 1
    broken = {one.name: one.problem for one in made if one.problem}
    return Row(
        fault, promise, len(made), len(made) - sum(bool(one.problem) for one in made),
        time.perf_counter() - start, broken, kinds, dict(facts()),
    )  # fmt: skip


def _made(trial: Callable[[], Trial]) -> Trial:
    try:
        return trial()
    except Exception as error:
        name = getattr(trial, "__name__", "trial")
        return Trial(f"{name} {id(trial):x}", f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
