"""The running average of weights: what it is of, that evaluations and tests read it, and that training does not."""

import jax
import numpy as np
import pytest
from helpers import build, mlp, resolved, run_of, same_bits, tiny, trained

from fmnist_jax import memory, train

STEPS = 5


def paths(c, **how):
    """The host state after each of STEPS steps."""
    pop, inputs = build(c, **how)
    state, seen = pop.init(inputs), []
    for step in range(STEPS):
        state = pop.segment(state, inputs, step, 1)
        seen.append(pop.get(state))
    return seen


@pytest.mark.parametrize("mode", ["map", "vmap"])
def test_it_is_the_mean_of_past_weights_and_statistics_and_moves_no_training(mode):
    changes = {"model__norm_momentum": 0.5}
    seen = paths(tiny(**changes, optimizer__average=0.3), mode=mode)
    expected = jax.tree.map(np.zeros_like, seen[0].average)
    for step, state in enumerate(seen):
        decay = min(0.3, step / (step + 9))  # 0, 0.1, 2/11, 0.25, 0.3
        expected = jax.tree.map(lambda a, b, d=decay: d * a + (1 - d) * b, expected, (state.params, state.batch_stats))
        for ours, theirs in zip(jax.tree.leaves(state.average), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    if mode == "map":
        without = trained(*build(tiny(**changes)), STEPS)
        assert without.average == ()
        assert same_bits(seen[-1].params, without.params)


def test_evaluations_and_activities_read_it():
    pop, inputs = build(mlp(optimizer__average=0.5))
    state = pop.put(trained(pop, inputs, STEPS))
    args = (inputs.hyper, inputs.images, inputs.labels, inputs.validation, inputs.validation_size)
    found = pop.get(pop.evaluate(state, *args)[0])
    plain, _ = build(mlp())

    def as_last(part):
        params, batch_stats = part.average
        return part._replace(params=params, batch_stats=batch_stats, average=())

    assert same_bits(pop.get(plain.evaluate(state.map(as_last), *args)[0]), found)
    last = state.map(lambda part: part._replace(average=()))
    assert not same_bits(pop.get(plain.evaluate(last, *args)[0]), found)
    seen = [p.get(p.activities(s, inputs.hyper, inputs.images)) for p, s in ((pop, state), (plain, state.map(as_last)))]
    assert same_bits(*seen)


def test_the_best_weights_are_those_that_were_evaluated():
    pop, inputs = build(mlp(optimizer__average=0.5, selection__weights="best"), seeds=(0,))
    state = pop.segment(pop.init(inputs), inputs, 0, STEPS)
    args = (inputs.hyper, inputs.images, inputs.labels, inputs.validation, inputs.validation_size)
    closed = pop.close_segment(state, inputs, pop.evaluate(state, *args)[0])
    one = run_of(pop.get(closed), 0)
    assert same_bits((one.watch.params, one.watch.batch_stats), one.average)
    later = train.selected(run_of(pop.get(pop.segment(closed, inputs, STEPS, 3)), 0))
    assert same_bits(later.average, one.average)
    assert same_bits(later.params, one.average[0])


def test_memory_counts_it():
    static, hyper = resolved(tiny(optimizer__average=0.5))
    without, _ = resolved(tiny())
    assert static != without
    bytes_of_network = 4 * train.param_count(static, hyper)
    assert memory.of_run(static, hyper) - memory.of_run(without, hyper) == memory.STATES * bytes_of_network
