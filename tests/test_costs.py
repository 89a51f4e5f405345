"""The cost model: known terms are found again, sums are those by hand, and what is unseen is not among what is seen."""

import json
import os
import threading
import time

import pytest
from helpers import resolved, tiny
from rich.console import Console

from benchmarks import bookkeeping, neighbours
from benchmarks.costs import __main__ as costs
from benchmarks.costs import fit as cost_fit
from benchmarks.costs import model as cost_model
from benchmarks.costs import studies as cost_studies
from benchmarks.fleet import costs as fleet_costs
from fmnist_jax import arms, config, leases, study, writers
from fmnist_jax.share import Share
from fmnist_jax.store import Disk

GROUP = {
    **{"family": "mlp", "turns": 2, "steps": 10, "batch": 5, "products": 100, "looked_products": 40, "values": 20},
    **{"parameters": 30, "evaluations": 2, "looked_at": 50, "tested": 80, "runs": 4, "state_bytes": 1000},
    **{"checkpoints": 2, "mode": "vmap", "cache": 500},
}


def test_the_quantities_of_a_group_by_hand():
    assert cost_model.of_training(GROUP) == {
        "mlp step": 2 * 10,
        "mlp product": 2 * 10 * 5 * 100,
        "mlp value": 2 * 10 * 5 * 20,
        "mlp parameter": 2 * 10 * 30,
        "mlp parameter from memory": 2 * 10 * 30 * (1 - 500 / (2 * 1000)),
        "mlp evaluated product": 2 * 2 * 50 * 40,
        "mlp evaluated value": 2 * 2 * 50 * 20,
        "group": 1,
        "row": 4 * 2,
        "checkpoint": 2,
        "checkpoint byte": 2 * 4 * 1000,
    }
    assert cost_model.of_test(GROUP) == {
        "mlp evaluated product": 2 * 80 * 40,
        "mlp evaluated value": 2 * 80 * 20,
        "test": 1,
        "restored byte": 4 * 1000,
    }
    assert set(cost_model.of_training(GROUP)) | set(cost_model.of_test(GROUP)) <= set(cost_model.units())


def test_what_a_cache_holds_does_not_come_from_memory():
    def from_memory(**changes):
        return cost_model.of_training({**GROUP, **changes})["mlp parameter from memory"]

    assert from_memory(cache=2000) == 0
    assert from_memory(mode="map", cache=1000) == 0  # one run at a time
    assert from_memory(mode="map", cache=250) == 2 * 10 * 30 * 0.75


def test_a_fit_finds_what_made_the_times_again():
    truth = {"step": 0.5, "byte": 2e-9, "group": 3.0}
    rows = [{"step": 10.0 * i, "byte": 1e9 / i, "group": 1.0} for i in range(1, 6)]
    seconds = [cost_model.seconds_of(row, truth) for row in rows]
    assert cost_model.fit(rows, seconds) == pytest.approx(truth)
    assert cost_model.left_out(rows, seconds) == pytest.approx([1.0] * 5)


def test_no_term_takes_less_than_nothing_and_errors_are_relative():
    rows = [{"a": 1.0, "b": 1.0}, {"a": 1.0, "b": 2.0}, {"a": 1.0, "b": 3.0}]
    assert cost_model.fit(rows, [3.0, 2.0, 1.0])["b"] == 0
    assert cost_model.fit([{"a": 1.0}, {"a": 1.0}], [1.0, 3.0])["a"] == pytest.approx(1.2)  # (1 + 1/3) / (1 + 1/9)


COSTS = {
    "coefficients": {"mlp step": 0.1, "group": 1.0, "test": 0.25},
    "compile": {"mlp": {"cold": 5.0, "warm": 0.5, "cold test": 2.0}},
    "start": 3.0,
    "end": 1.5,
    "end_run": 0.01,
}


def test_a_study_is_the_sum_of_its_parts():
    cold = cost_model.of_study([GROUP, GROUP], COSTS)
    assert cold == {"start": 3, "compiling": 10, "training": 2 * (2 + 1), "testing": 2 * (0.25 + 2), "end": 1.5 + 0.08}
    warm = cost_model.of_study([GROUP, GROUP], COSTS, cold=False)
    assert warm == {**cold, "compiling": 1.0, "testing": 0.5}


def observed(cold, factor=1.0):
    said = cost_model.of_study([GROUP], COSTS, cold)
    found = {part: seconds * factor for part, seconds in said.items()}
    of_group = {part: [found[part]] for part in ("training", "testing", "compiling")}
    return {**found, **of_group, "seconds": sum(found.values()), "cold": cold}


def test_a_prediction_is_held_against_the_median_of_the_turns():
    facts, turns = {"new": [GROUP]}, [observed(True), *(observed(False, by) for by in (1.0, 0.5, 2.0))]
    cold, warm = cost_fit.predicted({"new": turns}, facts, ["new"], COSTS)
    assert cold["ratio"]["median"] == pytest.approx(1.0)
    assert (warm["ratio"]["median"], warm["ratio"]["min"], warm["ratio"]["max"]) == pytest.approx((1.0, 0.5, 2.0))
    assert warm["predicted"]["seconds"] == pytest.approx(warm["measured"]["seconds"])


def test_what_is_fitted_is_of_the_studies_that_are_seen_and_compiling_is_apart():
    facts = {"a": [GROUP], "b": [{**GROUP, "steps": 40}], "c": [{**GROUP, "steps": 90}]}
    of = {
        name: [{**one, "training": [2 * group["steps"] * 0.1 + 1.0]} for one in (observed(True), observed(False))]
        for name, (group,) in facts.items()
    }
    found = cost_fit.fitted(of, facts, ["a", "b"])
    assert [one["fitted"] for one in found["fit"]] == pytest.approx([1.0] * 4)
    assert found["compile"]["mlp"] == pytest.approx(COSTS["compile"]["mlp"])
    assert found["start"] == 3
    (_, warm) = cost_fit.predicted(of, facts, ["c"], found)
    assert warm["training"]["median"] == pytest.approx(1.0)


def test_a_workdir_tells_its_parts_by_the_times_of_its_files(tmp_path):
    began = time.time() - 100

    def write(name, at, **content):
        path = tmp_path / "groups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
        os.utime(path, (began + at, began + at))

    timing = {"compile_seconds": 4.0, "images": 1}
    for group, (session, done, tested) in {"0": (20, 21, 45), "1": (39, 40, 50)}.items():
        write(f"{group}/group.json", 5)
        write(f"{group}/sessions/a.json", session, wall_seconds=18.0 - 6 * int(group), **timing)
        write(f"{group}/done.json", done)
        write(f"{group}/test.json", tested)
    found = costs.parts(tmp_path, began, began + 60)
    assert found["start"] == pytest.approx(2)  # the first session ended at 20, after 18 seconds
    assert found["training"] == pytest.approx([21 - 2 - 4, 40 - 21 - 4])
    assert found["compiling"] == [4, 4]
    assert found["testing"] == pytest.approx([5, 5])
    assert found["end"] == pytest.approx(10)
    total = found["start"] + found["end"] + sum(sum(found[k]) for k in ("training", "compiling", "testing"))
    assert total == pytest.approx(found["seconds"])


def test_the_facts_of_a_study_by_hand():
    first, second = cost_studies.facts(config.parse(cost_studies.get_config("tiny_mlp")))
    assert (first["steps"], first["batch"], first["runs"]) == (8, 8, 3)  # the less work, the earlier
    assert (second["steps"], second["batch"], second["evaluations"], second["checkpoints"]) == (6, 16, 2, 2)
    assert second["products"] == 2 * (2 * 784 * 5) + 3 * (2 * 5 * 10)
    assert second["looked_products"] == 2 * 784 * 5 + 2 * 5 * 10
    assert second["parameters"] == 784 * 5 + 5 + 5 * 10 + 10
    assert second["values"] == 784 + 5 + 10
    assert second["mode"] == "vmap"
    assert second["cache"] >= 2**16
    assert second["turns"] == 2  # three runs on two devices, side by side
    assert (second["looked_at"], second["tested"]) == (24, 60)
    assert second["state_bytes"] >= 3 * 4 * second["parameters"]  # with Adam's two moments


@pytest.mark.parametrize(("flags", "filters"), [(["avx2", "avx512f"], [16, 32]), (["avx2"], [16, 24]), ([], [12, 24])])
def test_channels_are_counted_as_a_core_computes_them(monkeypatch, flags, filters):
    monkeypatch.setattr(cost_studies.machine, "hardware", lambda: {"flags": flags})
    static, _ = resolved(tiny(model__filters=(12, 24)))
    assert [block.filters for block in cost_studies._in_lanes(static.model).blocks] == filters


def test_the_unseen_studies_differ_from_all_that_are_seen():
    def values(seen, key):
        studies = [study for study in cost_studies.STUDIES.values() if study.seen is seen]
        return {(arm["model.family"], arm.get(key, study.seeds)) for study in studies for arm in study.arms}

    for key in ("model.dense", "model.filters", "train.batch_size", "train.duration", "seeds"):
        assert not values(True, key) & values(False, key), key
    assert {family for family, _ in values(False, "seeds")} == set(cost_model.FAMILIES)
    assert sum(not study.seen for study in cost_studies.STUDIES.values()) >= 3


def test_operations_on_files_are_counted_while_asked_for(tmp_path):
    with bookkeeping.counting(tmp_path / "a") as count:
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "b").write_text("b")
        assert (tmp_path / "a" / "b").exists()
        assert os.listdir(tmp_path / "a") == ["b"]
        assert os.listdir(tmp_path) == ["a"]  # not below it
        other = threading.Thread(target=os.stat, args=(tmp_path / "a",))
        other.start()
        other.join()
        while_asked = count[0]
    (tmp_path / "a" / "b").exists()
    assert while_asked == count[0] == 4


def test_what_a_look_asks_grows_with_groups_and_with_those_that_others_have(tmp_path):
    sizes = {name: bookkeeping.Size(*of) for name, of in {"few": (4, 3, 2, 1, 0), "held": (4, 3, 2, 1, 3)}.items()}
    found = {name: bookkeeping.observe(size, tmp_path / name) for name, size in sizes.items()}
    few, held = found["few"], found["held"]
    assert (few["groups"], few["runs"]) == (6, 12)
    assert [look["trained"] for look in few["looks"]] == [1, 2, 3, 4, 5]
    assert [look["new"] for look in few["looks"]] == [1, 1, 1, 1, 1]
    assert len(held["looks"]) == 2  # there are no more to take
    asked = [look["operations"] for look in few["looks"]]
    assert held["looks"][1]["operations"] == asked[1] + 3 * 2  # of each that another has: its directory, and its claim
    assert held["begin"]["operations"] > 0
    assert held["before"]["seconds"] > 0


def test_what_is_asked_for_tests_is_what_the_fleet_is_said_to_ask(tmp_path):
    """Of a group that a process tests, and of one that another tests: before it begins, or before its turn comes."""
    checked = bookkeeping.made_up(bookkeeping.Size(arms=12, seeds=1, most=1, trained=0, held=0))

    def process():
        return study._Study(checked, arms.arms_of(checked), Disk(tmp_path), Console(quiet=True), Share(claim=True))

    def leave(*of):
        for place in of:
            writers.write_json(place.directory / "test.json", {"runs": [0]})

    def asked(before, meanwhile):
        """How often, while a process tests what others have not tested before or, at its first test, meanwhile."""
        for place in places:
            (place.directory / "test.json").unlink(missing_ok=True)
        leave(*before)
        made, other = process(), threading.Thread(target=leave, args=meanwhile)
        made._test = lambda place, *_: (other.ident or (other.start(), other.join()), leave(place))
        with bookkeeping.counting(tmp_path) as count:
            assert made._test_shared()
        assert all((place.directory / "test.json").exists() for place in places)
        return count[0]

    first = process()
    first._begin(False)
    places = first.standing.refresh().places
    for place in places:
        bookkeeping._finish(place)
        leases.Watch().take(place.directory).close()  # to train it
    assert asked(places, ()) == 1 + 3 * 12
    of_tested = asked(places[:10], ()) - asked(places[:11], ())  # more than of one that was
    found_tested = (asked(places[:1], places[6:]) - asked(places[:1] + places[6:], ())) / 6
    assert (3 + found_tested, of_tested) == (fleet_costs.TEST_OPERATIONS_EACH, fleet_costs.TEST_OPERATIONS)


def test_the_terms_of_bookkeeping_are_found_again():
    books, sizes = [], [(10, 5, 1, 0), (30, 5, 2, 2), (10, 20, 9, 1), (20, 80, 7, 3), (50, 40, 30, 9)]
    for i, (count, groups, trained, held) in enumerate(sizes):
        of = {"arms": count, "runs": 10 * count, "groups": groups, "most": 10 * count / groups, "held": held}
        look = {"trained": trained, "new": 1, "seconds": 0.1 + 0.01 * (groups - trained), "operations": 5 + 4 * groups}
        part = {"seconds": 0.5 * count, "operations": 10 + groups}
        found = {**of, "make": part, "before": part, "begin": part, "looks": [look]}
        books.append({"kind": "Size", "size": [i], "seen": i < 4, "found": found})
    fitted = cost_fit.bookkeeping(books)
    for name, of in fitted.items():
        assert of["predicted"]["median"] == pytest.approx(1.0, rel=0.15), name
    assert fitted["begin operations"]["terms"] == pytest.approx({"process": 10, "group": 1})


def test_measuring_goes_on_where_it_was(monkeypatch):
    made = []
    monkeypatch.setattr(costs, "observe", lambda name, *_: made.append(name) or {"start": 1.0})
    found = {"observed": {"a": [{"cold": True}, {"cold": False}], "b": []}}
    kept = []
    costs.measure(["a", "b"], 2, found, lambda: kept.append(1))
    assert made == ["b", "b"]
    assert [one["cold"] for one in found["observed"]["b"]] == [True, False]
    assert len(kept) == 2
    costs.measure(["a"], 3, found, lambda: None)  # a new cache: what is warm needs a cold one first
    assert [one["cold"] for one in found["observed"]["a"]] == [True, False, True, False]
    assert made == ["b", "b", "a", "a"]


def test_bytes_are_told_from_what_a_study_is():
    facts = {name: [{**GROUP, "runs": runs}] for name, runs in (("a", 4), ("b", 8), ("c", 20))}
    of = {
        name: [
            {
                "written": 5000 + 300 * group["runs"] + 2 * 2 * group["runs"] * 1000,
                "read": 9000 + 2 * group["runs"] * 1000,
                "files": [{kind: 10 * group["runs"] for kind in ("rows", "done", "test", "predictions", "checkpoint")}],
            }
        ]
        for name, (group,) in facts.items()
    }
    found = cost_fit.traffic(of, facts, {"a": True, "b": True, "c": False})
    assert found["written"]["predicted"] == {"c": pytest.approx(1.0)}
    assert found["read"]["predicted"] == {"c": pytest.approx(1.0)}
    assert found["files"]["rows"]["median"] == 5  # a run and evaluation
    assert found["files"]["checkpoint"]["median"] == 0.01  # a byte of state


def test_disturbed_turns_are_made_again_up_to_a_limit_and_left_out_if_they_can_be(monkeypatch):
    shares = iter([0.5, 0.0, 0.6, 0.05, 0.3])
    monkeypatch.setattr(costs, "observe", lambda name, *_: {"others": next(shares)})
    found = {"observed": {"a": []}}
    costs.measure(["a"], 2, found, lambda: None)
    turns = found["observed"]["a"]
    assert [(one["cold"], one["others"]) for one in turns] == [(True, 0.5), (True, 0.0), (False, 0.6), (False, 0.05)]
    assert cost_fit.best(turns) == [turns[1], turns[3]]
    assert cost_fit.best(turns[:1]) == turns[:1]  # better than none


def test_the_work_of_this_process_and_its_children_is_not_others():
    since = neighbours.Neighbours()
    sum(i * i for i in range(300_000))
    assert 0 <= since.share() <= 1
    start = time.perf_counter()
    neighbours.wait(0.0)
    assert time.perf_counter() - start < 1
