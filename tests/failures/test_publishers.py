"""Tasks that go on in the callback in which their replies are read: what one does must not reach another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
import uvloop

from tests.conftest import backend_class, make_client
from tests.support.servers import Server

pytestmark = pytest.mark.usefixtures("wire")

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


@pytest.fixture(params=LOOPS)
def new_loop(request: pytest.FixtureRequest) -> Callable[[], asyncio.AbstractEventLoop]:
    return LOOPS[request.param]


def make(kind: str, client: Any) -> Any:
    return backend_class(kind)(**({"history": 1} if kind == "streams" else {}), redis=client)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_in_one_publisher_ends_the_loop_and_no_other(
    server: Server,
    kind: str,
    error: type[BaseException],
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def publish(backend: Any, *, interrupts: bool = False) -> str:
        await backend.publish(b"x", ["room"])
        if interrupts:
            raise error
        await backend.publish(b"x", ["room"])
        return "published"

    async def start() -> tuple[Any, Any]:
        client = make_client(server)
        backend = make(kind, client)
        await backend.on_startup()
        return client, backend

    async def run(backend: Any, tasks: list[asyncio.Task[str]]) -> None:
        tasks += [asyncio.create_task(publish(backend, interrupts=at == 2)) for at in range(5)]
        await asyncio.Event().wait()

    async def finish(client: Any, backend: Any, tasks: list[asyncio.Task[str]]) -> None:
        async with asyncio.timeout(10):
            assert await asyncio.gather(*tasks[:2], *tasks[3:]) == ["published"] * 4
            health = backend.health()
            assert health.commands.generation == 1
            assert health.publishes.published == 9
            await backend.on_shutdown()
            await client.aclose()

    tasks: list[asyncio.Task[str]] = []
    with closing(new_loop()) as loop:
        client, backend = loop.run_until_complete(start())
        running = loop.create_task(run(backend, tasks))
        with pytest.raises(error):
            loop.run_until_complete(running)
        with pytest.raises(error):
            tasks[2].result()
        # As a program that ends in order.
        loop.run_until_complete(finish(client, backend, tasks))
        running.cancel()
        loop.run_until_complete(asyncio.wait({running}, timeout=5))


def test_what_publishers_do_to_each_other_when_their_replies_come(
    server: Server, kind: str, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """Each cancels the one after the next, whose reply has come with its own; and all publish again."""

    async def main() -> None:
        client = make_client(server)
        backend = make(kind, client)
        await backend.on_startup()
        tasks: list[asyncio.Task[str]] = []
        ended: list[int] = []

        async def publish(at: int) -> str:
            await backend.publish(b"%d" % at, ["room"])
            if at + 2 < len(tasks) and at % 4 == 0:
                tasks[at + 2].cancel()
            for _ in range(3):
                await backend.publish(b"%d" % at, ["room"])
            ended.append(at)
            return "published"

        async with asyncio.timeout(10):
            tasks += [asyncio.create_task(publish(at)) for at in range(100)]
            results = await asyncio.gather(*tasks, return_exceptions=True)
            for at, result in enumerate(results):
                if at % 4 == 2:
                    assert isinstance(result, asyncio.CancelledError)
                else:
                    assert result == "published"
            assert len(ended) == 75
            assert backend.health().publishes.published == 75 * 4
            assert backend.health().commands.generation == 1
            await backend.on_shutdown()
            await client.aclose()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())
