"""A publish whose reply is lost: what the caller is told, and that the event is there once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from gapless import PublishUncertain, RedisChannelsStreamBackend
from tests.conftest import make_client
from tests.failures.test_link import link
from tests.redis.test_hot_path import command_calls
from tests.support.holding_proxy import HoldingProxy as Proxy
from tests.support.servers import Server
from tests.support.waiting import take, until

pytestmark = pytest.mark.usefixtures("wire")

Publish = asyncio.Future[None]


@asynccontextmanager
async def behind(
    server: Server, *, history: int = 1000, login: dict[str, str] | None = None, **options: Any
) -> AsyncIterator[tuple[RedisChannelsStreamBackend, Proxy]]:
    """A backend that is connected through a proxy."""
    async with Proxy(server.port) as proxy:
        client = make_client(server, **(login or {}))
        client.connection_pool.connection_kwargs["port"] = proxy.port
        backend = RedisChannelsStreamBackend(history, redis=client, **options)
        await backend.on_startup()
        yield backend, proxy
        await backend.on_shutdown()
        await client.aclose()


def stored(server: Server, channel: str) -> int:
    return int(server.command("XLEN", f"LITESTAR_CHANNELS_{channel}"))


async def grow_old(server: Server) -> None:
    """Wait until what is stored is certainly older than what is published next (see CLOCK_MARGIN_MS)."""
    seconds, microseconds = map(int, server.command("TIME"))
    now = (seconds, microseconds + 150_000)
    await until(lambda: tuple(map(int, server.command("TIME"))) > (now[0] + now[1] // 10**6, now[1] % 10**6))


async def lose_reply(server: Server, proxy: Proxy, publish: Callable[[], Any], channel: str) -> Publish:
    """Publish, and let the connection break between the execution and the reply."""
    before = stored(server, channel)
    proxy.swallow_replies = True
    call = asyncio.ensure_future(publish())
    await until(lambda: stored(server, channel) > before, "the entry")
    proxy.swallow_replies = False
    return call


async def lose_command(server: Server, proxy: Proxy, publish: Callable[[], Any], channel: str) -> Publish:
    """Publish, and let the command be lost on its way."""
    before = proxy.swallowed_bytes
    proxy.swallow_commands = True
    call = asyncio.ensure_future(publish())
    await until(lambda: proxy.swallowed_bytes > before, "the command")
    proxy.swallow_commands = False
    return call


either = pytest.mark.parametrize("lose", [lose_reply, lose_command])


@pytest.mark.parametrize("channels", [["room"], ["room", "other", "third"]])
@pytest.mark.parametrize(("before", "lose"), [(0, lose_reply), (3, lose_reply), (3, lose_command)])
async def test_it_is_published_once(
    server: Server, streams: Any, lose: Any, channels: list[str], before: int
) -> None:
    await streams.subscribe(channels)
    async with behind(server) as (backend, proxy):
        for _ in range(before):
            await backend.publish(b"before", channels)
        await grow_old(server)
        call = await lose(server, proxy, lambda: backend.publish(b"1", channels), channels[-1])
        proxy.cut()
        await call
        await backend.publish(b"end", channels)
        assert not backend._enter().session.publisher.lost._batches
    async with aclosing(streams.stream_events()) as stream:
        got = await take(stream, len(channels) * (before + 2))
    for channel in channels:
        expected = [b"before"] * before + [b"1", b"end"]
        assert [data for name, data in got if name == channel] == expected
        assert await streams.get_history(channel) == expected


async def test_bytes_that_come_late_over_the_old_connection_are_not_executed(server: Server) -> None:
    async with behind(server) as (backend, proxy):
        await backend.publish(b"0", ["room"])
        await grow_old(server)
        old = f"id={backend._enter().session.commands.peer.client_id} "
        assert old in server.command("CLIENT", "LIST").decode()
        proxy.holding = True
        call = asyncio.ensure_future(backend.publish(b"1", ["room"]))
        await until(lambda: proxy.held, "the command to be under way")
        proxy.holding = False
        proxy.cut()
        await call
        assert old not in server.command("CLIENT", "LIST").decode()
        proxy.release()
        assert await backend.get_history("room") == [b"0", b"1"]


async def test_a_paused_server_that_has_the_bytes_of_both_connections(own_server: Server) -> None:
    client = make_client(own_server)
    backend = RedisChannelsStreamBackend(
        1000, redis=client, liveness_timeout=0.4, connect_timeout=0.3, publish_timeout=15
    )
    await backend.publish(b"first", ["room"])
    own_server.pause()
    calls = [asyncio.ensure_future(backend.publish(b"%d" % n, ["room"])) for n in range(50)]
    await until(lambda: not link(backend).connected, "the loss to be noticed")
    await until(lambda: link(backend).attempts, "an attempt on the paused server")
    own_server.resume()
    await asyncio.gather(*calls)
    assert sorted(await backend.get_history("room")) == sorted([b"first", *(b"%d" % n for n in range(50))])
    await backend.on_shutdown()
    await client.aclose()


async def test_a_server_that_was_restarted_can_not_tell(own_server: Server) -> None:
    client = make_client(own_server)
    backend = RedisChannelsStreamBackend(10, redis=client)
    await backend.publish(b"1", ["room"])
    own_server.pause()
    call = asyncio.ensure_future(backend.publish(b"2", ["room"]))
    await until(lambda: backend._enter().session.commands.waiting, "the command to be sent")
    own_server.kill()
    own_server.start()
    with pytest.raises(PublishUncertain, match="restarted, or another one") as caught:
        await call
    assert caught.value.channels == ("room",)
    await backend.on_shutdown()
    await client.aclose()


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        (["-client", "+client|id"], "may still be on its way .CLIENT KILL"),
        (["-client"], "permission for CLIENT ID is missing"),
        (["-info"], "permission for INFO is missing"),
    ],
)
async def test_without_permissions_only_what_is_there_counts(
    server: Server, rules: list[str], reason: str
) -> None:
    server.command("ACL", "SETUSER", "u", "reset", "on", ">pw", "~*", "&*", "+@all", *rules)
    async with behind(server, login={"username": "u", "password": "pw"}) as (backend, proxy):
        call = await lose_reply(server, proxy, lambda: backend.publish(b"1", ["room"]), "room")
        proxy.cut()
        await call
        await until(lambda: link(backend).ready, "the connection")
        proxy.holding = True
        call = asyncio.ensure_future(backend.publish(b"2", ["room"]))
        await until(lambda: proxy.held, "the command to be under way")
        proxy.holding = False
        proxy.cut()
        with pytest.raises(PublishUncertain, match=reason):
            await call
        assert await backend.get_history("room") == [b"1"]
        # It was right not to send it again.
        proxy.release()
        await until(lambda: stored(server, "room") == 2, "the late entry")
    server.command("ACL", "DELUSER", "u")


@either
async def test_a_stream_that_does_not_reach_back_can_not_tell(
    server: Server, streams: Any, lose: Any
) -> None:
    async with behind(server, history=3, cap_streams_approximate=False) as (backend, proxy):
        await backend.publish(b"0", ["room"])
        call = await lose(server, proxy, lambda: backend.publish(b"1", ["room"]), "room")
        other = RedisChannelsStreamBackend(3, redis=streams._redis, cap_streams_approximate=False)
        for _ in range(5):
            await other.publish(b"x", ["room"])
        await other.on_shutdown()
        proxy.cut()
        with pytest.raises(PublishUncertain, match="doesn't reach back"):
            await call


async def test_a_stream_that_was_begun_since_can_not_tell(server: Server, streams: Any) -> None:
    async with behind(server) as (backend, proxy):
        call = await lose_command(server, proxy, lambda: backend.publish(b"1", ["room"]), "room")
        await streams.publish(b"other", ["room"])
        proxy.cut()
        with pytest.raises(PublishUncertain, match="doesn't reach back"):
            await call


@either
async def test_what_has_expired_can_not_tell(server: Server, lose: Any) -> None:
    async with behind(server, stream_ttl=200, resume_ttl=200) as (backend, proxy):
        call = await lose(server, proxy, lambda: backend.publish(b"1", ["room"]), "room")
        await asyncio.sleep(0.25)
        proxy.cut()
        with pytest.raises(PublishUncertain, match="expired"):
            await call


async def test_a_stream_that_was_deleted_can_not_tell(server: Server, streams: Any) -> None:
    async with behind(server) as (backend, proxy):
        call = await lose_reply(server, proxy, lambda: backend.publish(b"1", ["room"]), "room")
        assert await streams.flush_all() == 1
        proxy.cut()
        with pytest.raises(PublishUncertain, match="deleted"):
            await call


async def test_without_history_there_is_nothing_to_look_for(server: Server) -> None:
    async with behind(server, history=0) as (backend, proxy):
        evalsha = command_calls(server)["evalsha"]
        proxy.swallow_replies = True
        call = asyncio.ensure_future(backend.publish(b"1", ["room"]))
        await until(lambda: command_calls(server)["evalsha"] > evalsha, "the execution")
        proxy.swallow_replies = False
        proxy.cut()
        with pytest.raises(PublishUncertain, match="nothing is stored"):
            await call


async def test_a_thousand_at_once_take_few_commands(server: Server) -> None:
    async with behind(server, history=5000) as (backend, proxy):
        await backend.publish(b"first", ["room", *(f"room{n}" for n in range(20))])
        await grow_old(server)

        def publish(numbers: range) -> Callable[[], Publish]:
            return lambda: asyncio.gather(  # type: ignore[return-value]
                *(backend.publish(b"%d" % n, [f"room{n % 20}"] if n % 2 else ["room"]) for n in numbers)
            )

        executed = await lose_reply(server, proxy, publish(range(500)), "room")
        await until(lambda: sum(stored(server, f"room{n}") for n in range(20)) == 20 + 250, "the entries")
        lost = await lose_command(server, proxy, publish(range(500, 1000)), "room")
        before = command_calls(server)
        proxy.cut()
        await asyncio.gather(executed, lost)
        spent: Counter[str] = command_calls(server) - before
        # Redis 6.2 counts all CLIENT commands as one, those of the handshakes included.
        assert spent["client|kill"] == 1 or spent["client"] <= 6
        # Those that were not executed, and one look at each of the streams.
        assert spent["evalsha"] == 500 + 11
        kept = [*await backend.get_history("room")]
        for number in range(20):
            kept += await backend.get_history(f"room{number}")
        assert Counter(kept) == Counter([b"first"] * 21 + [b"%d" % n for n in range(1000)])


async def test_many_cuts_at_any_moment(server: Server) -> None:
    async with behind(server, history=5000) as (backend, proxy):
        await backend.publish(b"first", ["room", *(f"room{n}" for n in range(10))])
        await grow_old(server)

        async def worker(worker_number: int) -> None:
            for number in range(30):
                await backend.publish(b"%d-%d" % (worker_number, number), ["room", f"room{worker_number}"])

        workers = asyncio.gather(*(worker(number) for number in range(10)))
        cuts = 0
        while not workers.done():
            await asyncio.sleep(0.003 * (cuts % 7))
            # A connection that is always cut at once would never be stable, and be made ever later.
            if cuts < 25 and link(backend).ready:
                cuts += 1
                proxy.cut()
        await workers
        kept = await backend.get_history("room")
        for worker_number in range(10):
            ours = [data for data in kept if data.startswith(b"%d-" % worker_number)]
            assert ours == [b"%d-%d" % (worker_number, number) for number in range(30)]
            assert [b"first", *ours] == await backend.get_history(f"room{worker_number}")


async def lose_for_long(server: Server, backend: Any, proxy: Proxy) -> Publish:
    call = await lose_reply(server, proxy, lambda: backend.publish(b"1", ["room"]), "room")
    proxy.refusing = True
    proxy.cut()
    await until(lambda: link(backend).attempts, "an attempt to connect")
    return call


async def test_a_server_that_stays_away_bounds_the_wait(server: Server) -> None:
    async with behind(server, publish_timeout=0.3) as (backend, proxy):
        call = await lose_for_long(server, backend, proxy)
        with pytest.raises(PublishUncertain, match=r"no time to look .* within 0\.3 s"):
            await asyncio.wait_for(call, 3)


async def test_a_shutdown_ends_the_wait(server: Server) -> None:
    async with behind(server) as (backend, proxy):
        call = await lose_for_long(server, backend, proxy)
        await asyncio.wait_for(backend.on_shutdown(), 3)
        with pytest.raises(PublishUncertain, match="shut down"):
            await asyncio.wait_for(call, 1)
        await until(lambda: not recovery_tasks(), "the look-up to end")


async def test_a_cancelled_caller_leaves_nothing(server: Server) -> None:
    async with behind(server) as (backend, proxy):
        call = await lose_for_long(server, backend, proxy)
        assert recovery_tasks()
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await until(lambda: not recovery_tasks(), "the look-up to end")
        assert not backend._enter().session.publisher.lost._batches
        assert not link(backend)._waiters


def recovery_tasks() -> list[Any]:
    return [task for task in asyncio.all_tasks() if task.get_name() == "gapless recovery"]
