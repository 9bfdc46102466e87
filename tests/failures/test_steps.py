"""Tasks that go on in the callback in which what they wait for is read: what one does must not reach another."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine
from contextlib import aclosing, closing
from typing import Any

import hiredis
import pytest
import redis.asyncio
import uvloop

from gapless import MemoryChannelsBackend, RedisChannelsPubSubBackend
from gapless._redis.pushes import AT_ONCE_BYTES, AT_ONCE_EVENTS
from tests.conftest import MakeBackend, backend_class, make_client
from tests.support.servers import Server
from tests.support.waiting import until

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


def interrupt(
    loop: asyncio.AbstractEventLoop,
    error: type[BaseException],
    start: Callable[[], Coroutine[Any, Any, list[asyncio.Task[Any]]]],
) -> list[asyncio.Task[Any]]:
    """Run what `start` starts until the second of its tasks ends the loop; return the others."""

    async def run() -> None:
        tasks.extend(await start())
        await asyncio.Event().wait()

    tasks: list[asyncio.Task[Any]] = []
    running = loop.create_task(run())
    with pytest.raises(error):
        loop.run_until_complete(running)
    with pytest.raises(error):
        tasks.pop(1).result()
    running.cancel()
    loop.run_until_complete(asyncio.wait({running}, timeout=5))
    return tasks


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_in_one_publisher_ends_the_loop_and_no_other(
    server: Server,
    kind: str,
    error: type[BaseException],
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    backend: Any = None
    client: Any = None

    async def publish(*, interrupts: bool = False) -> str:
        await backend.publish(b"x", ["room"])
        if interrupts:
            raise error
        await backend.publish(b"x", ["room"])
        return "published"

    async def start() -> list[asyncio.Task[Any]]:
        nonlocal backend, client
        client = make_client(server)
        backend = make(kind, client)
        await backend.on_startup()
        return [asyncio.create_task(publish(interrupts=at == 1)) for at in range(5)]

    async def finish(tasks: list[asyncio.Task[Any]]) -> None:
        """As a program that ends in order."""
        async with asyncio.timeout(10):
            assert await asyncio.gather(*tasks) == ["published"] * 4
            health = backend.health()
            assert health.commands.generation == 1
            assert health.publishes.published == 9
            await backend.on_shutdown()
            await client.aclose()

    with closing(new_loop()) as loop:
        loop.run_until_complete(finish(interrupt(loop, error, start)))


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


def pushes(kind: str, channel: str, payloads: list[bytes]) -> list[list[bytes]]:
    """What the server pushes; on Streams, the first follows entry 0-0."""
    frames = [
        b"g%d-0 g%d-0 %b" % (n + 1, n, data) if kind == "streams" else data for n, data in enumerate(payloads)
    ]
    return [[b"message", f"LITESTAR_CHANNELS_{channel}".encode(), frame] for frame in frames]


async def test_consumers_take_what_came_in_the_callback_that_read_it(
    make_backend: MakeBackend, kind: str
) -> None:
    backend = make_backend()
    await backend.subscribe(["room"])
    got: list[list[bytes]] = [[], []]

    async def consume(to: list[bytes]) -> None:
        async for _, data in backend.stream_events():
            to.append(data)

    tasks = [asyncio.create_task(consume(to)) for to in got]
    await asyncio.sleep(0)
    session = backend._enter().session
    if kind == "streams":
        next(iter(session.subscriptions)).chain.tip = b"g0-0"
    seen: asyncio.Future[list[list[bytes]]] = asyncio.get_running_loop().create_future()

    def read() -> None:
        session.pushes.received(pushes(kind, "room", [b"1", b"2"]))
        seen.set_result([list(to) for to in got])

    asyncio.get_running_loop().call_soon(read)
    assert await seen == [[b"1", b"2"]] * 2
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_consumers_that_change_what_delivers_to_them(make_backend: MakeBackend) -> None:
    """Subscribe, unsubscribe, publish, leave and come back, between the events of one read."""
    backend = make_backend()
    rooms = [f"room{number}" for number in range(20)]
    await backend.subscribe(rooms)
    changes = 0

    async def restless() -> None:
        nonlocal changes
        while True:
            async with aclosing(backend.stream_events()) as stream:
                async for _ in stream:
                    changes += 1
                    await backend.unsubscribe([f"other{changes - 1}"])
                    await backend.subscribe([f"other{changes}"])
                    await backend.publish(b"nobody is subscribed", ["nowhere"])
                    if changes % 3 == 0:
                        break

    async def steady() -> list[tuple[str, bytes]]:
        async with aclosing(backend.stream_events()) as stream:
            return [await anext(stream) for _ in rooms]

    async with asyncio.timeout(10):
        changing = asyncio.create_task(restless())
        waiting = asyncio.create_task(steady())
        await asyncio.sleep(0)
        await asyncio.gather(*(backend.publish(b"x", [room]) for room in rooms))
        assert sorted(await waiting) == sorted((room, b"x") for room in rooms)
        await until(lambda: changes > 3, "a consumer that left and came back")
        changing.cancel()
        await asyncio.gather(changing, return_exceptions=True)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_in_one_consumer_ends_the_loop_and_no_other(
    server: Server,
    kind: str,
    error: type[BaseException],
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    got: list[bytes] = []
    backend: Any = None
    client: Any = None

    async def interrupted() -> None:
        async with aclosing(backend.stream_events()) as stream:
            await anext(stream)
            raise error

    async def consume() -> None:
        async with aclosing(backend.stream_events()) as stream:
            async for _, data in stream:
                got.append(data)

    async def start() -> list[asyncio.Task[Any]]:
        nonlocal backend, client
        client = make_client(server)
        backend = make(kind, client)
        await backend.subscribe(["room"])
        tasks: list[asyncio.Task[Any]] = [
            asyncio.create_task(work()) for work in (consume, interrupted, consume)
        ]
        await asyncio.sleep(0)
        await backend.publish(b"1", ["room"])
        return tasks

    async def finish(tasks: list[asyncio.Task[Any]]) -> None:
        """As a program that ends in order."""
        async with asyncio.timeout(10):
            await backend.publish(b"2", ["room"])
            while len(got) < 4:
                await asyncio.sleep(0.01)
            assert sorted(got) == [b"1", b"1", b"2", b"2"]
            assert backend.health().subscriber.generation == 1
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await backend.on_shutdown()
            await client.aclose()

    with closing(new_loop()) as loop:
        loop.run_until_complete(finish(interrupt(loop, error, start)))


async def test_a_flood_is_left_for_the_next_tick(make_backend: MakeBackend, kind: str) -> None:
    """An event loop may read many times in a tick; others must have their turn."""
    backend = make_backend()
    await backend.subscribe(["room"])
    session = backend._enter().session
    got: list[bytes] = []

    async def consume() -> None:
        async for _, data in backend.stream_events():
            got.append(data)

    consuming = asyncio.create_task(consume())
    await asyncio.sleep(0)
    loop = asyncio.get_running_loop()
    for payloads in ([b"x"] * (AT_ONCE_EVENTS + 1), [b"x" * AT_ONCE_BYTES, b"x"]):
        if kind == "streams":
            next(iter(session.subscriptions)).chain.tip = b"g0-0"
        seen: asyncio.Future[int] = loop.create_future()

        def read(payloads: list[bytes] = payloads, seen: asyncio.Future[int] = seen) -> None:
            session.pushes.received(pushes(kind, "room", payloads))
            seen.set_result(len(got))

        loop.call_soon(read)
        assert await seen == 0
        await until(lambda payloads=payloads: got == payloads, "all events")  # type: ignore[misc]
        got.clear()
    consuming.cancel()
    await asyncio.gather(consuming, return_exceptions=True)


async def test_a_reply_that_nobody_waits_for_leaves_the_others_theirs(make_backend: MakeBackend) -> None:
    backend = make_backend()
    await backend.publish(b"warm-up", ["room"])
    tasks = [asyncio.create_task(backend.publish(b"x", ["room"])) for _ in range(5)]
    await asyncio.sleep(0)
    out_of_step: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()

    def read() -> None:
        try:
            backend._enter().session.commands.received([1] * 6)
        except IndexError as error:
            out_of_step.set_result(error)

    asyncio.get_running_loop().call_soon(read)
    assert isinstance(await out_of_step, IndexError)
    async with asyncio.timeout(5):
        await asyncio.gather(*tasks)
        await backend.publish(b"on a new connection", ["room"])


async def test_who_was_cancelled_leaves_no_error_behind(own_server: Server, kind: str) -> None:
    """When the connection is lost afterwards, with the place of the cancelled in the line."""
    client = make_client(own_server)
    backend = make(kind, client)
    await backend.on_startup()
    handled: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: handled.append(context))
    own_server.pause()

    async def publish() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await backend.publish(b"x", ["room"])

    await asyncio.gather(*(publish() for _ in range(5)))
    own_server.kill()
    await until(lambda: backend.health().commands.connected_since is None, "the loss")
    gc.collect()
    await asyncio.sleep(0)
    assert handled == []
    await backend.on_shutdown()
    await client.aclose()


async def test_garbage_behind_a_good_reply_leaves_the_next_publish_certain() -> None:
    """It is not written to the connection that is given up: it would count as sent."""
    publishes = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal publishes
        parser = hiredis.Reader()
        with closing(writer):
            while data := await reader.read(65536):
                parser.feed(data)
                while (command := parser.gets()) is not False:
                    name = command[0].upper()
                    if name == b"INFO":
                        info = b"redis_version:7.2.0\r\nrun_id:abc\r\nrole:master\r\n"
                        writer.write(b"$%d\r\n%b\r\n" % (len(info), info))
                    elif name == b"PUBLISH":
                        publishes += 1
                        writer.write(b":0\r\n@garbage\r\n" if publishes == 3 else b":0\r\n")
                    else:
                        writer.write(b":1\r\n")

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        client = redis.asyncio.Redis(host="127.0.0.1", port=server.sockets[0].getsockname()[1])
        backend = RedisChannelsPubSubBackend(redis=client)
        await backend.on_startup()
        async with asyncio.timeout(5):
            for _ in range(6):
                await backend.publish(b"x", ["room"])
        assert publishes == 6
        assert backend.health().commands.generation == 2
        await backend.on_shutdown()
        await client.aclose()


async def test_a_stream_that_was_dropped_while_it_waited_leaves_the_next_one_alone() -> None:
    backend = MemoryChannelsBackend()
    await backend.subscribe(["room"])
    stream = backend.stream_events()
    given_up = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    del stream
    gc.collect()
    waiting = asyncio.ensure_future(anext(backend.stream_events()))
    await asyncio.sleep(0)
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    await backend.publish(b"x", ["room"])
    async with asyncio.timeout(5):
        assert await waiting == ("room", b"x")


def test_a_memory_backend_goes_on_in_another_loop() -> None:
    backend = MemoryChannelsBackend()

    async def main(data: bytes) -> Any:
        await backend.subscribe(["room"])
        waiting = asyncio.ensure_future(anext(backend.stream_events()))
        await asyncio.sleep(0)
        await backend.publish(data, ["room"])
        return await asyncio.wait_for(waiting, 5)

    for data in (b"1", b"2"):
        assert asyncio.run(main(data)) == ("room", data)
