"""Somebody stands still: the server, the consumer's process, its event loop. Nothing is lost, nothing comes twice.

Pauses of 1 s in `make test`, of 10 and 60 s with GAPLESS_TEST_LONG=1, as in every landing.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from socket import SO_RCVBUF, SOL_SOCKET
from typing import Any

import pytest

from gapless import BackendError, Event, Gap, PublishUncertain, RedisChannelsStreamBackend
from tests.chaos.process import Worker
from tests.chaos.worker import KEY_PREFIX
from tests.conftest import make_client, server_binary
from tests.support.servers import Server
from tests.support.waiting import take, until

SECONDS = [10, 60] if os.environ.get("GAPLESS_TEST_LONG") else [1]

pytestmark = [pytest.mark.timeout(150), pytest.mark.once]


@asynccontextmanager
async def backend_on(server: Any, **options: Any) -> AsyncIterator[RedisChannelsStreamBackend]:
    client = make_client(server)
    # What was published before a pause of 60 s must not expire in it.
    backend = RedisChannelsStreamBackend(100_000, redis=client, stream_ttl=None, **options)
    await backend.on_startup()
    yield backend
    await backend.on_shutdown()
    await client.aclose()


class Publishing:
    """Publishes numbered events, one after the other, and notes what becomes of each."""

    def __init__(self, backend: RedisChannelsStreamBackend) -> None:
        self._backend = backend
        self.acknowledged: list[int] = []
        self.uncertain: set[int] = set()
        self._count = 0
        self._stopped = False
        self._task = asyncio.ensure_future(self._run())

    async def _run(self) -> None:
        while not self._stopped:
            number = self._count
            self._count += 1
            try:
                await self._backend.publish(b"%d" % number, ["room"])
            except PublishUncertain:
                self.uncertain.add(number)
            except BackendError:
                pass
            else:
                self.acknowledged.append(number)
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        self._stopped = True
        await self._task


def check(publishing: Publishing, got: list[Event | Gap]) -> None:
    """Every acknowledged event came once, in order, and there is no Gap."""
    assert [item for item in got if isinstance(item, Gap)] == []
    numbers = [int(item.data) for item in got if isinstance(item, Event)]
    assert numbers == sorted(set(numbers))
    assert set(publishing.acknowledged) <= set(numbers) <= {*publishing.acknowledged, *publishing.uncertain}


async def disturbed(server: Any, disturb: Callable[[], Awaitable[None]]) -> None:
    """Publish and consume while a server is disturbed, and for a while after."""
    async with backend_on(server) as backend, backend_on(server) as publisher:
        await backend.subscribe(["room"])
        got: list[Event | Gap] = []

        async def consume() -> None:
            async with aclosing(backend.events()) as events:
                async for item in events:
                    got.append(item)

        consuming = asyncio.ensure_future(consume())
        publishing = Publishing(publisher)
        await until(lambda: len(publishing.acknowledged) > 20, "the first events")
        await disturb()
        before = len(publishing.acknowledged)
        await until(lambda: len(publishing.acknowledged) > before + 20, "events after it", 30)
        await publishing.stop()
        last = publishing.acknowledged[-1]
        await until(lambda: isinstance(got[-1], Event) and int(got[-1].data) >= last, "the last event", 30)
        check(publishing, got)
        consuming.cancel()
        await asyncio.gather(consuming, return_exceptions=True)


@pytest.mark.parametrize("seconds", SECONDS)
async def test_a_server_that_stands_still(seconds: int) -> None:
    """SIGSTOP of one server and CLIENT PAUSE of another, at the same time."""
    with Server(server_binary()) as stopped, Server(server_binary()) as paused:

        async def stop() -> None:
            stopped.pause()
            await asyncio.sleep(seconds)
            stopped.resume()

        async def pause() -> None:
            paused.command("CLIENT", "PAUSE", str(seconds * 1000), "ALL")
            await asyncio.sleep(seconds)

        await asyncio.gather(disturbed(stopped, stop), disturbed(paused, pause))


@pytest.mark.parametrize("seconds", SECONDS)
async def test_a_consumer_process_that_stands_still(seconds: int) -> None:
    with Server(server_binary()) as server, tempfile.TemporaryDirectory(prefix="pause-") as folder:
        worker = Worker("consumer-1", server.port, Path(folder))
        async with backend_on(server, key_prefix=KEY_PREFIX) as publisher:
            try:
                await worker.start(("room",), seed=1, bug=None, restores=False, short_backlog=False)
                assert "ready" in await worker.answer(30)
                publishing = Publishing(publisher)
                await until(lambda: len(publishing.acknowledged) > 20, "the first events")
                worker.pause()
                await asyncio.sleep(seconds)
                worker.resume()
                await publishing.stop()
                worker.ask(do="expect", payloads=[str(number) for number in publishing.acknowledged])
                assert await worker.answer(30) == {"received": True}
            finally:
                problem = await worker.stop()
        assert problem == ""
        items = worker.records.new()
        assert [item["payload"] for item in items] == [str(n) for n in publishing.acknowledged]


@pytest.mark.parametrize("seconds", SECONDS[:1])
async def test_a_consumer_whose_event_loop_is_blocked(seconds: int) -> None:
    with Server(server_binary()) as server:
        # What is published meanwhile is more than the server, and our socket, keep for a subscriber.
        server.command("CONFIG", "SET", "client-output-buffer-limit", "pubsub 1mb 1mb 1")
        async with backend_on(server) as backend:
            await backend.subscribe(["room"])
            wire: Any = backend._enter().session.pushes._wire
            wire._transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_RCVBUF, 65536)
            async with aclosing(backend.events()) as events:
                await backend.publish(b"first", ["room"])
                await take(events, 1)
                # Nothing of ours runs until the publisher has ended, and not for some time after.
                subprocess.run(_publisher_command(server.port), check=True)
                time.sleep(seconds)
                got = await take(events, 1000)
            assert backend.health().subscriber.generation >= 2, "cut off for being slow"
    assert [int(item.data) for item in got] == list(range(1000))


def _publisher_command(port: int) -> list[str]:
    script = f"""
import asyncio
from redis.asyncio import Redis
from gapless import RedisChannelsStreamBackend
async def main():
    async with Redis(port={port}) as redis:
        backend = RedisChannelsStreamBackend(100_000, redis=redis)
        for n in range(1000):
            await backend.publish(b"%d" % n + b" " * 14_000, ["room"])
        await backend.on_shutdown()
asyncio.run(main())
"""
    return [sys.executable, "-c", script]
