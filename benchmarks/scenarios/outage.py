"""Measured side: what a consumer misses when its connections are killed while events are published at a steady rate."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from benchmarks.peers import CHANNEL, data_of, open_backend
from benchmarks.protocol import Job, Parent
from benchmarks.scenarios.offer import stamp_of

# After the last one was published, so long for what is missing to arrive: FastStream waits for 5 s after an error.
GRACE_SECONDS = 8.0

DEAF_SECONDS = 0.5


class Arrivals:
    """Which events arrived, and when. An event is known by its stamp."""

    def __init__(self) -> None:
        self.count = 0
        self.stamps: set[int] = set()
        self.last = time.monotonic()
        self.longest_pause = 0.0

    def add(self, stamp: int) -> None:
        self.count += 1
        self.stamps.add(stamp)
        self.pause()
        self.last = time.monotonic()

    def pause(self) -> None:
        """Note for how long nothing has come."""
        if self.count > 1:
            self.longest_pause = max(self.longest_pause, time.monotonic() - self.last)


async def run(job: Job, parent: Parent, *, settle_seconds: float) -> None:
    arrivals = Arrivals()
    payload = data_of(job)

    async def consume(backend: Any) -> None:
        async for item in backend.stream_events():
            arrivals.add(stamp_of(payload(item)))

    async with open_backend(job) as backend:
        await backend.subscribe([CHANNEL])
        consumer = asyncio.create_task(consume(backend))
        await asyncio.sleep(settle_seconds)
        parent.say("ready")
        events = (await asyncio.to_thread(parent.wait))["events"]
        # All were published just now. Who has had none of the last ones is deaf, and not only one that has lost some.
        is_deaf = time.monotonic() - arrivals.last > DEAF_SECONDS
        end = time.monotonic() + GRACE_SECONDS
        while len(arrivals.stamps) < events and time.monotonic() < end:
            await asyncio.sleep(0.01)
        lost = events - len(arrivals.stamps)
        if is_deaf:
            arrivals.pause()
        parent.say(
            "result",
            lost_events=lost,
            twice_events=arrivals.count - len(arrivals.stamps),
            # Who never comes back has no figure: it would be that of our patience.
            silent_ms=None if is_deaf and lost else arrivals.longest_pause * 1000,
            consumer_ended=repr(consumer.exception()) if consumer.done() else None,
        )
        consumer.cancel()
        await asyncio.gather(consumer, return_exceptions=True)
