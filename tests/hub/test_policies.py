"""A subscriber that is slower than the publishers, under each policy; and the others, whom it must not disturb."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gapless import Channels, Event, Gap, Subscriber
from gapless._core.reader import POLICIES, Policy
from tests.hub.conftest import MakeHub
from tests.support.waiting import take, until

KILOBYTE = 1024


def numbers(items: list[Event | Gap]) -> list[Any]:
    """Events by number, gaps by how many they stand for."""
    return [int(item.data) if isinstance(item, Event) else ("lost", item.lost) for item in items]


async def publish(hub: Channels, first: int, last: int, *, channel: str = "a") -> None:
    """Publish these numbers, and return when they have arrived."""
    events = hub.stats.events
    for number in range(first, last):
        await hub.publish(b"%d" % number, channel)
    await until(lambda: hub.stats.events == events + last - first, "all to arrive")


async def test_backoff_drops_what_is_new_until_what_waits_was_taken(hub: Channels) -> None:
    async with hub.subscribe("a", policy="backoff", max_backlog=10) as subscriber:
        await publish(hub, 0, 30)
        assert subscriber.stats.waiting_events == 10
        assert numbers([entry.item for entry in await subscriber.entries(4)]) == [0, 1, 2, 3]
        subscriber.advance(4)
        await publish(hub, 30, 35)
        assert numbers(await subscriber.batch()) == [4, 5, 6, 7, 8, 9, ("lost", 25)]
        assert subscriber.stats.dropped == 25
        await publish(hub, 35, 45)
        assert numbers(await subscriber.batch()) == list(range(35, 45))
        await publish(hub, 45, 56)
        assert numbers(await subscriber.batch()) == [*range(45, 55), ("lost", 1)]
        assert subscriber.stats.dropped == 26
        assert subscriber.stats.delivered == 10 + 10 + 10 + 2
        assert subscriber.stats.waiting_events == 0


async def test_dropleft_drops_what_is_oldest(hub: Channels) -> None:
    async with hub.subscribe("a", policy="dropleft", max_backlog=10) as subscriber:
        await publish(hub, 0, 30)
        assert subscriber.stats.waiting_events == 10
        assert numbers(await subscriber.batch()) == [("lost", 20), *range(20, 30)]
        await publish(hub, 30, 40)
        assert numbers(await subscriber.batch()) == list(range(30, 40))
        await publish(hub, 40, 151)
        assert numbers(await subscriber.batch()) == [("lost", 101), *range(141, 151)]
        assert subscriber.stats.dropped == 121


async def test_disconnect_ends_with_a_gap_that_counts_all(hub: Channels) -> None:
    ended: list[str | None] = []
    async with hub.subscribe("a", policy="disconnect", max_backlog=10) as subscriber:
        subscriber.on_end = lambda: ended.append(subscriber.ended_by)
        await publish(hub, 0, 10)
        cursor = subscriber.cursor
        assert ended == []
        await publish(hub, 10, 11)
        assert ended == ["backlog"]
        assert hub.stats.subscribers == 0
        assert hub.stats.disconnected == 1
        await publish(hub, 11, 20)
        assert numbers([item async for item in subscriber]) == [("lost", 11)]
        assert await subscriber.batch() == []
        assert subscriber.ended_by == "backlog"
        assert subscriber.stats.dropped == 11
        # Whoever comes back gets it all.
        assert subscriber.cursor == cursor
    assert ended == ["backlog"]
    async with hub.subscribe("a", after=cursor) as subscriber:
        assert numbers(await take(aiter(subscriber), 20)) == list(range(20))


async def test_disconnect_gives_what_was_in_hand_first(hub: Channels) -> None:
    async with hub.subscribe("a", policy="disconnect", max_backlog=10) as subscriber:
        await publish(hub, 0, 8)
        stream = aiter(subscriber)
        assert numbers(await take(stream, 3)) == [0, 1, 2]
        await publish(hub, 8, 30)
        assert numbers([item async for item in stream]) == [3, 4, 5, 6, 7, ("lost", 11)]
        cursor = subscriber.cursor
    async with hub.subscribe("a", after=cursor) as subscriber:
        assert numbers(await take(aiter(subscriber), 22)) == list(range(8, 30))


@pytest.mark.parametrize("names", [["a"], ["a", "b"]])
async def test_spill_gets_everything_from_the_history(make_hub: MakeHub, names: list[str]) -> None:
    async with (
        make_hub({"history": 5000}) as hub,
        hub.subscribe(names, policy="spill", max_backlog=10) as subscriber,
    ):
        await publish(hub, 0, 2500)
        assert subscriber.stats.spilled == 1
        assert subscriber.stats.behind
        assert subscriber.stats.waiting_events == 1
        assert hub.stats.kept_events <= 200
        assert numbers(await take(aiter(subscriber), 2500)) == list(range(2500))
        await publish(hub, 2500, 2505)
        assert numbers(await take(aiter(subscriber), 5)) == list(range(2500, 2505))
        assert subscriber.stats.dropped == 0
        assert not subscriber.stats.behind


async def test_spill_gets_everything_while_others_go_on_publishing(make_hub: MakeHub) -> None:
    async with make_hub({"history": 5000}) as hub:

        async def consume(every: int) -> list[int]:
            async with hub.subscribe("a", policy="spill", max_backlog=3) as subscriber:
                entered.append(every)
                found: list[int] = []
                async for item in subscriber:
                    assert isinstance(item, Event), item
                    found.append(int(item.data))
                    if item.data == b"1499":
                        break
                    if len(found) % every == 0:
                        await asyncio.sleep(0.002)
                spilled.append(subscriber.stats.spilled)
                return found

        entered: list[int] = []
        spilled: list[int] = []
        tasks = [asyncio.create_task(consume(every)) for every in (7, 20, 50, 10_000)]
        await until(lambda: len(entered) == 4, "all to be subscribed")
        for number in range(1500):
            await hub.publish(b"%d" % number, "a")
        async with asyncio.timeout(20):
            assert await asyncio.gather(*tasks) == [list(range(1500))] * 4
        assert sum(spilled) > 0


async def test_what_the_history_has_lost_is_a_gap_for_spill(make_hub: MakeHub) -> None:
    async with (
        make_hub({"history": 100}) as hub,
        hub.subscribe("a", policy="spill", max_backlog=10) as subscriber,
    ):
        await publish(hub, 0, 1000)
        first, gap, *rest = await take(aiter(subscriber), 90)
        assert numbers([first]) == [0]
        assert isinstance(gap, Gap)
        assert gap.reason == "trimmed"
        begin = numbers(rest)[0]
        assert numbers(rest) == list(range(begin, begin + 88))


async def test_a_read_is_shared_by_all_that_have_spilled_at_the_same_place(make_hub: MakeHub) -> None:
    async with make_hub({"history": 1000}) as hub:
        subscribers = [hub.subscribe("a", policy="spill", max_backlog=5) for _ in range(200)]
        await asyncio.gather(*(subscriber.open() for subscriber in subscribers))
        await publish(hub, 0, 500)
        assert hub.stats.replays == 0
        results = await asyncio.gather(*(take(aiter(subscriber), 500) for subscriber in subscribers))
        assert all(numbers(result) == list(range(500)) for result in results)
        assert hub.stats.replays == 1
        for subscriber in subscribers:
            subscriber.close()


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("backoff", [0, 1, 2, ("lost", 17)]),
        ("dropleft", [("lost", 17), 17, 18, 19]),
        ("disconnect", [("lost", 4)]),
        ("spill", list(range(20))),
    ],
)
async def test_bytes_are_bounded_as_events_are(hub: Channels, policy: Policy, expected: list[Any]) -> None:
    def payload(number: int) -> bytes:
        return b"%d" % number + b" " * (KILOBYTE - len(str(number)))

    async with hub.subscribe("a", policy=policy, max_backlog_bytes=3 * KILOBYTE) as subscriber:
        for number in range(20):
            await hub.publish(payload(number), "a")
        await until(lambda: hub.stats.events == 20, "all to arrive")
        if policy != "dropleft":
            assert subscriber.stats.waiting_bytes <= 3 * KILOBYTE
        assert numbers(await take(aiter(subscriber), len(expected))) == expected


@pytest.mark.parametrize("policy", POLICIES)
async def test_one_event_may_be_larger_than_the_bound(hub: Channels, policy: Policy) -> None:
    large = b"x" * 200 * KILOBYTE
    async with hub.subscribe("a", policy=policy, max_backlog_bytes=KILOBYTE) as subscriber:
        for _ in range(3):
            await hub.publish(large, "a")
            assert await take(aiter(subscriber), 1) == [Event("a", large, subscriber_id(subscriber))]
        assert subscriber.stats.dropped == 0
        assert subscriber.ended_by is None


def subscriber_id(subscriber: Subscriber) -> str | None:
    (reader,) = subscriber._readers
    subscriber._fold()
    return reader.reached


@pytest.mark.parametrize("policy", POLICIES)
async def test_a_large_event_before_and_after_small_ones(hub: Channels, policy: Policy) -> None:
    async with hub.subscribe("a", policy=policy, max_backlog_bytes=KILOBYTE) as subscriber:
        for data in (b"0", b" " * 100 * KILOBYTE + b"1", b"2"):
            await hub.publish(data, "a")
        await until(lambda: hub.stats.events == 3, "all to arrive")
        expected = {
            "backoff": [0, ("lost", 2)],
            "dropleft": [("lost", 2), 2],
            "disconnect": [("lost", 2)],
            "spill": [0, 1, 2],
        }[policy]
        assert numbers(await take(aiter(subscriber), len(expected))) == expected


@pytest.mark.parametrize("policy", POLICIES)
async def test_others_are_not_disturbed_by_a_subscriber_that_takes_nothing(
    make_hub: MakeHub, policy: Policy
) -> None:
    async with make_hub({"history": 2000}) as hub, hub.subscribe(["a", "b"], policy=policy, max_backlog=5):
        fast = [hub.subscribe("a"), hub.subscribe(["a", "b"])]
        for subscriber in fast:
            await subscriber.open()
        consuming = [asyncio.create_task(take(aiter(subscriber), 1000)) for subscriber in fast]
        for number in range(1000):
            await hub.publish(b"%d" % number, "a")
            if number % 20 == 0:
                # The memory backend itself waits for nothing.
                await asyncio.sleep(0.001)
        for result in await asyncio.gather(*consuming):
            assert numbers(result) == list(range(1000))
        # Nor is more kept for it than it may have, whatever was published.
        assert hub.stats.kept_events <= 200
        for subscriber in fast:
            subscriber.close()


@pytest.mark.parametrize("policy", ["backoff", "dropleft"])
async def test_each_channel_has_its_own_backlog_and_its_own_gap(hub: Channels, policy: Policy) -> None:
    async with hub.subscribe(["a", "b"], policy=policy, max_backlog=3) as subscriber:
        await publish(hub, 0, 10)
        await publish(hub, 0, 2, channel="b")
        items = await subscriber.batch()
        assert [item for item in items if isinstance(item, Gap)] == [Gap("a", None, "backlog", 7)]
        assert numbers([item for item in items if item.channel == "b"]) == [0, 1]
        assert subscriber.stats.dropped == 7


@pytest.mark.parametrize("policy", ["backoff", "dropleft"])
async def test_who_comes_back_gets_also_what_was_dropped(hub: Channels, policy: Policy) -> None:
    """Before the gap the cursor stands before it, and after the next event behind it."""
    async with hub.subscribe("a", policy=policy, max_backlog=3) as subscriber:
        await publish(hub, 0, 10)
        stream = aiter(subscriber)
        seen: list[Any] = []
        while ("lost", 7) not in seen:
            seen += numbers(await take(stream, 1))
        cursor = subscriber.cursor
    delivered = [item for item in seen if isinstance(item, int)]
    async with hub.subscribe("a", after=cursor) as subscriber:
        rest = list(range(len(delivered), 10))
        assert numbers(await take(aiter(subscriber), len(rest))) == rest


@pytest.mark.parametrize("policy", POLICIES)
async def test_a_large_event_that_is_the_last(hub: Channels, policy: Policy) -> None:
    async with hub.subscribe("a", policy=policy, max_backlog_bytes=KILOBYTE) as subscriber:
        for data in (b"0", b"1", b" " * 100 * KILOBYTE + b"2"):
            await hub.publish(data, "a")
        await until(lambda: hub.stats.events == 3, "all to arrive")
        expected = {
            "backoff": [0, 1, ("lost", 1)],
            "dropleft": [("lost", 2), 2],
            "disconnect": [("lost", 3)],
            "spill": [0, 1, 2],
        }[policy]
        assert numbers(await take(aiter(subscriber), len(expected))) == expected
