"""What pays and what does not: one figure behind each idea in docs/performance.why.md. `python -m benchmarks.ideas`.

Each idea is measured against the engine as it is, on one device, in alternating turns; a ratio above 1 says how many
times as fast the idea makes it. "Whole step" is training of one run; all else is the operation alone, in a loop, as it
is in training (XLA:CPU treats a loop's body otherwise than a program's outermost level). About ten minutes.
"""

import dataclasses
import itertools
import os
import sys
import time
from collections.abc import Callable, Mapping
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from rich.console import Console

from benchmarks import children, forms, record, workloads
from benchmarks.engine import Engine
from fmnist_jax import layers, optim, pooling, sharding, train
from fmnist_jax.models import cnn

YNN = "--xla_cpu_experimental_ynn_fusion_type=LIBRARY_FUSION_TYPE_DOT"


@dataclasses.dataclass(frozen=True)
class Method:
    """How long is measured, and on what."""

    turns: int
    seconds: float  # of one sample, about
    smoke: bool

    def workload(self, name: str) -> str:
        """The workload, or its tiny relative."""
        return f"{name}_tiny" if self.smoke else name

    def against(self, base: Callable, ways: Mapping[str, Callable]) -> dict[str, dict]:
        """Name -> how many times as fast as `base` each way is; each is called as often as fits a sample."""
        named = {"": base, **ways}
        calls = {name: _repeats(call, self.seconds) for name, call in named.items()}
        timed = {name: lambda name=name: _seconds(named[name], calls[name]) / calls[name] for name in named}
        samples = record.in_turns(timed, self.turns)
        return {name: record.ratios(samples[""], samples[name]) for name in ways}


def _seconds(call: Callable, times: int) -> float:
    start = time.perf_counter()
    for _ in range(times):
        out = call()
    jax.block_until_ready(out)
    return time.perf_counter() - start


def _repeats(call: Callable, seconds: float) -> int:
    """Calls that take about so long; compiles."""
    _seconds(call, 1)
    return max(1, int(seconds / _seconds(call, 2) * 2))


class Run:
    """One run of a workload, for programs made of `train.make_train` while something is patched."""

    def __init__(self, workload: str, steps: int, **keys):
        engine = Engine(workloads.checked(workload, 1, population__devices=1, **keys))
        self.static = engine.group.static
        steps = min(steps, self.static.steps_per_epoch)
        self.steps = steps // 4 * 4 or steps  # a loop of four steps a turn does as many
        dataset = engine.dataset
        self.hyper = jax.tree.map(lambda leaf: leaf[0], engine.group.hyper)
        self.data = jax.device_put((np.asarray(dataset.train_images), dataset.train_labels), jax.devices()[0])
        self.order = np.random.default_rng(0).permutation(len(dataset.train_labels)).astype(np.int32)

    def segment(self, *, donate: bool = False, patched=None) -> Callable:
        """A call that trains `steps` steps from where the last ended and returns the sum of losses so far.

        The program is traced while `patched` holds.
        """
        with patched or mock.patch.dict({}):
            run = train.make_train(self.static)
            state = jax.jit(run.init)(jnp.uint32(0), self.hyper)
            rest = (self.hyper, *self.data, self.order, np.int32(0), np.int32(self.steps))
            program = jax.jit(run.segment, donate_argnums=(0,) if donate else ()).lower(state, *rest).compile()
        held = [state]

        def call():
            held[0] = program(held[0], *rest)
            return held[0].sums.loss + 0  # a donated state is gone when the next call begins

        return call


def looped(function: Callable, *arrays, times: int = 8) -> Callable:
    """A call of `function` on arrays, so often in a loop.

    Every array is another one each time, by its first number, so that nothing of it can be done once for all; and all
    of the output is carried on, so that none of it can be left out.
    """

    def program(*arrays):
        def body(i, carried):
            arrays, out = carried
            small = 1e-30 * out.ravel()[0]
            arrays = tuple(array.at[(0,) * array.ndim].add(small) for array in arrays)
            return arrays, function(*arrays)

        shape = jax.eval_shape(function, *arrays)
        return lax.fori_loop(0, times, body, (arrays, jnp.zeros(shape.shape, shape.dtype)))[1]

    compiled = jax.jit(program).lower(*arrays).compile()
    return lambda: compiled(*arrays)


def row(idea: str, what: str, ratio: dict | None, note: str = "") -> dict:
    """An entry of the JSON; `ratio` is how many times as fast the idea makes it, None where it cannot be had."""
    return {"idea": idea, "what": what, "ratio": ratio, "n": ratio["n"] if ratio else 0, "note": note}


def _random(*shape: int):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


def unrolling(method: Method) -> list[dict]:
    """Two or four steps in the body of the training loop."""
    rows = []
    for name in ("cnn", "mlp"):
        run = Run(method.workload(name), 12 if name == "cnn" else 400)
        ways = {str(k): run.segment(patched=mock.patch.object(train, "lax", forms.Unrolled(k))) for k in (2, 4)}
        found = method.against(run.segment(), ways)
        rows += [row("unrolling", f"{name}, whole step, unroll={k}", ratio) for k, ratio in found.items()]
    return rows


def donation(method: Method) -> list[dict]:
    """The state's buffers given to the program for its result."""
    rows = []
    for name, steps in itertools.product(("cnn", "mlp"), (1, 20)):
        run = Run(method.workload(name), steps)
        ratio = method.against(run.segment(), {"donated": run.segment(donate=True)})["donated"]
        rows.append(row("donation", f"{name}, {steps} steps a dispatch", ratio, "a study's dispatches are of hundreds"))
    return rows


def flat_leaf(method: Method) -> list[dict]:
    """Adam on one vector that holds all leaves (optax.flatten)."""
    adam, rows = optim.OPTIMIZERS["adam"], []
    patched = {"adam": lambda hyper, nesterov: optax.flatten(adam(hyper, nesterov))}
    for name in ("cnn", "mlp"):
        run = Run(method.workload(name), 12 if name == "cnn" else 400)
        flat = run.segment(patched=mock.patch.dict(optim.OPTIMIZERS, patched))
        rows.append(row("one flat leaf", f"{name}, whole step", method.against(run.segment(), {"flat": flat})["flat"]))
    return rows


def first_patches(method: Method) -> list[dict]:
    """The first layer's patches of all images made beforehand, so that its convolution is a product of 9 inputs."""
    count, batch, filters = (64, 8, 4) if method.smoke else (4096, 32, 32)
    images = (255 * jnp.abs(jnp.sin(_random(count, 28, 28, 1)))).astype(jnp.uint8)
    windows = layers.patches(images, 3, 1, forms.SAME)
    order = jnp.asarray(np.random.default_rng(0).permutation(count).reshape(-1, batch))
    then = (("pool", "max", 2), ("activation", "relu"))

    def epoch(images, kernel, size):
        def loss(kernel, chosen):
            how = {"stride": 1, "padding": "same", "method": "blocked", "input_gradient": False, "then": then}
            return layers.conv(images[chosen] / 255.0, kernel.reshape(size, size, -1, filters), **how).sum()

        return lax.scan(lambda sums, chosen: (sums + jax.grad(loss)(kernel, chosen), None), kernel, order)[0]

    kernel, whole = _random(9, filters), jax.jit(epoch, static_argnums=2)
    ways = {"made": lambda: whole(windows, kernel, 1)}
    ratio = method.against(lambda: whole(images, kernel, 3), ways)["made"]
    what = "first layer's forward and gradient, with the gather"
    return [row("first layer's patches beforehand", what, ratio, "takes 9 times the memory of the images")]


def convolutions(method: Method) -> list[dict]:
    """The second layer's forward pass in other forms than XLA's library convolution."""
    batch, channels, filters = (4, 4, 20) if method.smoke else (32, 32, 64)
    arrays = _random(batch, 14, 14, channels), _random(3, 3, channels, filters)
    ways = {"Winograd F(2x2, 3x3)": forms.winograd, "one product of patches": forms.patches}
    ways["row-wise patches"] = forms.row_wise
    found = method.against(looped(forms.lax_conv, *arrays), {name: looped(way, *arrays) for name, way in ways.items()})
    what = f"3x3 from {channels} to {filters} channels, 14x14, batch {batch}, forward"
    return [row(name, what, ratio, "against lax.conv in a loop") for name, ratio in found.items()]


def orientation(method: Method) -> list[dict]:
    """The weight gradient of a product with either of its operands first."""
    rows, inputs, outputs = (256, 36, 4) if method.smoke else (6272, 288, 64)
    arrays = _random(rows, inputs), _random(rows, outputs)
    ways = {"turned": looped(lambda windows, grads: (grads.T @ windows).T, *arrays)}
    ratio = method.against(looped(lambda windows, grads: windows.T @ grads, *arrays), ways)["turned"]
    return [row("weight gradient turned", f"[{inputs}, {rows}] x [{rows}, {outputs}]", ratio)]


def recomputation(method: Method) -> list[dict]:
    """Patches made again in the backward pass, where the engine's patches form keeps them."""
    run = Run(method.workload("cnn"), 12, population__conv="patches")
    again = run.segment(patched=mock.patch.object(layers.Stage, "product", forms.recomputed(layers.Stage.product)))
    ratio = method.against(run.segment(), {"again": again})["again"]
    return [row("patches made again", "cnn, whole step, by patches", ratio, "the blocked form keeps none")]


def blocks(method: Method) -> list[dict]:
    """Blocks of images of other sizes."""
    run = Run(method.workload("cnn"), 12)
    sizes = (18, 23) if method.smoke else (18, 19, 21, 22, 23)
    ways = {k: run.segment(patched=mock.patch.object(layers, "BLOCK_BYTES", 2**k)) for k in sizes}
    note = f"the engine's are of 2^{layers.BLOCK_BYTES.bit_length() - 1}"
    found = method.against(run.segment(), ways)
    return [row("block size", f"cnn, whole step, 2^{k} bytes", ratio, note) for k, ratio in found.items()]


def methods(method: Method) -> list[dict]:
    """The whole step by each method of convolution."""
    runs = {conv: Run(method.workload("cnn"), 4, population__conv=conv) for conv in ("blocked", "patches", "lax")}
    calls = {conv: run.segment() for conv, run in runs.items()}
    found = method.against(calls.pop("blocked"), calls)
    return [row(f"conv by {conv}", "cnn, whole step", ratio, "against blocked") for conv, ratio in found.items()]


def poolings(method: Method) -> list[dict]:
    """Max-pooling in other forms than strided maxima with a gradient of their own."""
    run, ways = Run(method.workload("cnn"), 12), {}
    for name in ("reshape_max", "strided_max", "reduce_window_max"):
        ways[name] = run.segment(patched=mock.patch.dict(pooling.POOLINGS, {"max": getattr(forms, name)}))
    found = method.against(run.segment(), ways)
    return [row(f"pooling as {name}", "cnn, whole step", ratio, "JAX's own gradient") for name, ratio in found.items()]


def relu_first(method: Method) -> list[dict]:
    """ReLU before the pooling, as the config says it, where the engine has it after."""
    run, parts = Run(method.workload("cnn"), 12), cnn._parts

    def as_written(*args):
        at_once, later = parts(*args)
        return tuple(sorted(at_once, key=lambda part: part[0] == "pool")), later

    before = run.segment(patched=mock.patch.object(cnn, "_parts", as_written))
    return [row("ReLU before pooling", "cnn, whole step", method.against(run.segment(), {"before": before})["before"])]


def evaluation(method: Method) -> list[dict]:
    """Evaluation in batches of other sizes than 500."""
    sizes = (20,) if method.smoke else (100, 200, 1000, 2000)
    calls = {}
    for size in (*sizes, 0):
        keys = {"evaluation__batch_size": size} if size else {}
        engine = Engine(workloads.checked(method.workload("cnn"), 1, population__devices=1, **keys))
        looked_at = engine.inputs.validation, engine.inputs.validation_size
        given = engine.inputs.hyper, engine.inputs.images, engine.inputs.labels, *looked_at
        calls[size] = lambda engine=engine, given=given: engine.runs.evaluate(engine.state, *given)[0].parts
    found = method.against(calls.pop(0), calls)
    return [row("evaluation batch", f"cnn, batches of {size}", ratio, "against 500") for size, ratio in found.items()]


def bfloat16(method: Method) -> list[dict]:
    """Products of bfloat16 with float32 sums, as XLA:CPU has them and by its experimental library fusion."""
    what = "[25088, 288] x [288, 64]"
    rows = [row("bfloat16 product", what, _bfloat16(method))]
    asked = ["-m", "benchmarks.ideas", "--child", str(method.turns), str(method.seconds), str(int(method.smoke))]
    try:
        flags = f"{os.environ.get('XLA_FLAGS', '')} {YNN}"
        values = children.python(asked, {"XLA_FLAGS": flags}).output.split()
        return [*rows, row("bfloat16 product, library fusion", what, record.summary(map(float, values)), YNN[2:])]
    except (RuntimeError, ValueError) as error:
        return [*rows, row("bfloat16 product, library fusion", what, None, str(error).splitlines()[-1][:100])]


def _bfloat16(method: Method) -> dict:
    a, b = _random(256 if method.smoke else 25088, 288), _random(288, 64)

    def half(a, b):
        return jnp.dot(a.astype(jnp.bfloat16), b.astype(jnp.bfloat16), preferred_element_type=jnp.float32)

    return method.against(looped(jnp.dot, a, b), {"half": looped(half, a, b)})["half"]


def shared_gather(method: Method) -> list[dict]:
    """Vmapped runs that all read the same batches."""
    run, count = Run(method.workload("mlp"), 400), 2 if method.smoke else 8
    segment = train.make_train(run.static).segment
    init = jax.vmap(train.make_train(run.static).init, in_axes=(0, None))
    state, calls = jax.jit(init)(jnp.arange(count, dtype=jnp.uint32), run.hyper), {}
    for shared in (False, True):
        order = run.order if shared else np.random.default_rng(1).permuted(np.tile(run.order, (count, 1)), axis=1)
        given = (state, run.hyper, *run.data, order, np.int32(0), np.int32(run.steps))
        program = jax.jit(jax.vmap(segment, (0, None, None, None, None if shared else 0, None, None)))
        compiled = program.lower(*given).compile()
        calls[shared] = lambda compiled=compiled, given=given: compiled(*given).step
    ratio = method.against(calls[False], {"shared": calls[True]})["shared"]
    return [row("one data order for all runs", f"mlp, {count} vmapped runs, whole step", ratio)]


IDEAS = {
    "unrolling": unrolling,
    "donation": donation,
    "flat_leaf": flat_leaf,
    "first_patches": first_patches,
    "convolutions": convolutions,
    "orientation": orientation,
    "recomputation": recomputation,
    "blocks": blocks,
    "methods": methods,
    "poolings": poolings,
    "relu_first": relu_first,
    "evaluation": evaluation,
    "bfloat16": bfloat16,
    "shared_gather": shared_gather,
}


def main(argv=None) -> None:
    """Measures, prints, writes."""
    argv = sys.argv[1:] if argv is None else argv
    sharding.configure("cpu")
    if argv[:1] == ["--child"]:  # of bfloat16, under other flags of XLA's
        print(*_bfloat16(Method(int(argv[1]), float(argv[2]), bool(int(argv[3]))))["samples"])
        return
    flags = record.flags("ideas", __doc__)
    flags.add_argument("--only", default=",".join(IDEAS), help=f"of {', '.join(IDEAS)}")
    flags.add_argument("--turns", type=int, default=7)
    flags.add_argument("--seconds", type=float, default=0.7, help="of one sample, about")
    args, console = flags.parse_args(argv), Console()
    if unknown := set(args.only.split(",")) - set(IDEAS):
        flags.error(f"--only={','.join(sorted(unknown))}: take some of {', '.join(IDEAS)}")
    method = Method(1, 0.01, True) if args.smoke else Method(args.turns, args.seconds, False)
    record.need_data(args.smoke)
    found = {**record.opening("ideas"), "ideas": []}
    table = record.table_of("ideas: times as fast as the engine is", "", "n", "times as fast")
    table.columns[0].no_wrap = False
    for name in args.only.split(","):
        for one in IDEAS[name](method):
            found["ideas"].append(one)
            shown = record.ranged(one["ratio"]) if one["ratio"] else "failed"
            table.add_row(f"{one['idea']}: {one['what']}", str(one["n"]), shown)
    console.print(table)
    record.write(found, record.place("ideas", args), console)


if __name__ == "__main__":
    main()
