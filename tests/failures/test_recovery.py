"""What a consumer of streams sees of events that were published while it could not hear them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import timedelta
from socket import SO_RCVBUF, SOL_SOCKET
from typing import Any

import pytest

import gapless._core.recovery
import gapless._redis.repairs
from gapless import Event, Gap, RedisChannelsStreamBackend
from gapless.testing.faults import Proxy
from tests.conftest import make_client
from tests.failures.test_link import behind_proxy, push_link
from tests.redis.test_hot_path import command_calls
from tests.support.servers import Server
from tests.support.waiting import take, until


def recovery(backend: Any) -> Any:
    return backend._enter().session.repairs.recovery


@pytest.fixture
async def streams(server: Server, client: Any) -> AsyncIterator[RedisChannelsStreamBackend]:
    """A publisher with a history that is long enough, and connections of its own."""
    backend = RedisChannelsStreamBackend(1000, redis=client)
    yield backend
    await backend.on_shutdown()


async def whole(backend: Any) -> None:
    """Wait until the backend is connected and every channel is live and whole."""
    session = backend._enter().session
    await until(
        lambda: (
            session.pushes.link.connected
            and len(session.subscriptions.live) == len(session.subscriptions)
            and not recovery(backend).syncing
        ),
        "every channel live",
    )


async def cut(backend: Any, proxy: Any) -> None:
    """Cut the connections, and keep them cut."""
    proxy.refusing = True
    proxy.cut()
    await until(lambda: not push_link(backend).connected, "the loss")


@asynccontextmanager
async def subscribed_during_an_outage(server: Server, sweep_interval: float) -> AsyncIterator[Any]:
    """So that nobody could look where the channel stands; it is live, and its Gap was told."""
    async with (
        behind_proxy("streams", server, subscribe_timeout=0.1, sweep_interval=sweep_interval) as (
            backend,
            proxy,
        ),
        aclosing(backend.events()) as events,
    ):
        proxy.refusing = True
        await backend.subscribe(["room"])
        proxy.refusing = False
        assert await take(events, 1) == [Gap("room", None, "disconnected")]
        yield backend, proxy, events


def numbers(items: list[Event | Gap]) -> list[int]:
    return [int(item.data) for item in items if isinstance(item, Event)]


async def publish(backend: Any, *published: int, channel: str = "room") -> None:
    for number in published:
        await backend.publish(b"%d" % number, [channel])


async def test_events_of_an_outage_are_delivered_after_it(
    wire: str, server: Server, streams: RedisChannelsStreamBackend
) -> None:
    async with behind_proxy("streams", server) as (backend, proxy):
        await backend.subscribe(["room", "other"])
        async with aclosing(backend.events()) as events:
            await publish(streams, 0, 1)
            assert numbers(await take(events, 2)) == [0, 1]
            await cut(backend, proxy)
            await publish(streams, *range(2, 700))  # more than one page
            proxy.refusing = False
            await whole(backend)
            await publish(streams, 700)
            assert numbers(await take(events, 699)) == list(range(2, 701))


async def test_the_first_event_of_a_channel_may_fall_into_an_outage(
    server: Server, streams: RedisChannelsStreamBackend
) -> None:
    async with behind_proxy("streams", server) as (backend, proxy):
        await backend.subscribe(["room"])
        await cut(backend, proxy)
        await publish(streams, 0, 1)
        proxy.refusing = False
        async with aclosing(backend.events()) as events:
            assert numbers(await take(events, 2)) == [0, 1]


async def test_what_the_history_no_longer_has_is_a_gap(server: Server) -> None:
    client = make_client(server)
    publisher = RedisChannelsStreamBackend(10, redis=client, cap_streams_approximate=False)
    async with behind_proxy("streams", server) as (backend, proxy):
        await backend.subscribe(["room"])
        async with aclosing(backend.events()) as events:
            await publish(publisher, 0)
            (first,) = await take(events, 1)
            await cut(backend, proxy)
            await publish(publisher, *range(1, 31))
            proxy.refusing = False
            gap, *rest = await take(events, 11)
            assert gap == Gap("room", first.id, "trimmed")
            assert numbers(rest) == list(range(21, 31))
    await publisher.on_shutdown()
    await client.aclose()


@pytest.mark.parametrize("earlier", [0, 3])
@pytest.mark.parametrize("swept", [False, True])
async def test_a_subscribe_during_an_outage_is_one_gap_though_the_connection_is_lost_again(
    server: Server, streams: RedisChannelsStreamBackend, earlier: int, swept: bool
) -> None:
    await publish(streams, *range(earlier))
    interval = 0.01 if swept else 100
    async with subscribed_during_an_outage(server, interval) as (backend, proxy, events):
        if swept:
            (subscription,) = backend._enter().session.subscriptions
            await until(lambda: subscription.chain.position is not None, "a sweep and its recheck")
        await cut(backend, proxy)
        await publish(streams, 10, 11)
        proxy.refusing = False
        await whole(backend)
        await publish(streams, 12)
        assert numbers(await take(events, 3)) == [10, 11, 12]


async def test_to_miss_exactly_what_the_history_keeps_is_no_gap(server: Server) -> None:
    client = make_client(server)
    publisher = RedisChannelsStreamBackend(10, redis=client, cap_streams_approximate=False)
    async with behind_proxy("streams", server) as (backend, proxy):
        await backend.subscribe(["room"])
        async with aclosing(backend.events()) as events:
            await publish(publisher, 0)
            assert numbers(await take(events, 1)) == [0]
            await cut(backend, proxy)
            await publish(publisher, *range(1, 11))
            proxy.refusing = False
            assert numbers(await take(events, 10)) == list(range(1, 11))
    await publisher.on_shutdown()
    await client.aclose()


async def test_without_a_history_what_was_missed_is_a_gap(server: Server) -> None:
    client = make_client(server)
    publisher = RedisChannelsStreamBackend(0, redis=client)
    async with behind_proxy("streams", server) as (backend, proxy):
        await backend.subscribe(["room"])
        async with aclosing(backend.events()) as events:
            await publish(publisher, 0)
            (first,) = await take(events, 1)
            await cut(backend, proxy)
            await publish(publisher, 1)
            proxy.refusing = False
            assert await take(events, 1) == [Gap("room", first.id, "trimmed")]
            await publish(publisher, 2, 3)
            assert numbers(await take(events, 2)) == [2, 3]
    await publisher.on_shutdown()
    await client.aclose()


async def test_a_quiet_channel_that_expires_has_missed_nothing(server: Server) -> None:
    client = make_client(server)
    publisher = RedisChannelsStreamBackend(10, redis=client, stream_ttl=timedelta(milliseconds=50))
    async with behind_proxy("streams", server, sweep_interval=0.1) as (backend, proxy):
        await backend.subscribe(["room"])
        async with aclosing(backend.events()) as events:
            await publish(publisher, 0)
            await take(events, 1)
            await until(lambda: b"$" not in server.command("KEYS", "LITESTAR_CHANNELS_room"), "the expiry")
            await cut(backend, proxy)
            proxy.refusing = False
            await whole(backend)
            sweeps = recovery(backend).sweeps
            await until(lambda: recovery(backend).sweeps >= sweeps + 2, "two sweeps")
            await publish(publisher, 1)
            assert numbers(await take(events, 1)) == [1]
    await publisher.on_shutdown()
    await client.aclose()


@pytest.mark.parametrize("noticed_by", ["event", "sweep"])
async def test_flushall_is_a_reset(
    server: Server, streams: RedisChannelsStreamBackend, noticed_by: str
) -> None:
    client = make_client(server)
    interval = 0.1 if noticed_by == "sweep" else 60.0
    backend = RedisChannelsStreamBackend(10, redis=client, sweep_interval=interval)
    await backend.subscribe(["room"])
    async with aclosing(backend.events()) as events:
        await publish(streams, 0)
        (first,) = await take(events, 1)
        # An id can be given again within the same millisecond, if the stream is deleted; then nothing can tell.
        await until(lambda: time.time() * 1000 > int(first.id.partition("-")[0]) + 1, "the next millisecond")
        server.command("FLUSHALL")
        if noticed_by == "event":
            await publish(streams, 1)
        assert await take(events, 1) == [Gap("room", first.id, "reset")]
        if noticed_by == "sweep":
            await publish(streams, 1)
        assert numbers(await take(events, 1)) == [1]
        assert push_link(backend).generation == 1
    await backend.on_shutdown()
    await client.aclose()


async def test_only_channels_that_moved_are_read_after_a_reconnect(
    server: Server, streams: RedisChannelsStreamBackend
) -> None:
    async with behind_proxy("streams", server) as (backend, proxy):
        channels = [f"room{n}" for n in range(10_000)]
        await backend.subscribe(channels)
        await cut(backend, proxy)
        for channel in channels[:300:10]:
            await publish(streams, 1, channel=channel)
        before = command_calls(server)
        proxy.refusing = False
        async with aclosing(backend.events()) as events:
            got = await take(events, 30)
        assert {item.channel for item in got} == set(channels[:300:10])
        await whole(backend)
        spent = command_calls(server) - before
        assert spent["subscribe"] == 20
        assert spent["mget"] <= 60  # 40 full ones; the acknowledgements come in several chunks
        assert spent["evalsha"] == 30


async def test_a_thousand_channels_missed_events_at_once(server: Server, streams: Any) -> None:
    async with behind_proxy("streams", server) as (backend, proxy):
        channels = [f"room{n}" for n in range(1000)]
        await backend.subscribe(channels)
        await cut(backend, proxy)
        for n in range(3):
            await streams.publish(b"%d" % n, channels)
        proxy.refusing = False
        async with aclosing(backend.events()) as events:
            got = await take(events, 3000)
        for channel in channels:
            assert numbers([item for item in got if item.channel == channel]) == [0, 1, 2]


async def append_without_push(client: Any, streams: Any, *numbers: int) -> None:
    """As by a publisher whose push goes to a server that we are not connected to."""
    stream = streams._make_key("room")
    for number in numbers:
        entry_id = await client.xadd(stream, {"data": b"%d" % number, "channel": "room", "by": "somebody"})
        await client.set(streams._keys.last(stream), entry_id)


async def test_pushes_that_do_not_arrive_are_noticed_by_the_sweep(
    server: Server, streams: Any, client: Any
) -> None:
    quick = RedisChannelsStreamBackend(100, redis=client, sweep_interval=1.5)
    await quick.subscribe(["room"])
    async with aclosing(quick.events()) as events:
        await publish(streams, 0)
        await take(events, 1)
        sweeps = recovery(quick).sweeps
        await append_without_push(client, streams, 1, 2)
        assert numbers(await take(events, 2)) == [1, 2]
        assert recovery(quick).sweeps <= sweeps + 2
        await until(lambda: push_link(quick).generation == 2, "a new subscriber connection")
        await publish(streams, 3)
        assert numbers(await take(events, 1)) == [3]
    await quick.on_shutdown()


async def test_a_sweep_does_not_take_the_time_of_grace_from_the_one_before(
    server: Server, streams: Any, client: Any
) -> None:
    """Else pushes that are late by a tenth of a second would count as lost, if sweeps come as often."""
    quick = RedisChannelsStreamBackend(100, redis=client, sweep_interval=0.1)
    await quick.subscribe(["room"])
    async with aclosing(quick.events()) as events:
        await publish(streams, 0)
        await take(events, 1)
        await append_without_push(client, streams, 1)
        timers = quick._enter().session.repairs._timers
        await until(lambda: "recheck" in timers, "the channel to be found behind")
        sweeps = recovery(quick).sweeps
        assert numbers(await take(events, 1)) == [1]
        assert recovery(quick).sweeps <= sweeps + 1
    await quick.on_shutdown()


async def test_a_sweep_leaves_whole_channels_alone(server: Server, client: Any, streams: Any) -> None:
    quick = RedisChannelsStreamBackend(100, redis=client, sweep_interval=0.05)
    await quick.subscribe([f"room{n}" for n in range(1000)])
    async with aclosing(quick.events()) as events:
        for n in range(300):
            await publish(streams, n, channel=f"room{n}")
        await take(events, 300)
        before = command_calls(server)
        sweeps = recovery(quick).sweeps
        await until(lambda: recovery(quick).sweeps >= sweeps + 5, "five sweeps")
        spent = command_calls(server) - before
        assert spent["evalsha"] == 0
        assert spent["mget"] <= 7 * 4
        assert push_link(quick).generation == 1
    await quick.on_shutdown()


async def test_a_subscriber_that_is_cut_off_for_being_slow_gets_everything(
    server: Server, streams: RedisChannelsStreamBackend, client: Any
) -> None:
    server.command("CONFIG", "SET", "client-output-buffer-limit", "pubsub 1mb 1mb 1")
    try:
        backend = RedisChannelsStreamBackend(1000, redis=client)
        await backend.subscribe(["room"])
        async with aclosing(backend.events()) as events:
            socket = backend._enter().session.pushes._wire._transport.get_extra_info("socket")
            socket.setsockopt(SOL_SOCKET, SO_RCVBUF, 64 * 1024)  # else the kernel takes it all
            publisher = streams._enter().session.publisher
            # Its loop stands still while 12 MB are pushed to it, in pieces that the server copies for it.
            await streams.publish(b"-1", ["room"])
            await take(events, 1)
            for n in range(900):
                command = streams._publish_command(b"%d" % n + b" " * 14_000, ["room"], publisher)
                server.command(*(p.decode() if isinstance(p, bytes) else str(p) for p in command))
            got = await take(events, 900)
            assert numbers(got) == list(range(900))
        assert push_link(backend).generation >= 2
        await backend.on_shutdown()
    finally:
        server.command("CONFIG", "SET", "client-output-buffer-limit", "pubsub 32mb 8mb 60")


@pytest.mark.once
async def test_a_stalled_event_loop_loses_nothing(server: Server, streams: Any, client: Any) -> None:
    backend = RedisChannelsStreamBackend(1000, redis=client, liveness_timeout=0.5)
    await backend.subscribe(["room"])
    async with aclosing(backend.events()) as events:
        await publish(streams, *range(100))
        time.sleep(3)  # the loop stands still; nothing else can make it so
        await publish(streams, *range(100, 200))
        assert numbers(await take(events, 200)) == list(range(200))
    await backend.on_shutdown()


async def test_what_is_held_while_a_channel_is_read_is_bounded(
    server: Server, streams: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gapless._core.recovery, "MAX_HELD_BYTES", 1000)
    monkeypatch.setattr(gapless._redis.repairs, "PAGE_ENTRIES", 10)
    async with behind_proxy("streams", server) as (backend, proxy):
        await backend.subscribe(["room"])
        async with aclosing(backend.events()) as events:
            await cut(backend, proxy)
            await publish(streams, *range(500))
            proxy.refusing = False
            publishing = asyncio.ensure_future(publish(streams, *range(500, 990)))
            got: list[Any] = []
            while len(got) < 990:
                got += await take(events, 1)
                assert recovery(backend)._held_bytes <= 1000
            await publishing
            # Less than the history: else a loss before the first event could not be excluded.
            assert numbers(got) == list(range(990))


async def test_a_stream_that_may_not_be_read_is_a_gap(server: Server, streams: Any) -> None:
    server.command(
        "ACL", "SETUSER", "u", "reset", "on", ">pw", "~*", "&*", "+@all", "-xrange", "-mget"
    )  # fmt: skip
    try:
        client = make_client(server, username="u", password="pw")
        backend = RedisChannelsStreamBackend(10, redis=client)
        await backend.subscribe(["room"])
        async with aclosing(backend.events()) as events:
            await publish(streams, 0)
            (first,) = await take(events, 1)
            server.command("CLIENT", "KILL", "TYPE", "pubsub")
            gap, *_rest = await take(events, 1)
            assert gap == Gap("room", first.id, "disconnected")
            await publish(streams, 1)
            assert numbers(await take(events, 1)) == [1]
        await backend.on_shutdown()
        await client.aclose()
    finally:
        server.command("ACL", "DELUSER", "u")


async def test_an_unreadable_last_id_does_not_silence_its_channel(server: Server, streams: Any) -> None:
    async with behind_proxy("streams", server) as (backend, proxy):
        await backend.subscribe(["room", "other"])
        async with aclosing(backend.events()) as events:
            await publish(streams, 0)
            (first,) = await take(events, 1)
            await cut(backend, proxy)
            stream = streams._make_key("room")
            server.command("XTRIM", stream, "MAXLEN", "0")
            server.command("SET", streams._keys.last(stream), "nonsense")
            proxy.refusing = False
            assert await take(events, 1) == [Gap("room", first.id, "rollback")]
            await publish(streams, 1, 2)
            assert numbers(await take(events, 2)) == [1, 2]


@pytest.mark.parametrize("nonsense", ["nonsense", "two words", "1-2-3", "(5-0", "+", ""])
async def test_an_unreadable_last_id_costs_no_event(server: Server, streams: Any, nonsense: str) -> None:
    key = streams._keys.last(streams._make_key("room"))
    server.command("SET", key, nonsense)
    assert (await streams.position("room")).startswith("0-0")
    await streams.subscribe(["room", "other"])
    generation = streams.health().subscriber.generation
    async with aclosing(streams.events()) as events:
        await publish(streams, 0)
        await streams.publish(b"1", ["room", "other"])
        items = await take(events, 3)
        assert [(item.channel, item.data) for item in items] == [
            ("room", b"0"),
            ("room", b"1"),
            ("other", b"1"),
        ]
        server.command("SET", key, nonsense)
        await publish(streams, 2, 3)
        assert numbers(await take(events, 2)) == [2, 3]
    assert streams.health().subscriber.generation == generation


async def test_an_unreadable_last_id_hides_no_event(server: Server, streams: Any) -> None:
    """It is not the same as no last id: the channel may have got its first event while we were away."""
    last = streams._keys.last(streams._make_key("room"))
    async with behind_proxy("streams", server) as (backend, proxy):
        await backend.subscribe(["room"])
        async with aclosing(backend.events()) as events:
            for numbers_ in ((1, 2), (3, 4)):
                await cut(backend, proxy)
                await publish(streams, numbers_[0])
                server.command("SET", last, "nonsense")
                proxy.refusing = False
                await whole(backend)
                await publish(streams, numbers_[1])
                assert numbers(await take(events, 2)) == list(numbers_)


async def test_an_unreadable_last_id_brings_nothing_from_before_the_subscribe(
    server: Server, streams: Any
) -> None:
    await publish(streams, 1, 2, 3)
    server.command("SET", streams._keys.last(streams._make_key("room")), "nonsense")
    await streams.subscribe(["room"])
    async with aclosing(streams.events()) as events:
        large = b"4".rjust(100_000)  # pushed by reference
        await streams.publish(large, ["room"])
        await publish(streams, 5)
        assert numbers(await take(events, 2)) == [4, 5]


async def test_many_entries_of_others_hide_none_of_ours(server: Server, client: Any) -> None:
    """More than a page: what is read must not be the same again and again."""
    async with behind_proxy("streams", server) as (backend, proxy):
        publisher = RedisChannelsStreamBackend(5000, redis=client)
        await backend.subscribe(["room"])
        async with aclosing(backend.events()) as events:
            await publish(publisher, 0)
            assert numbers(await take(events, 1)) == [0]
            await cut(backend, proxy)
            key = publisher._make_key("room")
            async with client.pipeline(transaction=False) as pipeline:
                for _ in range(3000):
                    pipeline.xadd(key, {"data": b"foreign", "channel": "room"})
                await pipeline.execute()
            await publish(publisher, 1)
            proxy.refusing = False
            assert numbers(await take(events, 1)) == [1]
        await publisher.on_shutdown()


@pytest.mark.parametrize("followed", [False, True])
async def test_what_comes_after_a_gap_without_a_position_is_owed(
    server: Server, streams: Any, followed: bool
) -> None:
    """Also if it is not pushed: another event, or the sweep, shows it."""
    await publish(streams, 0)
    interval = 100 if followed else 0.3
    async with subscribed_during_an_outage(server, interval) as (_, _, events):
        # As the publish script does, but for the push.
        stream = streams._make_key("room")
        last = streams._keys.last(stream)
        fields = ["data", "1", "channel", "room", "by", "x", "server", "", "previous"]
        server.command("SET", last, server.command("XADD", stream, "*", *fields, server.command("GET", last)))
        if followed:
            await publish(streams, 2)
        expected = [1, 2] if followed else [1]
        assert numbers(await take(events, len(expected))) == expected


async def test_sweeps_that_are_refused_do_not_flood_the_log(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    server.command("ACL", "SETUSER", "u", "reset", "on", ">pw", "~*", "&*", "+@all", "-mget")
    client = make_client(server, username="u", password="pw")
    backend = RedisChannelsStreamBackend(10, redis=client, sweep_interval=0.01)
    try:
        await backend.subscribe(["room"])
        await until(lambda: backend._enter().session.repairs._refusals.count >= 50, "many sweeps")
        refused = [record for record in caplog.records if record.levelname == "ERROR"]
        assert 1 <= len(refused) <= 8
    finally:
        await backend.on_shutdown()
        await client.aclose()
        server.command("ACL", "DELUSER", "u")


async def test_a_look_whose_reply_is_read_late_is_no_later_than_it_was(
    server: Server, streams: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A channel without an event has had none until the look, not until its reply was read."""
    await streams.subscribe(["room"])
    repairs = streams._enter().session.repairs
    clocks: list[int] = []
    looked = repairs.recovery.looked
    monkeypatch.setattr(
        repairs.recovery, "looked", lambda *arguments: clocks.append(arguments[2]) or looked(*arguments)
    )
    repairs._sweep()
    await asyncio.sleep(0)  # what is sent leaves at the end of the loop's turn
    seconds, microseconds = map(int, server.command("TIME"))
    time.sleep(0.2)  # the event loop stands still
    await until(lambda: clocks, "the reply")
    assert clocks[0] <= seconds * 1000 + microseconds // 1000


async def test_no_timer_is_left_after_a_shutdown(server: Server, client: Any) -> None:
    backend = RedisChannelsStreamBackend(10, redis=client, sweep_interval=0.01)
    await backend.subscribe(["room"])
    repairs = backend._enter().session.repairs
    # Appended without a push, so that the sweep has something to look at again.
    entry_id = await client.xadd(backend._make_key("room"), {"data": b"1", "channel": "room"})
    await client.set(backend._keys.last(backend._make_key("room")), entry_id)
    await until(lambda: "recheck" in repairs._timers, "a suspicion")
    # A read is under way when the backend is shut down, and after it the suspicion would be looked into.
    repairs._timers.pop("recheck").cancel()
    (subscription,) = backend._enter().session.subscriptions
    repairs.resubscribed(subscription, None)
    repairs._pump()
    await backend.on_shutdown()
    assert not repairs._timers


async def test_without_info_each_reconnect_counts_as_a_restart(
    server: Server, streams: Any, caplog: pytest.LogCaptureFixture
) -> None:
    server.command("ACL", "SETUSER", "u", "reset", "on", ">pw", "~*", "&*", "+@all", "-info")
    client = make_client(server, username="u", password="pw")
    backend = RedisChannelsStreamBackend(10, redis=client)
    try:
        await backend.subscribe(["room"])
        async with aclosing(backend.events()) as events:
            await publish(streams, 0)
            (last,) = await take(events, 1)
            for number in (1, 2):
                server.command("CLIENT", "KILL", "TYPE", "pubsub")
                assert await take(events, 1) == [Gap("room", last.id, "restart")]
                await publish(streams, number)
                (last,) = await take(events, 1)
                assert numbers([last]) == [number]
        # The log says why, once.
        assert sum("permit +info" in record.message for record in caplog.records) == 1
    finally:
        await backend.on_shutdown()
        await client.aclose()
        server.command("ACL", "DELUSER", "u")


@pytest.mark.parametrize(("told", "durable"), [(False, None), (True, None), (False, True)])
async def test_without_info_a_restart_may_have_been_wherever_nothing_shows_the_contrary(
    server: Server, told: bool, durable: bool | None
) -> None:
    """told: The publisher may use INFO, so that its entries say which server appended them."""
    server.command("ACL", "SETUSER", "u", "reset", "on", ">pw", "~*", "&*", "+@all", "-info")
    limited = make_client(server, username="u", password="pw")
    client = make_client(server) if told else limited
    publisher = RedisChannelsStreamBackend(10, redis=client)
    try:
        async with Proxy(server.port) as proxy:
            limited.connection_pool.connection_kwargs["port"] = proxy.port
            backend = RedisChannelsStreamBackend(10, redis=limited, durable=durable)
            await backend.subscribe(["room"])
            async with aclosing(backend.events()) as events:
                await publish(publisher, 0)
                assert numbers(await take(events, 1)) == [0]
                proxy.refusing = True
                server.command("CLIENT", "KILL", "TYPE", "pubsub")
                await until(lambda: not push_link(backend).connected, "the loss")
                await publish(publisher, 1, 2)
                proxy.refusing = False
                await whole(backend)
                await publish(publisher, 3)
                expected = (
                    [1, 2, 3] if durable else [None, 1, 2, None, 3] if told else [None, 1, None, 2, None, 3]
                )
                got = await take(events, len(expected))
                assert [int(item.data) if isinstance(item, Event) else None for item in got] == expected
                assert {item.reason for item in got if isinstance(item, Gap)} <= {"restart"}
            await backend.on_shutdown()
    finally:
        await publisher.on_shutdown()
        await limited.aclose()
        await client.aclose()
        server.command("ACL", "DELUSER", "u")


@pytest.mark.parametrize("keeps", [{"history": 10}, {"stream_ttl": 100}])
async def test_a_publisher_that_keeps_less_than_the_consumer_says(
    server: Server, client: Any, keeps: dict[str, int]
) -> None:
    """The first events of a channel fall into an outage, and are trimmed or expired before it ends."""
    publisher = RedisChannelsStreamBackend(
        **{"history": 1000, "cap_streams_approximate": False} | keeps,
        redis=client,  # type: ignore[arg-type]
    )
    async with behind_proxy("streams", server) as (backend, proxy):
        await backend.subscribe(["room"])
        await cut(backend, proxy)
        await publish(publisher, *range(20))
        if "stream_ttl" in keeps:
            key = publisher._make_key("room")
            await until(lambda: not server.command("EXISTS", key), "the stream to be gone")
        await publish(publisher, 20)
        # It must not expire before it is read.
        server.command("PERSIST", publisher._make_key("room"))
        proxy.refusing = False
        async with aclosing(backend.events()) as events:
            gap = (await take(events, 1))[0]
            assert isinstance(gap, Gap)
            assert gap.reason == "trimmed"
            assert numbers(await take(events, 1)) == [11 if "history" in keeps else 20]
    await publisher.on_shutdown()


async def test_a_stream_without_end_outlives_its_last_id_and_comes_once(server: Server, client: Any) -> None:
    """The key with the last id is gone, as after `resume_ttl`, when the next event is missed."""
    publisher = RedisChannelsStreamBackend(1000, redis=client, stream_ttl=None)
    async with behind_proxy("streams", server, resume_ttl=100) as (backend, proxy):
        await backend.subscribe(["room"])
        await publish(publisher, *range(5))
        async with aclosing(backend.events()) as events:
            assert numbers(await take(events, 5)) == list(range(5))
            last = publisher._keys.last(publisher._make_key("room"))
            assert int(server.command("PTTL", last)) > 24 * 3600 * 1000
            await cut(backend, proxy)
            server.command("DEL", last)
            await asyncio.sleep(0.2)
            proxy.refusing = False
            await whole(backend)
            await cut(backend, proxy)
            await publish(publisher, 5)
            proxy.refusing = False
            assert numbers(await take(events, 1)) == [5]
            await publish(publisher, 6)
            assert numbers(await take(events, 1)) == [6]
    await publisher.on_shutdown()
