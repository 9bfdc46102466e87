"""Measured side: from the publisher's publish(), in another process, to the loop body of the consumer.

CLOCK_MONOTONIC is one clock for all processes, and the publisher's is in the payload.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from benchmarks.peers import CHANNEL, data_of, open_backend
from benchmarks.protocol import Job, Parent
from benchmarks.scenarios.offer import stamp_of
from benchmarks.scenarios.quantiles import quantiles

# After the last one was published, so long for all events to arrive.
GRACE_SECONDS = 10.0


class Arrivals:
    """When events arrived, and how long after their stamp."""

    def __init__(self) -> None:
        self.delays_ns: list[int] = []
        self.first_ns = 0
        self.last_ns = 0

    async def consume(self, backend: Any, payload: Callable[[Any], bytes]) -> None:
        async for item in backend.stream_events():
            now = time.monotonic_ns()
            if not self.delays_ns:
                self.first_ns = now
            self.last_ns = now
            self.delays_ns.append(now - stamp_of(payload(item)))

    async def wait_for(self, count: int) -> None:
        async with asyncio.timeout(GRACE_SECONDS):
            while len(self.delays_ns) < count:
                await asyncio.sleep(0.005)


async def run(job: Job, parent: Parent, *, settle_seconds: float) -> None:
    async with open_backend(job) as backend:
        await backend.subscribe([CHANNEL])
        arrivals = Arrivals()
        consumer = asyncio.create_task(arrivals.consume(backend, data_of(job)))
        await asyncio.sleep(settle_seconds)
        parent.say("ready")
        while not (said := await asyncio.to_thread(parent.wait)).get("end"):
            count = said["events"]
            try:
                await arrivals.wait_for(count)
            except TimeoutError:
                missing = count - len(arrivals.delays_ns)
                why = f": {consumer.exception()!r}" if consumer.done() else ""
                parent.say(
                    "failed", reason=f"{missing} of {count} events did not arrive ({said['load']}){why}"
                )
                break
            seconds = (arrivals.last_ns - arrivals.first_ns) / 1e9
            delays = [delay / 1e6 for delay in arrivals.delays_ns]
            # Before the answer: events of the next load follow it.
            arrivals.delays_ns.clear()
            figures = (
                {"rate": count / max(seconds, 1e-9)}
                if said["load"] == "all"
                else quantiles(said["load"], delays)
            )
            parent.say("seen", **figures)
        consumer.cancel()
        await asyncio.gather(consumer, return_exceptions=True)
