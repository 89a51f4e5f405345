"""Choosing an epoch and stopping early: a run each, on its own validation set, and no run moves another."""

import numpy as np
import pytest
from helpers import build, mlp, resolved, run_of, same_bits

from fmnist_jax import metrics, train

BEST = {"selection__weights": "best"}
STOP = {"selection__patience": 2, "selection__monitor": "validation_accuracy"}


def closed(pop, inputs, state):
    """(state at the start of the next segment, validation metrics) after an evaluation."""
    split = inputs.validation, inputs.validation_size
    sums = pop.evaluate(state, inputs.hyper, inputs.images, inputs.labels, *split)[0]
    return pop.close_segment(state, inputs, sums), metrics.finalise(pop.get(sums))


def train_segments(pop, inputs, segments, steps=6):
    """The host state and the validation metrics after each of `segments` segments."""
    state, step, seen = pop.init(inputs), 0, []
    for _ in range(segments):
        state = pop.segment(state, inputs, step, steps)
        step += steps
        state, finals = closed(pop, inputs, state)
        seen.append((pop.get(state), finals))
    return seen


@pytest.mark.parametrize("mode", ["map", "vmap"])
@pytest.mark.parametrize("monitor", ["loss", "accuracy"])
def test_the_kept_weights_are_those_of_the_best_evaluation(mode, monitor):
    # A rate this high makes the validation loss jump about, so that the best epoch is not the last of every run.
    c = mlp(**BEST, selection__monitor=f"validation_{monitor}", optimizer__learning_rate=0.1)
    seen = train_segments(*build(c, mode=mode), 8)
    last = seen[-1][0]
    scores = np.array([finals[monitor] for _, finals in seen])  # [segments, runs]
    best = scores.argmin(0) if monitor == "loss" else scores.argmax(0)
    assert (best < 7).any()
    assert last.watch.best_step.tolist() == [6 * (b + 1) for b in best]
    for run, segment in enumerate(best):
        kept, then = train.selected(run_of(last, run)), run_of(seen[segment][0], run)
        assert same_bits(kept.params, then.params)
    unkept = train.selected(run_of(train_segments(*build(mlp()), 1)[0][0], 0))
    assert unkept.watch == ()


def test_a_first_evaluation_that_is_not_finite_is_kept_until_a_better_one():
    pop, inputs = build(mlp(**BEST), seeds=(0,))
    state = pop.init(inputs)
    sums = metrics.zeros(10)
    for step, (loss, wanted) in enumerate([(np.nan, 0), (5.0, 1), (7.0, 1), (5.0, 1), (4.0, 4), (-np.inf, 4)]):
        state = state.map(lambda part, step=step: part._replace(step=np.int32(step)))
        one = sums._replace(loss=np.float32(loss), count=np.int32(1))
        state = pop.close_segment(state, inputs, state.map(lambda _, one=one: one))
        assert pop.get(state).watch.best_step.tolist() == [wanted]


@pytest.mark.parametrize("mode", ["map", "vmap"])
def test_a_stopped_run_stands_still_and_the_others_have_their_bits(mode):
    """Run 1 has a rate of nearly nothing, so that it stops after 1 + 2 evaluations; run 0 has more patience."""
    base, slow = resolved(mlp(**STOP))[1], resolved(mlp(**STOP, optimizer__learning_rate=1e-30))[1]
    patient = base._replace(patience=np.int32(1000))
    pop, inputs = build(mlp(**STOP), hypers=[patient, slow], seeds=(0, 1), mode=mode)
    seen = [state for state, _ in train_segments(pop, inputs, 6)]
    assert seen[-1].watch.stopped_at.tolist() == [-1, 18]
    for later in seen[3:]:
        assert same_bits(run_of(later, 1), run_of(seen[2], 1))
    pop, inputs = build(mlp(**STOP), hypers=[patient, patient], seeds=(0, 1), mode=mode)
    among = [state for state, _ in train_segments(pop, inputs, 6)]
    assert same_bits(run_of(among[-1], 0), run_of(seen[-1], 0))


def test_units_of_stopped_runs_are_not_even_dispatched():
    pop, inputs = build(mlp(**STOP), seeds=(0, 1, 2))
    state = pop.segment(pop.init(inputs), inputs, 0, 2)
    after = pop.segment(state, inputs, 2, 2, [False, True, False])
    assert after.parts[1] is state.parts[1]
    assert pop.get(after).step.tolist() == [4, 2, 4]


@pytest.mark.parametrize(("min_delta", "stopped"), [(0.0, -1), (0.5, 3)])
def test_patience_counts_evaluations_that_are_not_better_by_min_delta(min_delta, stopped):
    """Losses 4.0, 3.9, 3.8, 3.7 get better each time, never by half a unit: patience 2 ends with the third."""
    c = mlp(selection__patience=2, selection__min_delta=min_delta)
    pop, inputs = build(c, seeds=(0,))
    state = pop.init(inputs)
    for step, loss in enumerate([4.0, 3.9, 3.8, 3.7], start=1):
        state = state.map(lambda part, step=step: part._replace(step=np.int32(step)))
        one = metrics.zeros(10)._replace(loss=np.float32(loss), count=np.int32(1))
        state = pop.close_segment(state, inputs, state.map(lambda _, one=one: one))
    assert pop.get(state).watch.stopped_at.tolist() == [stopped]
