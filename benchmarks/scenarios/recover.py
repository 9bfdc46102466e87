"""Measured side: how long many channels take to be back and verified after their connection was killed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from redis.asyncio import Redis

from benchmarks.peers import open_backend
from benchmarks.protocol import Job, Parent
from benchmarks.scenarios.subscribe import channel_names

DEADLINE_SECONDS = 20.0


async def run(job: Job, parent: Parent, *, channels: int) -> None:
    async with open_backend(job) as backend:
        names = channel_names(channels)
        await backend.subscribe(names)
        # Each channel has an event, so each has a position to be compared.
        for start in range(0, channels, 100):
            await backend.publish(b"1", names[start : start + 100])
        await until(lambda: backend.health().events == channels and backend.health().whole)
        async with Redis(host="127.0.0.1", port=job.port) as other:
            parent.say("ready")
            parent.wait()
            before = backend.health().subscriber.generation
            started = time.perf_counter()
            await other.client_kill_filter(_type="pubsub")
            await until(lambda: backend.health().subscriber.generation > before)
            retried = time.perf_counter()
            await until(lambda: backend.health().whole)
            ended = time.perf_counter()
        parent.say(
            "result",
            recover_seconds=ended - started,
            retry_ms=(retried - started) * 1000,
        )


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not condition():
            await asyncio.sleep(0.0005)
