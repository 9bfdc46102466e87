"""Measured side: one process with its own broker in memory, and many subscribers of one channel.

Each subscriber is a task with an `async for`, as an endpoint has it. CPU of the process, from the first publish to the
last delivery, by deliveries; what an idle subscriber and its task hold, in a process that traces allocations.
"""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import AsyncIterator
from typing import Any

from benchmarks.clock import cpu_seconds
from benchmarks.peers import PAYLOAD_BYTES, open_hub
from benchmarks.protocol import Job, Parent

WARM_ROUNDS = 3


class Count:
    """Deliveries, and who waits for so many."""

    def __init__(self) -> None:
        self.value = 0
        self.target = 0
        self.reached = asyncio.Event()

    async def consume(self, events: AsyncIterator[Any]) -> None:
        async for _ in events:
            self.value += 1
            if self.value == self.target:
                self.reached.set()


async def run(
    job: Job, parent: Parent, *, subscribers: int, burst: int, rounds: int, traced: bool = False
) -> None:
    async with open_hub(job) as hub:
        count = Count()
        if traced:
            gc.collect()
            tracemalloc.start()
        streams = [await hub.subscribe() for _ in range(subscribers)]
        tasks = [asyncio.create_task(count.consume(stream)) for stream in streams]
        await asyncio.sleep(0.1)
        parent.say("ready")
        if traced:
            gc.collect()
            held, _ = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            parent.say("result", traced_bytes=held / subscribers)
        else:
            for _ in range(WARM_ROUNDS):
                await _round(hub, count, subscribers, burst)
            cpu = cpu_seconds()
            for _ in range(rounds):
                await _round(hub, count, subscribers, burst)
            events = subscribers * burst * rounds
            parent.say("result", events=events, cpu_us=(cpu_seconds() - cpu) / events * 1e6)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _round(hub: Any, count: Count, subscribers: int, burst: int) -> None:
    count.target = count.value + subscribers * burst
    count.reached.clear()
    for _ in range(burst):
        await hub.publish(b"x" * PAYLOAD_BYTES)
    await count.reached.wait()
