"""Where vmapped runs stop being faster than mapped ones, by the size of the network: `throughput --crossover`."""

import argparse
import statistics
from collections.abc import Callable

from rich.console import Console

from benchmarks import cases, chapters, machine, record, sampling
from benchmarks.ours import Ours
from fmnist_jax import config, forms, models

NETS = (
    *({"family": "mlp", "dense": (units,)} for units in (3, 10, 30, 100, 300, 800)),
    *({"filters": filters, "dense": (16,)} for filters in ((1,), (2,), (4,), (4, 8), (8, 16))),
)


def main(args: argparse.Namespace, console: Console) -> None:
    """Measures, prints, writes."""
    found = {**record.opening("throughput"), "load_average": machine.load_average(), "crossover": crossover(args)}
    chapters.show("crossover", found, console)
    record.write(found, args.out, console)


def crossover(args: argparse.Namespace) -> list[dict]:
    """Run-steps a second of mapped and of vmapped runs, in turns, by forward FLOPs of the network."""
    rows = []
    for changes in NETS[::5] if args.smoke else NETS:
        case = case_of(changes, (args.batch or [32])[0], args.runs, args.smoke)
        ways = {mode: _way(Ours(case, mode=mode), args.seconds / 4) for mode in ("map", "vmap")}
        samples = sampling.in_turns(ways, args.pairs)
        rows.append(
            {
                "model": changes,
                "forward_flops": models.forward_flops(case.static.model, case.static.image_shape),
                **{mode: statistics.median(values) for mode, values in samples.items()},
                "vmap_over_map": record.ratios(samples["vmap"], samples["map"]),
                "rule": forms.choose_mode("auto", case.static),
            }
        )
    return sorted(rows, key=lambda row: row["forward_flops"])


def _way(ours: Ours, seconds: float) -> Callable[[], float]:
    """Its run-steps a second, over about so many seconds."""
    _, steps = sampling.probe(ours, seconds)
    return lambda: steps * ours.runs / sampling.seconds_of(ours, steps)


def case_of(changes: dict, batch: int, runs: int, tiny: bool) -> cases.Case:
    """The default config with `changes` to its model."""
    wanted = config.default()
    wanted.model.update(changes)
    wanted.train.batch_size = batch
    checked = config.parse(wanted)
    return cases.make(
        "crossover", checked, cases.Source(checked.dataset, ((28, 28, 1), 10, 8 * batch) if tiny else None), runs
    )
