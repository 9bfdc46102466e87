"""The limit of receiving: a blocking socket and the parser in C, which only counts what is pushed."""

from __future__ import annotations

import time

from benchmarks.clock import cpu_seconds
from benchmarks.peers import CHANNEL, PREFIX
from benchmarks.protocol import Job, Parent
from benchmarks.raw import RawConnection


def run(job: Job, parent: Parent, *, events: int, warm_events: int, paced: bool) -> None:  # noqa: ARG001
    with RawConnection(job.port) as connection:
        connection.send([("SUBSCRIBE", f"{PREFIX}_{CHANNEL}")])
        parent.say("ready")
        seen = 0
        while seen < warm_events:
            seen += connection.count()
        parent.say("warm")
        seen = first = connection.count()
        cpu, started = cpu_seconds(), time.perf_counter()
        while seen < events:
            seen += connection.count()
        elapsed, cpu = time.perf_counter() - started, cpu_seconds() - cpu
    counted = events - first
    parent.say("result", events=events, seconds=elapsed, rate=counted / elapsed, cpu_us=cpu / counted * 1e6)
