"""From what was observed of studies to costs, and back: fitted to some of them, held against the others.

Observations are those of benchmarks/costs, and books those of benchmarks/bookkeeping.py; facts are those of
benchmarks/costs/studies.py, a list of groups a study.
"""

import statistics
from collections.abc import Mapping, Sequence

from benchmarks import neighbours, record
from benchmarks.costs import model as cost_model

WITHIN = 0.20  # of what is measured, that a prediction should be
Terms = dict[str, float]


def best(turns: Sequence[Mapping]) -> list[Mapping]:
    """The undisturbed turns, cold and warm; where there are none of a kind, the one that was least disturbed."""
    return [one for cold in (True, False) for one in neighbours.best([of for of in turns if of["cold"] == cold])]


def fitted(observed: Mapping, facts: Mapping, seen: Sequence[str]) -> dict:
    """The costs: what `cost_model.of_study` reads, and how well they fit what they are fitted to."""
    rows, seconds, names = [], [], []
    for name in seen:
        for i, group in enumerate(facts[name]):
            for what, of in (("training", cost_model.of_training), ("testing", cost_model.of_test)):
                rows.append(of(group))
                seconds.append(_median(observed[name], what, i))
                names.append(f"{name} {i}, {what}")
    coefficients = cost_model.fit(rows, seconds)
    fit = [cost_model.seconds_of(row, coefficients) / took for row, took in zip(rows, seconds, strict=True)]
    out = cost_model.left_out(rows, seconds)
    ends = [({"end": 1.0, "run": sum(g["runs"] for g in facts[name])}, _whole(observed[name], "end")) for name in seen]
    end = cost_model.fit(*zip(*ends, strict=True))
    return {
        "coefficients": coefficients,
        "compile": _compiling(observed, facts, seen),
        "start": statistics.median(_whole(observed[name], "start") for name in seen),
        "end": end["end"],
        "end_run": end["run"],
        "fit": [
            {"group": name, "seconds": took, "fitted": a, "left_out": b}
            for name, took, a, b in zip(names, seconds, fit, out, strict=True)
        ],
    }


def _median(observations: Sequence[Mapping], what: str, group: int) -> float:
    """Over the turns in which nothing was compiled, where there are some."""
    some = [one for one in observations if not one["cold"]] or observations
    return max(1e-3, statistics.median(one[what][group] for one in some))


def _whole(observations: Sequence[Mapping], what: str) -> float:
    return statistics.median(one[what] for one in observations)


def _compiling(observed: Mapping, facts: Mapping, seen: Sequence[str]) -> dict:
    """Family -> median seconds a group; "cold test": what its test takes longer where its program is not there yet."""
    found = {family: {"cold": [], "warm": [], "cold test": []} for family in cost_model.FAMILIES}
    for name in seen:
        for i, group in enumerate(facts[name]):
            of, usual = found[group["family"]], _median(observed[name], "testing", i)
            for one in observed[name]:
                of["cold" if one["cold"] else "warm"].append(one["compiling"][i])
                if one["cold"]:
                    of["cold test"].append(max(0.0, one["testing"][i] - usual))
    return {family: {k: statistics.median(v or [0.0]) for k, v in of.items()} for family, of in found.items()}


def predicted(observed: Mapping, facts: Mapping, unseen: Sequence[str], costs: Mapping) -> list[dict]:
    """Of each study that was not fitted to: what was predicted of it, and what was measured, cold and warm."""
    rows = []
    for name in unseen:
        for cold in (True, False):
            said = cost_model.of_study(facts[name], costs, cold)
            turns = [one for one in observed[name] if one["cold"] == cold]
            if not turns:
                continue
            total = sum(said.values())
            measured = {part: statistics.median(_sum(one[part]) for one in turns) for part in said}
            rows.append(
                {
                    "study": name,
                    "cold": cold,
                    "predicted": said | {"seconds": total},
                    "measured": measured | {"seconds": _whole(turns, "seconds")},
                    "ratio": record.summary([total / one["seconds"] for one in turns]),
                    "training": record.summary([said["training"] / _sum(one["training"]) for one in turns]),
                }
            )
    return rows


def _sum(value) -> float:
    return sum(value) if isinstance(value, list) else value


def traffic(observed: Mapping, facts: Mapping, names: Mapping[str, bool]) -> dict:
    """Bytes that a process reads and writes, by what of it: fitted to the studies that are seen (name -> whether)."""
    found = {}
    for way, of in (("written", _written), ("read", _read)):
        rows = {name: of(facts[name]) for name in names}
        counted = {name: _whole(observed[name], way) for name in names}
        seen = [name for name, is_seen in names.items() if is_seen]
        terms = cost_model.fit([rows[name] for name in seen], [counted[name] for name in seen])
        ratios = {name: cost_model.seconds_of(rows[name], terms) / counted[name] for name in names if not names[name]}
        found[way] = {"terms": terms, "predicted": ratios}
    files: dict[str, list[float]] = {}
    for name in (name for name, is_seen in names.items() if is_seen):
        for group, sizes in zip(facts[name], observed[name][0]["files"], strict=True):
            for kind, size in sizes.items():
                count = group["runs"] * {"rows": group["evaluations"], "checkpoint": group["state_bytes"]}.get(kind, 1)
                files.setdefault(kind, []).append(size / count)
    return found | {"files": {kind: record.summary(values) for kind, values in files.items()}}


def _written(groups: Sequence[Mapping]) -> dict[str, float]:
    return {
        "study": 1.0,
        "run": sum(group["runs"] for group in groups),
        "row": sum(group["runs"] * group["evaluations"] for group in groups),
        "checkpoint byte": sum(group["checkpoints"] * group["runs"] * group["state_bytes"] for group in groups),
    }


def _read(groups: Sequence[Mapping]) -> dict[str, float]:
    of = _written(groups)
    restored = sum(group["runs"] * group["state_bytes"] for group in groups)
    return {"study": 1.0, "run": of["run"], "checkpoint byte": of["checkpoint byte"], "restored byte": restored}


def _of_look(of: Mapping, look: Mapping) -> tuple[Terms, Terms]:
    """What a look's seconds, and its operations, are of."""
    waiting = of["groups"] - look["trained"]
    common = {"look": 1.0, "group": of["groups"], "held group": of["held"]}
    common |= {"waiting group": waiting}
    return common | {"new run": look["new"] * of["most"]}, common | {"new group": look["new"]}


def _of_start(of: Mapping) -> tuple[Terms, Terms]:
    common = {"process": 1.0, "group": of["groups"]}
    return common | {"arm": of["arms"], "run": of["runs"]}, common


def alike(books: Sequence[Mapping]) -> dict[tuple, list[Mapping]]:
    """Kind and size -> the books of it."""
    found: dict[tuple, list[Mapping]] = {}
    for book in books:
        found.setdefault((book["kind"], *book["size"]), []).append(book)
    return found


def _book_rows(books: Sequence[Mapping]) -> dict[str, list[tuple[Terms, float, bool]]]:
    """What was measured -> (its terms, how much it was, whether it is to be fitted)."""
    found: dict[str, list] = {}

    def add(name: str, terms: tuple[Terms, Terms], measured: Mapping, seen: bool) -> None:
        for key, own in zip(("seconds", "operations"), terms, strict=True):
            found.setdefault(f"{name} {key}", []).append((own, max(1e-6, measured[key]), seen))

    for book in (book for of in alike(books).values() for book in neighbours.best(of)):
        of, seen = book["found"], book["seen"]
        if book["kind"] == "Tables":
            seconds = {"study": 1.0, "run": of["runs"], "group": of["groups"]}
            found.setdefault("tables seconds", []).append((seconds, of["seconds"], seen))
            found.setdefault("tables bytes", []).append(({"study": 1.0, "run": of["runs"]}, of["bytes"], seen))
            continue
        for name in ("make", "before", "begin"):
            add(name, _of_start(of), of[name], seen)
        for look in of["looks"]:
            add("look", _of_look(of, look), look, seen)
    return found


def bookkeeping(books: Sequence[Mapping]) -> dict[str, dict]:
    """What was measured -> {"terms": fitted, "predicted": over measured, of the sizes that were not fitted to}."""
    found = {}
    for name, rows in _book_rows(books).items():
        seen = [row for row in rows if row[2]]
        terms = cost_model.fit([row for row, _, _ in seen], [measured for _, measured, _ in seen])
        off = [cost_model.seconds_of(row, terms) / measured for row, measured, is_seen in rows if not is_seen]
        found[name] = {"terms": terms, "predicted": record.summary(off) if off else None}
    return found
