"""The speed record's config: nothing is chosen by test images, and its ablation leaves out one thing at a time."""

import importlib.util
from pathlib import Path

import pytest

from fmnist_jax import arms, config

SPEC = importlib.util.spec_from_file_location("speedrun", Path(__file__).parent.parent / "configs" / "speedrun.py")
speedrun = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(speedrun)

ALL = ",".join(speedrun.TOPICS)


def parts(part=ALL):
    return config.parts(config.parse(speedrun.get_config(part)))


@pytest.mark.parametrize("scale", ["", ",quick", ",full"])
def test_what_compares_recipes_reads_no_test_image_and_what_is_tested_compares_none(scale):
    for name, part in parts(ALL + scale).items():
        compares = name in ("ablation", "search")
        assert (len(part.sweep) > 1) == compares
        assert part.evaluation.test == ("none" if compares else "all")
        assert part.metric == ("validation_accuracy" if compares else "test_accuracy")
        assert not part.evaluation.test_curves
        held_out = part.dataset.validation_fraction * 60_000
        assert held_out == pytest.approx(5000 if compares else 0)
        assert part.selection == config.SelectionConfig()


def test_the_headline_is_ten_seeds_of_all_images_in_full():
    for name, (accuracy, seconds) in {"five": (0.935, 300), "thirty": (0.948, 1800)}.items():
        part = parts(name)[name]
        assert (part.seeds, part.dataset.images) == (10, 0)
        reached, lasted = config.parse(speedrun.get_config(name)).claims
        assert (reached["kind"], reached["value"]) == ("at_least", accuracy)
        assert (lasted["kind"], lasted["value"], lasted["metric"]) == ("at_most", seconds, "train_seconds")


def test_five_is_the_recipe_that_ablation_and_search_change():
    """But for how long, on which images, and what is read."""
    found = parts()
    apart = ("question", "metric", "sweep", "seeds", "dataset.validation_fraction", "evaluation.test")
    apart += ("train.duration", "train.eval_every")

    def recipe(experiment):
        return {key: value for key, value in config.flatten(experiment).items() if key not in apart}

    for name in ("ablation", "search"):
        first, *others = arms.arms_of(found[name])
        assert first.name == speedrun.RECIPE
        assert recipe(first.experiment) == recipe(found["five"])
        assert all(other.override for other in others)


def test_each_part_of_the_recipe_is_left_out_once_and_judged():
    found = parts("ablation")["ablation"]
    _, *others = arms.arms_of(found)
    assert found.seeds == 5
    assert [arm.name for arm in others] == [f"without {name}" for name in speedrun.WITHOUT]
    changed = [{key.split(".")[0] for key in arm.override} for arm in others]
    assert all(len(sections) == 1 for sections in changed)
    claims = config.parse(speedrun.get_config("ablation")).claims
    assert [claim["b"]["variant"] for claim in claims] == [arm.name for arm in others]
    assert all(claim["ours"] and claim["kind"] == "greater" for claim in claims)
