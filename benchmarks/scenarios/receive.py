"""Measured side: CPU of the receiving process per event, from the first event of a batch to its last."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from benchmarks.clock import cpu_seconds
from benchmarks.peers import CHANNEL, open_backend
from benchmarks.protocol import Job, Parent

# Far longer than the slowest peer needs: events were lost.
DEADLINE_SECONDS = 15.0


async def run(
    job: Job,
    parent: Parent,
    *,
    events: int,
    batches: int,
    warm_events: int,
    paced: bool,  # noqa: ARG001 (the load side is told the same)
    processes: int = 1,  # noqa: ARG001 (the run starts them)
) -> None:
    async with open_backend(job) as backend:
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                await receive(backend, parent, events, batches, warm_events)
        except TimeoutError:
            parent.say("failed", reason=f"not all events arrived within {DEADLINE_SECONDS:g} s")


async def receive(backend: Any, parent: Parent, events: int, batches: int, warm_events: int) -> None:
    await backend.subscribe([CHANNEL])
    stream = backend.stream_events()
    warm = asyncio.create_task(take(stream, warm_events))
    await asyncio.sleep(0.1)  # Litestar confirms no subscription: its reader has to be up
    parent.say("ready")
    await warm
    cpu = elapsed = 0.0
    for _ in range(batches):
        parent.say("next")
        await take(stream, 1)
        cpu_before, started = cpu_seconds(), time.perf_counter()
        await take(stream, events - 1)
        elapsed += time.perf_counter() - started
        cpu += cpu_seconds() - cpu_before
    counted = batches * (events - 1)
    parent.say(
        "result",
        events=batches * events,
        seconds=elapsed,
        rate=counted / elapsed,
        cpu_us=cpu / counted * 1e6,
    )
    if hasattr(stream, "aclose"):
        await stream.aclose()


async def take(stream: AsyncIterator[Any], count: int) -> None:
    async for _ in stream:
        count -= 1
        if not count:
            break
