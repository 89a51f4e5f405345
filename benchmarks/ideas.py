"""What pays and what does not: one figure behind each idea in docs/performance.why.md. `python -m benchmarks.ideas`.

Each idea is measured against the engine as it is, on one device, in alternating turns; a ratio above 1 says how many
times as fast the idea makes it. "Whole step" is training of one run; all else is the operation alone, in a loop, as it
is in training (XLA:CPU treats a loop's body otherwise than a program's outermost level). About ten minutes.
"""

import functools
import itertools
import json
import os
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from rich.console import Console

from benchmarks import chapters, children, forms, record, workloads
from benchmarks.engine import Engine
from benchmarks.trials import STEPS, Method, Run, looped, row
from fmnist_jax import convolution, optim, pooling, population, sharding, train
from fmnist_jax import forms as package_forms
from fmnist_jax.models import cnn

YNN = "--xla_cpu_experimental_ynn_fusion_type=LIBRARY_FUSION_TYPE_DOT"
FUSED = """
import json
from benchmarks import ideas, trials
from fmnist_jax import sharding
sharding.configure("cpu")
print(json.dumps(ideas.half_products(trials.Method(*{}))))
"""


def random(*shape: int):
    """Normal float32 numbers, always the same."""
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


def unrolling(method: Method) -> list[dict]:
    """Two or four steps in the body of the training loop."""
    ways = {f"unroll={k}": mock.patch.object(train, "lax", forms.Unrolled(k)) for k in (2, 4)}
    return method.whole_step("unrolling", ways, ("cnn", "mlp"))


def flat_leaf(method: Method) -> list[dict]:
    """Adam on one vector that holds all leaves (optax.flatten)."""
    adam = optim.OPTIMIZERS["adam"]
    flat = {"adam": lambda hyper, nesterov: optax.flatten(adam(hyper, nesterov))}
    return method.whole_step("one flat leaf", {"": mock.patch.dict(optim.OPTIMIZERS, flat)}, ("cnn", "mlp"))


def filling(method: Method) -> list[dict]:
    """Features that nearly fill the library's tiles, without the zeros that the engine gives them."""
    rows = []
    for filters in ((28, 56), (20, 60), (50, 30)):
        ways = {"of {} and {} features".format(*filters): mock.patch.object(convolution, "_filling", return_value=0)}
        rows += method.whole_step("tiles not filled", ways, model__filters=filters)
    return rows


def recomputation(method: Method) -> list[dict]:
    """Patches made again in the backward pass, where the engine's patches form keeps them."""
    ways = {"by patches": mock.patch.object(convolution.Stage, "product", forms.recomputed(convolution.Stage.product))}
    note = "the blocked form keeps none"
    return method.whole_step("patches made again", ways, note=note, population__conv="patches")


def blocks(method: Method) -> list[dict]:
    """Blocks of images of other sizes."""
    note = f"the engine's are of 2^{convolution.BLOCK_BYTES.bit_length() - 1}"
    ways = {f"2^{k} bytes": mock.patch.object(convolution, "BLOCK_BYTES", 2**k) for k in (18, 19, 21, 22, 23)}
    return method.whole_step("block size", ways, note=note)


def poolings(method: Method) -> list[dict]:
    """Max-pooling in other forms than strided maxima with a gradient of their own."""
    others = (forms.reshape_max, forms.strided_max, forms.reduce_window_max)
    ways = {f"as {form.__name__}": mock.patch.dict(pooling.POOLINGS, {"max": form}) for form in others}
    return method.whole_step("pooling", ways, note="JAX's own gradient")


def relu_first(method: Method) -> list[dict]:
    """ReLU before the pooling, as the config says it, where the engine has it after."""
    parts = cnn._parts

    def as_written(*args):
        at_once, later = parts(*args)
        return tuple(sorted(at_once, key=lambda part: part[0] == "pool")), later

    return method.whole_step("ReLU before pooling", {"": mock.patch.object(cnn, "_parts", as_written)})


def donation(method: Method) -> list[dict]:
    """The state's buffers given to the program for its result."""
    rows, note = [], "a study's dispatches are of hundreds"
    for net, steps in itertools.product(("cnn", "mlp"), (1, 20)):
        run = Run(method.workload(net), steps)
        ratio = method.against(run.segment(), {"donated": run.segment(donate=True)})["donated"]
        rows.append(row("donation", f"{net}, {steps} steps a dispatch", ratio, note))
    return rows


def methods(method: Method) -> list[dict]:
    """The whole step by each method of convolution."""
    runs = {conv: Run(method.workload("cnn"), 4, population__conv=conv) for conv in ("blocked", "patches", "lax")}
    calls = {conv: run.segment() for conv, run in runs.items()}
    found = method.against(calls.pop("blocked"), calls)
    return [row(f"conv by {conv}", "cnn, whole step", ratio, "against blocked") for conv, ratio in found.items()]


def first_patches(method: Method) -> list[dict]:
    """The first layer's patches of all images made beforehand, so that its convolution is a product of 9 inputs."""
    count, batch, filters = (64, 8, 4) if method.smoke else (4096, 32, 32)
    images = (255 * jnp.abs(jnp.sin(random(count, 28, 28, 1)))).astype(jnp.uint8)
    windows = convolution.patches(images, 3, 1, forms.SAME)
    order = jnp.asarray(np.random.default_rng(0).permutation(count).reshape(-1, batch))
    then = (("pool", "max", 2), ("activation", "relu"))

    def epoch(images, kernel, size):
        def loss(kernel, chosen):
            how = {"stride": 1, "padding": "same", "method": "blocked", "input_gradient": False, "then": then}
            return convolution.conv(images[chosen] / 255.0, kernel.reshape(size, size, -1, filters), **how).sum()

        return lax.scan(lambda sums, chosen: (sums + jax.grad(loss)(kernel, chosen), None), kernel, order)[0]

    kernel, whole = random(9, filters), jax.jit(epoch, static_argnums=2)
    ways = {"made": lambda: whole(windows, kernel, 1)}
    ratio = method.against(lambda: whole(images, kernel, 3), ways)["made"]
    what = "first layer's forward and gradient, with the gather"
    return [row("first layer's patches beforehand", what, ratio, "takes 9 times the memory of the images")]


def convolutions(method: Method) -> list[dict]:
    """The second layer's forward pass in other forms than XLA's library convolution."""
    batch, channels, filters = (4, 4, 20) if method.smoke else (32, 32, 64)
    arrays = random(batch, 14, 14, channels), random(3, 3, channels, filters)
    ways = {"Winograd F(2x2, 3x3)": forms.winograd, "one product of patches": forms.patches}
    ways["row-wise patches"] = forms.row_wise
    found = method.against(looped(forms.lax_conv, *arrays), {name: looped(way, *arrays) for name, way in ways.items()})
    what = f"3x3 from {channels} to {filters} channels, 14x14, batch {batch}, forward"
    return [row(name, what, ratio, "against lax.conv in a loop") for name, ratio in found.items()]


def orientation(method: Method) -> list[dict]:
    """The weight gradient of a product with either of its operands first."""
    rows, inputs, outputs = (256, 36, 4) if method.smoke else (6272, 288, 64)
    arrays = random(rows, inputs), random(rows, outputs)
    ways = {"turned": looped(lambda windows, grads: (grads.T @ windows).T, *arrays)}
    ratio = method.against(looped(lambda windows, grads: windows.T @ grads, *arrays), ways)["turned"]
    return [row("weight gradient turned", f"[{inputs}, {rows}] x [{rows}, {outputs}]", ratio)]


def evaluation(method: Method) -> list[dict]:
    """Evaluation in batches of other sizes than the usual."""

    def evaluate(**keys):
        engine = Engine(workloads.checked(method.workload("cnn"), population__devices=1, **keys))
        of = engine.inputs
        given = engine.state, of.hyper, of.images, of.labels, of.validation, of.validation_size
        return engine.checked.evaluation.batch_size, lambda: engine.runs.evaluate(*given)[0].parts

    usual, base = evaluate()
    ways = dict(evaluate(evaluation__batch_size=size) for size in ((20,) if method.smoke else (100, 200, 1000, 2000)))
    found = method.against(base, ways)
    return [row("evaluation batch", f"cnn, batches of {n}", ratio, f"against {usual}") for n, ratio in found.items()]


def bfloat16(method: Method) -> list[dict]:
    """Products of bfloat16 with float32 sums, as XLA:CPU has them and by its experimental library fusion."""
    what, fused, note = "[25088, 288] x [288, 64]", "bfloat16 product, library fusion", "both products under its flag"
    rows = [row("bfloat16 product", what, half_products(method))]
    try:
        said = children.python(
            ["-c", FUSED.format(tuple(method))], {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {YNN}"}
        ).output
        return [*rows, row(fused, what, json.loads(said), note)]
    except RuntimeError as error:  # XLA has no such flag, say
        return [*rows, row(fused, what, None, str(error).splitlines()[-1][:100])]


def half_products(method: Method) -> dict:
    """How many times as fast as a float32 product one of bfloat16 is, under this process's flags."""
    a, b = random(256 if method.smoke else 25088, 288), random(288, 64)

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
        compiled = program.lower(*given).compile(package_forms.compiler_options("cpu"))
        calls[shared] = lambda compiled=compiled, given=given: compiled(*given).step
    ratio = method.against(calls[False], {"shared": calls[True]})["shared"]
    return [row("one data order for all runs", f"mlp, {count} vmapped runs, whole step", ratio)]


def levels(method: Method) -> list[dict]:
    """XLA's own level of optimisation for a CPU, 3; the engine asks for less."""
    rows, flipped = [], {"augment__ops": ("flip", "shift")}
    nets = ("cnn", "cnn", 1, {}), ("4 mlps", "mlp", 4, {}), ("4 mlps, flipped and shifted", "mlp", 4, flipped)
    for words, net, runs, keys in nets:
        engines = {}
        for level in (package_forms.LEVEL_ON_CPU, 3):
            population.forget_programs()
            jax.clear_caches()
            with mock.patch.object(package_forms, "LEVEL_ON_CPU", level):
                engines[level] = Engine(workloads.checked(method.workload(net), runs, population__devices=1, **keys))
                steps = min(STEPS[net], engines[level].static.steps_per_epoch)
                engines[level].seconds(steps)
        base, own = (functools.partial(engine.seconds, steps) for engine in engines.values())
        rows.append(row("XLA's own level", f"{words}, whole step", method.against(base, {"own": own})["own"]))
    return rows


IDEAS = {
    idea.__name__: idea
    for idea in (
        *(unrolling, donation, flat_leaf, first_patches, convolutions, orientation, recomputation, blocks, methods),
        *(poolings, relu_first, filling, evaluation, bfloat16, shared_gather, levels),
    )
}


def main(argv=None) -> None:
    """Measures, prints, writes."""
    flags = record.flags("ideas", __doc__)
    flags.add_argument("--only", default=",".join(IDEAS), help=f"of {', '.join(IDEAS)}")
    flags.add_argument("--turns", type=int, default=7)
    flags.add_argument("--seconds", type=float, default=0.7, help="of one sample, about")
    args, console = flags.parse_args(argv), Console()
    if unknown := set(args.only.split(",")) - set(IDEAS):
        flags.error(f"--only={','.join(sorted(unknown))}: take some of {', '.join(IDEAS)}")
    method = Method(1, 0.01, True) if args.smoke else Method(args.turns, args.seconds, False)
    record.need_data(args.smoke)
    sharding.configure("cpu")
    rows = [one for name in args.only.split(",") for one in IDEAS[name](method)]
    found = {**record.opening("ideas"), "ideas": rows}
    chapters.show("ideas", found, console)
    record.write(found, record.place("ideas", args), console)


if __name__ == "__main__":
    main()
