"""Load side of `latency`: publishes with the library, from one process.

First as much as it can, 100 at once. Then at a steady rate, whether or not earlier publishes have returned (an open
loop): an event's clock starts when it is due, not when the library gets to it. Up to a millisecond of delay is forgiven,
since the timers of event loops are no finer.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from benchmarks.peers import CHANNEL, PAYLOAD_BYTES, open_backend
from benchmarks.protocol import Job, Parent

STAMP_DIGITS = 20
AT_ONCE = 100
TICK_SECONDS = 0.002
TIMER_NS = 1_000_000

# Events per second that leave enough time between them for everything to come to rest: some per cent of what most can do,
# 17 % for the slowest.
LOW_RATE = 200.0


def stamped(at_ns: int) -> bytes:
    """Return a payload with a time, as text: not every library has bytes."""
    return str(at_ns).zfill(STAMP_DIGITS).ljust(PAYLOAD_BYTES, "x").encode()


def stamp_of(data: bytes) -> int:
    return int(data[:STAMP_DIGITS])


async def run(job: Job, parent: Parent) -> None:
    async with open_backend(job) as backend:
        parent.say("ready")
        while True:
            said = await asyncio.to_thread(parent.wait)
            if said.get("end"):
                return
            publishes = Publishes(backend)
            if said["rate"] is None:
                await flood(publishes, said["seconds"])
            else:
                await offer(publishes, said["rate"], said["seconds"])
            if publishes.errors:
                parent.say(
                    "failed", reason=f"{len(publishes.errors)} publishes failed: {publishes.errors[0]!r}"
                )
                return
            parent.say("sent", events=publishes.count)


class Publishes:
    """Publishes that were begun, each as a task of its own, as requests to a web server would."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self._tasks: set[asyncio.Task[None]] = set()
        self.count = 0
        self.errors: list[BaseException] = []

    def begin(self, at_ns: int) -> None:
        task = asyncio.create_task(self._backend.publish(stamped(at_ns), [CHANNEL]))
        self.count += 1
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = task.exception()
        if error is not None:
            self.errors.append(error)

    async def all_ended(self) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks)


async def flood(publishes: Publishes, seconds: float) -> None:
    """Publish so many at once, again and again."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end and not publishes.errors:
        for _ in range(AT_ONCE):
            publishes.begin(time.monotonic_ns())
        await publishes.all_ended()


async def offer(publishes: Publishes, rate: float, seconds: float) -> None:
    """Publish at a rate. Events are due in ticks of 2 ms, or one by one if that is rarer."""
    count = max(1, round(rate * seconds))
    each = max(1, round(rate * TICK_SECONDS))
    due = time.monotonic_ns()
    for start in range(0, count, each):
        await asyncio.sleep(max(0.0, (due - time.monotonic_ns()) / 1e9))
        late = max(0, time.monotonic_ns() - due)
        for _ in range(min(each, count - start)):
            publishes.begin(due + min(late, TIMER_NS))
        due += round(each / rate * 1e9)
    await publishes.all_ended()
