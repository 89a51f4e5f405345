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

from benchmarks import chapters, children, goals, record, workloads
from benchmarks.engine import Engine, worker
from fmnist_jax import session, sharding, study

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
    compiling = sum(one["compile_seconds"] for one in sessions)
    engine = Engine(checked)
    bare = [_bare_epoch(engine) for _ in range(BARE_EPOCHS + 1)][1:]  # the first brings the images to the devices
    found = account(marks, compiling, sharding.cores())
    epochs, epoch = engine.static.total_steps / engine.static.steps_per_epoch, record.summary(bare)
    return found | {
        "epochs": epochs,
        "bare_epoch_seconds": epoch,
        "outside_training_by_bare": 1 - epochs * epoch["median"] / found["stages"]["training"]["wall"],
    }


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


def duration_of(workload: str, runs: int, seconds: float) -> str:
    """A duration of whole epochs that takes about so many seconds on this machine."""
    engine, probe = Engine(workloads.checked(workload, runs)), min(5.0, seconds / 4)
    epochs = seconds / probe * engine.steps_in(probe) / engine.static.steps_per_epoch
    return f"{max(1, round(epochs))} epochs"


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
    with worker(os.sched_getaffinity(0)) as alone:
        duration = alone.submit(duration_of, workload, runs, args.seconds).result()
    rounds = []
    with tempfile.TemporaryDirectory() as scratch:
        environment = children.own_cache(Path(scratch) / "cache")
        for i in range(args.rounds):
            asked = [workload, str(runs), duration, str(Path(scratch) / str(i)), str(time.time())]
            done = children.python(["-m", "benchmarks.overhead", "observe", *asked], environment)
            rounds.append(json.loads(done.output.splitlines()[-1]))
    outside = record.summary([one["outside_by_threads"] for one in rounds])
    found |= {"workload": workload, "runs": runs, "duration": duration, "rounds": rounds, "outside_by_threads": outside}
    found["outside_training_by_bare"] = record.summary([one["outside_training_by_bare"] for one in rounds])
    found["goals"] = goals.overhead(found, args.seconds)
    chapters.show("overhead", found, console)
    record.write(found, record.place("overhead", args), console)


if __name__ == "__main__":
    if sys.argv[1:2] == ["observe"]:  # the process that is watched
        workload, runs, duration, workdir, began = sys.argv[2:]
        print(json.dumps(observe(workload, int(runs), duration, Path(workdir), float(began))))
    else:
        main()
