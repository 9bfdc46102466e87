"""One measurement: a fresh process for the measured side, another for the load."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from benchmarks.broker import Broker
from benchmarks.clock import usable_cores
from benchmarks.protocol import BenchmarkError, Job, Process
from benchmarks.rows import Row, Size

Figures = dict[str, Any]

# The load side of the scenarios that have one.
LOADS = {"receive": "load", "delivery": "pace"}


def measure(broker: Broker, row: Row, library: str, loop: str, size: Size) -> Figures:
    """Measure one library in one row, once, on an empty server.

    Returns:
        The figures; {"failed": why} if there are none.
    """
    job = _job(broker, row, row.scenario, library, size.options(row, library, loop), loop)
    if row.scenario == "sockets":
        return _on_empty(broker, job, _served)
    if row.scenario not in LOADS:
        if row.traced:
            job = replace(job, options=job.options | {"traced": True})
        return _on_empty(broker, job, _subscribe if row.scenario == "subscribe" else _alone)
    options = size.load_options(row, library, loop)
    load = _job(broker, row, LOADS[row.scenario], library, options)
    conduct = _receive if row.scenario == "receive" else _delivery
    return _on_empty(broker, job, lambda broker, job: conduct(broker, job, load))


def measure_limit(broker: Broker, row: Row, size: Size) -> Figures:
    """Measure what a blocking socket reaches in a row of publishing one at a time."""
    options = {"seconds": size.publish_seconds, "warm_seconds": size.warm_seconds}
    return _on_empty(broker, _job(broker, row, "limit", "raw", options), _alone)


def _job(
    broker: Broker,
    row: Row,
    scenario: str,
    library: str,
    options: dict[str, Any],
    loop: str = "asyncio",
) -> Job:
    cores = sorted(usable_cores())[-1:] if row.one_core else []
    return Job(scenario, library, row.kind, broker.port, loop, cores, options)


def _on_empty(broker: Broker, job: Job, conduct: Callable[[Broker, Job], Figures]) -> Figures:
    broker.empty()
    try:
        with broker.pinned(job.cores):
            return conduct(broker, job)
    except BenchmarkError as error:
        return {"failed": str(error)}


def _alone(broker: Broker, job: Job) -> Figures:
    with Process(job) as measured:
        measured.expect("ready")
        cpu = broker.cpu_seconds()
        measured.go()
        figures = measured.expect("result")
        return figures | _server_cost(broker.cpu_seconds() - cpu, figures)


def _receive(broker: Broker, job: Job, load_job: Job) -> Figures:
    # The load is ready first: its start would disturb.
    with Process(load_job) as load, Process(job) as measured:
        load.expect("ready")
        measured.expect("ready")
        load.go()
        measured.expect("warm")
        cpu = broker.cpu_seconds()
        load.go()
        figures = measured.expect("result")
        figures |= _server_cost(broker.cpu_seconds() - cpu, figures)
        return figures | load.expect("result")


def _delivery(broker: Broker, job: Job, load_job: Job) -> Figures:
    with Process(load_job) as load, Process(job) as measured:
        load.expect("ready")
        measured.expect("ready")
        cpu = broker.cpu_seconds()
        load.go()
        figures = measured.expect("result")
        used = broker.cpu_seconds() - cpu
        load.expect("result")
        if figures["lost"]:
            raise BenchmarkError(f"{figures['lost']} events did not arrive")
        return figures | {"server_percent": used / figures["seconds"] * 100}


def _served(broker: Broker, job: Job) -> Figures:  # noqa: ARG001 (the broker is in memory)
    with Process(job) as measured:
        measured.expect("ready")
        figures = measured.expect("result")
        if figures["lost"]:
            raise BenchmarkError(f"{figures['lost']} events did not arrive")
        return figures


def _subscribe(broker: Broker, job: Job) -> Figures:
    # Two processes: tracing costs time.
    figures: Figures = {}
    for traced in (False, True):
        figures |= _alone(broker, replace(job, options=job.options | {"traced": traced}))
    return figures


def _server_cost(cpu_seconds: float, figures: Figures) -> Figures:
    if "events" in figures:
        return {"server_us": cpu_seconds / figures["events"] * 1e6}
    if "seconds" in figures:
        return {"server_percent": cpu_seconds / figures["seconds"] * 100}
    return {}
