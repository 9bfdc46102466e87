"""A seed gives a schedule, and a failing one is made smaller."""

from __future__ import annotations

import itertools

from tests.chaos import schedule
from tests.chaos.schedule import KINDS, PERSISTENCE, TRACKS, Fault, Schedule
from tests.chaos.server_faults import SERVER_FAULTS
from tests.chaos.shrink import shrink


def test_a_seed_gives_the_same_schedule_again() -> None:
    assert schedule.make(1) == schedule.make(1)
    assert schedule.make(1) != schedule.make(2)
    assert schedule.make(1) != schedule.make(1, topology="replica")


def test_every_fault_comes_where_it_can() -> None:
    single = [schedule.make(seed) for seed in range(20)]
    replica = [schedule.make(seed, topology="replica") for seed in range(20)]
    assert {fault.kind for plan in single for fault in plan.faults} == KINDS.keys() - {"promote"}
    assert {fault.kind for plan in replica for fault in plan.faults} == KINDS.keys()
    assert {plan.persistence for plan in single} == set(PERSISTENCE)
    chosen = {(fault.kind, fault.choice) for plan in single for fault in plan.faults}
    assert chosen >= {
        (name, choice) for name, kind in KINDS.items() for choice in kind.choices if name != "promote"
    }


def test_faults_of_a_track_do_not_overlap_and_begin_in_time() -> None:
    for seed in range(20):
        plan = schedule.make(seed, seconds=30, long=seed % 2 == 1)
        assert list(plan.faults) == sorted(plan.faults, key=lambda fault: fault.at)
        for track in TRACKS:
            faults = [fault for fault in plan.faults if KINDS[fault.kind].track == track]
            assert faults
            assert all(0 < fault.at <= 30 for fault in faults)
            assert all(one.at + one.seconds < two.at for one, two in itertools.pairwise(faults))


def test_only_the_kinds_that_are_wanted() -> None:
    plan = schedule.make(1, kinds=["cut", "crash"])
    assert {fault.kind for fault in plan.faults} == {"cut", "crash"}


def test_every_fault_of_the_server_can_be_done() -> None:
    assert SERVER_FAULTS.keys() == {name for name, kind in KINDS.items() if kind.track == "server"}


def test_how_many_gaps_without_a_loss_are_honest() -> None:
    faults = (
        Fault(0, "flushall", "server"),
        Fault(1, "crash", "server"),  # both connections may see it, one after the other
        Fault(2, "script-flush", "server"),
        Fault(3, "cut", "consumer-1"),
        Fault(4, "cut", "producer-1"),
        Fault(5, "delay", "consumer-2"),
    )
    plan = Schedule(1, "single", 10, 1, 2, "none", faults)
    assert plan.allowed_needless_gaps() == {"consumer-1": 3, "consumer-2": 3}


async def test_a_failing_schedule_is_made_smaller() -> None:
    plan = schedule.make(1)
    guilty = {plan.faults[3], plan.faults[-2]}
    runs = 0

    async def fails(candidate: Schedule) -> bool:
        nonlocal runs
        runs += 1
        return guilty <= set(candidate.faults)

    smallest, trust = await shrink(plan, fails, tries=1000)
    assert set(smallest.faults) == guilty
    assert "without any of these" in trust
    assert runs < 60
    runs = 0
    smaller, trust = await shrink(plan, fails, tries=5)
    assert runs == 5
    assert guilty <= set(smaller.faults) < set(plan.faults)
    assert "used up" in trust


async def test_a_failure_that_does_not_repeat_is_said_to_be_one() -> None:
    plan = schedule.make(1)

    async def fails(candidate: Schedule) -> bool:
        return False

    assert await shrink(plan, fails, tries=10) == (
        plan, "the failure did not repeat: the schedule is not smaller, and timing decides"
    )  # fmt: skip
