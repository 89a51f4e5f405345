"""Which form trains a population fastest on this accelerator, and how fast is that? `python -m benchmarks.gpu`.

forms    vmapped runs with convolutions as batched matrix products ("patches") or grouped ("lax"), and mapped runs with
         either: the CNN with 1, 8 and 64 runs, the MLP with 1,024. The best is the line of this kind of device for
         `fmnist_jax.forms.ON_ACCELERATORS`.
rivals   PyTorch eager, torch.compile, CUDA graphs, torch.func.vmap, and that compiled, beside the best form
limit    the share of the fastest float32 matrix product measured here

Products of float32 have the same precision on both sides (--precision: float32, or tf32). Without an accelerator:
`--smoke --platform=cpu` shows that it works, and says nothing of speed.
"""

import os

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # PyTorch's memory is the same device's

import itertools
import sys

import jax
import numpy as np
from rich.console import Console

from benchmarks import chapters, goals, gpu_rivals, machine, record, sampling, workloads
from benchmarks.cases import OURS
from benchmarks.engine import Engine
from fmnist_jax import errors, models, sharding

FORMS = tuple(itertools.product(("vmap", "map"), ("patches", "lax")))
CASES = (("cnn", 1), ("cnn", 8), ("cnn", 64), ("mlp", 1024))


def compare_forms(workload: str, runs: int, args) -> dict:
    """Images/s of every form, in turns."""
    engines, steps, failed = {}, {}, {}
    for mode, conv in FORMS:
        if workload.startswith("mlp") and conv == "lax":
            continue  # an MLP has no convolution
        try:
            engines[mode, conv] = _engine(workload, runs, mode, conv, args.platform)
            steps[mode, conv] = engines[mode, conv].steps_in(args.seconds)
        except jax.errors.JaxRuntimeError as error:  # out of memory, or a convolution that no library takes
            engines.pop((mode, conv), None)
            failed[f"{mode}, {conv}"] = str(error).splitlines()[0][:200]
    ways = {form: lambda form=form: engines[form].seconds(steps[form]) for form in engines}
    samples = sampling.in_turns(ways, args.turns)
    batch = next(iter(engines.values())).batch
    speeds = {form: [batch * runs * steps[form] / took for took in values] for form, values in samples.items()}
    best = max(speeds, key=lambda form: np.median(speeds[form]))
    return {
        "workload": workload,
        "runs": runs,
        "best": list(best),
        "forms": [
            {
                "mode": form[0],
                "conv": form[1],
                "images_per_second": record.summary(values),
                "of_best": record.ratios(values, speeds[best]),
            }
            for form, values in speeds.items()
        ],
        "failed": failed,
    }


def _engine(workload: str, runs: int, mode: str, conv: str, platform: str) -> Engine:
    keys = {} if workload.startswith("mlp") else {"population__conv": conv}
    return Engine(workloads.checked(workload, runs, platform=platform, population__mode=mode, **keys))


def choose(cases: list[dict]) -> tuple[str, str]:
    """The form with the highest geometric mean, over the CNNs, of its speed as a share of the best there."""
    shares: dict[tuple[str, str], list[float]] = {}
    cases = [case for case in cases if case["workload"].startswith("cnn")]
    for row in itertools.chain(*(case["forms"] for case in cases)):
        shares.setdefault((row["mode"], row["conv"]), []).append(row["of_best"]["median"])
    complete = {form: float(np.exp(np.mean(np.log(of)))) for form, of in shares.items() if len(of) == len(cases)}
    return max(complete, key=complete.get)


def compare_rivals(workload: str, runs: int, form, args) -> dict:
    """This engine in its best form against each way of PyTorch's, in turns."""
    ours = _engine(workload, runs, *form, args.platform)
    contenders, steps, failed = {OURS: ours}, {OURS: ours.steps_in(args.seconds)}, {}
    for name, way in gpu_rivals.WAYS.items():
        try:
            rival = way(ours, runs, args.platform)
            rival.seconds(3)  # allocates, compiles, fills caches
            steps[name] = sampling.steps_in(args.seconds, rival.seconds)[0]
            contenders[name] = rival
        except Exception as error:  # whatever torch makes of what it cannot do here
            failed[name] = (str(error).splitlines() or [type(error).__name__])[0][:200]
    ways = {name: lambda name=name: contenders[name].seconds(steps[name]) for name in contenders}
    of_step = {name: ours.batch * (runs if one is ours else one.runs) for name, one in contenders.items()}
    samples = sampling.in_turns(ways, args.turns)
    speeds = {name: [of_step[name] * steps[name] / took for took in values] for name, values in samples.items()}
    return {
        "workload": workload,
        "runs": runs,
        "form": list(form),
        "training_flops_per_image": models.training_flops(ours.static.model, ours.static.image_shape),
        "contenders": {
            name: {
                "images_per_second": record.summary(values),
                "ours_is": record.ratios(speeds[OURS], values),
            }
            for name, values in speeds.items()
        },
        "failed": failed,
    }


def main(argv=None) -> None:
    """Measures, prints, writes."""
    flags = record.flags("gpu", __doc__)
    flags.add_argument("--platform", default="gpu", choices=("gpu", "cpu"), help="cpu: to try the script")
    flags.add_argument("--precision", default="float32", choices=("float32", "tf32"), help="of products, on both sides")
    flags.add_argument("--turns", type=int, default=5)
    flags.add_argument("--seconds", type=float, default=3.0, help="of one sample, about")
    args, console = flags.parse_args(argv), Console()
    cases, sizes = CASES, (4096, 8192, 16384)
    rivalled = tuple(goals.GPU)
    if args.smoke:
        cases, sizes, args.turns, args.seconds = (("cnn_tiny", 2), ("mlp_tiny", 2)), (64,), 1, 0.02
        rivalled = cases
    try:
        sharding.configure(args.platform)
    except errors.UserError as error:
        sys.exit(f"not measured: {error}")
    record.need_data(args.smoke)
    gpu_rivals.same_precision(args.precision)
    device = jax.devices()[0].device_kind
    found = {**record.opening("gpu"), "device": device, "precision": args.precision}
    found["matmul_gflops"] = machine.matmul_limit(sizes, min(0.5, args.seconds))
    found["forms"] = [compare_forms(*case, args) for case in cases]
    best = {(case["workload"], case["runs"]): case["best"] for case in found["forms"]}
    found["rivals"] = [compare_rivals(*case, best[case], args) for case in rivalled]
    found["goals"] = goals.gpu(found)
    mode, conv = choose(found["forms"])
    found["line"] = f'"{device}": ("{mode}", "{conv}"),'
    chapters.show("gpu", found, console)
    record.write(found, record.place("gpu", args), console)


if __name__ == "__main__":
    main()
