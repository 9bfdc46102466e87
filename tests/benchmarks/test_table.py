"""The rows, and whether the processes can do what they say."""

from __future__ import annotations

import importlib
import inspect

import pytest
from benchmarks.curves import CURVES
from benchmarks.libraries import LIBRARIES, LIMIT, ROOT, others
from benchmarks.measure import LIMIT_SCENARIOS, LOADS
from benchmarks.rows import METRICS, Row
from benchmarks.run import can, plan
from benchmarks.sizes import FULL, SHORT, SWEEP_SECONDS
from benchmarks.table import HEADLINE, ROWS

from gapless import RedisChannelsStreamBackend

NAMES = [row.name for row in ROWS]


def fits(scenario: str, given: set[str]) -> bool:
    """Return whether a scenario's `run` can be called with these keyword arguments."""
    run = importlib.import_module(f"benchmarks.scenarios.{scenario}").run
    keywords = [p for p in inspect.signature(run).parameters.values() if p.kind is p.KEYWORD_ONLY]
    needed = {p.name for p in keywords if p.default is p.empty}
    return needed <= given <= {p.name for p in keywords}


def test_names_are_unique_and_exist() -> None:
    assert len(set(NAMES)) == len(NAMES)
    assert set(HEADLINE) <= set(NAMES)
    for curve in CURVES:
        assert {name for _, name in curve.points} <= set(NAMES)


def test_every_library_has_its_adapter() -> None:
    for library in LIBRARIES.values():
        assert (ROOT / "benchmarks" / "peers" / f"{library.module}.py").exists()


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_processes_are_given_what_they_take(row: Row) -> None:
    for way in row.ways:
        scenario = LIMIT_SCENARIOS[row.scenario] if way == LIMIT else row.scenario
        given = set(FULL.options(row, way))
        if row.scenario == "subscribe":
            given |= {"traced"}  # the run measures both
        assert fits(scenario, given)
        if row.scenario in LOADS and scenario != "limit_latency":
            assert fits(LOADS[row.scenario], set(FULL.load_options(row, way)))


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_what_is_shown_is_known(row: Row) -> None:
    assert row.metrics
    assert set(row.metrics) <= set(METRICS)
    for must in row.musts:
        assert must.show()
        assert row.limited or not must.of_limit


def test_the_libraries_take_turns() -> None:
    row = next(row for row in ROWS if row.name == "publish-100-pubsub")
    steps = list(plan([row], ["asyncio"], SHORT))
    assert [step.library for step in steps] == list(row.ways) * 5
    assert row.ways[-2:] == ("gapless", LIMIT)
    assert set(others("pubsub")) < set(row.ways)


def test_who_is_absent_or_can_not_is_left_out() -> None:
    rows = {row.name: row for row in ROWS}
    steps = list(plan([rows["idle-pubsub-100000"]], ["asyncio"], SHORT, absent=["coredis"]))
    measured = {step.library for step in steps}
    assert "gapless" in measured
    assert not measured & {"coredis", "faststream"}
    assert can("faststream", rows["idle-pubsub-100"])
    assert can("faststream", rows["publish-one"])


def test_make_bench_repeats_often_enough() -> None:
    assert min(size.repetitions for size in (SHORT, FULL)) >= 5


def test_the_sweep_is_that_of_the_backend() -> None:
    parameters = inspect.signature(RedisChannelsStreamBackend).parameters
    assert parameters["sweep_interval"].default == SWEEP_SECONDS


def test_an_idle_gapless_is_measured_while_it_sweeps() -> None:
    for row in ROWS:
        if row.scenario == "idle" and row.kind == "streams":
            for size in (SHORT, FULL):
                options = size.options(row, "gapless")
                assert options["settle_seconds"] >= 6
                assert options["seconds"] >= 10
