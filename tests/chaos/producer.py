"""A process that publishes numbered events to each channel, and records what became of each."""

from __future__ import annotations

import argparse
import asyncio
import random
import time

from gapless import BackendError, PublishUncertain, RedisChannelsStreamBackend
from tests.chaos.history import Outcome, Publish, Record
from tests.chaos.worker import answer, arguments, make_backend, requests

# Between two events of one producer on a channel, by the channel's place in the list: busy ones and quiet ones.
INTERVALS = (0.02, 0.05, 0.2, 1.0)


class Producer:
    def __init__(self, options: argparse.Namespace, backend: RedisChannelsStreamBackend) -> None:
        self._name: str = options.name
        self._channels: list[str] = options.channels
        self._chance = random.Random(f"{options.seed} {options.name}")
        self._record = Record(options.record)
        self._backend = backend
        self._seqs = dict.fromkeys(options.channels, 0)
        self._pausing = asyncio.Event()

    async def publish(self) -> None:
        """Publish to all channels until `pause()`; one publish of each channel at a time."""
        await asyncio.gather(
            *(
                self._publish_to(channel, INTERVALS[place % len(INTERVALS)])
                for place, channel in enumerate(self._channels)
            )
        )

    def pause(self) -> None:
        self._pausing.set()

    async def finish(self) -> list[str]:
        """Publish to each channel until one event is acknowledged; return the payloads of these."""
        return list(await asyncio.gather(*map(self._mark, self._channels)))

    async def _publish_to(self, channel: str, interval: float) -> None:
        while not self._pausing.is_set():
            await self._publish_one(channel)
            try:
                async with asyncio.timeout(self._chance.uniform(0.5, 1.5) * interval):
                    await self._pausing.wait()
            except TimeoutError:
                pass

    async def _mark(self, channel: str) -> str:
        while (publish := await self._publish_one(channel)).outcome != "acknowledged":
            await asyncio.sleep(0.05)
        return publish.payload

    async def _publish_one(self, channel: str) -> Publish:
        self._seqs[channel] += 1
        seq = self._seqs[channel]
        payload = f"{self._name}:{channel}:{seq}".encode()
        outcome: Outcome = "acknowledged"
        error = ""
        began = time.monotonic()
        try:
            await self._backend.publish(payload, [channel])
        except BackendError as caught:
            outcome = "uncertain" if isinstance(caught, PublishUncertain) else "failed"
            error = f"{type(caught).__name__}: {caught}"
        publish = Publish(self._name, channel, seq, began, time.monotonic(), outcome, error[:200])
        self._record.add(publish)
        return publish


async def main() -> None:
    options = arguments()
    backend = make_backend(options)
    await backend.on_startup()
    producer = Producer(options, backend)
    publishing: asyncio.Task[None] | None = None
    answer(ready=True)
    async for request in requests():
        match request:
            case {"do": "publish"}:
                publishing = asyncio.create_task(producer.publish())
            case {"do": "pause"}:
                producer.pause()
                if publishing is not None:
                    await publishing
                answer(paused=True)
            case {"do": "finish"}:
                answer(finished=await producer.finish())
    await backend.on_shutdown()


if __name__ == "__main__":
    asyncio.run(main())
