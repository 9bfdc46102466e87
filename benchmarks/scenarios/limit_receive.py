"""The limit of receiving: a blocking socket and the parser in C, which only counts what is pushed."""

from __future__ import annotations

import time

from benchmarks.clock import cpu_seconds
from benchmarks.peers import CHANNEL, PREFIX
from benchmarks.protocol import Job, Parent
from benchmarks.raw import RawConnection


def run(
    job: Job,
    parent: Parent,
    *,
    events: int,
    batches: int,
    warm_events: int,
    paced: bool,  # noqa: ARG001 (the load side is told the same)
) -> None:
    with RawConnection(job.port) as connection:
        connection.send([("SUBSCRIBE", f"{PREFIX}_{CHANNEL}")])
        parent.say("ready")
        seen = 0
        while seen < warm_events:
            seen += connection.count()
        cpu = elapsed = 0.0
        counted = 0
        for _ in range(batches):
            parent.say("next")
            seen = first = connection.count()
            cpu_before, started = cpu_seconds(), time.perf_counter()
            while seen < events:
                seen += connection.count()
            elapsed += time.perf_counter() - started
            cpu += cpu_seconds() - cpu_before
            counted += events - first
    parent.say(
        "result", events=batches * events, seconds=elapsed, rate=counted / elapsed, cpu_us=cpu / counted * 1e6
    )
