"""A run over a mesh of devices: each has a part of every batch, and it is the same training but for rounding."""

import jax
import numpy as np
import pytest
from helpers import build, resolved, same_bits, tiny, trained

from fmnist_jax import experiment, forms, sharding
from fmnist_jax.errors import UserError

STEPS = 14  # past the end of an epoch
# Batch norm, dropout and augmentation are all in `tiny`: each of them sees the whole batch.
MESHED = {"mesh": 2}


@pytest.fixture(scope="module")
def meshed():
    pop, inputs = build(tiny(**MESHED), seeds=(0, 1), devices=2)
    return pop, inputs, trained(pop, inputs, STEPS)


def test_it_is_the_training_of_one_device_but_for_rounding(meshed):
    single = trained(*build(tiny(population__conv="patches"), seeds=(0, 1)), STEPS)
    _, _, state = meshed
    assert np.array_equal(state.step, single.step)
    for ours, alone in zip(jax.tree.leaves(state.params), jax.tree.leaves(single.params), strict=True):
        np.testing.assert_allclose(ours, alone, rtol=0, atol=2e-4)
    np.testing.assert_allclose(state.sums.loss, single.sums.loss, rtol=1e-4)


def test_the_batch_is_spread_and_the_rest_is_everywhere(meshed):
    pop, _, _ = meshed
    assert [slot.mesh.size for slot in pop.devices] == [2]
    texts = [program.as_text() for key, program in pop._compiled.items() if key[0] is pop._run.segment]
    assert texts
    rows = pop.static.batch_size // 2
    assert all("all-reduce" in text for text in texts)
    assert all(f"f32[{rows},28,28,1]" in text or f"f32[{rows},784]" in text for text in texts)


def test_chunks_change_no_bit(meshed):
    pop, inputs, state = meshed
    assert same_bits(trained(pop, inputs, STEPS, chunk=5), state)


def test_an_evaluation_counts_every_image_once(meshed):
    pop, inputs, _ = meshed
    state = pop.init(inputs)
    sums, _ = pop.evaluate(state, inputs.hyper, inputs.images, inputs.labels, inputs.validation, inputs.validation_size)
    assert pop.get(sums).count.tolist() == [48, 48]


def test_runs_share_the_meshes_that_there_are():
    with pytest.raises(UserError, match="mesh=3: there are 2 devices; take 2 or less"):
        sharding.slots_for(4, 0, 3)
    assert len(sharding.slots_for(4, 0, 2)) == 1
    assert sharding.slots_for(4, 0, 1) == jax.local_devices()[:2]


def test_what_does_not_divide_is_refused():
    with pytest.raises(UserError, match="mesh=3: train.batch_size=16 is no multiple of it"):
        resolved(tiny(mesh=3))


def test_a_mesh_takes_its_runs_one_after_the_other():
    static, _ = resolved(tiny(**MESHED))
    assert forms.choose_mode("auto", static) == "map"
    with pytest.raises(UserError, match="population.mode='vmap' with mesh=2"):
        forms.choose_mode("vmap", static)
    assert forms.choose_conv("auto", "cpu", "auto", 2) == "patches"
    assert experiment.BATCH in sharding.slots_for(1, 0, 2)[0].mesh.axis_names
