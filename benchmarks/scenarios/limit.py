"""The limit of publishing one at a time: a blocking socket, no client library, the same PUBLISH."""

from __future__ import annotations

import time

from benchmarks.clock import cpu_seconds
from benchmarks.peers import PAYLOAD_BYTES, PREFIX
from benchmarks.protocol import Job, Parent
from benchmarks.raw import RawConnection, pack


def run(job: Job, parent: Parent, *, seconds: float, warm_seconds: float) -> None:
    packed = pack(("PUBLISH", f"{PREFIX}_room", b"x" * PAYLOAD_BYTES))
    with RawConnection(job.port) as connection:
        ping_pong(connection, packed, warm_seconds)
        parent.say("ready")
        parent.wait()
        cpu, started = cpu_seconds(), time.perf_counter()
        events = ping_pong(connection, packed, seconds)
        elapsed, cpu = time.perf_counter() - started, cpu_seconds() - cpu
    parent.say(
        "result",
        events=events,
        seconds=elapsed,
        rate=events / elapsed,
        cpu_us=cpu / events * 1e6,
    )


def ping_pong(connection: RawConnection, packed: bytes, seconds: float) -> int:
    end = time.perf_counter() + seconds
    events = 0
    while time.perf_counter() < end:
        for _ in range(100):
            connection.send_packed(packed, 1)
        events += 100
    return events
