"""The simulated fleet keeps the laws of time, and does what was worked out by hand."""

import dataclasses
import itertools
import math

import numpy as np
import pytest

from benchmarks.fleet import __main__ as fleet
from benchmarks.fleet import cases as fleet_cases
from benchmarks.fleet import costs as fleet_costs
from benchmarks.fleet import model as fleet_model
from benchmarks.fleet.events import Simulation, simulate
from benchmarks.fleet.model import Costs, Disk, Fleet, Work
from benchmarks.server import Server

ONLY_TRAINING = Costs(segment=100.0)
EVERYTHING = Costs(
    **{"segment": 100.0, "start": 7.0, "start_operations": 50.0, "begin": 1.0, "make": 2.0, "look": 0.5},
    **{"look_trained": 0.01, "look_new": 0.1, "look_new_bytes": 1e6, "look_operations": 30.0, "compile": 9.0},
    **{"look_operations_held": 2.0, "look_operations_new": 3.0, "look_operations_trained": -1.0, "group": 3.0},
    **{"restore": 2.0, "checkpoint": 1.5, "checkpoint_bytes": 2e8, "test": 4.0, "tables": 20.0},
)
DISK = Disk(bytes=1e8, bytes_each=5e7, operations=500.0, operations_each=100.0)
HARSH = Fleet(hosts=7, devices=2, preemptions=6.0, back=100.0)


def spent(outcome):
    """What is not zero."""
    return {cause: seconds for cause, seconds in outcome.spent.items() if seconds > 1e-6}


def test_clients_of_a_server_share_it_and_one_alone_gets_its_most():
    server = Server(rate=10.0, each=8.0)
    server.add(0.0, 40.0, "long")
    assert server.next() == 5.0  # 40 at 8 a second
    server.add(1.0, 10.0, "short")  # 8 are served; then each gets 5 a second
    assert server.next() == 3.0
    assert server.pop() == "short"
    assert server.next() == pytest.approx(3.0 + (40 - 8 - 10) / 8)
    assert server.pop() == "long"
    assert server.next() == math.inf


def test_a_job_that_is_given_up_leaves_its_share_to_the_others():
    server = Server(rate=10.0)
    job = server.add(0.0, 100.0, "given up")
    server.add(0.0, 100.0, "stays")
    server.remove(10.0, job)  # each has had 50
    assert server.next() == 15.0
    assert server.pop() == "stays"
    server.others = 3.0
    server.add(20.0, 10.0, "beside three others")
    assert server.next() == 24.0


@pytest.mark.parametrize(("hosts", "groups"), [(1, 3), (4, 12), (10, 50)])
def test_free_of_all_other_costs_time_is_work_over_devices(hosts, groups):
    out = simulate(Work(groups, 3), ONLY_TRAINING, Fleet(hosts, devices=2))
    assert out.seconds == out.trained_seconds == groups * 300 / hosts
    assert spent(out) == {fleet_model.TRAINING: 2 * 300 * groups}
    assert out.waste == 0


def test_what_does_not_divide_leaves_the_last_hosts_idle():
    out = simulate(Work(5, 1), ONLY_TRAINING, Fleet(2))
    assert out.seconds == 300
    assert spent(out) == {fleet_model.TRAINING: 500, fleet_model.IDLE: 100}


def test_two_hosts_three_groups_one_preemption_by_hand():
    """Host 0 goes at 150 in the second half of group 0; host 1, which has not seen that for long, takes group 2 at 200.
    Host 0 is back at 220, sees the claim unchanged until 280, and trains the half until 380. Group 2 ends at 400.
    """
    fleet = Fleet(2, back=70.0, beat=0.0, lease=60.0, poll=0.0)
    out = simulate(Work(3, 2), ONLY_TRAINING, fleet, preempted=[(150.0, 0)])
    assert out.seconds == 400
    assert (out.preemptions, out.takeovers, out.ends) == (1, 1, (1, 1, 1))
    of = {fleet_model.TRAINING: 600, fleet_model.LOST: 50, fleet_model.LEASE: 60, fleet_model.IDLE: 20}
    assert spent(out) == pytest.approx(of)
    assert out.device_seconds == pytest.approx(150 + 180 + 400)


def test_a_busy_host_takes_over_what_it_has_seen_silent_between_two_groups():
    """Host 0 goes at 50 and does not come back. Host 1 sees its claim first at 100, and at 200 takes it over."""
    fleet = Fleet(2, back=1e9, beat=0.0)
    out = simulate(Work(4, 1), ONLY_TRAINING, fleet, preempted=[(50.0, 0)])
    assert out.takeovers == 1
    assert out.seconds == 100 * 4  # groups 1, 2, 0 and 3: it never waits
    assert spent(out) == {fleet_model.TRAINING: 400, fleet_model.LOST: 50}


def test_with_notice_nothing_is_lost_and_nobody_waits_for_a_lease():
    """Host 0 saves a quarter of group 0 at 25; host 1, done with its own at 100, trains the rest until 175."""
    fleet = Fleet(2, back=1e9, notice=True)
    out = simulate(Work(2, 1), ONLY_TRAINING, fleet, preempted=[(25.0, 0)])
    assert out.seconds == 175
    assert spent(out) == {fleet_model.TRAINING: 200}


def test_a_checkpoint_on_its_way_when_its_host_goes_does_not_count():
    """A segment ends every 100 s, and its checkpoint is 30 s on its way while the next is trained. At 120 s nothing is
    whole and all is lost; the host, back at once, begins again when the lease has passed.
    """
    costs = dataclasses.replace(ONLY_TRAINING, checkpoint_bytes=30.0)
    fleet, disk = Fleet(1, back=0.0, beat=0.0, poll=0.0), Disk(bytes=1.0)
    out = simulate(Work(1, 2), costs, fleet, disk, preempted=[(120.0, 0)])
    of = {fleet_model.LOST: 120, fleet_model.LEASE: 60, fleet_model.TRAINING: 200, fleet_model.DISK: 30}
    assert spent(out) == of
    out = simulate(Work(1, 2), costs, fleet, disk, preempted=[(140.0, 0)])  # the first is whole at 130
    of = {fleet_model.LOST: 40, fleet_model.LEASE: 60, fleet_model.TRAINING: 200, fleet_model.DISK: 60}
    assert spent(out) == of  # it is read back, too


def test_a_slow_disk_holds_back_who_saves_too_often():
    costs, work = dataclasses.replace(ONLY_TRAINING, checkpoint_bytes=150.0), Work(1, 3)
    out = simulate(work, costs, Fleet(1), Disk(bytes=1.0))
    assert out.seconds == 100 + 150 + 150 + 150
    assert spent(out) == {fleet_model.TRAINING: 300, fleet_model.DISK: 250}


def test_hosts_begin_one_after_the_other():
    costs = Costs(segment=100.0, begin=10.0, make=5.0)
    out = simulate(Work(3, 1), costs, Fleet(3))
    assert out.seconds == 15 + 10 + 10 + 100
    assert spent(out) == {fleet_model.TRAINING: 300, fleet_model.TURN: 15 + 25 + 35, fleet_model.IDLE: 20 + 10}


def test_a_program_is_compiled_once_a_host_and_again_after_a_preemption():
    costs, work = Costs(segment=100.0, compile=10.0), Work(4, 1, programs=2)
    out = simulate(work, costs, Fleet(1))
    assert spent(out) == {fleet_model.TRAINING: 400, fleet_model.COMPILING: 20}
    out = simulate(work, costs, Fleet(2))  # groups 0 and 1 are of the first program, 2 and 3 of the second
    assert spent(out) == {fleet_model.TRAINING: 400, fleet_model.COMPILING: 40}  # at the same time: nobody was first
    fleet = Fleet(1, back=0.0, beat=0.0)
    again = simulate(work, costs, fleet, preempted=[(150.0, 0)])
    assert again.spent[fleet_model.AGAIN] == 10
    assert again.spent[fleet_model.LOADING] == 0
    costs, fleet = dataclasses.replace(costs, load=1.0), dataclasses.replace(fleet, shared_cache=True)
    shared = simulate(work, costs, fleet, preempted=[(150.0, 0)])  # group 1, of the first program, is taken up again
    assert (shared.spent[fleet_model.AGAIN], shared.spent[fleet_model.LOADING]) == (0, 1)
    assert shared.spent[fleet_model.COMPILING] == 20


def test_groups_are_made_once_and_what_is_made_of_them_stays_when_its_host_goes():
    """Host 0 begins for 10 s and makes half of the groups until 30 s; host 1 begins for 10 s and makes the rest."""
    costs = Costs(segment=100.0, begin=10.0, make=40.0)
    out = simulate(Work(2, 1), costs, Fleet(2, back=1e9), preempted=[(30.0, 0)])
    assert out.seconds == 30 + 10 + 20 + 200
    assert spent(out) == {fleet_model.TRAINING: 200, fleet_model.TURN: 30 + 60}
    early = simulate(Work(2, 1), costs, Fleet(2, back=1e9), preempted=[(5.0, 0)])  # nothing is made yet
    assert early.seconds == 5 + 10 + 40 + 200


def test_a_host_tests_what_it_has_trained_compiles_that_once_and_reads_nothing():
    costs = Costs(segment=100.0, checkpoint_bytes=30.0, test=10.0, test_compile=4.0, tables=5.0)
    out = simulate(Work(2, 1), costs, Fleet(1), Disk(bytes=1.0))
    assert out.trained_seconds == 2 * (100 + 30)
    assert out.seconds == 2 * (100 + 30) + 4 + 2 * 10 + 5
    of = {fleet_model.TRAINING: 200, fleet_model.DISK: 60, fleet_model.COMPILING: 4}
    assert spent(out) == of | {fleet_model.TESTING: 20, fleet_model.CONCLUDING: 5}


def test_tests_begin_when_all_is_trained_and_who_has_none_of_its_own_reads_others():
    """Host 0 trains groups 0 and 2, and host 1 is done at 100 s; at 200 s each tests its own, host 1 is free at 210 s
    and finds nothing left.
    """
    costs = Costs(segment=100.0, test=10.0)
    out = simulate(Work(3, 1), costs, Fleet(2, poll=0.0))
    assert (out.trained_seconds, out.seconds) == (200, 220)
    assert spent(out) == {fleet_model.TRAINING: 300, fleet_model.IDLE: 100 + 10, fleet_model.TESTING: 30}
    # Of three that wait, the one that has waited longest sees it 0.5 s later, and reads the group for 0.5 s.
    costs = dataclasses.replace(costs, checkpoint_bytes=30.0)
    out = simulate(Work(2, 1), costs, Fleet(4, poll=2.0), Disk(bytes=60.0))
    assert out.seconds == 100 + 1 + 0.5 + 0.5 + 10
    # A host that comes back has trained nothing any more: it reads.
    out = simulate(Work(2, 1), costs, Fleet(1, back=0.0, beat=0.0), Disk(bytes=1.0), 0, [(275.0, 0)])
    assert out.trained_seconds == 2 * (100 + 30)
    assert out.spent[fleet_model.TESTING] == pytest.approx(10 + 5 + 30 + 10)  # group 0, half of group 1, again


def test_a_test_asks_the_disk_too():
    costs = Costs(segment=100.0, test=10.0, test_operations=7.0, test_operations_each=3.0)
    out = simulate(Work(2, 1), costs, Fleet(1), Disk(operations=1.0, operations_each=1.0))
    assert out.seconds == 200 + 2 * 3 + 2 * (7 + 10)


def test_what_a_host_draws_depends_on_nothing_else():
    def drawn(hosts, **costs):
        made = Simulation(Work(2), Costs(**costs), Fleet(hosts), Disk(), np.random.SeedSequence(7))
        return [host.chance.exponential() for host in made.hosts]

    assert drawn(5, segment=3.0)[:3] == drawn(3)
    assert len(set(drawn(5))) == 5


def test_what_a_host_was_testing_when_it_was_preempted_is_tested_again_and_so_is_what_concludes():
    costs = Costs(segment=100.0, test=10.0, tables=5.0)
    away = Fleet(2, back=1e9, beat=0.0, poll=0.0)
    out = simulate(Work(2, 1), costs, away, preempted=[(105.0, 0), (105.0, 1)], until=1e6)
    assert math.isinf(out.seconds)  # nobody is left
    out = simulate(Work(2, 1), costs, away, preempted=[(105.0, 1)])
    assert out.trained_seconds == 100
    assert out.seconds == 110 + 60 + 10 + 5  # when its lease has passed, seen from 110 on
    assert out.takeovers == 1
    out = simulate(Work(2, 1), costs, away, preempted=[(112.0, 0), (112.0, 1)], until=1e6)
    assert math.isinf(out.seconds)
    # Host 0 writes the tables: without it another begins with them, at 112.
    seconds = [simulate(Work(2, 1), costs, away, preempted=[(112.0, host)]).seconds for host in (0, 1)]
    assert seconds == [112 + 5, 110 + 5]


def test_what_is_looked_for_costs_operations_of_a_disk_that_all_share():
    costs = Costs(segment=100.0, look_operations=10.0)
    out = simulate(Work(4, 1), costs, Fleet(4), Disk(operations=1.0, operations_each=1.0))
    assert out.spent[fleet_model.LOOKING] >= 4 * 40  # all at once: each gets a quarter of the disk
    alone = simulate(Work(1, 1), costs, Fleet(1), Disk(operations=100.0, operations_each=1.0))
    assert alone.spent[fleet_model.LOOKING] == 10


@pytest.mark.parametrize("seed", range(5))
def test_every_second_has_one_cause_and_every_group_one_end(seed):
    work = Work(40, 4, programs=3)
    out = simulate(work, EVERYTHING, HARSH, DISK, seed)
    assert out.preemptions
    assert out.ends == (1,) * 40
    assert out.spent[fleet_model.TRAINING] == pytest.approx(2 * 40 * 4 * 100)
    assert sum(out.spent.values()) == pytest.approx(out.device_seconds)
    assert min(out.spent.values()) >= 0
    assert out.device_seconds <= out.seconds * HARSH.hosts * HARSH.devices
    assert out.waste == pytest.approx(1 - 2 * 40 * 4 * 100 / out.device_seconds)


def test_the_same_seed_gives_the_same_fleet_and_another_another():
    first, again, other = (simulate(Work(40, 4), EVERYTHING, HARSH, DISK, seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_more_hosts_are_slower_by_no_more_than_the_last_group():
    costs = Costs(segment=100.0, start=7.0, compile=9.0, group=3.0, checkpoint=1.5)
    work, tail = Work(50, 3), 3 * 101.5 + 9 + 3
    times = [simulate(work, costs, Fleet(hosts)).seconds for hosts in (1, 2, 3, 5, 8, 13, 21, 50, 80)]
    assert all(later <= earlier + tail for earlier, later in itertools.pairwise(times))
    assert times == sorted(times, reverse=True)


def test_what_costs_less_takes_no_longer():
    work, fleet = Work(60, 3, programs=3), Fleet(8)
    usual = simulate(work, EVERYTHING, fleet, DISK).seconds
    for field in dataclasses.fields(Costs):
        less = dataclasses.replace(EVERYTHING, **{field.name: getattr(EVERYTHING, field.name) / 2})
        if getattr(EVERYTHING, field.name) > 0:
            assert simulate(work, less, fleet, DISK).seconds <= usual + 5, field.name  # an order of events may differ


def test_what_takes_too_long_is_given_up_and_says_so():
    out = simulate(Work(10, 1), ONLY_TRAINING, Fleet(1), until=450.0)
    assert (out.seconds, out.given_up) == (math.inf, fleet_model.TOOK_TOO_LONG)
    assert out.spent[fleet_model.TRAINING] == 400
    often = Fleet(1, preemptions=3600.0, back=1.0)  # one a second: no segment ever ends
    out = simulate(Work(10, 1), ONLY_TRAINING, often, most=50)
    assert (out.seconds, out.given_up, out.preemptions) == (math.inf, fleet_model.TOO_MANY_PREEMPTIONS, 51)
    assert simulate(Work(10, 1), ONLY_TRAINING, Fleet(1)).given_up is None


FACTS = {
    **{"family": "cnn", "steps": 100, "batch": 10, "products": 5, "looked_products": 2, "values": 7, "parameters": 11},
    **{"state_bytes": 1000, "evaluations": 1, "runs": 1, "turns": 1, "checkpoints": 1, "looked_at": 50, "tested": 80},
    **{"mode": "map", "devices": 1, "cache": 1000},
}


def books(**terms):
    names = ("make seconds", "make operations", "before seconds", "before operations", "begin seconds")
    names += ("begin operations", "look seconds", "look operations", "tables seconds")
    return {name: {"terms": terms.get(name.replace(" ", "_"), {})} for name in names}


FOUND = {
    "fleet": {"cnn": FACTS},
    "costs": {
        "coefficients": {"cnn step": 1.0, "group": 3.0, "checkpoint": 2.0, "checkpoint byte": 0.001, "test": 0.5},
        "compile": {"cnn": {"cold": 9.0, "warm": 1.0, "cold test": 2.0}},
        "start": 4.0,
    },
    "bookkeeping": books(look_seconds={"look": 0.5, "waiting group": 0.1}, before_seconds={"arm": 2.0}),
    "traffic": {"files": {kind: {"median": 2.0} for kind in ("rows", "done", "test", "predictions", "checkpoint")}},
}


def test_a_hosts_costs_are_those_that_were_measured():
    study = fleet_costs.Study("cnn", runs=80, arms=10, programs=2, of_group=8, checkpoints=4)
    slow, fast = (fleet_costs.Kind(name, 2, speed, False) for name, speed in (("slow", 1.0), ("fast", 10.0)))
    costs = fleet_costs.costs(study, slow, FOUND)
    assert costs.segment == 8 / 2 * 100 / 4  # runs a device, steps, a quarter of them
    assert fleet_costs.costs(study, fast, FOUND).segment == costs.segment / 10
    assert costs.checkpoint == 2 + 0.001 * 8 * 1000
    assert costs.checkpoint_bytes == 2 * 8 * 1000
    assert (costs.group, costs.compile, costs.load, costs.test_compile) == (3, 9, 1, 2)
    assert (costs.look, costs.look_trained) == (0.5 + 0.1 * 10, -0.1)  # less, the more of ten groups are trained
    assert costs.start == 4 + 2 * 10
    free = fleet_costs.without_books(costs, FOUND)
    assert (free.start, free.look, free.look_trained, free.begin, free.segment) == (4, 0, 0, 0, costs.segment)


def test_the_cases_are_distinct_and_what_is_changed_is_there_to_be_changed():
    cases = fleet_cases.cases(smoke=False)
    assert len(set(cases)) == len(cases)
    assert {case.devices for case in cases if case.part == "fleets"} == {10, 32, 100, 256, 1024, 4096}
    assert {case.runs for case in cases} == {1_000_000}
    names = {field.name for field in dataclasses.fields(Costs)}
    assert {key for keys in fleet_cases.HALVED.values() for key in keys} <= names
    costs, gentle = fleet_cases.changed(EVERYTHING, HARSH, "looks, on the host")
    assert (costs.look, costs.look_trained, costs.segment, gentle) == (0.25, 0.005, 100.0, HARSH)
    assert fleet_cases.changed(EVERYTHING, HARSH, "preemptions") == (
        EVERYTHING,
        dataclasses.replace(HARSH, preemptions=3.0),
    )
    assert fleet_cases.changed(EVERYTHING, HARSH, "") == (EVERYTHING, HARSH)


def test_a_case_is_simulated_with_all_of_its_devices():
    found = {**FOUND, "bookkeeping": books(look_operations={"look": 10.0})}
    of = {"workload": "cnn", "way": fleet_cases.AS_IT_IS, "preemptions_an_hour": 0.0, "checkpoints": 2, "runs": 80}
    case = fleet_cases.Case(part="fleets", kind=fleet_costs.ACCELERATORS.name, devices=10, of_group=5, **of)
    found = fleet_cases.row(case, found)
    assert found["alone_seconds"] == pytest.approx(80 * 100 / 10 / fleet_costs.ACCELERATORS.speed)  # runs x steps
    assert found["seconds"] > found["alone_seconds"]
    assert sum(found["spent"].values()) == pytest.approx(found["device_seconds"])
    assert {key: found[key] for key in case._fields} == case._asdict()


def test_simulations_that_are_there_are_not_made_again(monkeypatch):
    made = []

    class Pool:
        def __init__(self, workers, mp_context):
            pass

        __enter__, __exit__, map = lambda self: self, lambda *_: None, lambda self, *given: map(*given)

    monkeypatch.setattr(fleet, "ProcessPoolExecutor", Pool)
    monkeypatch.setattr(fleet, "row", lambda case, found: made.append(case) or case._asdict())
    cases, rows, kept = fleet_cases.cases(smoke=True), [], []
    fleet.measure({}, True, rows, lambda: kept.append(len(rows)))
    assert made == cases
    assert kept[0] == 1
    made.clear()
    rows = [{**rows[3], "runs": 5}, rows[2], *rows[4:]]  # one is of another study, two are missing
    fleet.measure({}, True, rows, lambda: None)
    assert made == [cases[0], cases[1], cases[3]]
    assert [fleet_cases.Case(**one) for one in rows] == cases
