"""Every table and figure that a paper's config carries is filled by what its parts measure, at every scale."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from test_claims_papers import CLASSES, _measures, blank
from test_studies import PAPERS, asked, module

from fmnist_jax import exhibits

NETS = module("report234591").NETS  # each a study of its own, no paper
ASKED = [(name, text) for name in PAPERS for text in ("", *module(name).PARTS) if text not in NETS]
MEASURED = [f"{split}_{metric}" for split in ("train", "validation", "test") for metric in ("accuracy", "loss")]
MEASURED += ["alone_seconds", *(f"{name}_recall" for name in CLASSES)]
MEASURED += [
    f"test_{layer}_correlation_{what}" for layer in ("features", "logits") for what in ("mean", "sd", "offdiagonal")
]


def measured(name, text):
    """The paper's study with a number wherever a part of it measures one, and nothing elsewhere."""
    of, rng = blank(name, text), np.random.default_rng(0)
    frames = {}
    for key, curve in (("runs", False), ("curves", True)):
        frame = getattr(of.study, key)
        part = frame["arm"].str.split(": ").str[0]
        columns = {
            m: pd.Series(rng.uniform(0.4, 0.6, len(frame))).where(
                part.isin([p for p, one in of.parts.items() if _measures(one, m, curve)]).to_numpy()
            )
            for m in MEASURED
        }
        frames[key] = frame.assign(**columns)
    last = of.study.curves.groupby(["arm", "seed", "fold"])["epoch"].max().rename("epoch").reset_index()
    frames["runs"] = frames["runs"].merge(last, on=["arm", "seed", "fold"], how="left")
    references = tuple(
        {"name": reference, "seed": None, "test_accuracy": 0.8, "part": part}
        for part, one in of.parts.items()
        for reference in one.references
    )
    alike = {"logits": np.eye(3), "features": np.eye(3)}
    return dataclasses.replace(
        of.study,
        **frames,
        references=references,
        confusions={arm: np.eye(10, dtype=int) for arm in of.study.arms},
        activities={arm: alike for arm in of.study.arms},
    )


@pytest.mark.parametrize(("name", "text"), ASKED)
def test_nothing_of_an_exhibit_is_missing(name, text):
    study = measured(name, text)
    for exhibit in asked(name, text).paper.exhibits:
        made = exhibits.compute(study, exhibit)
        missing = made.cells["missing"].tolist() if exhibit["kind"] == "table" else list(made.missing)
        assert not any(missing), (exhibit["name"], [why for why in missing if why])
