"""What does a study's second start cost beside its first? `python -m benchmarks.startup`, about three minutes.

The study of configs/cnn.py, a few steps of it, is started twice in processes of their own: with the cache of compiled
programs empty, and with what the first start left in it. Compile time is the study's own figure (tracing included), of
its groups' sessions; the wall time goes from the start of the process to the end of the first training step.
"""

import json
import tempfile
import time
from pathlib import Path

from rich.console import Console

from benchmarks import chapters, children, goals, record

# fmnist_jax.main, which notes the clock when the first training step that it dispatched is done.
STUDY = """
import sys, time
from pathlib import Path
import jax
from fmnist_jax import main
from fmnist_jax.population import Population
segment, note = Population.segment, Path(sys.argv.pop(1))
def first(self, *args):
    state = segment(self, *args)
    if not note.exists():
        jax.block_until_ready(state.parts)
        note.write_text(str(time.time()))
    return state
Population.segment = first
main.run()
"""


def start(config: str, scratch: Path, name: str, flags: list[str], environment: dict) -> dict:
    """One start: seconds of compiling, to the first step, and in all."""
    note, workdir = scratch / f"{name}.first_step", scratch / name
    began = time.time()
    asked = ["-c", STUDY, str(note), f"--config={config}", f"--workdir={workdir}", *flags]
    done = children.python(asked, environment)
    sessions = [json.loads(path.read_text()) for path in workdir.glob("groups/*/sessions/*.json")]
    return {
        "compile_seconds": sum(session["compile_seconds"] for session in sessions),
        "first_step_seconds": float(note.read_text()) - began,
        "all_seconds": done.seconds,
    }


def measure(config: str, rounds: int, flags: list[str]) -> dict:
    """Both starts of every round; each round begins with an empty cache."""
    starts = {"first": [], "second": []}
    with tempfile.TemporaryDirectory() as scratch:
        for i in range(rounds):
            environment = children.own_cache(Path(scratch) / f"cache{i}")
            for name, found in starts.items():
                found.append(start(config, Path(scratch), f"{name}{i}", flags, environment))
    keys = starts["first"][0]
    values = {name: {key: [one[key] for one in found] for key in keys} for name, found in starts.items()}
    return {
        "starts": {name: {key: record.summary(of[key]) for key in keys} for name, of in values.items()},
        "second_over_first": {key: record.ratios(values["second"][key], values["first"][key]) for key in keys},
    }


def main(argv=None) -> None:
    """Measures, prints, writes."""
    flags = record.flags("startup", __doc__)
    flags.add_argument("--config", default="configs/cnn.py")
    flags.add_argument("--rounds", type=int, default=3)
    args, console = flags.parse_args(argv), Console()
    steps = ["--config.train.duration=20 steps"]
    if args.smoke:
        args.config, args.rounds, steps = "benchmarks/workloads.py:cnn_tiny", 1, ["--config.train.duration=2 steps"]
    record.need_data(args.smoke)
    found = {**record.opening("startup"), "config": args.config, **measure(args.config, args.rounds, steps)}
    found["goals"] = goals.startup(found)
    chapters.show("startup", found, console)
    record.write(found, record.place("startup", args), console)


if __name__ == "__main__":
    main()
