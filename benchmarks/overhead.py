"""What share of a study's time is not the compiled program's? `python -m benchmarks.overhead`, about 25 minutes.

A study of about --seconds (8 runs of the CNN, evaluated after each epoch with a checkpoint, then tested, with its
tables and its page) runs in a process of its own, as a user starts it. Outside the compiled program is Python: imports,
data, dispatching, metric rows, checkpoints, tables. Compiling is subtracted. Two ways to tell:

threads  CPU time of XLA's own threads, as the kernel books it, against cores x wall time, of the whole process. It
         needs no second measurement that might find the machine in another mood, and it is strict: a device that waits
         for the other, and what XLA runs within Python's thread, count as outside.
bare     afterwards, in the same process, the same calls without a study about them: an epoch's steps in one dispatch,
         its evaluation, and nothing read or saved. How much longer the study trained than that many bare epochs. This
         leaves out start and end, and has the error of comparing two minutes of a shared machine with the five before.
"""

import io
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import jax
from rich.console import Console

from benchmarks import children, record, workloads
from benchmarks.engine import Engine, Worker
from fmnist_jax import session, sharding, study

GOAL = 0.03
XLA_THREADS = "tf_XLA"  # how the names of its threads begin: its devices work in a pool of them
BARE_EPOCHS = 3


def device_seconds() -> float:
    """CPU seconds that XLA's threads of this process have had."""
    total = 0
    for task in Path("/proc/self/task").iterdir():
        if (task / "comm").read_text().startswith(XLA_THREADS):
            total += int((task / "schedstat").read_text().split()[0])  # nanoseconds on a core
    return total / 1e9


def observe(workload: str, runs: int, duration: str, workdir: Path, began: float) -> dict:
    """Trains the study in this process, which began at `began`; where its time went, and what bare epochs take."""
    sharding.keep_programs()
    sharding.configure("cpu")
    checked = workloads.checked(workload, runs, train__duration=duration)
    marks = {"began": (began, 0.0)}
    train_group = session.train_group

    def watched(*args):
        marks["training"] = time.time(), device_seconds()
        train_group(*args)
        marks["trained"] = time.time(), device_seconds()

    session.train_group = watched
    study.run(checked, workdir, Console(file=io.StringIO()))
    marks["ended"] = time.time(), device_seconds()
    sessions = [json.loads(path.read_text()) for path in workdir.glob("groups/*/sessions/*.json")]
    engine = Engine(checked)
    bare = [_bare_epoch(engine) for _ in range(BARE_EPOCHS + 1)][1:]  # the first brings the images to the devices
    return account(marks, sum(one["compile_seconds"] for one in sessions), sharding.cores()) | _against_bare(
        marks, sessions, bare, engine.group.static
    )


def account(marks: dict[str, tuple[float, float]], compiling: float, cores: int) -> dict:
    """Where the time of a study went, from (wall, device) seconds when it began, was training, was trained and ended.

    A stage's `outside` is its wall time less compiling and less the devices' time, in seconds of all cores.
    """
    stages = {}
    for name, first, last in (
        ("start", "began", "training"),
        ("training", "training", "trained"),
        ("test, tables and page", "trained", "ended"),
    ):
        wall, device = (marks[last][i] - marks[first][i] for i in (0, 1))
        wall -= compiling if name == "training" else 0.0
        stages[name] = {"wall": wall, "outside": wall - device / cores}
    wall = sum(stage["wall"] for stage in stages.values())
    outside = sum(stage["outside"] for stage in stages.values())
    return {"stages": stages, "compile_seconds": compiling, "wall": wall, "outside_by_threads": outside / wall}


def _bare_epoch(engine: Engine) -> float:
    """Seconds of an epoch's steps and its evaluation, with nothing between."""
    start, runs, inputs = time.perf_counter(), engine.runs, engine.inputs
    state = runs.segment(engine.state, inputs, 0, runs.static.steps_per_epoch)
    looked_at = inputs.validation, inputs.validation_size
    sums, _ = runs.evaluate(state, inputs.hyper, inputs.images, inputs.labels, *looked_at)
    engine.state = runs.close_segment(state, inputs, sums)
    jax.block_until_ready((engine.state.parts, sums.parts))
    return time.perf_counter() - start


def _against_bare(marks: dict, sessions: list[dict], bare: list[float], static) -> dict:
    trained = marks["trained"][0] - marks["training"][0] - sum(one["compile_seconds"] for one in sessions)
    epochs = static.total_steps / static.steps_per_epoch
    least = record.summary(bare)
    return {
        "epochs": epochs,
        "bare_epoch_seconds": least,
        "outside_training_by_bare": 1 - epochs * least["median"] / trained,
    }


def duration_of(workload: str, runs: int, seconds: float) -> str:
    """A duration of whole epochs that takes about so many seconds on this machine."""
    with Worker(sorted(os.sched_getaffinity(0))) as worker:
        probe = min(5.0, seconds / 4)
        steps, batch = worker.call("build", "probe", workloads.checked(workload, runs), probe)
    epoch = (216 if workload.endswith("_tiny") else 54_000) // batch
    return f"{max(1, round(seconds * steps / probe / epoch))} epochs"


def show(found: dict, console: Console) -> None:
    """Where the time of the rounds went, and what share was outside."""
    table = record.table_of(
        f"{found['workload']}, {found['runs']} runs, {found['duration']}", "seconds", "wall", "outside"
    )
    for name in found["rounds"][0]["stages"]:
        sums = [record.summary([one["stages"][name][key] for one in found["rounds"]]) for key in ("wall", "outside")]
        table.add_row(name, *(f"{of['median']:.2f} ({of['min']:.2f}–{of['max']:.2f})" for of in sums))
    console.print(table)
    by_bare = record.ranged(found["outside_training_by_bare"], "%")
    console.print(f"of training alone, against bare epochs: {by_bare}", highlight=False)
    console.print(record.goals_table(found["goals"]))


def main(argv=None) -> None:
    """Measures, prints, writes."""
    flags = record.flags("overhead", __doc__)
    flags.add_argument("--seconds", type=float, default=300.0, help="that the study takes, about")
    flags.add_argument("--rounds", type=int, default=3)
    args, console = flags.parse_args(argv), Console()
    workload, runs = "cnn", 8
    if args.smoke:
        workload, runs, args.rounds, args.seconds = "cnn_tiny", 2, 1, min(args.seconds, 1.0)
    record.need_data(args.smoke)
    found = record.opening("overhead")
    duration, rounds = duration_of(workload, runs, args.seconds), []
    with tempfile.TemporaryDirectory() as scratch:
        environment = children.own_cache(Path(scratch) / "cache")
        for i in range(args.rounds):
            asked = [workload, str(runs), duration, str(Path(scratch) / str(i)), str(time.time())]
            done = children.python(["-m", "benchmarks.overhead", "observe", *asked], environment)
            rounds.append(json.loads(done.output.splitlines()[-1]))
    outside = record.summary([one["outside_by_threads"] for one in rounds])
    found |= {"workload": workload, "runs": runs, "duration": duration, "rounds": rounds, "outside_by_threads": outside}
    found["outside_training_by_bare"] = record.summary([one["outside_training_by_bare"] for one in rounds])
    name = f"time outside the compiled program, a study of {args.seconds / 60:.2g} minutes"
    found["goals"] = [record.goal(name, "its wall time", GOAL, outside, at_most=True, unit="%")]
    show(found, console)
    record.write(found, record.place("overhead", args), console)


if __name__ == "__main__":
    if sys.argv[1:2] == ["observe"]:  # the process that is watched
        workload, runs, duration, workdir, began = sys.argv[2:]
        print(json.dumps(observe(workload, int(runs), duration, Path(workdir), float(began))))
    else:
        main()
