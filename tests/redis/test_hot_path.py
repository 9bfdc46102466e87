"""What an event may cost, counted instead of timed: calls, commands, writes, tasks."""

from __future__ import annotations

import asyncio
import gc
import os
import select
import socket
import sys
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any, Self

import hiredis
import pytest

import gapless
from gapless import RedisChannelsStreamBackend
from gapless._redis.wire import READ_BYTES
from gapless.backends.redis.pubsub import MAX_HEAD_KEY_BYTES, MAX_HEADS
from tests.conftest import MakeBackend, backend_class
from tests.support.servers import Server
from tests.support.waiting import take, until


def command_calls(server: Server) -> Counter[str]:
    """Return how often each command was executed."""
    calls: Counter[str] = Counter()
    for line in server.command("INFO", "commandstats").decode().splitlines():
        if line.startswith("cmdstat_"):
            name, _, rest = line.removeprefix("cmdstat_").partition(":calls=")
            calls[name] = int(rest.partition(",")[0])
    return calls


class CountingTransport:
    """Stands before a transport and counts writes."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self.writes: list[int] = []

    def write(self, data: bytes) -> None:
        self.writes.append(len(data))
        self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


def count_writes(backend: Any) -> CountingTransport:
    wire = backend._enter().session.commands._wire
    wire._transport = CountingTransport(wire._transport)
    wire.send_now = wire._transport.write
    return wire._transport


@pytest.mark.parametrize(
    ("channels", "expected"),
    [
        (
            ["a"],
            {
                "pubsub": {"publish": 1},
                "streams": {"evalsha": 1, "xadd": 1, "pexpire": 1, "get": 1, "set": 1, "publish": 1},
            },
        ),
        (
            ["a", "b", "c"],
            {
                "pubsub": {"evalsha": 1, "publish": 3},
                "streams": {
                    "evalsha": 1,
                    "type": 6,
                    "xadd": 3,
                    "pexpire": 3,
                    "get": 3,
                    "set": 3,
                    "publish": 3,
                },
            },
        ),
    ],
)
async def test_commands_per_publish(
    backend: Any, kind: str, server: Server, channels: list[str], expected: dict[str, dict[str, int]]
) -> None:
    await backend.publish(b"warm-up", channels)
    before = command_calls(server)
    for _ in range(10):
        await backend.publish(b"1", channels)
    spent = command_calls(server) - before
    spent.pop("info", None)
    assert spent == {name: 10 * calls for name, calls in expected[kind].items()}


async def test_all_publishes_of_a_loop_tick_leave_in_one_write(backend: Any) -> None:
    await asyncio.gather(*(backend.publish(b"warm-up", ["a"]) for _ in range(2)))
    transport = count_writes(backend)
    for _ in range(5):
        await asyncio.gather(*(backend.publish(b"x" * 64, ["a"]) for _ in range(20)))
    assert len(transport.writes) == 5


async def test_a_lone_publish_is_one_write(backend: Any) -> None:
    await backend.publish(b"warm-up", ["a"])
    transport = count_writes(backend)
    for _ in range(5):
        await backend.publish(b"x", ["a"])
    assert len(transport.writes) == 5
    transport.writes.clear()
    await asyncio.gather(*(backend.publish(b"x" * 64, ["a"]) for _ in range(20)))
    assert len(transport.writes) == 2  # the first of them could not know that it is not alone


async def test_a_large_tick_leaves_in_pieces_of_some_kilobytes(backend: Any) -> None:
    await asyncio.gather(*(backend.publish(b"warm-up", ["a"]) for _ in range(2)))
    transport = count_writes(backend)
    await asyncio.gather(*(backend.publish(b"x" * 64, ["a"]) for _ in range(1000)))
    assert len(transport.writes) <= sum(transport.writes) / 8192 + 1
    assert max(transport.writes) < 10_000


@contextmanager
def at_most(bound_bytes: int) -> Iterator[None]:
    """Fail if more bytes than these are allocated in the block, and still there at its end."""
    gc.collect()
    tracemalloc.start()
    try:
        yield
        gc.collect()
        traced_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert traced_bytes <= bound_bytes


NAMES = [f"organisation-{number:07d}" for number in range(10_000)]


async def test_memory_per_channel(make_backend: MakeBackend, kind: str) -> None:
    backend = make_backend(key_prefix="bench")
    await backend.subscribe(["warm-up"])
    # The subscription, the name that stands in a push, the two tables; Streams: also the chain.
    with at_most({"pubsub": 250, "streams": 365}[kind] * len(NAMES)):
        await backend.subscribe(NAMES)


async def test_where_a_channel_stands_is_kept_once(client: Any) -> None:
    backend = RedisChannelsStreamBackend(1, redis=client, key_prefix="bench")
    await backend.publish(b"before", NAMES)
    await backend.subscribe(["warm-up"])
    async with aclosing(backend.stream_events()) as stream:
        with at_most(415 * len(NAMES)):
            await backend.subscribe(NAMES)
            await backend.publish(b"after", NAMES)
            await take(stream, len(NAMES))
    await backend.on_shutdown()


async def test_subscribing_to_ten_thousand_channels_takes_few_commands(
    make_backend: MakeBackend, server: Server
) -> None:
    backend = make_backend()
    await backend.on_startup()
    before = command_calls(server)
    await backend.subscribe([f"room{n}" for n in range(10_000)])
    assert (command_calls(server) - before)["subscribe"] == 20


async def test_no_task_and_no_timer_per_event(
    make_backend: MakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = make_backend()
    await backend.subscribe(["a"])
    await backend.publish(b"warm-up", ["a"])
    loop = asyncio.get_running_loop()
    made: Counter[str] = Counter()
    for name in ("create_task", "call_later", "call_at"):
        original = getattr(loop, name)

        def counting(*args: Any, _name: str = name, _original: Any = original, **options: Any) -> Any:
            made[_name] += 1
            return _original(*args, **options)

        monkeypatch.setattr(loop, name, counting)
    stream = backend.stream_events()
    for _ in range(500):
        await backend.publish(b"1", ["a"])
        await anext(stream)
    await stream.aclose()
    # The watch of a link may look once meanwhile.
    assert made["create_task"] == 0
    assert made["call_later"] + made["call_at"] <= 4


PACKAGE = str(Path(gapless.__file__).parent)


class Calls:
    """Counts the calls of Python functions, and the C calls that they make: of ours, or of all."""

    def __init__(self, prefix: str = PACKAGE) -> None:
        self._prefix = prefix
        self.count: Counter[str] = Counter()

    def __enter__(self) -> Self:
        sys.setprofile(self._on_event)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _on_event(self, frame: Any, event: str, argument: Any) -> None:
        if event in ("call", "c_call") and frame.f_code.co_filename.startswith(self._prefix):
            self.count[event] += 1


async def test_calls_per_received_event(make_backend: MakeBackend, kind: str) -> None:
    """A slower receive path shows here, on any machine."""
    backend, publisher = make_backend(), make_backend()
    await backend.subscribe(["a"])
    stream = backend.stream_events()
    await publisher.publish(b"warm-up", ["a"])
    await take(stream, 1)
    events = 2000
    await asyncio.gather(*(publisher.publish(b"x" * 64, ["a"]) for _ in range(events)))
    inbox = backend._enter().delivery.inboxes[0]
    await until(lambda: len(inbox.backlog.items) == events, "all events in the inbox")

    async def consume() -> None:
        left = events
        async for _ in stream:
            left -= 1
            if not left:
                return

    with Calls() as consuming:
        await consume()
    # Per event: __anext__, and in it popleft and len. Per burst, what waits for it.
    assert consuming.count["call"] <= events * 1.1
    assert consuming.count["c_call"] <= events * 2.1

    replies = [[b"message", b"LITESTAR_CHANNELS_a", b"x" * 64]] * events
    if kind == "streams":
        replies = [
            [b"message", b"LITESTAR_CHANNELS_a", b"g%d-0 g%d-0 payload" % (n + 1, n)] for n in range(events)
        ]
    session = backend._enter().session
    if kind == "streams":
        next(iter(session.subscriptions)).chain.tip = b"g0-0"
    with Calls() as receiving:
        session.pushes.received(replies)
    # Per event, Pub/Sub: a look-up, an append, the length of the payload. Streams: also the frame's split.
    assert receiving.count["call"] <= 20
    assert receiving.count["c_call"] <= events * (4 if kind == "streams" else 3) + 20
    await stream.aclose()


async def test_calls_per_event_that_comes_alone(make_backend: MakeBackend, kind: str) -> None:
    """A consumer that keeps up waits for each event."""
    backend = make_backend()
    await backend.subscribe(["a"])
    session = backend._enter().session
    if kind == "streams":
        next(iter(session.subscriptions)).chain.tip = b"g0-0"
    seen: list[bytes] = []

    async def consume() -> None:
        async for _, data in backend.stream_events():
            seen.append(data)

    consumer = asyncio.ensure_future(consume())
    await asyncio.sleep(0)
    with Calls() as calls:
        for number in range(200):
            data = b"x" if kind == "pubsub" else b"g%d-0 g%d-0 x" % (number + 1, number)
            # Called by no task, as it is by the transport.
            asyncio.get_running_loop().call_soon(
                session.pushes.received, [[b"message", b"LITESTAR_CHANNELS_a", data]]
            )
            await asyncio.sleep(0)
            assert len(seen) == number + 1
    # Ours in it: from the read to the inbox, and from the inbox to the consumer, which waits again.
    assert calls.count["call"] / 200 <= 16.1
    assert calls.count["c_call"] / 200 <= {"pubsub": 14.1, "streams": 15.1}[kind]
    consumer.cancel()
    await asyncio.gather(consumer, return_exceptions=True)


async def test_calls_per_publish(make_backend: MakeBackend, kind: str) -> None:
    backend = make_backend()
    await backend.publish(b"warm-up", ["a"])
    with Calls() as calls:
        for _ in range(200):
            await backend.publish(b"x", ["a"])
    assert calls.count["call"] / 200 <= {"pubsub": 10.1, "streams": 13.1}[kind]
    assert calls.count["c_call"] / 200 <= {"pubsub": 15.1, "streams": 19.1}[kind]


def await_replies(backend: Any, count: int) -> None:
    """Block until so many replies can be read from the command link, and leave them there."""
    transport = backend._enter().session.commands._wire._transport
    with socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as copy:
        found = 0
        while found < count:
            select.select([copy], [], [], 1)
            reader = hiredis.Reader(notEnoughData=None)
            reader.feed(copy.recv(READ_BYTES, socket.MSG_PEEK))
            found = sum(1 for _ in iter(reader.gets, None))


async def test_calls_per_publish_of_a_hundred(make_backend: MakeBackend, kind: str) -> None:
    """Also those of the event loop: it is called a few times for all of them."""
    backend = make_backend()
    await backend.publish(b"warm-up", ["a"])
    tasks = [asyncio.create_task(backend.publish(b"x" * 64, ["a"])) for _ in range(100)]
    with Calls(prefix="") as sending:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    await_replies(backend, len(tasks))
    with Calls(prefix="") as going_on:
        while not all(task.done() for task in tasks):
            await asyncio.sleep(0)
    calls = sending.count + going_on.count
    assert calls["call"] / len(tasks) <= {"pubsub": 10, "streams": 13.1}[kind]
    assert calls["c_call"] / len(tasks) <= {"pubsub": 18, "streams": 22}[kind]


async def test_idle_channels_cost_nothing(server: Server, streams: RedisChannelsStreamBackend) -> None:
    """No look at any of 10,000 channels while nothing happens."""
    await streams.subscribe([f"room{n}" for n in range(10_000)])
    async with aclosing(streams.stream_events()) as stream:
        reading = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0.1)
        before = command_calls(server)
        with Calls() as calls:
            await asyncio.sleep(0.5)
        assert sum(calls.count.values()) < 200
        assert sum((command_calls(server) - before).values()) <= 1  # the INFO itself
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


async def test_thousands_of_subscribe_calls_at_once(server: Server, kind: str, client: Any) -> None:
    backend = backend_class(kind)(**({"history": 1} if kind == "streams" else {}), redis=client)
    await backend.subscribe(["first"])
    before = command_calls(server)
    conditions = 0
    push_link = backend._enter().session.pushes.link
    wait = type(push_link).wait

    async def counting(link: Any, condition: Any, *arguments: Any) -> None:
        def counted() -> bool:
            nonlocal conditions
            conditions += 1
            return bool(condition())

        await wait(link, counted, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(push_link), "wait", counting)
        await asyncio.gather(*(backend.subscribe([f"room{n}"]) for n in range(2000)))
    assert backend.health().channels_confirmed == 2001
    # Each call looks twice, not once for each channel that is confirmed; and a command names many channels.
    assert conditions < 5 * 2000
    assert (command_calls(server) - before)["subscribe"] < 50
    await backend.on_shutdown()


async def test_any_channel_and_payload_is_published_as_it_is(make_backend: MakeBackend) -> None:
    """Twice each: what is kept of a channel after its first publish says the same as the first."""
    channels = ["", " ", "a\r\n$1", "%d%b", "\N{SNOWMAN}", "n" * 1000, '"{tag}"']
    backend = make_backend()
    await backend.subscribe(channels)
    expected = [
        (channel, data)
        for data in (b"", b"\r\n", b"%b", bytes(range(256)), b"x" * 100_000)
        for channel in channels
    ]
    async with aclosing(backend.stream_events()) as stream:
        for channel, data in expected:
            await backend.publish(data, [channel])
            assert await take(stream, 1) == [(channel, data)]


async def test_what_is_kept_of_channels_published_to_is_bounded(client: Any) -> None:
    backend = backend_class("pubsub")(redis=client)
    await backend.on_startup()
    heads = backend._heads
    for start in range(0, 2 * MAX_HEADS + 2, 1000):
        await asyncio.gather(*(backend.publish(b"x", [f"room{n}"]) for n in range(start, start + 1000)))
        assert 0 < len(heads) <= MAX_HEADS
    heads.clear()
    await backend.publish(b"x", ["n" * MAX_HEAD_KEY_BYTES])
    assert not heads
    await backend.on_shutdown()
