"""Is memory what --plan said? `python -m benchmarks.memory`, about 10 minutes on two cores.

The peak of the process of a short study of N = 1, 2, ... 64 runs against what --plan says of it before, each in a
process of its own.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from benchmarks import chapters, children, goals, record

RUNS = (1, 2, 4, 8, 16, 32, 64)
EVALUATED = "4 steps"  # how often; a checkpoint of it is on its way while the next steps are made
# The estimate of `plan`, to the byte, from the function that --plan prints; the third argument is a duration.
PLAN = """
import sys
from pathlib import Path
from rich.console import Console
from benchmarks import workloads
from fmnist_jax import plan, sharding
sharding.keep_programs()
sharding.configure("cpu")
checked = workloads.checked(sys.argv[1], int(sys.argv[2]), train__duration=sys.argv[3], train__eval_every=sys.argv[4])
print(max(one.bytes for one in plan.show(checked, Path(sys.argv[5]), Console(quiet=True))))
"""


def measure(workload: str, counts: Sequence[int], duration: str) -> dict:
    """Peak bytes of the process of a study of N runs, and what `plan` says of it, for every N."""
    rows = []
    length = {"train__duration": duration, "train__eval_every": EVALUATED}  # and with that, saved
    with tempfile.TemporaryDirectory() as scratch:
        for runs in counts:
            # Both have to compile, which may be what takes most.
            compiling = [children.own_cache(Path(scratch) / f"{name}{runs}") for name in ("plan", "study")]
            workdir = Path(scratch) / str(runs)
            asked = ["-c", PLAN, workload, str(runs), *length.values(), str(workdir)]
            estimated = int(children.python(asked, compiling[0]).output.split()[-1])
            done = children.study(workload, workdir, compiling[1], seeds=runs, **length)
            rows.append({"runs": runs, "estimated": estimated, "measured": done.peak, "off": estimated / done.peak - 1})
    return {"workload": workload, "duration": duration, "rows": rows}


def main(argv=None) -> None:
    """Measures, prints, writes."""
    args, console = record.flags("memory", __doc__).parse_args(argv), Console()
    counts, names, duration = ((1,), ("cnn_tiny",), "2 steps") if args.smoke else (RUNS, goals.NETS, "20 steps")
    record.need_data(args.smoke)
    found = record.opening("memory") | {"studies": [measure(name, counts, duration) for name in names]}
    found["goals"] = goals.memory(found)
    chapters.show("memory", found, console)
    record.write(found, record.place("memory", args), console)


if __name__ == "__main__":
    main()
