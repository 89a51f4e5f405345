"""What does a study take, and can it be told beforehand? `python -m benchmarks.costs`, about 15 minutes on two cores.

Short studies of different sizes (benchmarks/costs/studies.py) are trained in processes of their own, in turns: once
with no program compiled, then with all of them in the cache. Where their time went is read off the workdir, by what a
study notes of its compiling and by when its files were written, so nothing in them is watched. To the medians over
turns a sum of physical terms is fitted (benchmarks/costs/model.py); then it predicts the studies that it has not seen.

The costs that grow with the study and not with its training (to begin, to look for a group, to write tables) are
measured on made-up workdirs by benchmarks/bookkeeping.py, which this command starts.

Of every observation it is noted what of the cores other processes had meanwhile. One that was disturbed is made again,
up to a limit, and what is fitted is of those that were not, where there are some.

--resume keeps what --out has already, and measures what is missing; with nothing missing it fits again.
"""

import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from benchmarks import bookkeeping, children, neighbours, record, scaling_chapters, tables
from benchmarks.costs import fit as cost_fit
from benchmarks.costs import studies as cost_studies
from fmnist_jax import config, places, sharding

ROUNDS = 3  # a cold one, and warm ones
TRIES = 2  # times as many, if they are disturbed
# fmnist_jax.main, which at its end notes what Linux has counted of this process's reading and writing.
STUDY = """
import sys
from pathlib import Path
from fmnist_jax import main
note = Path(sys.argv.pop(1))
try:
    main.run()
finally:
    note.write_text(Path("/proc/self/io").read_text())
"""
# That what is observed depends on; with another model or other facts, --resume fits anew what was observed.
CODE = ("fmnist_jax", "benchmarks/bookkeeping.py", "benchmarks/scale.py", "benchmarks/children.py")
FILES = {"rows": "metrics.jsonl", "done": "done.json", "test": "test.json", "predictions": "predictions.npz"}


def observe(name: str, scratch: Path, environment: Mapping[str, str]) -> dict:
    """Trains one study; seconds of its parts, and bytes that it read, wrote and left."""
    with tempfile.TemporaryDirectory(dir=scratch) as own:
        note, workdir = Path(own) / "io", Path(own) / "workdir"
        asked = [f"--config=benchmarks/costs/studies.py:{name}", f"--workdir={workdir}"]
        others, began = neighbours.Neighbours(), time.time()
        children.python(["-c", STUDY, str(note), *asked], environment)
        ended, others = time.time(), others.share()
        counted = dict(line.split(": ") for line in note.read_text().splitlines())
        found = parts(workdir, began, ended)
        traffic = {"read": int(counted["rchar"]), "written": int(counted["wchar"]), "files": left(workdir)}
        return found | traffic | {"others": others}


def parts(workdir: Path, began: float, ended: float) -> dict:
    """Seconds of a finished study's parts, from what it notes and from when its files were written.

    Of each group, from the end of the one before: training, less compiling; then compiling; then reading the test set.
    """
    there = places.there(workdir)
    sessions = [next((place.directory / "sessions").glob("*.json")) for place in there]
    noted = [json.loads(path.read_text()) for path in sessions]
    done = [(place.directory / "done.json").stat().st_mtime for place in there]
    tested = [(place.directory / "test.json").stat().st_mtime for place in there]
    first = sessions[0].stat().st_mtime - noted[0]["wall_seconds"]
    compiling = [one["compile_seconds"] for one in noted]
    trained = [end - start for start, end in zip([first, *done], done, strict=False)]
    return {
        "seconds": ended - began,
        "start": first - began,
        "training": [took - compiled for took, compiled in zip(trained, compiling, strict=True)],
        "compiling": compiling,
        "testing": [end - start for start, end in zip([done[-1], *tested], tested, strict=False)],
        "end": ended - tested[-1],
    }


def left(workdir: Path) -> list[dict[str, int]]:
    """Of each group, bytes of its files by kind; `checkpoint`: of the newest."""
    found = []
    for place in places.there(workdir):
        sizes = {kind: (place.directory / name).stat().st_size for kind, name in FILES.items()}
        newest = place.directory / "checkpoints" / str(place.step)
        sizes["checkpoint"] = sum(path.stat().st_size for path in newest.rglob("*") if path.is_file())
        found.append(sizes)
    return found


def measure(names: Sequence[str], rounds: int, found: dict, keep: Callable[[], None], patience: float = 0.0) -> None:
    """Adds to found["observed"] (name -> observations) what is missing of it; calls `keep` after each.

    Args:
      patience: seconds to wait before each for other processes to be quiet.
    """
    caches: dict[str, Mapping] = {}  # study -> the environment in which its programs are compiled

    def lacks(name: str, cold: bool) -> bool:
        """One cold turn, and as many warm ones as there are to be; undisturbed, if they can be had."""
        wanted = 1 if cold else rounds - 1
        turns = [one for one in found["observed"][name] if one["cold"] == cold]
        return len(neighbours.undisturbed(turns)) < wanted and len(turns) < TRIES * wanted

    with tempfile.TemporaryDirectory() as scratch:
        while missing := [name for name in names if lacks(name, True) or lacks(name, False)]:
            for name in missing:
                if cold := lacks(name, True) or name not in caches:
                    caches[name] = children.own_cache(Path(tempfile.mkdtemp(dir=scratch)))
                neighbours.wait(patience)
                one = observe(name, Path(scratch), caches[name])
                found["observed"][name].append(one | {"cold": cold})
                keep()


def main(argv=None) -> None:
    """Measures, fits, predicts, prints, writes."""
    flags = record.flags("costs", __doc__)
    flags.add_argument("--rounds", type=int, default=ROUNDS)
    flags.add_argument(
        "--patience", type=float, default=60.0, help="seconds to wait before a study for a quiet machine"
    )
    flags.add_argument("--resume", action="store_true", help="keep what --out has, and measure what is missing")
    args, console = flags.parse_args(argv), Console()
    record.need_data(args.smoke)
    sharding.configure("cpu")
    studies = cost_studies.TINY if args.smoke else cost_studies.STUDIES
    rounds, path = 2 if args.smoke else args.rounds, record.place("costs", args)
    found = {**record.opening("costs"), "code": record.code(*CODE)}
    kept = record.kept(path, found, ("hardware", "versions", "code"), flags) if args.resume else {}
    asked = {name: repr(study) for name, study in studies.items()}
    same = [name for name in studies if kept.get("asked", {}).get(name) == asked[name]]
    found |= {"asked": asked, "observed": {name: kept["observed"][name] if name in same else [] for name in studies}}
    found["books"] = kept.get("books", [])
    facts = {name: cost_studies.facts(config.parse(cost_studies.get_config(name))) for name in studies}

    patience = 0.0 if args.smoke else args.patience

    def keep() -> None:
        record.write(found, path, Console(quiet=True))

    bookkeeping.measure(found["books"], args.smoke, keep, patience)
    measure(list(studies), rounds, found, keep, patience)
    quiet = {name: cost_fit.best(of) for name, of in found["observed"].items()}
    seen = [name for name, study in studies.items() if study.seen]
    found |= {"facts": facts, "costs": cost_fit.fitted(quiet, facts, seen)}
    unseen = [name for name in studies if name not in seen]
    found["predictions"] = cost_fit.predicted(quiet, facts, unseen, found["costs"])
    found["traffic"] = cost_fit.traffic(quiet, facts, {name: studies[name].seen for name in studies})
    found["bookkeeping"] = cost_fit.bookkeeping(found["books"])
    found["fleet"] = cost_studies.of_fleet(args.smoke)
    record.write(found, path, console)
    tables.show(scaling_chapters.costs(found), console)


if __name__ == "__main__":
    main()
