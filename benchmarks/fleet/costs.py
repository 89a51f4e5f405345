"""What a fleet's hosts take, from benchmarks/results/costs.json: a study of a million runs, its groups, their costs.

What was measured is of a host of here; what was not is assumed, and named so: how fast an accelerator is, what a shared
disk gives, and how long a preempted host is away.
"""

import dataclasses
from collections.abc import Mapping

from benchmarks.costs import model as cost_model
from benchmarks.fleet.model import Costs, Disk, Work


@dataclasses.dataclass(frozen=True)
class Kind:
    """What a fleet is made of."""

    name: str
    devices: float  # of a host
    speed: float  # of a device at training and evaluating, as times that of a core of here
    assumed: bool


@dataclasses.dataclass(frozen=True)
class Study:
    """A study, cut into groups."""

    workload: str  # of costs.json's "fleet"
    runs: int
    arms: int
    programs: int
    of_group: int  # runs
    checkpoints: int  # of a run; each after an evaluation

    @property
    def groups(self) -> int:
        """How many."""
        return -(-self.runs // self.of_group)


CORES = Kind("cores as here", 2, 1.0, assumed=False)
ACCELERATORS = Kind("accelerators", 8, 100.0, assumed=True)
DISK = Disk(bytes=2e9, bytes_each=1e9, operations=20_000, operations_each=2_000)  # assumed
# On files, as tests/test_costs.py counts them: of a group that is tested, beside what that writes, and of every group.
TEST_OPERATIONS, TEST_OPERATIONS_EACH = 18, 4
BACK = 300.0  # seconds, assumed: until another host is there for one that was preempted


def work(study: Study) -> Work:
    """What there is to train."""
    return Work(study.groups, study.checkpoints, min(study.programs, study.groups))


def of_group(study: Study, kind: Kind, found: Mapping) -> dict:
    """The facts of one of its groups, as `cost_model` reads them."""
    one = found["fleet"][study.workload]
    turns = max(1.0, study.of_group / kind.devices)
    looks = {"evaluations": study.checkpoints, "checkpoints": study.checkpoints}
    return {**one, **looks, "runs": study.of_group, "turns": turns}


def costs(study: Study, kind: Kind, found: Mapping, disk: Disk = DISK) -> Costs:
    """What its hosts take; `found`: costs.json.

    Of a device are the terms of a family of networks; of the host, at the speed that hosts have here, all others.
    """
    own, books, group = found["costs"], found["bookkeeping"], of_group(study, kind, found)
    family = group["family"]
    training = _by_device(cost_model.of_training(group), own["coefficients"], family, kind.speed)
    test = _by_device(cost_model.of_test(group), own["coefficients"], family, kind.speed)
    size = study.of_group * group["state_bytes"]
    coefficient = own["coefficients"].get
    saving = coefficient("checkpoint", 0.0) + size * coefficient("checkpoint byte", 0.0)
    segments = training - coefficient("group", 0.0) - study.checkpoints * saving
    sizes = {"process": 1, "study": 1, "look": 1, "group": study.groups, "arm": study.arms, "run": study.runs}

    def of(name: str) -> float:
        """Those terms of the bookkeeping whose quantities stay as they are."""
        terms = books[name]["terms"]
        return sum(value * sizes[term] for term, value in terms.items() if term in sizes)

    def term(name: str, key: str) -> float:
        return books[name]["terms"].get(key, 0.0)

    in_turn = of("begin seconds") + of("begin operations") / disk.operations_each
    waiting = term("look seconds", "waiting group")
    return Costs(
        segment=segments / study.checkpoints,
        start=own["start"] + of("before seconds"),
        start_operations=of("before operations"),
        begin=in_turn,
        make=max(0.0, of("make seconds") + of("make operations") / disk.operations_each - in_turn),
        look=of("look seconds") + waiting * study.groups,
        look_trained=-waiting,
        look_new=term("look seconds", "new run") * study.of_group,
        look_new_bytes=found["traffic"]["files"]["done"]["median"] * study.of_group,
        look_operations=of("look operations") + term("look operations", "waiting group") * study.groups,
        look_operations_trained=-term("look operations", "waiting group"),
        look_operations_held=term("look operations", "held group"),
        look_operations_new=term("look operations", "new group"),
        compile=own["compile"][family]["cold"],
        load=own["compile"][family]["warm"],
        test_compile=own["compile"][family]["cold test"],
        group=coefficient("group", 0.0),
        restore=size * coefficient("restored byte", 0.0),
        checkpoint=saving,
        checkpoint_bytes=found["traffic"]["files"]["checkpoint"]["median"] * size,
        test=test,
        test_operations=TEST_OPERATIONS,
        test_operations_each=TEST_OPERATIONS_EACH,
        tables=of("tables seconds"),
    )


def _by_device(row: Mapping[str, float], coefficients: Mapping[str, float], family: str, speed: float) -> float:
    seconds = {name: count * coefficients.get(name, 0.0) for name, count in row.items()}
    of_device = sum(value for name, value in seconds.items() if name.startswith(f"{family} "))
    return of_device / speed + sum(seconds.values()) - of_device


def bytes_left(study: Study, found: Mapping) -> float:
    """What the whole study leaves in its workdir: its files, and the checkpoints that are kept."""
    files = {kind: of["median"] for kind, of in found["traffic"]["files"].items()}
    one, kept = found["fleet"][study.workload], min(study.checkpoints, 3)  # the newest two, and the best
    of_run = files["rows"] * study.checkpoints + files["done"] + files["test"] + files["predictions"]
    return study.runs * (of_run + kept * files["checkpoint"] * one["state_bytes"])


def largest(found: Mapping, what: str) -> int:
    """Of "arms", "runs" or "groups", the most of a study whose bookkeeping was measured."""
    return max(book["found"][what] for book in found["books"] if book["kind"] == "Size")


def without_books(costs: Costs, found: Mapping) -> Costs:
    """As if to begin and to look took nothing: what they take grows with the study, and could be less."""
    free = {
        field.name: 0.0 for field in dataclasses.fields(costs) if field.name.startswith(("look", "test_operations"))
    }
    return dataclasses.replace(costs, **free, begin=0.0, make=0.0, start=found["costs"]["start"], start_operations=0.0)
