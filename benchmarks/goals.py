"""What is to be reached, and how it stands: the rows of the table of goals, by the results file that they are in.

Each function is given what was measured; of {} it says what its benchmark would have to reach.
"""

from collections.abc import Mapping, Sequence

from benchmarks import record
from benchmarks.cases import BFLOAT16, FLAX, FLOAT32, KERAS, OURS, VMAP, WORKLOADS

LIMIT = "the matmul limit"
THROUGHPUT = (  # workload, rival, how many times as fast this engine is to be; against the limit, the share of it
    ("alexander", FLOAT32, 1.5),
    ("alexander", BFLOAT16, 1.0),
    ("alexander", FLAX, 40.0),
    ("alexander", KERAS, 2.0),
    ("alexander", LIMIT, 0.5),
    ("kunze_10", FLOAT32, 10.0),
    ("kunze_10", VMAP, 10.0),
    ("kunze_800", FLOAT32, 4.0),
    ("kunze_800", VMAP, 4.0),
    ("acosta", FLOAT32, 1.3),
    ("blagg", FLOAT32, 1.3),
    ("resnet18", FLOAT32, 1.0),
    ("resnet18_inference", FLOAT32, 1.0),
)
NETS = ("cnn", "mlp")  # of benchmarks/workloads.py, which all but throughput measure
NOTHING = [{"workload": name, "rows": []} for name in NETS]
EAGER, FASTEST = "PyTorch eager, one after the other", "the fastest way of PyTorch's"
GPU_LIMIT = "the float32 matmul limit"
GPU = {("cnn", 64): {EAGER: 15.0, FASTEST: 3.0, GPU_LIMIT: 0.25}, ("mlp", 1024): {EAGER: 100.0}}


def throughput(found: Mapping) -> list[dict]:
    """Of all cases that are there, in their order."""
    rows = []
    for workload, rival, wanted in THROUGHPUT:
        batches = {case["batch"]: case for case in found.get("cases", ()) if case["workload"] == workload}
        for batch in batches or WORKLOADS[workload].batches:
            case = batches.get(batch, {"contenders": {}, "share_of_limit": None})
            if rival == LIMIT:
                reached, unit = case["share_of_limit"], "%"
            else:
                reached, unit = case["contenders"].get(rival, {}).get("ours_is"), "×"
            rows.append({**record.goal(workload, rival, wanted, reached, unit=unit), "batch": batch})
    return rows


def scaling(found: Mapping) -> list[dict]:
    """From one core to all, and from one run to many; of the parts that are there."""
    found = found or {"cores": {"runs": 8, "rows": []}, "runs": NOTHING}
    rows = [_cores(found["cores"])] if "cores" in found else []
    return [*rows, *map(_group, found.get("runs", ()))]


def _cores(of: Mapping) -> dict:
    last = of["rows"][-2] if of["rows"] else {"cores": 2, "times_one_core": None}  # after it: one device, all cores
    name = f"1 -> {last['cores']} cores, {of['runs']} runs"
    return record.goal(name, "one core", 0.95 * last["cores"], last["times_one_core"])


def _group(of: Mapping) -> dict:
    worst = max(of["rows"][1:], key=lambda row: row["cost"]["median"], default=None)
    reached, note = (worst["cost"], f"worst at N = {worst['runs']}") if worst else (None, "")
    name = f"cost of N runs in one group, {of['workload']}"
    return record.goal(name, "N times one run", 1.0, reached, at_most=True, note=note)


def memory(found: Mapping) -> list[dict]:
    """What --plan says of it."""
    return [_memory(of) for of in found.get("studies", NOTHING)]


def _memory(of: Mapping) -> dict:
    reached, note = None, ""
    if of["rows"]:
        off = record.summary([abs(row["off"]) for row in of["rows"]])
        reached = {**off, "median": off["max"]}  # every N must keep to it
        note = f"worst at N = {max(of['rows'], key=lambda row: abs(row['off']))['runs']}"
    name = f"memory of N runs, {of['workload']}"
    return record.goal(name, "what --plan says", 0.10, reached, at_most=True, unit="%", note=note)


def startup(found: Mapping) -> list[dict]:
    """Compiling, at the second start."""
    reached = found.get("second_over_first", {}).get("compile_seconds")
    name = "second start of a study, compile time"
    return [record.goal(name, "first start", 0.15, reached, at_most=True, unit="%")]


def overhead(found: Mapping, seconds: float = 300.0) -> list[dict]:
    """What is not the compiled program's, of a study of so many seconds."""
    name = f"time outside the compiled program, a study of {seconds / 60:.2g} minutes"
    return [record.goal(name, "its wall time", 0.03, found.get("outside_by_threads"), at_most=True, unit="%")]


def gpu(found: Mapping) -> list[dict]:
    """On an accelerator: against one run after the other, the fastest of PyTorch's ways, and the limit."""
    rows, cases = [], found.get("rivals", [{"workload": name, "runs": runs, "contenders": {}} for name, runs in GPU])
    for case, goals in zip(cases, GPU.values(), strict=True):
        name, reached, fastest = f"{case['workload']}, {case['runs']} runs, on a GPU", *_of_gpu(case, found)
        for rival, wanted in goals.items():
            note, unit = fastest if rival == FASTEST else "", "%" if rival == GPU_LIMIT else "×"
            rows.append(record.goal(name, rival, wanted, reached.get(rival), unit=unit, note=note))
    return rows


def _of_gpu(case: Mapping, found: Mapping) -> tuple[dict, str]:
    """(Goal -> what was reached, the fastest way of PyTorch's); a way that failed has no figure."""
    rivals = {name: row for name, row in case["contenders"].items() if name != OURS}
    if not rivals:
        return {}, ""
    fastest = max(rivals, key=lambda name: rivals[name]["images_per_second"]["median"])
    limit = 1e9 * max(found["matmul_gflops"].values())
    speeds = case["contenders"][OURS]["images_per_second"]["samples"]
    reached = {
        FASTEST: rivals[fastest]["ours_is"],
        GPU_LIMIT: record.summary([case["training_flops_per_image"] * speed / limit for speed in speeds]),
    }
    return reached | ({EAGER: rivals["PyTorch eager"]["ours_is"]} if "PyTorch eager" in rivals else {}), fastest


BENCHMARKS = {
    "throughput": throughput,
    "scaling": scaling,
    "memory": memory,
    "startup": startup,
    "overhead": overhead,
    "gpu": gpu,
}


def of(names: Sequence[str], found: Mapping[str, Mapping]) -> list[dict]:
    """The goals in the results files, and, of each benchmark, those against rivals for which its file has no row."""
    rows = []
    for name in names:
        there = found.get(name, {}).get("goals", [])
        rivals = {row["rival"] for row in there}
        wanted = BENCHMARKS[name]({}) if name in BENCHMARKS else []
        rows += [*there, *(row for row in wanted if row["rival"] not in rivals)]
    return rows
