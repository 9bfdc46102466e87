"""What a backend tells of itself: `health()`, `on_gap`, and the log."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gapless import (
    BackendError,
    BackendUnavailable,
    ConfigurationError,
    Gap,
    Health,
    MemoryChannelsBackend,
    PublishUncertain,
    RedisChannelsPubSubBackend,
    RedisChannelsStreamBackend,
)
from tests.conftest import MakeBackend, make_client
from tests.failures.test_link import behind_proxy, push_link
from tests.failures.test_lost_replies import grow_old
from tests.failures.test_recovery import cut, publish
from tests.redis.test_hot_path import command_calls
from tests.support.servers import Server
from tests.support.waiting import take, until

pytestmark = pytest.mark.once


async def test_before_the_first_use_all_is_zero(make_backend: MakeBackend) -> None:
    backend = make_backend()
    assert backend.health() == Health()
    assert not backend.health().connected
    assert not backend.health().whole


async def test_a_healthy_backend(make_backend: MakeBackend, kind: str) -> None:
    backend = make_backend(**({"sweep_interval": 0.05} if kind == "streams" else {}))
    await backend.subscribe(["a", "b"])
    await backend.publish(b"1", ["a", "b"])
    await backend.publish(b"2", ["b"])
    async with aclosing(backend.events()) as events:
        await take(events, 3)
        health = backend.health()
        assert (health.connected, health.whole) == (True, True)
        assert (health.channels_wanted, health.channels_confirmed, health.channels_syncing) == (2, 2, 0)
        assert (health.events, health.publishes.published, health.gaps, health.lost_events) == (3, 2, {}, 0)
        assert (health.consumers, health.consumers_behind) == (1, 0)
        assert (health.queue_events, health.queue_bytes) == (0, 0)
        for link in (health.subscriber, health.commands):
            assert link.connected_since is not None
            assert timedelta(0) <= datetime.now(UTC) - link.connected_since < timedelta(minutes=1)
            assert (link.generation, link.reconnects, link.failed_attempts) == (1, 0, 0)
            assert link.last_error is None
        if kind == "pubsub":
            assert health.sweep_lag_seconds is None
        else:
            await until(lambda: backend.health().sweep_lag_seconds is not None, "a sweep")
            assert 0 <= backend.health().sweep_lag_seconds < 5
    assert backend.health().consumers == 0
    json.dumps(dataclasses.asdict(health), default=str)
    with pytest.raises(dataclasses.FrozenInstanceError):
        health.events = 5


async def test_an_outage(server: Server, kind: str, client: Any) -> None:
    publisher = RedisChannelsStreamBackend(1000, redis=client)
    async with behind_proxy(kind, server) as (backend, proxy):
        await backend.subscribe(["room"])
        before = backend.health().subscriber
        await cut(backend, proxy)
        if kind == "streams":
            await publish(publisher, 1, 2, 3)
        await until(lambda: backend.health().subscriber.failed_attempts >= 2, "failed attempts")
        health = backend.health()
        assert (health.connected, health.whole) == (False, False)
        assert (health.channels_wanted, health.channels_confirmed) == (1, 0)
        assert health.subscriber.connected_since is None
        assert health.subscriber.last_error
        proxy.refusing = False
        await until(lambda: backend.health().whole, "the reconnect")
        health = backend.health()
        assert (health.subscriber.reconnects, health.subscriber.failed_attempts) == (1, 0)
        assert health.subscriber.connected_since > before.connected_since
        assert health.subscriber.last_error, "it stays"
        if kind == "streams":
            assert (health.repairs, health.repaired_events, health.events, health.gaps) == (1, 3, 3, {})
        else:
            assert (health.gaps, health.events, health.lost_events) == ({"disconnected": 1}, 0, 0)
    await publisher.on_shutdown()


async def test_publishes_that_fail(server: Server, kind: str, client: Any) -> None:
    async with behind_proxy(kind, server, publish_timeout=0.3) as (backend, proxy):
        await backend.publish(b"1", ["room"])
        if kind == "streams":
            await client.lpush(backend._make_key("bad"), "a list")
            with pytest.raises(BackendError):
                await backend.publish(b"1", ["bad"])
        with pytest.raises(TypeError):
            await backend.publish("text", ["room"])
        proxy.refusing = True
        proxy.cut()
        await until(lambda: not backend.health().commands.connected_since, "the loss")
        with pytest.raises(BackendUnavailable):
            await backend.publish(b"1", ["room"])
        outcomes = backend.health().publishes
        assert outcomes.published == 1
        assert outcomes.refused == (2 if kind == "streams" else 1)
        assert (outcomes.unavailable, outcomes.uncertain, outcomes.resolved) == (1, 0, 0)


async def test_a_publish_whose_reply_is_lost(server: Server, kind: str) -> None:
    async with behind_proxy(kind, server) as (backend, proxy):
        await backend.publish(b"1", ["room"])
        await grow_old(server)
        proxy.drop_next_reply(then_cut=True)
        lost = backend.publish(b"2", ["room"])
        if kind == "streams":
            await lost
        else:
            with pytest.raises(PublishUncertain):
                await lost
        outcomes = backend.health().publishes
        found = (outcomes.published, outcomes.resolved, outcomes.uncertain)
        assert found == ((2, 1, 0) if kind == "streams" else (1, 0, 1))


async def test_a_full_queue(client: Any) -> None:
    backend = RedisChannelsStreamBackend(1000, redis=client, max_backlog=10)
    await backend.subscribe(["room"])
    await publish(backend, *range(100, 200))
    await until(lambda: backend.health().events == 100, "all events")
    health = backend.health()
    assert (health.queue_events, health.queue_bytes) == (10, 30)
    assert (health.consumers, health.consumers_behind, health.whole) == (0, 1, False)
    async with aclosing(backend.events()) as events:
        await take(events, 100)
    health = backend.health()
    assert (health.queue_events, health.consumers_behind, health.whole) == (0, 0, True)
    assert (health.refilled_events, health.events, health.lost_events) == (90, 100, 0)
    await backend.on_shutdown()


async def test_from_another_thread(make_backend: MakeBackend) -> None:
    backend = make_backend()
    await backend.subscribe(["room"])
    assert (await asyncio.to_thread(backend.health)).channels_confirmed == 1


async def test_on_gap_hears_of_each_gap_once(client: Any) -> None:
    found: list[Gap] = []
    backend = RedisChannelsPubSubBackend(redis=client, on_gap=found.append)
    await backend.subscribe(["a", "b"])
    async with aclosing(backend.events()) as one, aclosing(backend.stream_events()) as two:
        first, second = asyncio.ensure_future(anext(one)), asyncio.ensure_future(anext(two))
        await asyncio.sleep(0)
        push_link(backend).renew("for the test")
        gaps = [await first, *await take(one, 1)]
        await backend.publish(b"1", ["a"])
        assert await second == ("a", b"1")
    assert found == gaps == [Gap("a", None, "disconnected"), Gap("b", None, "disconnected")]
    assert backend.health().gaps == {"disconnected": 2}
    await backend.on_shutdown()


async def test_on_gap_hears_what_a_slow_consumer_lost(client: Any) -> None:
    found: list[Gap] = []
    backend = RedisChannelsPubSubBackend(redis=client, on_gap=found.append, max_backlog=10)
    await backend.subscribe(["room"])
    await asyncio.gather(*(publish(backend, n) for n in range(30)))
    await until(lambda: backend.health().events == 30, "all events")
    async with aclosing(backend.stream_events()) as events:
        await take(events, 10)
        await publish(backend, 99)
        assert await take(events, 1) == [("room", b"99")]
    assert found == [Gap("room", None, "backlog", 20)]
    assert backend.health().lost_events == 20
    await backend.on_shutdown()


async def test_an_on_gap_that_fails_is_logged_and_ends_nothing(
    client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(gap: Gap) -> None:
        raise RuntimeError(gap.channel)

    backend = RedisChannelsPubSubBackend(redis=client, on_gap=fail)
    await backend.subscribe(["room"])
    push_link(backend).renew("for the test")
    async with aclosing(backend.events()) as events:
        assert await take(events, 1) == [Gap("room", None, "disconnected")]
        await publish(backend, 1)
        assert (await take(events, 1))[0].data == b"1"
    assert "on_gap failed" in caplog.text
    await backend.on_shutdown()


@pytest.mark.parametrize("wrong", ["text", 5])
async def test_an_on_gap_that_is_no_function(client: Any, wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="on_gap"):
        RedisChannelsPubSubBackend(redis=client, on_gap=wrong)


async def test_an_on_gap_that_would_have_to_be_awaited(client: Any) -> None:
    async def on_gap(gap: Gap) -> None:
        raise AssertionError(gap)

    with pytest.raises(ConfigurationError, match="coroutine"):
        RedisChannelsStreamBackend(1, redis=client, on_gap=on_gap)


async def test_many_gaps_are_one_line_in_the_log(client: Any, caplog: pytest.LogCaptureFixture) -> None:
    backend = RedisChannelsPubSubBackend(redis=client)
    await backend.subscribe([f"room{n}" for n in range(500)])
    for _ in range(3):
        gaps = backend.health().gaps.get("disconnected", 0)
        push_link(backend).renew("for the test")
        await until(lambda gaps=gaps: backend.health().gaps.get("disconnected", 0) == gaps + 500, "the gaps")
    await backend.on_shutdown()
    lines = [record.getMessage() for record in caplog.records if "gaps" in record.getMessage()]
    assert sum(int(line.split()[0]) for line in lines) == 1500
    assert len(lines) <= 4
    assert "(disconnected " in lines[0]
    assert all(record.levelno <= logging.WARNING for record in caplog.records)


async def test_each_slow_consumer_has_gaps_of_its_own(client: Any) -> None:
    found: list[Gap] = []
    backend = RedisChannelsPubSubBackend(redis=client, on_gap=found.append, max_backlog=10)
    await backend.subscribe(["room"])
    async with aclosing(backend.events()) as one, aclosing(backend.events()) as two:
        waiting = [asyncio.ensure_future(anext(events)) for events in (one, two)]
        await asyncio.sleep(0)
        for number in range(24):
            await publish(backend, number)
        await until(lambda: backend.health().events == 24, "all events")
        await asyncio.gather(*waiting)
        assert (found, backend.health().consumers_behind) == ([], 2)
        for events in (one, two):
            assert (await take(events, 11))[-1].reason == "backlog"
    assert len(found) == 2
    assert backend.health().lost_events == sum(gap.lost or 0 for gap in found)
    await backend.on_shutdown()


async def test_a_large_payload_is_no_repair(client: Any) -> None:
    backend = RedisChannelsStreamBackend(100, redis=client, max_push_bytes=10)
    await backend.subscribe(["room"])
    async with aclosing(backend.events()) as events:
        for number in range(5):
            await backend.publish(b"%d" % number * 100, ["room"])
            assert backend.health().whole
            await take(events, 1)
    health = backend.health()
    assert (health.events, health.repairs, health.repaired_events) == (5, 0, 0)
    await backend.on_shutdown()


async def test_sweeps_that_fail_do_not_count(server: Server, client: Any) -> None:
    server.command("ACL", "SETUSER", "swept", "on", ">secret", "~*", "&*", "+@all", "-mget")
    other = make_client(server, username="swept", password="secret")
    refused = RedisChannelsStreamBackend(100, redis=other, sweep_interval=0.02)
    permitted = RedisChannelsStreamBackend(100, redis=client, sweep_interval=0.02)
    for backend in (refused, permitted):
        await backend.subscribe(["room"])
    before = command_calls(server)
    await until(lambda: command_calls(server)["mget"] > before["mget"] + 20, "many sweeps")
    assert refused.health().sweep_lag_seconds is None
    assert permitted.health().sweep_lag_seconds is not None
    for backend in (refused, permitted):
        await backend.on_shutdown()
    await other.aclose()
    server.command("ACL", "DELUSER", "swept")


async def test_a_publish_that_fails_counts_in_its_own_loop(client: Any) -> None:
    backend = RedisChannelsPubSubBackend(redis=client)
    await backend.publish(b"1", ["room"])

    def elsewhere() -> Health:
        async def main() -> Health:
            with pytest.raises(TypeError):
                await backend.publish("text", ["room"])  # type: ignore[arg-type]
            return backend.health()

        return asyncio.run(main())

    await asyncio.to_thread(elsewhere)
    assert backend.health().publishes.refused == 0
    await backend.on_shutdown()


async def test_the_memory_backend_tells_the_same() -> None:
    found: list[Gap] = []
    backend = MemoryChannelsBackend(5, max_backlog=10, on_gap=found.append)
    assert backend.health().whole
    await backend.subscribe(["room"])
    await publish(backend, *range(30))
    health = backend.health()
    assert (health.events, health.queue_events, health.consumers_behind) == (30, 10, 1)
    assert (health.publishes.published, health.channels_confirmed, health.connected) == (30, 1, True)
    async with aclosing(backend.events()) as events:
        got = await take(events, 10)
        while got[-1].channel and not (hasattr(got[-1], "data") and got[-1].data == b"29"):
            got += await take(events, 1)
    assert backend.health().lost_events == sum(gap.lost or 0 for gap in found) == 15
    assert backend.health().whole
    await backend.on_shutdown()


async def test_an_on_gap_that_raises_a_cancellation_ends_nothing(client: Any) -> None:
    def on_gap(gap: Gap) -> None:
        raise asyncio.CancelledError(gap.channel)

    backend = RedisChannelsPubSubBackend(redis=client, on_gap=on_gap)
    await backend.subscribe(["a", "b"])
    push_link(backend).renew("for the test")
    async with aclosing(backend.events()) as events:
        assert len(await take(events, 2)) == 2
    assert (backend.health().subscriber.reconnects, backend.health().events) == (1, 0)
    await backend.on_shutdown()


async def test_health_is_right_inside_on_gap(client: Any) -> None:
    seen: list[int] = []
    backend = RedisChannelsPubSubBackend(redis=client, on_gap=lambda _: seen.append(backend.health().events))
    await backend.subscribe(["a", "b"])
    push_link(backend).renew("for the test")
    await until(lambda: len(seen) == 2, "the gaps")
    assert seen == [0, 0]
    await backend.on_shutdown()


async def test_another_loop_that_ended_leaves_the_living_one(client: Any) -> None:
    backend = RedisChannelsPubSubBackend(redis=client)
    await backend.subscribe(["room"])

    async def elsewhere() -> None:
        await backend.publish(b"1", ["other"])
        await backend.on_shutdown()

    await asyncio.to_thread(asyncio.run, elsewhere())
    assert (await asyncio.to_thread(backend.health)).channels_confirmed == 1
    await backend.on_shutdown()


async def test_many_slow_consumers_at_a_shutdown_are_few_lines(
    client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    backend = RedisChannelsPubSubBackend(redis=client, max_backlog=1)
    await backend.subscribe(["room"])
    consumers = [backend.events() for _ in range(200)]
    waiting = [asyncio.ensure_future(anext(events)) for events in consumers]
    await asyncio.sleep(0)
    await publish(backend, 1, 2, 3)
    await asyncio.gather(*waiting)
    await backend.on_shutdown()
    for events in consumers:
        assert [item async for item in events]
    assert backend.health() == Health()
    assert len([record for record in caplog.records if "gaps" in record.getMessage()]) < 20
