"""One run as pure functions: `make_train(static) -> (init, segment, evaluate)`. No I/O, no population.

All randomness is a function of (seed, step): init, data order, dropout and augmentation fold different constants into
the run's key, so a state needs no generator and a resumed run draws what an uninterrupted one would.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec

from fmnist_jax import augment, losses, metrics, models, optim, schedules
from fmnist_jax.data import splits
from fmnist_jax.experiment import BATCH, Hyper, Static

_INIT, _ORDER, _DROPOUT, _AUGMENT = range(4)


class TrainSums(NamedTuple):
    """Running sums over the training batches since the last evaluation, as each batch was when it was trained on."""

    loss: jax.Array  # [] float32, sum of batch means
    correct: jax.Array  # [] int32
    steps: jax.Array  # [] int32

    @classmethod
    def zeros(cls) -> "TrainSums":
        """Nothing seen yet."""
        return cls(jnp.float32(0), jnp.int32(0), jnp.int32(0))


class Watch(NamedTuple):
    """What choosing an epoch and stopping early remember of past evaluations; scores are losses, or -accuracies."""

    best: jax.Array  # [] float32: the best score so far
    best_step: jax.Array  # [] int32: its step, -1 before the first evaluation
    params: Any  # the weights that had it; () unless static.keep_best
    batch_stats: Any
    reference: jax.Array  # [] float32: the score that the next must beat by min_delta
    waited: jax.Array  # [] int32: evaluations since it was
    stopped_at: jax.Array  # [] int32: the step at which patience ended, -1 while it has not


class State(NamedTuple):
    """All that a run is between two steps; a pytree of arrays."""

    step: jax.Array  # [] int32
    seed: jax.Array  # [] uint32
    params: Any
    batch_stats: Any
    opt_state: Any
    sums: TrainSums
    diverged_at: jax.Array  # [] int32: the first step whose loss or update was not finite, -1 while there is none
    watch: Watch | tuple  # () unless static.monitor
    average: tuple = ()  # (params, batch_stats), averaged over the steps so far; () unless static.average


class Train(NamedTuple):
    """The functions of one run."""

    init: Any  # (seed [] uint32, hyper) -> State
    order: Any  # (seed, epoch [] int32, indices [n] int32, size [] int32) -> [n] int32
    segment: Any  # (state, hyper, images, labels, order, start, num_steps) -> state
    evaluate: Any  # (state, hyper, images, labels, indices [m] int32, size) -> (metrics.Sums, predictions [m] int32)
    tally: Any  # (indices [m] int32) -> (metrics.Sums, predictions [m] int32) of nothing yet
    evaluate_more: Any  # (..., labels, indices, size, tally, first, num_batches) -> tally, from batch `first` of m on
    close: Any  # (state, hyper, metrics.Sums of the validation set | ()) -> state, at the end of a segment
    activities: Any  # (state, hyper, images [B, H, W, C] uint8) -> {"features": [B, D], "logits": [B, classes]}


def make_train(static: Static) -> Train:
    """The pure functions of every run that shares `static`.

    images [N, H, W, C] uint8 and labels [N] int32 are the whole set; a run sees the part its indices name. A segment
    stays within one epoch, whose order it is given, from its step `start` on; start and num_steps are traced, so
    segments of any length share one program. (start follows from state.step, but is one number for all runs: a batch
    at a place that differs by run would be a gather.)

    `evaluate` with all images on the device and `tally` followed by `evaluate_more` of one block of batches after the
    other, whose images are then all that `images` holds, do the same arithmetic in the same order.
    """
    module = models.MODELS[static.model.family](static.model)

    def init(seed, hyper: Hyper) -> State:
        image = jnp.zeros((1, *static.image_shape), jnp.float32)
        variables = module.init(_key(seed, _INIT), image, hyper, train=False)
        params, batch_stats = variables["params"], variables.get("batch_stats", {})
        return State(
            step=jnp.int32(0),
            seed=jnp.asarray(seed, jnp.uint32),
            params=params,
            batch_stats=batch_stats,
            opt_state=optim.transform(static.optimizer, hyper.optimizer, nesterov=static.nesterov).init(params),
            sums=TrainSums.zeros(),
            diverged_at=jnp.int32(-1),
            watch=_first_watch(static, params, batch_stats) if static.monitor else (),
            average=(params, batch_stats) if static.average else (),
        )

    def order(seed, epoch, indices, size):
        return splits.order(jax.random.fold_in(_key(seed, _ORDER), epoch), indices, size)

    def step(state: State, hyper: Hyper, images, labels) -> State:
        inputs = augment.to_float(images)
        if static.augment:
            key = jax.random.fold_in(_key(state.seed, _AUGMENT), state.step)
            inputs = augment.augment(static.augment, key, inputs, hyper.augment)
        inputs = augment.standardise(inputs, hyper.mean, hyper.std)
        dropout_key = jax.random.fold_in(_key(state.seed, _DROPOUT), state.step)

        def mean_loss(params):
            logits, updated = module.apply(
                {"params": params, "batch_stats": state.batch_stats},
                inputs,
                hyper,
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": dropout_key},
            )
            loss = losses.per_example(static.loss, logits, labels, hyper.smoothing).mean()
            return loss, (logits, updated.get("batch_stats", {}))

        (loss, (logits, batch_stats)), grads = jax.value_and_grad(mean_loss, has_aux=True)(state.params)
        transform = optim.transform(static.optimizer, hyper.optimizer, nesterov=static.nesterov)
        direction, opt_state = transform.update(grads, state.opt_state, state.params)
        rate = schedules.rate(
            static.schedule,
            state.step,
            hyper.schedule,
            total_steps=static.total_steps,
            steps_per_epoch=static.steps_per_epoch,
        )
        rates = optim.rates(state.params, rate, hyper.optimizer)
        params = jax.tree.map(lambda p, d, rate: p - rate * d, state.params, direction, rates)
        correct = jnp.sum(jnp.argmax(logits, -1) == labels, dtype=jnp.int32)
        return state._replace(
            step=state.step + 1,
            params=params,
            batch_stats=batch_stats,
            opt_state=opt_state,
            sums=TrainSums(state.sums.loss + loss, state.sums.correct + correct, state.sums.steps + 1),
            diverged_at=_first(state.diverged_at, state.step, jnp.isfinite(loss)),
            average=_averaged(state, (params, batch_stats), hyper.optimizer.average) if static.average else (),
        )

    def segment(state: State, hyper: Hyper, images, labels, order, start, num_steps) -> State:
        rows = images.reshape(len(images), -1)

        def read(i):
            batch = lax.dynamic_slice_in_dim(order, (start + i) * static.batch_size, static.batch_size)
            pixels, named = rows[batch], labels[batch]
            return (pixels, named) if static.mesh == 1 else (_spread(pixels), _spread(named))

        def body(i, carried):
            state, (pixels, named) = carried
            # The next step's batch: whole rows are then copied, where in the step itself XLA:CPU gathers pixel by pixel
            # wherever they are used. One past the last is read too, and left.
            following = read(i + 1)
            return step(state, hyper, pixels.reshape(-1, *images.shape[1:]), named), following

        trained, _ = lax.fori_loop(0, num_steps, body, (state, read(0)))
        # Once a call, not once a step: a stopped run's work is thrown away, and costs the others nothing.
        return _unless_stopped(state, trained) if static.early_stop else trained

    def add_batch(sums, state: State, hyper: Hyper, images, labels, chosen, mask):
        pixels = images[chosen]
        if static.mesh > 1 and len(chosen) % static.mesh == 0:
            pixels = _spread(pixels)
        inputs = augment.standardise(augment.to_float(pixels), hyper.mean, hyper.std)
        logits = module.apply(_measured(state), inputs, hyper, train=False)
        loss = losses.per_example(static.loss, logits, labels[chosen])
        sums = metrics.add(sums, metrics.of_batch(logits, labels[chosen], mask, loss, top_k=static.top_k))
        # As the confusion matrix books them: logits that are not finite are wrong whatever their argmax.
        finite, wrong = jnp.isfinite(logits).all(-1), (labels[chosen] + 1) % static.model.classes
        return sums, jnp.where(finite, jnp.argmax(logits, -1), wrong).astype(jnp.int32)

    def evaluate(state: State, hyper: Hyper, images, labels, indices, size):
        batch = min(static.eval_batch_size, len(indices))
        batches = -(-len(indices) // batch)
        padded = jnp.pad(indices, (0, batches * batch - len(indices))).reshape(batches, batch)
        counted = (jnp.arange(batches * batch) < size).reshape(batches, batch)

        def body(sums, xs):
            return add_batch(sums, state, hyper, images, labels, *xs)

        sums, predictions = lax.scan(body, metrics.zeros(static.model.classes), (padded, counted))
        return sums, predictions.reshape(-1)[: len(indices)]

    def tally(indices):
        return metrics.zeros(static.model.classes), jnp.zeros_like(indices)

    def evaluate_more(state: State, hyper: Hyper, images, labels, indices, size, so_far, first, num_batches):
        batch = min(static.eval_batch_size, len(so_far[1]))

        def body(i, so_far):
            sums, predictions = so_far
            chosen = lax.dynamic_slice_in_dim(indices, i * batch, batch)
            place = (first + i) * batch + jnp.arange(batch)
            sums, predicted = add_batch(sums, state, hyper, images, labels, chosen, place < size)
            return sums, predictions.at[place].set(predicted, mode="drop")

        return lax.fori_loop(0, num_batches, body, so_far)

    def close(state: State, hyper: Hyper, validation) -> State:
        # A broken update shows in the next step's loss; the last one of a segment has no next step yet.
        finite = jnp.array([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params)]).all()
        closed = state._replace(sums=TrainSums.zeros(), diverged_at=_first(state.diverged_at, state.step, finite))
        if not static.monitor:
            return closed
        closed = closed._replace(watch=_watch(static, state, hyper, validation))
        return _unless_stopped(state, closed) if static.early_stop else closed

    def activities(state: State, hyper: Hyper, images):
        inputs = augment.standardise(augment.to_float(images), hyper.mean, hyper.std)
        logits, sown = module.apply(_measured(state), inputs, hyper, train=False, mutable=["activities"])
        (features,) = jax.tree.leaves(sown)
        return {"features": features, "logits": logits}

    return Train(init, order, segment, evaluate, tally, evaluate_more, close, activities)


def selected(state: State) -> State:
    """The state with the weights its run is measured with: those of the best evaluation where they are kept."""
    if not state.watch or not jax.tree.leaves(state.watch.params):
        return state
    params, batch_stats = state.watch.params, state.watch.batch_stats
    average = (params, batch_stats) if state.average else ()
    return state._replace(params=params, batch_stats=batch_stats, average=average)


def _measured(state: State) -> dict:
    """The variables that an evaluation applies."""
    params, batch_stats = state.average or (state.params, state.batch_stats)
    return {"params": params, "batch_stats": batch_stats}


def _averaged(state: State, network: tuple, decay) -> tuple:
    """The running average with one more step's (params, batch_stats) in it.

    That of the first steps is of fewer, and the first step's is its own: how the weights were drawn, or what was put
    over them, has no part in it. What stands still, as filters that are not trained, does so bit for bit.
    """
    decay = jnp.minimum(decay, state.step / (state.step + 9.0))
    return jax.tree.map(lambda mean, new: mean + (1 - decay) * (new - mean), state.average, network)


def _first_watch(static: Static, params, batch_stats) -> Watch:
    kept = (params, batch_stats) if static.keep_best else ((), ())
    return Watch(jnp.float32(jnp.inf), jnp.int32(-1), *kept, jnp.float32(jnp.inf), jnp.int32(0), jnp.int32(-1))


def _watch(static: Static, state: State, hyper: Hyper, validation: metrics.Sums) -> Watch:
    """The watch after one more evaluation. A score that is not finite is never better; ties keep the earlier epoch."""
    watch = state.watch
    total = validation.loss if static.monitor == "loss" else -validation.correct.astype(jnp.float32)
    score = total / validation.count
    score = jnp.where(jnp.isfinite(score), score, jnp.inf)
    better = (score < watch.best) | (watch.best_step < 0)  # the first is the best so far, however bad
    if static.keep_best:
        kept = tuple(_measured(state).values()), (watch.params, watch.batch_stats)
        params, batch_stats = jax.tree.map(lambda new, old: jnp.where(better, new, old), *kept)
        watch = watch._replace(params=params, batch_stats=batch_stats)
    improved = score < watch.reference - hyper.min_delta
    waited = jnp.where(improved, 0, watch.waited + 1)
    out_of_patience = static.early_stop & (waited >= hyper.patience)
    return watch._replace(
        best=jnp.where(better, score, watch.best),
        best_step=jnp.where(better, state.step, watch.best_step),
        reference=jnp.where(improved, score, watch.reference),
        waited=waited,
        stopped_at=_first(watch.stopped_at, state.step, ~out_of_patience),
    )


def _unless_stopped(before: State, after: State) -> State:
    stopped = before.watch.stopped_at >= 0
    return jax.tree.map(lambda old, new: jnp.where(stopped, old, new), before, after)


def param_count(static: Static, hyper: Hyper) -> int:
    """Parameters of one run, batch-norm statistics included, as Keras counts them."""
    state = jax.eval_shape(make_train(static).init, jax.ShapeDtypeStruct((), jnp.uint32), hyper)
    return sum(leaf.size for leaf in jax.tree.leaves((state.params, state.batch_stats)))


def _spread(batch):
    """Over the devices of the mesh that the program is compiled for: the first axis is cut."""
    return lax.with_sharding_constraint(batch, PartitionSpec(BATCH))


def _key(seed, use: int):
    return jax.random.fold_in(jax.random.key(seed), use)


def _first(so_far, step, finite):
    return jnp.where((so_far < 0) & ~finite, step, so_far)
