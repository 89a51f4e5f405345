"""The ways to run a rival, of which a calibration finds the fastest."""

import dataclasses
from collections.abc import Callable, Sequence

from benchmarks.cases import BFLOAT16, FLOAT32, KERAS, VMAP, Case


@dataclasses.dataclass(frozen=True)
class Choice:
    """One way to run a rival that lives in processes of its own."""

    library: str = "torch"  # torch | vmap | keras
    dtype: str = "float32"  # float32 | bfloat16 (autocast)
    layout: str = "contiguous"  # contiguous | channels_last
    processes: int = 1
    threads: int = 1  # of each process
    compiled: bool = False  # torch.compile, or Keras's jit_compile
    backend: str = ""  # of Keras: jax | torch
    batch: int = 0  # images of a step of inference; 0: as the case has it

    def __str__(self):
        shown = [self.backend] * bool(self.backend) + [self.dtype]
        shown += [self.layout] if self.layout == "channels_last" else []
        shown += [count(self.processes, "process", "es"), count(self.threads, "thread", "s")]
        shown += ["compiled"] * self.compiled + [f"batch {self.batch}"] * bool(self.batch)
        return ", ".join(shown)


def count(number: int, noun: str, plural: str) -> str:
    """1 process, 2 processes."""
    return f"{number} {noun}{plural if number > 1 else ''}"


def calibrate(
    rival: str, case: Case, cores: int, measure: Callable[[Choice], float], smoke: bool = False
) -> list[tuple[Choice, float | str]]:
    """Images/s of every way to run a rival; or, as text, why there are none. Of a smoke run, one way alone."""
    tried = []

    def attempt(ways: Sequence[Choice]) -> None:
        for choice in ways:
            try:
                tried.append((choice, measure(choice)))
            except RuntimeError as error:
                tried.append((choice, str(error).strip().splitlines()[0]))

    ways = first(rival, case, cores)
    attempt(ways[:1] if smoke else ways)
    attempt([] if smoke else second(rival, case, tried))
    return tried


def first(rival: str, case: Case, cores: int) -> list[Choice]:
    """What is tried of a rival at first, all of it uncompiled but for Keras on JAX, which always compiles."""
    teams = list(dict.fromkeys([(1, 1), (1, cores), (cores, 1)]))
    if rival in (FLOAT32, BFLOAT16):
        images = case.static.model.family != "mlp"
        dtype = "bfloat16" if rival == BFLOAT16 else "float32"
        layouts = ("contiguous", "channels_last") if images else ("contiguous",)
        return [Choice("torch", dtype, layout, *team) for layout in layouts for team in teams]
    if rival == VMAP:
        return [Choice("vmap", "float32", "contiguous", *team) for team in teams if case.runs % team[0] == 0]
    # channels_first is PyTorch's own: for channels_last, Keras turns every array round and back.
    backends = {"jax": "channels_last", "torch": "contiguous"}
    return [
        Choice("keras", "float32", layout, *team, compiled=backend == "jax", backend=backend)
        for backend, layout in backends.items()
        for team in teams[1:] or teams
    ]


def second(rival: str, case: Case, tried: Sequence[tuple[Choice, float | str]]) -> list[Choice]:
    """What is tried once the first rates are known: the fastest, compiled; of inference, also in other batches."""
    eager = fastest([(choice, rate) for choice, rate in tried if not choice.compiled])
    if not eager:
        return []
    compiled = dataclasses.replace(eager[0], compiled=True)
    others = [32, 128] if case.task == "infer" and rival != KERAS else []
    return [compiled, *(dataclasses.replace(way, batch=batch) for batch in others for way in (eager[0], compiled))]


def fastest(tried: Sequence[tuple[Choice, float | str]]) -> tuple[Choice, float] | None:
    """The choice with the highest rate; None where all failed."""
    return max((one for one in tried if not isinstance(one[1], str)), key=lambda one: one[1], default=None)
