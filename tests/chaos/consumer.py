"""A process that receives from all channels, and records what its stream yields."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from gapless import Event, Gap
from tests.chaos import bugs
from tests.chaos.history import Item, Record
from tests.chaos.worker import answer, arguments, make_backend, requests

# What a slow consumer takes for an event: several times longer than producers do.
SLOW_SECONDS = 0.02


class Waiting:
    """Tells the parent when the payloads that it asked for have all come."""

    def __init__(self) -> None:
        self._received: set[str] = set()
        self._expected: set[str] | None = None

    def received(self, payload: str) -> None:
        self._received.add(payload)
        self._answer()

    def expect(self, payloads: list[str]) -> None:
        self._expected = set(payloads)
        self._answer()

    def _answer(self) -> None:
        if self._expected is not None and self._expected <= self._received:
            self._expected = None
            answer(received=True)


class Slowness:
    """Makes the consumer slow for a while."""

    def __init__(self) -> None:
        self._until = 0.0

    def begin(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds

    async def wait(self) -> None:
        if time.monotonic() < self._until:
            await asyncio.sleep(SLOW_SECONDS)


async def consume(
    events: AsyncIterator[Event | Gap], record: Record, waiting: Waiting, slowness: Slowness
) -> None:
    async for item in events:
        await slowness.wait()
        now = time.monotonic()
        if isinstance(item, Gap):
            record.add(Item(item.channel, now, reason=item.reason, after=item.after, lost=item.lost))
        else:
            payload = item.data.decode()
            record.add(Item(item.channel, now, payload, item.id))
            waiting.received(payload)


async def main() -> None:
    options = arguments()
    bugs.plant(options.bug)
    backend = make_backend(options)
    await backend.on_startup()
    await backend.subscribe(options.channels)
    answer(ready=True, subscribed=time.monotonic())
    waiting = Waiting()
    record = Record(options.record)
    slowness = Slowness()
    events = bugs.spoil(options.bug, backend.events())
    consuming = asyncio.create_task(consume(events, record, waiting, slowness))
    async for request in requests():
        match request:
            case {"do": "block", "seconds": seconds}:
                time.sleep(seconds)
            case {"do": "slow", "seconds": seconds}:
                slowness.begin(seconds)
            case {"do": "expect", "payloads": payloads}:
                waiting.expect(payloads)
    await backend.on_shutdown()
    await consuming


if __name__ == "__main__":
    asyncio.run(main())
