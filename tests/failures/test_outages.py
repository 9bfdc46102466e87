"""What consumers and publishers see of an outage, and what the log says of it."""

from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import aclosing
from datetime import timedelta
from typing import Any

import pytest

import gapless._redis.commands
from gapless import (
    BackendError,
    BackendUnavailable,
    Event,
    Gap,
    MemoryChannelsBackend,
    PermissionDenied,
    PublishUncertain,
)
from gapless._core.backlog import Backlog
from gapless._core.subscription import Subscription
from tests.conftest import MakeBackend, backend_class, make_client
from tests.failures.test_link import behind_proxy, link, push_link
from tests.support.servers import Server
from tests.support.waiting import take, until


@pytest.mark.parametrize("kind", ["pubsub"])
async def test_events_missed_before_the_first_one_of_a_channel_are_a_gap(kind: str, server: Server) -> None:
    async with behind_proxy(kind, server) as (backend, proxy):
        await backend.subscribe(["room"])
        proxy.refusing = True
        proxy.cut()
        await until(lambda: not push_link(backend).connected, "the loss")
        server.command("PUBLISH", "LITESTAR_CHANNELS_room", "missed")
        proxy.refusing = False
        async with aclosing(backend.events()) as events:
            assert await take(events, 1) == [Gap("room", None, "disconnected")]
            await backend.publish(b"later", ["room"])
            (event,) = await take(events, 1)
            assert event.data == b"later"


async def test_a_subscribe_during_an_outage_begins_with_a_gap(kind: str, server: Server) -> None:
    async with behind_proxy(kind, server, subscribe_timeout=0.2) as (backend, proxy):
        proxy.refusing = True
        await backend.subscribe(["room"])
        proxy.refusing = False
        async with aclosing(backend.events()) as events:
            assert await take(events, 1) == [Gap("room", None, "disconnected")]
            await backend.publish(b"later", ["room"])
            assert (await take(events, 1))[0].data == b"later"


async def test_publishes_that_waited_for_the_connection_keep_their_order(
    kind: str, server: Server, make_backend: MakeBackend
) -> None:
    listener = make_backend()
    await listener.subscribe(["room"])
    async with behind_proxy(kind, server) as (backend, proxy):
        proxy.refusing = True
        calls = [asyncio.ensure_future(backend.publish(b"%d" % n, ["room"])) for n in range(200)]
        await until(lambda: link(backend).attempts, "the first attempt")
        proxy.refusing = False
        await asyncio.gather(*calls)
    async with aclosing(listener.stream_events()) as stream:
        assert [int(data) for _, data in await take(stream, 200)] == list(range(200))


async def test_a_client_that_fails_to_disconnect_does_not_make_the_process_deaf(
    kind: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with behind_proxy(kind, server) as (backend, proxy):
        await backend.subscribe(["room"])
        connection_class = backend._redis.connection_pool.connection_class

        original = connection_class.disconnect

        async def fail(self: Any, *args: Any, **options: Any) -> None:
            await original(self, *args, **options)
            raise TimeoutError("cannot disconnect")

        with monkeypatch.context() as patched:
            patched.setattr(connection_class, "disconnect", fail)
            for generation in (2, 3):
                proxy.cut()
                await until(
                    lambda generation=generation: push_link(backend).generation == generation,  # type: ignore[misc]
                    "the reconnect",
                )
        await until(lambda: backend._enter().session.subscriptions.live, "the resubscription")
        await backend.publish(b"1", ["room"])
        async with aclosing(backend.stream_events()) as stream:
            assert await take(stream, 1) == [("room", b"1")]


async def test_a_server_that_drops_every_connection_is_not_stormed(
    kind: str, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    async with behind_proxy(kind, server) as (backend, proxy):
        await backend.subscribe(["room"])
        before = proxy.accepted
        with caplog.at_level(logging.INFO, "gapless"):
            for _ in range(400):
                proxy.cut()
                await asyncio.sleep(0.005)
        # 2 s of doubling delays: about 8 for each link, however often the connection breaks.
        assert proxy.accepted - before <= 40
        assert len(caplog.records) <= 80


@pytest.mark.parametrize("kind", ["pubsub"])
async def test_a_permission_taken_away_and_given_back(server: Server, make_backend: MakeBackend) -> None:
    server.command(
        "ACL", "SETUSER", "u", "reset", "on", ">pw", "~*", "+@all", "resetchannels", "&*"
    )  # fmt: skip
    client = make_client(server, username="u", password="pw")
    backend = make_backend(redis=client, key_prefix="P")
    await backend.subscribe(["a", "b"])
    # The server cuts off a subscriber that loses the right to a channel.
    server.command("ACL", "SETUSER", "u", "resetchannels", "&P_a")
    live = backend._enter().session.subscriptions.live
    await until(lambda: set(live) == {b"P_a"}, "a to be back, and b not")
    server.command("ACL", "SETUSER", "u", "resetchannels", "&P_*")
    await until(lambda: set(live) == {b"P_a", b"P_b"}, "b to be back by itself")
    await backend.publish(b"1", ["b"])
    async with aclosing(backend.events()) as events:
        assert await take(events, 3) == [
            Gap("a", None, "disconnected"),
            Gap("b", None, "disconnected"),
            Event("b", b"1", None),
        ]
    await backend.on_shutdown()
    server.command("ACL", "DELUSER", "u")
    await client.aclose()


async def test_a_long_outage_does_not_flood_the_log(
    kind: str, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    async with behind_proxy(kind, server, subscribe_timeout=0.05, publish_timeout=0.05) as (backend, proxy):
        await backend.on_startup()
        with caplog.at_level(logging.INFO, "gapless"):
            proxy.refusing = True
            proxy.cut()
            await until(lambda: link(backend).attempts > 3, "some attempts")
            for number in range(50):
                await backend.subscribe([f"room{number}"])
            proxy.refusing = False
            await until(lambda: push_link(backend).connected and link(backend).connected, "the end")
        # Two links: lost, can't connect, restored; and the subscribe calls at powers of two.
        assert 6 <= len(caplog.records) <= 14, caplog.text


async def test_after_the_history_expired_while_quiet_nothing_was_missed(
    kind: str, make_backend: MakeBackend
) -> None:
    memory = MemoryChannelsBackend(10, stream_ttl=timedelta(milliseconds=20))
    backends = [memory] if kind == "pubsub" else [make_backend(stream_ttl=20)]
    for backend in backends:
        await backend.publish(b"1", ["room"])
        last = await backend.position("room")

        async def expired(backend: Any = backend) -> bool:
            return not await backend.get_history("room")

        await until(expired, "the history to expire")
        assert await backend.position("room") == last
        assert await backend.read("room", after=last) == []
        await backend.publish(b"2", ["room"])
        found = await backend.read("room", after=last)
        assert [getattr(item, "data", item) for item in found][-1] == b"2"


@pytest.mark.parametrize("kind", ["streams"])
async def test_the_last_id_is_kept_for_resume_ttl(make_backend: MakeBackend, client: Any) -> None:
    backend = make_backend(resume_ttl=timedelta(hours=2))
    await backend.publish(b"1", ["room"])
    key = backend._keys.last(backend._make_key("room"))
    assert 7_100_000 < await client.pttl(key) <= 7_200_000
    await backend.flush_all()
    assert await backend.position("room") is not None


@pytest.mark.parametrize("kind", ["streams"])
async def test_reading_on_survives_a_lost_script(make_backend: MakeBackend, server: Server) -> None:
    backend = make_backend()
    for number in range(3):
        await backend.publish(b"%d" % number, ["room"])
    first = (await backend.read("room"))[0]
    server.command("SCRIPT", "FLUSH")
    assert [event.data for event in await backend.read("room", after=first.id)] == [b"1", b"2"]


async def test_a_script_that_blocks_the_server_makes_nobody_deaf(kind: str, own_server: Server) -> None:
    """While it runs, PING and SUBSCRIBE are answered -BUSY."""
    client = make_client(own_server)
    backend: Any = backend_class(kind)(
        redis=client, liveness_timeout=0.4, **({"history": 10} if kind == "streams" else {})
    )
    await backend.on_startup()
    await backend.subscribe(["room"])
    # The name of Redis 6.2, which later ones still know.
    own_server.command("CONFIG", "SET", "lua-time-limit", "50")
    blocking = socket.socket(socket.AF_UNIX)
    blocking.connect(str(own_server.unix_socket))
    blocking.sendall(b"*3\r\n$4\r\nEVAL\r\n$18\r\nwhile true do end \r\n$1\r\n0\r\n")

    def busy() -> bool:
        try:
            own_server.command("GET", "x")
        except RuntimeError as error:
            return "BUSY" in str(error)
        return False

    await until(busy, "the script to block the server")
    new = asyncio.ensure_future(backend.subscribe(["new"]))
    await asyncio.sleep(1.5)
    own_server.command("SCRIPT", "KILL")
    blocking.close()
    await new
    live = backend._enter().session.subscriptions.live
    await until(lambda: len(live) == 2, "both channels to be live")
    await backend.publish(b"1", ["room", "new"])
    async with aclosing(backend.stream_events()) as stream:
        assert await take(stream, 2) == [("room", b"1"), ("new", b"1")]
    await backend.on_shutdown()
    await client.aclose()


async def test_a_first_subscribe_long_after_the_first_publish_is_confirmed(make_backend: MakeBackend) -> None:
    backend = make_backend(subscribe_timeout=0.1)
    await backend.publish(b"0", ["room"])
    await asyncio.sleep(0.3)
    await backend.subscribe(["room"])
    await backend.publish(b"1", ["room"])
    async with aclosing(backend.stream_events()) as stream:
        assert await take(stream, 1) == [("room", b"1")]


async def test_breaking_out_of_a_stream_loses_nothing(make_backend: MakeBackend) -> None:
    for backend in (make_backend(), MemoryChannelsBackend()):
        await backend.subscribe(["room"])
        for number in range(5):
            await backend.publish(b"%d" % number, ["room"])
        received = []
        for _ in range(5):
            async for event in backend.events():
                received.append(event.data)
                break
        assert received == [b"0", b"1", b"2", b"3", b"4"]


async def test_two_calls_for_one_channel_one_of_them_cancelled(make_backend: MakeBackend) -> None:
    backend = make_backend()
    await backend.on_startup()
    for delay in range(40):
        one, two = (asyncio.ensure_future(backend.subscribe(["room"])) for _ in range(2))
        for _ in range(delay % 8):
            await asyncio.sleep(0)
        one.cancel()
        await two
        await backend.publish(b"1", ["room"])
        async with aclosing(backend.stream_events()) as stream:
            assert await take(stream, 1) == [("room", b"1")]
        await backend.unsubscribe(["room"])


async def test_a_cancelled_shutdown_closes_everything_all_the_same(make_backend: MakeBackend) -> None:
    backend = make_backend()
    await backend.on_startup()
    tasks = len(asyncio.all_tasks())
    stopping = asyncio.ensure_future(backend.on_shutdown())
    await asyncio.sleep(0)
    stopping.cancel()
    await asyncio.gather(stopping, return_exceptions=True)
    await until(lambda: len(asyncio.all_tasks()) == tasks - 2, "both links to end")


async def test_a_shutdown_ends_a_waiting_subscribe(kind: str, server: Server) -> None:
    async with behind_proxy(kind, server) as (backend, proxy):
        proxy.refusing = True
        waiting = asyncio.ensure_future(backend.subscribe(["room"]))
        await until(lambda: push_link(backend).attempts, "an attempt")
        await backend.on_shutdown()
        with pytest.raises(BackendUnavailable, match="shut down"):
            await asyncio.wait_for(waiting, 2)


async def test_a_second_startup_that_fails_costs_the_first_nothing(server: Server, kind: str) -> None:
    server.command("ACL", "SETUSER", "v", "reset", "on", ">pw", "~*", "+@all", "resetchannels", "&*")
    client = make_client(server, username="v", password="pw")
    backend: Any = backend_class(kind)(redis=client, **({"history": 10} if kind == "streams" else {}))
    await backend.on_startup()
    await backend.subscribe(["room"])
    server.command("ACL", "SETUSER", "v", "resetpass", ">other")
    server.command("CLIENT", "KILL", "USER", "v")
    await until(lambda: link(backend).refusal and push_link(backend).refusal, "the refusal")
    errors = await asyncio.gather(
        backend.on_startup(), *(backend.publish(b"1", ["room"]) for _ in range(3)), return_exceptions=True
    )
    assert [type(error) for error in errors] == [PermissionDenied] * 4
    assert len({id(error) for error in errors}) == 4, "one exception for all would collect their tracebacks"
    server.command("ACL", "SETUSER", "v", "resetpass", ">pw")
    await until(lambda: backend._enter().session.subscriptions.live, "the resubscription")
    await until(lambda: link(backend).connected, "the command link")
    await backend.publish(b"1", ["room"])
    async with aclosing(backend.stream_events()) as stream:
        assert await take(stream, 1) == [("room", b"1")]
    await backend.on_shutdown()
    server.command("ACL", "DELUSER", "v")
    await client.aclose()


async def test_a_connection_lost_while_shaking_hands_is_noticed_at_once(
    kind: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with behind_proxy(kind, server, connect_timeout=30, publish_timeout=20) as (backend, proxy):
        original = gapless._redis.commands.CommandLink._check_server
        cuts: list[None] = []

        def cut() -> None:
            proxy.to_client.discarding = False
            proxy.cut()

        async def cut_first(self: Any) -> None:
            if not cuts:
                cuts.append(None)
                proxy.to_client.discarding = True
                asyncio.get_running_loop().call_later(0.1, cut)
            await original(self)

        monkeypatch.setattr("gapless._redis.commands.CommandLink._check_server", cut_first)
        await asyncio.wait_for(backend.publish(b"1", ["room"]), 10)


@pytest.mark.parametrize("kind", ["streams"])
async def test_a_foreign_frame_does_not_break_the_link(make_backend: MakeBackend, client: Any) -> None:
    backend = make_backend()
    await backend.subscribe(["a", "b"])
    await client.publish(backend._make_key("a"), b"g\xff g- x")
    await client.publish(backend._make_key("a"), b"g1-1 g- forged")
    for _ in range(3):
        await backend.publish(b"1", ["b", "a"])
    async with aclosing(backend.events()) as events:
        items = await take(events, 8)
    # What "a" missed of its own is a gap, since the forged one took the place of the entry before it.
    assert [item.data for item in items if isinstance(item, Event)] == [b"forged"] + [b"1"] * 6
    assert [item.channel for item in items if isinstance(item, Gap)] == ["a"]
    assert push_link(backend).generation == 1


async def test_the_list_of_channels_may_change_while_a_publish_waits(kind: str, server: Server) -> None:
    async with behind_proxy(kind, server) as (backend, proxy):
        await backend.publish(b"0", ["a"])
        proxy.to_client.discarding = True
        names = ["a"]
        call = asyncio.ensure_future(backend.publish(b"1", names))
        await asyncio.sleep(0.05)
        names.clear()
        proxy.cut()
        with pytest.raises(PublishUncertain) as caught:
            await call
        assert caught.value.channels == ("a",)
        proxy.to_client.discarding = False


@pytest.mark.parametrize("kind", ["streams"])
async def test_a_last_id_of_the_wrong_type_leaves_nothing_behind(
    make_backend: MakeBackend, client: Any
) -> None:
    backend = make_backend()
    await client.lpush(backend._keys.last(backend._make_key("bad")), "a list")
    for channels in (["bad"], ["good", "bad"]):
        with pytest.raises(BackendError, match="WRONGTYPE"):
            await backend.publish(b"1", channels)
    assert await backend.get_history("bad") == []
    assert await backend.get_history("good") == []


def test_channels_that_come_and_go_do_not_fill_a_full_backlog() -> None:
    backlog = Backlog(max_events=10, max_bytes=1000)
    for number in range(1000):
        subscription = Subscription(f"room{number}", b"")
        backlog.put([(subscription, b"1", None)], 1)
        subscription.wanted = False
    assert len(backlog._refused) <= 11
