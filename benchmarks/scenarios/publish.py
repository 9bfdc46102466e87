"""Measured side: publish to one channel that nobody listens to, from so many tasks at once."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from benchmarks.clock import cpu_seconds
from benchmarks.peers import open_backend
from benchmarks.protocol import Job, Parent

CHANNEL = ["room"]
# The first publishes connect; their pace says nothing about the rest.
CONNECTING_EVENTS = 5


async def run(
    job: Job,
    parent: Parent,
    *,
    concurrency: int,
    payload_bytes: int,
    seconds: float,
    warm_seconds: float,
    history: int = 0,  # noqa: ARG001 (open_backend looks at it)
) -> None:
    payload = b"x" * payload_bytes
    async with open_backend(job) as backend:
        await publish(backend, payload, CONNECTING_EVENTS, concurrency)
        each = 1
        while True:
            started = time.perf_counter()
            await publish(backend, payload, each, concurrency)
            elapsed = time.perf_counter() - started
            if elapsed >= warm_seconds:
                break
            each *= 2
        each = max(1, round(each * seconds / elapsed))
        parent.say("ready")
        parent.wait()
        cpu, started = cpu_seconds(), time.perf_counter()
        await publish(backend, payload, each, concurrency)
        elapsed, cpu = time.perf_counter() - started, cpu_seconds() - cpu
        events = each * concurrency
        parent.say(
            "result",
            events=events,
            seconds=elapsed,
            rate=events / elapsed,
            cpu_us=cpu / events * 1e6,
        )


async def publish(backend: Any, payload: bytes, each: int, concurrency: int) -> None:
    if concurrency == 1:
        await publish_in_turn(backend, payload, each)
    else:
        await asyncio.gather(*(publish_in_turn(backend, payload, each) for _ in range(concurrency)))


async def publish_in_turn(backend: Any, payload: bytes, count: int) -> None:
    for _ in range(count):
        await backend.publish(payload, CHANNEL)
