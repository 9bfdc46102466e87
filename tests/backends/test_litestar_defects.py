"""What users of Litestar's Redis backends suffer, one test per row of the design's table (L1 to L26).

Each row has a test that fails on Litestar's own backends; GAPLESS_TEST_BACKENDS=litestar runs them
against those (L1: with redis-py 5.2.1, the newest that Litestar 2 allows; later ones retry for some
seconds, and L2 shows them).
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from contextlib import aclosing
from datetime import timedelta
from typing import Any

import pytest
from litestar.channels import ChannelsPlugin

from gapless import ConfigurationError, Event, Gap
from tests.conftest import MakeBackend, backend_class, make_client
from tests.support.servers import Server
from tests.support.waiting import nothing, take, until


async def deliver(publish: Any, received: list[Any], what: str) -> None:
    """Publish until something is received: delivery works (again)."""

    async def attempt() -> bool:
        try:
            await asyncio.wait_for(publish(), 2)
        except Exception:
            return False
        await asyncio.sleep(0.05)
        return bool(received)

    await until(attempt, what)


@pytest.fixture
async def plugin_on_own_server(kind: str, own_server: Server) -> Any:
    """Litestar's unchanged plugin, started, on a server that may be killed."""
    client = make_client(own_server)
    plugin = ChannelsPlugin(make_for(kind, client), channels=["room"])
    await plugin._on_startup()
    yield plugin
    await asyncio.wait_for(plugin._on_shutdown(), 15)
    await client.aclose()


def make_for(kind: str, client: Any, **options: Any) -> Any:
    if kind == "streams":
        options.setdefault("history", 10)
    return backend_class(kind)(redis=client, **options)


async def subscriber_of(plugin: Any) -> tuple[list[bytes], asyncio.Task[None]]:
    received: list[bytes] = []
    subscriber = await plugin.subscribe(["room"])

    async def consume() -> None:
        async for event in subscriber.iter_events():
            received.append(event)

    return received, asyncio.ensure_future(consume())


async def test_l01_one_dropped_connection_does_not_end_delivery(
    plugin_on_own_server: Any, own_server: Server
) -> None:
    received, task = await subscriber_of(plugin_on_own_server)
    for kind in ("pubsub", "normal"):
        own_server.command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
    await deliver(
        lambda: plugin_on_own_server.wait_published(b"1", "room"), received, "delivery after the kill"
    )
    task.cancel()


@pytest.mark.once
async def test_l02_an_application_survives_a_long_outage_and_shuts_down(
    plugin_on_own_server: Any, own_server: Server
) -> None:
    received, task = await subscriber_of(plugin_on_own_server)
    own_server.kill()
    # Published by the plugin's worker while the server is away, for longer than any retries last.
    for number in range(50):
        plugin_on_own_server.publish(b"%d" % number, "room")
    await asyncio.sleep(6)
    own_server.start()
    await deliver(lambda: plugin_on_own_server.wait_published(b"1", "room"), received, "delivery")
    plugin_on_own_server.publish(b"by the worker", "room")
    await until(lambda: b"by the worker" in received, "the plugin's publish worker")
    task.cancel()
    # The fixture shuts down within a bound.


@pytest.mark.once
async def test_l02_shutdown_does_not_hang_while_the_server_is_away(kind: str, own_server: Server) -> None:
    client = make_client(own_server)
    plugin = ChannelsPlugin(make_for(kind, client), channels=["room"])
    await plugin._on_startup()
    own_server.kill()
    for number in range(100):
        plugin.publish(b"%d" % number, "room")
    await asyncio.wait_for(plugin._on_shutdown(), 12)
    await client.aclose()


@pytest.mark.parametrize("kind", ["pubsub"])
async def test_l03_a_reconnect_of_pubsub_is_reported_as_a_gap(
    make_backend: MakeBackend, server: Server
) -> None:
    backend = make_backend()
    await backend.subscribe(["a", "b"])
    async with aclosing(backend.events()) as events:
        server.command("CLIENT", "KILL", "TYPE", "pubsub")
        gaps = await take(events, 2)
        assert gaps == [Gap("a", None, "disconnected"), Gap("b", None, "disconnected")]
        await backend.publish(b"1", ["a"])
        assert await take(events, 1) == [Event("a", b"1", None)]


@pytest.mark.parametrize("kind", ["streams"])
async def test_l04_approximate_trimming_is_applied(make_backend: MakeBackend, client: Any) -> None:
    backend = make_backend(history=10)
    exact = make_backend(history=10, cap_streams_approximate=False, key_prefix="EXACT")
    for number in range(60):
        await backend.publish(b"%d" % number, ["room"])
        await exact.publish(b"%d" % number, ["room"])
    lengths: list[int] = []
    for number in range(1000):
        await backend.publish(b"%d" % number, ["room"])
        lengths.append(await client.xlen(backend._make_key("room")))
    # Whole nodes are cut off: the length goes up and down.
    assert 10 < max(lengths) < 500
    assert min(lengths[500:]) < max(lengths)
    assert await client.xlen(exact._make_key("room")) == 10
    assert len(await backend.get_history("room")) == 10


@pytest.mark.parametrize("kind", ["streams"])
async def test_l05_rooms_that_differ_in_case_have_their_own_history(make_backend: MakeBackend) -> None:
    backend = make_backend()
    names = ["room", "ROOM", "straße", "STRASSE"]
    for name in names:
        await backend.publish(name.encode(), [name])
    assert [await backend.get_history(name) for name in names] == [[name.encode()] for name in names]


@pytest.mark.parametrize("kind", ["pubsub"])
async def test_l06_two_applications_on_one_server_do_not_hear_each_other(
    make_backend: MakeBackend, client: Any
) -> None:
    one, other, bare = (make_backend(key_prefix=prefix) for prefix in ("APP1", "APP2", ""))
    for backend in (one, other, bare):
        await backend.subscribe(["room"])
    await one.publish(b"1", ["room"])
    await other.publish(b"2", ["room", "more"])
    await client.publish("APP1_room", b"by hand")
    await client.publish("room", b"bare")
    async with aclosing(one.stream_events()) as stream:
        assert await take(stream, 2) == [("room", b"1"), ("room", b"by hand")]
    async with aclosing(other.stream_events()) as stream:
        assert await take(stream, 1) == [("room", b"2")]
    async with aclosing(bare.stream_events()) as stream:
        assert await take(stream, 1) == [("room", b"bare")]


@pytest.mark.parametrize("kind", ["streams"])
@pytest.mark.parametrize("prefix", ["APP", "A*", "[A]", "A\\P", ""])
async def test_l07_flush_all_deletes_our_streams_and_nothing_else(
    make_backend: MakeBackend, server: Server, prefix: str
) -> None:
    client = make_client(server, decode_responses=False)  # one of the keys is no text
    backend, longer = make_backend(key_prefix=prefix), make_backend(key_prefix=f"{prefix}_B")
    nothing_kept = make_backend(key_prefix=prefix, history=0)
    await backend.publish(b"1", ["room", "other", "straße"])
    await nothing_kept.publish(b"1", ["empty"])
    await longer.publish(b"1", ["room"])
    foreign = {f"{prefix}2_x", f"{prefix}X", f"{prefix}_string", "AXP_x", "A_x", "Ab"}
    for key in foreign:
        await client.set(key, "not ours")
    await client.xadd(f"{prefix}_foreign stream", {"field": "value"})
    await client.xadd(f"{prefix}_no UTF-8 ".encode() + b"\xff", {"field": "value"})
    before = set(await client.keys("*"))
    assert await backend.flush_all() == 4
    gone = {key.decode() if isinstance(key, bytes) else key for key in before - set(await client.keys("*"))}
    assert gone == {backend._make_key(name) for name in ("room", "other", "straße", "empty")}
    assert await backend.get_history("room") == []
    assert await longer.get_history("room") == [b"1"]
    assert await backend.flush_all() == 0
    await client.aclose()


@pytest.mark.parametrize("kind", ["streams"])
async def test_l07_flush_all_works_in_batches(make_backend: MakeBackend, client: Any) -> None:
    backend = make_backend()
    for start in range(0, 2500, 500):
        await backend.publish(b"1", [f"c{n}" for n in range(start, start + 500)])
    assert await backend.flush_all() == 2500
    await client.script_flush()


@pytest.mark.parametrize(
    "options",
    [
        {"protocol": 3},
        {"decode_responses": True},
        {"protocol": 3, "decode_responses": True},
        {"socket_timeout": 0.1},
        {"max_connections": 1},
        {"legacy_responses": False},
    ],
    ids=str,
)
async def test_l08_l09_any_client_works(kind: str, server: Server, options: dict[str, Any]) -> None:
    try:
        client = make_client(server, **options)
    except TypeError as error:  # a keyword that this release of the client does not have
        pytest.skip(str(error))
    backend = make_for(kind, client)
    try:
        await backend.on_startup()
        await backend.subscribe(["room"])
        async with aclosing(backend.stream_events()) as stream:
            reading = asyncio.ensure_future(take(stream, 2))
            await asyncio.sleep(0.3)  # longer than the socket timeout
            await asyncio.gather(backend.publish(b"\xff", ["room"]), backend.publish(b"2", ["room"]))
            assert await reading == [("room", b"\xff"), ("room", b"2")]
        if kind == "streams":
            assert await backend.get_history("room") == [b"\xff", b"2"]
    finally:
        await backend.on_shutdown()
        await client.aclose()


@pytest.mark.parametrize("kind", ["streams"])
async def test_l10_history_is_not_delivered_as_live_events(make_backend: MakeBackend) -> None:
    backend = make_backend()
    await backend.publish(b"before", ["room"])
    await backend.subscribe(["room"])
    async with aclosing(backend.stream_events()) as stream:
        await nothing(stream)
    await backend.unsubscribe(["room"])
    await backend.publish(b"nobody there", ["room"])
    await backend.subscribe(["room"])
    await backend.publish(b"live", ["room"])
    async with aclosing(backend.stream_events()) as stream:
        assert await take(stream, 1) == [("room", b"live")]


async def commands_processed(server: Server) -> int:
    info = server.command("INFO", "stats").decode()
    return int(info.split("total_commands_processed:")[1].split()[0])


async def test_l11_an_idle_application_sends_nothing(make_backend: MakeBackend, server: Server) -> None:
    backend = make_backend()
    await backend.on_startup()
    await backend.subscribe([f"room{n}" for n in range(100)])
    async with aclosing(backend.stream_events()) as stream:
        reading = asyncio.ensure_future(anext(stream))
        before = await commands_processed(server)
        await asyncio.sleep(1.0)
        assert await commands_processed(server) - before <= 1  # the INFO itself
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


async def test_l12_a_channel_added_while_the_reader_waits_is_heard_at_once(
    make_backend: MakeBackend,
) -> None:
    backend = make_backend(stream_sleep_no_subscriptions=0)
    await backend.subscribe(["quiet"])
    async with aclosing(backend.stream_events()) as stream:
        reading = asyncio.ensure_future(take(stream, 1, seconds=5))
        await asyncio.sleep(0.1)
        await backend.subscribe(["added"])
        await backend.publish(b"1", ["added"])
        assert await reading == [("added", b"1")]


async def test_l13_a_cancelled_subscribe_leaves_no_subscription(
    make_backend: MakeBackend, client: Any
) -> None:
    backend = make_backend()
    for _ in range(20):
        call = asyncio.ensure_future(backend.subscribe(["room"]))
        await asyncio.sleep(0)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await backend.publish(b"1", ["room"])
        await backend.subscribe(["mark"])
        await backend.publish(b"mark", ["mark"])
        async with aclosing(backend.stream_events()) as stream:
            assert await take(stream, 1) == [("mark", b"mark")]


async def test_l14_the_last_to_leave_and_the_first_to_join_do_not_disturb_each_other(
    make_backend: MakeBackend,
) -> None:
    backend = make_backend()
    for number in range(30):
        await backend.subscribe(["room"])
        await asyncio.gather(backend.unsubscribe(["room"]), backend.subscribe(["room"]))
        await backend.publish(b"%d" % number, ["room"])
        async with aclosing(backend.stream_events()) as stream:
            assert await take(stream, 1) == [("room", b"%d" % number)]
        await backend.unsubscribe(["room"])


@pytest.mark.parametrize("kind", ["pubsub"])  # streams lose none: tests/failures/test_slow_consumer.py
async def test_l16_dropped_events_are_counted_and_reported_in_their_place(
    make_backend: MakeBackend,
) -> None:
    backend = make_backend(max_backlog=5)
    await backend.subscribe(["a", "b"])
    for number in range(10):
        await backend.publish(b"%d" % number, ["a", "b"] if number % 2 else ["a"])
    await backend.subscribe(["mark"])
    async with aclosing(backend.events()) as events:
        got = await take(events, 5)
        assert [event.data for event in got] == [b"0", b"1", b"1", b"2", b"3"]
        gaps = {gap.channel: gap for gap in await take(events, 2)}
        assert {name: (gap.reason, gap.lost) for name, gap in gaps.items()} == {
            "a": ("backlog", 6),
            "b": ("backlog", 4),
        }
        await backend.publish(b"after", ["a"])
        assert (await take(events, 1))[0].data == b"after"


async def test_l17_a_publish_to_many_channels_keeps_their_order(make_backend: MakeBackend) -> None:
    backend = make_backend()
    names = [f"room{n}" for n in range(20)]
    await backend.subscribe(names)
    for order in (names, names[::-1], names[::2] + names[1::2]):
        await backend.publish(b"1", order)
        async with aclosing(backend.stream_events()) as stream:
            assert [channel for channel, _ in await take(stream, 20)] == order


@pytest.mark.parametrize("kind", ["streams"])
async def test_l19_history_and_live_events_can_be_joined_without_hole_or_duplicate(
    make_backend: MakeBackend,
) -> None:
    backend, publisher = make_backend(), make_backend()
    stop = False

    async def publish() -> int:
        number = 0
        while not stop:
            await publisher.publish(b"%d" % number, ["room"])
            number += 1
        return number

    publishing = asyncio.ensure_future(publish())
    await until(lambda: publisher.read("room", limit=1), "the first event")
    await backend.subscribe(["room"])
    history = await backend.read("room")
    seen = {event.id for event in history}
    stop = True
    count = await publishing
    await publisher.publish(b"last", ["room"])
    joined = [event.data for event in history]
    async with aclosing(backend.events()) as events:
        while joined[-1] != b"last":
            event = (await take(events, 1))[0]
            if event.id not in seen:
                joined.append(event.data)
    first = int(joined[0])
    assert joined == [*(b"%d" % number for number in range(first, count)), b"last"]


@pytest.mark.parametrize("kind", ["streams"])
async def test_l20_history_of_zero_events_is_empty(make_backend: MakeBackend) -> None:
    backend = make_backend()
    await backend.publish(b"1", ["room"])
    assert await backend.get_history("room", 0) == []
    with pytest.raises(ValueError, match="limit"):
        await backend.get_history("room", -1)


@pytest.mark.parametrize("kind", ["streams"])
async def test_l21_without_history_events_are_delivered_live(make_backend: MakeBackend, client: Any) -> None:
    backend = make_backend(history=0)
    await backend.subscribe(["room"])
    for number in range(5):
        await backend.publish(b"%d" % number, ["room"])
    async with aclosing(backend.stream_events()) as stream:
        assert [data for _, data in await take(stream, 5)] == [b"%d" % number for number in range(5)]
    assert await backend.get_history("room") == []
    assert await client.xlen(backend._make_key("room")) == 0


@pytest.mark.parametrize("kind", ["streams"])
async def test_l21_a_stream_can_be_kept_for_ever(make_backend: MakeBackend, client: Any) -> None:
    backend, mortal = make_backend(stream_ttl=None), make_backend(stream_ttl=timedelta(minutes=5))
    await mortal.publish(b"1", ["room"])
    assert 290_000 < await client.pttl(backend._make_key("room")) <= 300_000
    await backend.publish(b"2", ["room"])
    assert await client.pttl(backend._make_key("room")) == -1


@pytest.mark.parametrize("kind", ["streams"])
@pytest.mark.parametrize("ttl", [0, -1, 1.5, timedelta(0), timedelta(microseconds=10), "60", True])
async def test_l21_a_ttl_that_would_lose_everything_is_refused(make_backend: MakeBackend, ttl: Any) -> None:
    with pytest.raises(ConfigurationError, match="stream_ttl"):
        make_backend(stream_ttl=ttl)


PUBLISHER = """
import asyncio, sys
from redis.asyncio import Redis
from tests.conftest import backend_class
async def main():
    kind, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    client = Redis(port=port, protocol=2)
    backend = backend_class(kind)(redis=client, **({"history": 10} if kind == "streams" else {}))
    for number in range(count):
        await backend.publish(b"%d" % number, ["room"])
    if hasattr(backend, "on_shutdown") and kind == "streams":
        await backend.on_shutdown()
    await client.aclose()
asyncio.run(main())
"""


async def test_l22_events_published_while_the_event_loop_is_busy_are_not_lost(
    make_backend: MakeBackend, kind: str, server: Server
) -> None:
    pytest.importorskip("redis")
    options = {"history": 10, "cap_streams_approximate": False} if kind == "streams" else {}
    backend = make_backend(**options)
    await backend.subscribe(["room"])
    stream = backend.stream_events()
    reading = asyncio.ensure_future(take(stream, 100))
    await asyncio.sleep(0.05)
    # Blocks this event loop, on purpose, until everything is published.
    subprocess.run([sys.executable, "-c", PUBLISHER, kind, str(server.port), "100"], check=True, timeout=30)
    assert [data for _, data in await reading] == [b"%d" % number for number in range(100)]
    await stream.aclose()


async def test_l23_events_of_several_channels_come_in_the_order_of_publishing(
    make_backend: MakeBackend,
) -> None:
    backend = make_backend()
    await backend.subscribe(["a", "b"])
    expected = [("ab"[number % 2], b"%d" % number) for number in range(20)]
    for channel, data in expected:
        await backend.publish(data, [channel])
    async with aclosing(backend.stream_events()) as stream:
        assert await take(stream, 20) == expected


async def test_l24_unsubscribing_from_nothing_changes_nothing(make_backend: MakeBackend) -> None:
    backend = make_backend()
    await backend.subscribe(name for name in ("a", "b"))
    await backend.unsubscribe([])
    await backend.unsubscribe(name for name in ("b",))
    await backend.publish(b"1", (name for name in ("a", "b")))
    await backend.publish(b"2", ["a"])
    async with aclosing(backend.stream_events()) as stream:
        assert await take(stream, 2) == [("a", b"1"), ("a", b"2")]


async def test_l25_cancelling_the_reader_always_works(kind: str, server: Server) -> None:
    client = make_client(server, socket_timeout=5)
    backend = make_for(kind, client)
    await backend.on_startup()
    await backend.subscribe(["room"])
    for number in range(300):
        reading = asyncio.ensure_future(anext(backend.stream_events()))
        for _ in range(
            number % 30
        ):  # a client that writes in the reader's task can lose a cancellation there
            await asyncio.sleep(0)
        reading.cancel()
        await asyncio.wait([reading], timeout=1)
        assert reading.cancelled()
    await backend.on_shutdown()
    await client.aclose()


@pytest.mark.parametrize("outage", ["killed", "paused"])
async def test_l25_the_reader_can_be_cancelled_at_once_during_an_outage(
    kind: str, own_server: Server, outage: str
) -> None:
    client = make_client(own_server, socket_timeout=5)
    backend = make_for(kind, client)
    await backend.on_startup()
    await backend.subscribe(["room"])
    reading = asyncio.ensure_future(anext(backend.stream_events()))
    await asyncio.sleep(0.05)
    own_server.kill() if outage == "killed" else own_server.pause()
    for _ in range(3):
        await asyncio.sleep(0.3)
        assert not reading.done(), "stream_events must neither raise nor end because of an outage"
    started = time.monotonic()
    reading.cancel()
    await asyncio.wait([reading], timeout=10)
    assert reading.cancelled()
    await backend.on_shutdown()
    assert time.monotonic() - started < 5
    await client.aclose()


def test_l26_one_backend_works_in_several_event_loops_one_after_the_other(kind: str, server: Server) -> None:
    client = make_client(server)  # no loop is running here
    backend = make_for(kind, client)

    async def lifespan() -> None:
        await backend.on_startup()
        await backend.subscribe(["room"])
        await backend.publish(b"1", ["room"])
        async with aclosing(backend.stream_events()) as stream:
            assert await take(stream, 1) == [("room", b"1")]
        await backend.on_shutdown()

    async def script() -> None:
        await backend.publish(b"1", ["room"])
        if kind == "streams":
            assert await backend.get_history("room", 1) == [b"1"]
            assert await backend.flush_all() == 1

    for main in (lifespan, script, lifespan, script):
        asyncio.run(main())
    asyncio.run(client.aclose())


async def test_l26_one_backend_works_in_two_event_loops_at_once(
    make_backend: MakeBackend,
) -> None:
    backend = make_backend()
    await backend.subscribe(["room"])

    def in_a_thread() -> None:
        async def main() -> None:
            await backend.publish(b"from a thread", ["room"])
            await backend.on_shutdown()

        asyncio.run(main())

    await asyncio.to_thread(in_a_thread)
    await backend.publish(b"from here", ["room"])
    async with aclosing(backend.stream_events()) as stream:
        assert await take(stream, 2) == [("room", b"from a thread"), ("room", b"from here")]
