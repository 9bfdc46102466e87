"""Measured side: subscribed to many channels on which nothing happens."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from benchmarks.clock import cpu_seconds
from benchmarks.peers import open_backend
from benchmarks.protocol import Job, Parent
from benchmarks.scenarios.subscribe import channel_names

SETTLE_PER_CHANNEL_SECONDS = 20e-6


async def run(job: Job, parent: Parent, *, channels: int, seconds: float, settle_seconds: float) -> None:
    async with open_backend(job) as backend:
        await backend.subscribe(channel_names(channels))
        consumer = asyncio.create_task(consume(backend))
        # Some take their time with the replies.
        await asyncio.sleep(settle_seconds + channels * SETTLE_PER_CHANNEL_SECONDS)
        parent.say("ready")
        parent.wait()
        cpu, started = cpu_seconds(), time.perf_counter()
        await asyncio.sleep(seconds)
        elapsed, cpu = time.perf_counter() - started, cpu_seconds() - cpu
        parent.say("result", seconds=elapsed, client_percent=cpu / elapsed * 100)
        consumer.cancel()
        await asyncio.gather(consumer, return_exceptions=True)


async def consume(backend: Any) -> None:
    async for _ in backend.stream_events():
        pass
