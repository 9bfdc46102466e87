"""Measured side: how long events take from the publisher's write to the consumer's loop body.

The publisher's clock is in the payload: CLOCK_MONOTONIC is one clock for all processes.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from benchmarks.clock import cpu_seconds
from benchmarks.peers import PAYLOAD_BYTES, open_backend
from benchmarks.protocol import Job, Parent
from benchmarks.scenarios.quantiles import quantile
from benchmarks.scenarios.subscribe import channel_names

STAMP_BYTES = 8

# After the last event was due, so long for it to arrive.
GRACE_SECONDS = 5.0


def stamped() -> bytes:
    return time.monotonic_ns().to_bytes(STAMP_BYTES, "big").ljust(PAYLOAD_BYTES, b"x")


async def run(
    job: Job, parent: Parent, *, channels: int, rate: int, seconds: float, settle_seconds: float
) -> None:
    expected = round(rate * seconds)
    delays_ns: list[int] = []
    async with open_backend(job) as backend:
        await backend.subscribe(channel_names(channels))
        consumer = asyncio.create_task(consume(backend, expected, delays_ns))
        await asyncio.sleep(settle_seconds)
        parent.say("ready")
        cpu, started = cpu_seconds(), time.perf_counter()
        await asyncio.wait({consumer}, timeout=seconds + GRACE_SECONDS)
        elapsed, cpu = time.perf_counter() - started, cpu_seconds() - cpu
        consumer.cancel()
        await asyncio.gather(consumer, return_exceptions=True)
        delays = sorted(delay / 1e6 for delay in delays_ns)
        parent.say(
            "result",
            events=len(delays),
            lost=expected - len(delays),
            seconds=elapsed,
            client_percent=cpu / elapsed * 100,
            p50_ms=quantile(delays, 0.50),
            p99_ms=quantile(delays, 0.99),
            max_ms=quantile(delays, 1.0),
        )


async def consume(backend: Any, expected: int, delays_ns: list[int]) -> None:
    async for _, data in backend.stream_events():
        delays_ns.append(time.monotonic_ns() - int.from_bytes(data[:STAMP_BYTES], "big"))
        if len(delays_ns) == expected:
            break
