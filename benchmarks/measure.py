"""One measurement: a fresh process for the measured side, another for the load."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from statistics import fmean
from typing import Any

from benchmarks.broker import Broker
from benchmarks.clock import usable_cores
from benchmarks.libraries import LIMIT
from benchmarks.protocol import BenchmarkError, Job, Process
from benchmarks.rows import Row
from benchmarks.scenarios.offer import LOW_RATE
from benchmarks.sizes import Size

Figures = dict[str, Any]

# The load side of the scenarios that have one.
LOADS = {"receive": "load", "delivery": "pace", "latency": "offer", "outage": "offer"}

# What measures the limit in their place.
LIMIT_SCENARIOS = {"publish": "limit", "receive": "limit_receive", "latency": "limit_latency"}

# For so long events are published; after a third of it the receiver's connections are killed.
OUTAGE_SECONDS = 3.0

# The parts of `latency`, as shares of what the library can do, which the first one finds out. Low is the same rate for
# all and for the limit: how long everything rests between two events may matter.
SHARES = {"all": None, "low": 0.0, "half": 0.5, "most": 0.9}


def measure(broker: Broker, row: Row, library: str, loop: str, size: Size) -> Figures:
    """Measure one library in one row, once, on an empty server.

    Returns:
        The figures; {"failed": why} if there are none.
    """
    scenario = LIMIT_SCENARIOS[row.scenario] if library == LIMIT else row.scenario
    job = _job(broker, row, scenario, library, size.options(row, library), loop)
    conduct = {"sockets": _served, "subscribe": _subscribe, "storm": _storm}.get(scenario, _alone)
    if row.scenario not in LOADS or scenario == "limit_latency":
        return _on_empty(broker, job, conduct)
    # The limit is loaded with our commands.
    loading = "gapless" if library == LIMIT else library
    load = _job(broker, row, LOADS[row.scenario], loading, size.load_options(row, library), loop)
    if row.scenario == "latency":
        return _on_empty(broker, job, lambda _, job: _latency(job, load, size))
    if row.scenario == "outage":
        return _on_empty(broker, job, lambda broker, job: _outage(broker, job, load))
    loaded = _receive if row.scenario == "receive" else _delivery
    return _on_empty(broker, job, lambda broker, job: loaded(broker, job, load))


def _job(
    broker: Broker,
    row: Row,
    scenario: str,
    library: str,
    options: dict[str, Any],
    loop: str,
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
    with Process(load_job) as load, ExitStack() as stack:
        processes = [stack.enter_context(Process(job)) for _ in range(job.options.get("processes", 1))]
        load.expect("ready")
        for measured in processes:
            measured.expect("ready")
        load.go()
        cpu = 0.0
        for batch in range(job.options["batches"]):
            for measured in processes:
                measured.expect("next")
            cpu = cpu if batch else broker.cpu_seconds()
            load.go()
        results = [measured.expect("result") for measured in processes]
        figures = {name: fmean(result[name] for result in results) for name in results[0]}
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


def _latency(job: Job, load_job: Job, size: Size) -> Figures:
    figures: Figures = {}
    with Process(load_job) as load, Process(job) as measured:
        load.expect("ready")
        measured.expect("ready")
        for name, share in SHARES.items():
            rate = None if share is None else max(LOW_RATE, share * figures["rate"])
            seconds = size.low_rate_seconds if name == "low" else size.latency_seconds
            load.go(rate=rate, seconds=seconds)
            events = load.expect("sent")["events"]
            measured.go(load=name, events=events)
            figures |= measured.expect("seen")
        load.go(end=True)
        measured.go(end=True)
    return figures


def _outage(broker: Broker, job: Job, load_job: Job) -> Figures:
    with Process(job) as measured:
        measured.expect("ready")
        receiving = broker.connections()
        with Process(load_job) as load:
            load.expect("ready")
            load.go(rate=LOW_RATE, seconds=OUTAGE_SECONDS)
            time.sleep(OUTAGE_SECONDS / 3)
            broker.kill(receiving)
            events = load.expect("sent")["events"]
            load.go(end=True)
            measured.go(events=events)
            return measured.expect("result")


def _storm(broker: Broker, job: Job) -> Figures:
    with Process(job) as measured:
        measured.expect("ready")
        before = broker.calls("evalsha")
        measured.go()
        figures = measured.expect("result")
        return figures | {"history_reads": broker.calls("evalsha") - before}


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
        with Process(replace(job, options=job.options | {"traced": traced})) as measured:
            measured.expect("ready")
            before = broker.used_bytes()
            measured.go()
            figures |= measured.expect("result")
            if not traced:
                figures["server_bytes"] = (broker.used_bytes() - before) / job.options["channels"]
    return figures


def _server_cost(cpu_seconds: float, figures: Figures) -> Figures:
    if "events" in figures:
        return {"server_us": cpu_seconds / figures["events"] * 1e6}
    if "seconds" in figures:
        return {"server_percent": cpu_seconds / figures["seconds"] * 100}
    return {}
