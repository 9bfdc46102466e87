"""What consumers and publishers see of an outage, and what the log says of it."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from datetime import timedelta
from typing import Any

import pytest

from gapless import Event, Gap, MemoryChannelsBackend
from tests.conftest import MakeBackend, make_client
from tests.failures.test_link import behind_proxy, link, push_link
from tests.support.servers import Server
from tests.support.waiting import take, until


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
