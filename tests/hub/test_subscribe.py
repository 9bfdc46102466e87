"""What a subscriber gets: live, from the history, and after it comes back."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from gapless import (
    BackendUnavailable,
    Channels,
    ConfigurationError,
    Event,
    Gap,
    HubClosed,
    MemoryChannelsBackend,
    UnknownChannel,
)
from tests.hub.conftest import MakeHub
from tests.support.waiting import take, until


def data(items: list[Event | Gap]) -> list[bytes]:
    return [item.data if isinstance(item, Event) else item.reason.encode() for item in items]


async def test_every_subscriber_gets_every_event_in_order(hub: Channels) -> None:
    async def consume(channel: str) -> list[bytes]:
        async with hub.subscribe(channel) as subscriber:
            entered.append(channel)
            return data(await take(aiter(subscriber), 50))

    entered: list[str] = []
    consumers = [asyncio.create_task(consume(name)) for name in ["a"] * 20 + ["b"] * 20]
    await until(lambda: len(entered) == 40, "all to be subscribed")
    for number in range(50):
        await hub.publish(b"%d" % number, ["a", "b"])
    expected = [b"%d" % number for number in range(50)]
    assert await asyncio.gather(*consumers) == [expected] * 40


async def test_one_subscription_per_channel_at_the_backend(
    hub: Channels, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[list[str]] = []
    subscribe = hub.backend.subscribe

    async def counted(channels: Any) -> None:
        calls.append(list(channels))
        await subscribe(channels)

    monkeypatch.setattr(hub.backend, "subscribe", counted)
    subscribers = [hub.subscribe([f"c{number % 10}"]) for number in range(100)]
    await asyncio.gather(*(subscriber.open() for subscriber in subscribers))
    assert sorted(name for call in calls for name in call) == [f"c{number}" for number in range(10)]
    assert len(calls) == 1, "all that is asked for in one tick goes in one call"
    for subscriber in subscribers:
        subscriber.close()


async def test_channels_of_one_subscriber_come_in_the_order_of_publishing(hub: Channels) -> None:
    async with hub.subscribe(["a", "b", "c"]) as subscriber:
        for number in range(60):
            await hub.publish(b"%d" % number, "abc"[number % 3])
        events = await take(aiter(subscriber), 60)
    assert data(events) == [b"%d" % number for number in range(60)]
    assert [event.channel for event in events] == list("abc" * 20)


async def test_a_batch_is_all_that_waits(hub: Channels) -> None:
    async with hub.subscribe("a") as subscriber:
        for number in range(40):
            await hub.publish(b"%d" % number, "a")
        await until(lambda: subscriber.stats.waiting_events == 40, "all to arrive")
        assert len(await subscriber.batch()) == 40


async def test_history_then_live_without_hole_or_duplicate(hub: Channels) -> None:
    """Also for the two hundredth subscriber of a channel, while others publish all the time."""
    stop = False

    async def publish() -> int:
        number = 0
        while not stop:
            await hub.publish(b"%d" % number, "a")
            await asyncio.sleep(0)
            number += 1
        return number

    publishing = asyncio.create_task(publish())
    results: list[list[int]] = []

    async def consume() -> None:
        async with hub.subscribe("a", history=10) as subscriber:
            results.append([int(event.data) for event in await take(aiter(subscriber), 60)])

    await until(lambda: hub.stats.published > 20, "some events")
    for _ in range(10):
        await asyncio.gather(*(consume() for _ in range(20)))
    stop = True
    await publishing
    assert len(results) == 200
    for numbers in results:
        assert numbers == list(range(numbers[0], numbers[0] + 60))


async def test_who_comes_back_gets_exactly_what_it_missed(hub: Channels) -> None:
    async with hub.subscribe(["a", "b"]) as subscriber:
        await hub.publish(b"0", ["a", "b"])
        await take(aiter(subscriber), 2)
        cursor = subscriber.cursor
    for number in range(1, 6):
        await hub.publish(b"%d" % number, ["a"])
    await hub.publish(b"6", ["b"])
    async with hub.subscribe(["a", "b"], after=cursor) as subscriber:
        await hub.publish(b"7", ["a"])
        items = await take(aiter(subscriber), 7)
    assert data([item for item in items if item.channel == "a"]) == [b"1", b"2", b"3", b"4", b"5", b"7"]
    assert data([item for item in items if item.channel == "b"]) == [b"6"]


async def test_a_cursor_is_right_after_each_event(hub: Channels) -> None:
    async with hub.subscribe("a") as subscriber:
        cursors = [subscriber.cursor]
        for number in range(5):
            await hub.publish(b"%d" % number, "a")
        async for _ in subscriber:
            cursors.append(subscriber.cursor)
            if len(cursors) == 6:
                break
    for count, cursor in enumerate(cursors[:-1]):
        async with hub.subscribe("a", after=cursor) as subscriber:
            assert data(await take(aiter(subscriber), 5 - count)) == [b"%d" % n for n in range(count, 5)]
    async with hub.subscribe("a", after=cursors[-1]) as subscriber:
        assert subscriber.stats.waiting_events == 0


async def test_an_event_that_a_loop_was_left_at_is_the_last_that_counts_as_taken(hub: Channels) -> None:
    async with hub.subscribe("a") as subscriber:
        for number in range(10):
            await hub.publish(b"%d" % number, "a")
        await until(lambda: subscriber.stats.waiting_events == 10, "all to arrive")
        async for event in subscriber:
            if isinstance(event, Event) and event.data == b"3":
                break
        cursor = subscriber.cursor
        assert data(await subscriber.batch()) == [b"%d" % number for number in range(4, 10)]
    async with hub.subscribe("a", after=cursor) as subscriber:
        assert data(await take(aiter(subscriber), 6)) == [b"%d" % number for number in range(4, 10)]


async def test_a_history_that_is_too_short_is_a_gap_and_is_told_once(make_hub: MakeHub) -> None:
    async with make_hub({"history": 3}) as hub:
        async with hub.subscribe("a") as subscriber:
            cursor = subscriber.cursor
        for number in range(300):
            await hub.publish(b"%d" % number, "a")
        async with hub.subscribe("a", after=cursor) as subscriber:
            gap, *events = await subscriber.batch()
            assert isinstance(gap, Gap)
            assert gap.reason == "trimmed"
            assert data(events) == [b"%d" % n for n in range(300 - len(events), 300)]
            cursor = subscriber.cursor
        async with hub.subscribe("a", after=cursor) as subscriber:
            await hub.publish(b"300", "a")
            assert data(await take(aiter(subscriber), 1)) == [b"300"]


async def test_reads_are_shared_by_those_who_go_on_from_the_same_place(hub: Channels) -> None:
    async with hub.subscribe("a") as subscriber:
        cursor = subscriber.cursor
        for number in range(100):
            await hub.publish(b"%d" % number, "a")
    before = hub.stats.replays
    subscribers = [hub.subscribe("a", after=cursor) for _ in range(1000)]
    await asyncio.gather(*(subscriber.open() for subscriber in subscribers))
    for subscriber in subscribers:
        assert data(await subscriber.batch()) == [b"%d" % number for number in range(100)]
        subscriber.close()
    assert hub.stats.replays - before == 1


async def test_a_long_absence_is_read_page_by_page(make_hub: MakeHub) -> None:
    async with make_hub({"history": 5000}) as hub:
        async with hub.subscribe("a") as subscriber:
            cursor = subscriber.cursor
        await asyncio.gather(*(hub.publish(b"%d" % number, "a") for number in range(3000)))
        async with hub.subscribe("a", after=cursor) as subscriber:
            await hub.publish(b"3000", "a")
            assert data(await take(aiter(subscriber), 3001)) == [b"%d" % number for number in range(3001)]


async def test_a_channel_is_given_up_some_time_after_its_last_subscriber_left(make_hub: MakeHub) -> None:
    async with make_hub(linger=0.05) as hub:
        async with hub.subscribe("a"):
            pass
        assert hub.stats.channels == 1
        async with hub.subscribe("a"):
            pass
        await until(lambda: hub.stats.channels == 0, "the end of the subscription")
        async with hub.subscribe("a") as subscriber:
            await hub.publish(b"again", "a")
            assert data(await take(aiter(subscriber), 1)) == [b"again"]


async def test_who_comes_while_a_channel_is_given_up_gets_its_events(
    make_hub: MakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with make_hub(linger=0.01) as hub:
        unsubscribe = hub.backend.unsubscribe
        leaving, may_leave = asyncio.Event(), asyncio.Event()

        async def slow(channels: Any) -> None:
            leaving.set()
            await may_leave.wait()
            await unsubscribe(channels)

        monkeypatch.setattr(hub.backend, "unsubscribe", slow)
        async with hub.subscribe("a"):
            pass
        await leaving.wait()
        subscriber = hub.subscribe("a")
        opening = asyncio.create_task(subscriber.open())
        await asyncio.sleep(0)
        may_leave.set()
        await opening
        await hub.publish(b"x", "a")
        assert data(await take(aiter(subscriber), 1)) == [b"x"]
        subscriber.close()


async def test_the_end_of_the_hub_ends_the_iteration_after_what_waits(make_hub: MakeHub) -> None:
    hub = make_hub()
    async with hub:
        subscriber = hub.subscribe(["a", "b"])
        single = hub.subscribe("a")
        await subscriber.open()
        await single.open()
        for number in range(5):
            await hub.publish(b"%d" % number, "a")
        await until(lambda: single.stats.waiting_events == 5, "all to arrive")
    for ended in (subscriber, single):
        assert data([item async for item in ended]) == [b"0", b"1", b"2", b"3", b"4"]
        assert ended.ended_by == "hub"
        assert ended.cursor is not None
    with pytest.raises(HubClosed):
        await hub.subscribe("a").open()


async def test_who_waits_is_woken_by_the_end(make_hub: MakeHub) -> None:
    async def consume(subscriber: Any) -> list[Any]:
        return [item async for item in subscriber]

    async with make_hub() as hub:
        subscribers = [hub.subscribe("a"), hub.subscribe(["a", "b"])]
        for subscriber in subscribers:
            await subscriber.open()
        tasks = [asyncio.create_task(consume(subscriber)) for subscriber in subscribers]
        await asyncio.sleep(0)
    assert await asyncio.gather(*tasks) == [[], []]


async def test_who_waits_for_the_history_is_told_of_the_end(
    make_hub: MakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading = asyncio.Event()

    async def never(*arguments: Any, **options: Any) -> list[Any]:
        reading.set()
        await asyncio.Event().wait()
        return []

    async with make_hub() as hub:
        monkeypatch.setattr(hub.backend, "recent", never)
        opening = asyncio.create_task(hub.subscribe("a", history=3).open())
        await reading.wait()
    with pytest.raises(HubClosed, match="while the history was read"):
        async with asyncio.timeout(5):
            await opening


async def test_a_history_of_large_events_is_read_in_pieces(
    make_hub: MakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with make_hub({"history": 100}) as hub:
        async with hub.subscribe("a") as subscriber:
            cursor = subscriber.cursor
        for number in range(12):
            await hub.publish(b"%d" % number * 200_000, "a")
        pages: list[int] = []
        read = hub.backend.read

        async def counted(channel: str, **options: Any) -> Any:
            found = await read(channel, **options)
            pages.append(len(found))
            return found

        monkeypatch.setattr(hub.backend, "read", counted)
        async with hub.subscribe("a", after=cursor, policy="spill") as subscriber:
            got = await take(aiter(subscriber), 12)
        assert [len(item.data) for item in got] == [200_000] * 10 + [400_000] * 2
        assert sum(pages) == 12
        if not isinstance(hub.backend, MemoryChannelsBackend):
            # Twelve of them are 2.8 MB; up to a megabyte, and what goes beyond it, at once.
            assert pages == [6, 5, 1]


async def test_nothing_is_handed_on_after_close_in_the_middle_of_an_iteration(hub: Channels) -> None:
    async with hub.subscribe("a") as subscriber:
        for number in range(10):
            await hub.publish(b"%d" % number, "a")
        await until(lambda: subscriber.stats.waiting_events == 10, "all to wait")
        got = []
        async for item in subscriber:
            got.append(item)
            if len(got) == 3:
                subscriber.close()
        assert data(got) == [b"0", b"1", b"2"]
        assert (subscriber.stats.delivered, subscriber.stats.waiting_events) == (3, 0)


async def test_nothing_of_a_channel_is_handed_on_after_leaving_it_in_the_middle(hub: Channels) -> None:
    async with hub.subscribe(["a", "b"]) as subscriber:
        for number in range(10):
            await hub.publish(b"%d" % number, "ab"[number % 2])
        await until(lambda: subscriber.stats.waiting_events == 10, "all to wait")
        got = []
        async for item in subscriber:
            got.append(item)
            if len(got) == 3:
                subscriber.leave(["b"])
            if len(got) == 6:
                break
        assert data(got) == [b"0", b"1", b"2", b"4", b"6", b"8"]
        assert (subscriber.stats.delivered, subscriber.stats.waiting_events) == (6, 0)
        assert subscriber.channels == ("a",)


async def test_an_iteration_that_was_broken_off_goes_on_where_it_was(hub: Channels) -> None:
    async with hub.subscribe("a") as subscriber:
        for number in range(100):
            await hub.publish(b"%d" % number, "a")
        await until(lambda: subscriber.stats.waiting_events == 100, "all to wait")
        got = []
        for count in (1, 40, 20, 3):
            got += await take(aiter(subscriber), count)
            assert subscriber.stats.delivered == len(got)
            assert subscriber.positions == {"a": got[-1].id}
            got += (await subscriber.entries(2))[:1] and await take(aiter(subscriber), 1)
        while len(got) < 100:
            got += await subscriber.batch()
        assert data(got) == [b"%d" % number for number in range(100)]


async def test_to_await_what_was_not_entered_is_an_error_that_says_so(hub: Channels) -> None:
    with pytest.raises(HubClosed, match="async with"):
        await hub.subscribe("a")  # type: ignore[func-returns-value]
    with pytest.raises(HubClosed, match="async with"):
        await anext(hub.subscribe("a"))


async def test_a_cancelled_task_disturbs_no_other_one(hub: Channels) -> None:
    async def consume(subscriber: Any) -> list[bytes]:
        return data(await take(aiter(subscriber), 1))

    subscribers = [hub.subscribe("a") for _ in range(10)]
    for subscriber in subscribers:
        await subscriber.open()
    tasks = [asyncio.create_task(consume(subscriber)) for subscriber in subscribers]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    results = await asyncio.gather(*tasks[::2], return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results)
    await hub.publish(b"x", "a")
    assert await asyncio.gather(*tasks[1::2]) == [[b"x"]] * 5
    # Nor is anything lost to those who were cancelled.
    assert [data(await subscriber.batch()) for subscriber in subscribers[::2]] == [[b"x"]] * 5
    for subscriber in subscribers:
        subscriber.close()


async def test_two_tasks_on_one_subscriber_are_an_error(hub: Channels) -> None:
    async with hub.subscribe("a") as subscriber:
        waiting = asyncio.create_task(subscriber.batch())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="another task"):
            await subscriber.batch()
        await hub.publish(b"x", "a")
        assert data(await waiting) == [b"x"]


async def test_nothing_is_left_of_ten_thousand_that_came_and_went(make_hub: MakeHub) -> None:
    async with make_hub() as hub, hub.subscribe("a"):
        tasks = len(asyncio.all_tasks())
        for _ in range(100):
            opening = [asyncio.create_task(hub.subscribe(["a", "b"], history=3).open()) for _ in range(100)]
            await asyncio.sleep(0)
            for task in opening:
                task.cancel()
            await asyncio.gather(*opening, return_exceptions=True)
        await until(lambda: len(asyncio.all_tasks()) == tasks, "the tasks to end")
        # Each was cancelled before it was open: nobody closes those that are.
        (log,) = [channel.log for channel in hub._open.upstream.channels.values() if channel.name == "a"]
        assert len(log.readers) == 1
        assert not log.waiting


@pytest.mark.parametrize(
    "after",
    ["", "nonsense", "2~abc.1-0", "1~x", "1~12345678", "1~ÄÄ.1-0", "1" * 10_000, "1~~", "0-0"],
)
async def test_a_cursor_that_is_none_is_refused(hub: Channels, after: str) -> None:
    with pytest.raises(ValueError, match="cursor"):
        hub.subscribe("a", after=after)


async def test_a_cursor_of_other_channels_says_nothing_of_these(hub: Channels) -> None:
    async with hub.subscribe("a") as subscriber:
        await hub.publish(b"0", ["a", "b"])
        await take(aiter(subscriber), 1)
        cursor = subscriber.cursor
    async with hub.subscribe("b", after=cursor) as subscriber:
        await hub.publish(b"1", "b")
        assert data(await take(aiter(subscriber), 1)) == [b"1"]


async def test_a_cursor_from_the_future_gets_a_gap_and_what_comes(hub: Channels) -> None:
    await hub.publish(b"0", "a")
    async with hub.subscribe("a", after={"a": "99999999999999-0"}) as subscriber:
        await hub.publish(b"1", "a")
        gap, event = await take(aiter(subscriber), 2)
        assert gap == Gap("a", "99999999999999-0", "rollback")
        assert event.data == b"1"
        cursor = subscriber.cursor
    async with hub.subscribe("a", after=cursor) as subscriber:
        assert subscriber.stats.waiting_events == 0


async def test_bad_arguments_are_refused(hub: Channels) -> None:
    with pytest.raises(ConfigurationError, match="policy"):
        hub.subscribe("a", policy="drop")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="max_backlog"):
        hub.subscribe("a", max_backlog=0)
    with pytest.raises(ConfigurationError, match="history"):
        hub.subscribe("a", history=-1)
    with pytest.raises(ConfigurationError, match="at least one"):
        hub.subscribe([])
    with pytest.raises(TypeError, match="str"):
        hub.subscribe([1])  # type: ignore[list-item]
    with pytest.raises(ConfigurationError, match="backend"):
        Channels("redis://localhost")  # type: ignore[arg-type]


async def test_only_declared_channels_exist(make_hub: MakeHub) -> None:
    async with make_hub(channels=["a"]) as hub:
        with pytest.raises(UnknownChannel, match="'b'"):
            hub.subscribe(["a", "b"])
        with pytest.raises(UnknownChannel):
            await hub.publish(b"x", "b")
        with pytest.raises(UnknownChannel):
            hub.publish_nowait(b"x", "b")


async def test_a_hub_may_be_entered_again(make_hub: MakeHub) -> None:
    hub = make_hub()
    for _ in range(2):
        async with hub:
            with pytest.raises(HubClosed, match="open already"):
                await hub.__aenter__()
            async with hub.subscribe("a") as subscriber:
                await hub.publish("x", "a")
                assert data(await take(aiter(subscriber), 1)) == [b"x"]
    with pytest.raises(HubClosed, match="not open"):
        await hub.publish("x", "a")


async def test_the_encoder_is_called_once_per_publish_and_not_for_bytes_and_text(make_hub: MakeHub) -> None:
    encoded: list[Any] = []

    def encoder(data: Any) -> str:
        encoded.append(data)
        return f"<{data}>"

    async with make_hub(encoder=encoder) as hub, hub.subscribe(["a", "b"]) as subscriber:
        await hub.publish(1, ["a", "b"])
        hub.publish_nowait(2, ["a", "b"])
        await hub.publish(b"bytes", "a")
        await hub.publish("text", "a")
        items = await take(aiter(subscriber), 6)
        assert sorted(data(items)) == [b"<1>", b"<1>", b"<2>", b"<2>", b"bytes", b"text"]
    assert encoded == [1, 2]


async def test_what_is_published_arrives_as_bytes(hub: Channels) -> None:
    async with hub.subscribe("a") as subscriber:
        for value in (b"bytes", "Zeichen: ä", {"n": [1, None]}, bytearray(b"array")):
            await hub.publish(value, "a")
        expected = [b"bytes", "Zeichen: ä".encode(), b'{"n":[1,null]}', b"array"]
        assert data(await take(aiter(subscriber), 4)) == expected
        with pytest.raises(TypeError):
            await hub.publish(object(), "a")


async def test_memory_backends_keep_their_history_through_the_hub() -> None:
    async with Channels(MemoryChannelsBackend(history=2)) as hub:
        await hub.publish(b"1", "a")
        async with hub.subscribe("a", history=5) as subscriber:
            assert data(await subscriber.batch()) == [b"1"]


async def test_a_subscriber_leaves_one_of_its_channels(make_hub: MakeHub) -> None:
    async with make_hub(linger=0.01) as hub:
        async with hub.subscribe(["a", "b", "c"]) as subscriber:
            await hub.publish(b"0", ["a", "b", "c"])
            await until(lambda: subscriber.stats.waiting_events == 3, "all to arrive")
            subscriber.leave(["b", "nowhere"])
            assert subscriber.channels == ("a", "c")
            await until(lambda: hub.stats.channels == 2, "the end of the subscription")
            waiting = asyncio.create_task(take(aiter(subscriber), 4))
            await asyncio.sleep(0)
            await hub.publish(b"1", ["a", "b", "c"])
            items = await waiting
            assert [(item.channel, item.data) for item in items] == [
                ("a", b"0"),
                ("c", b"0"),
                ("a", b"1"),
                ("c", b"1"),
            ]
            cursor = subscriber.cursor
            subscriber.leave(["c"])
            assert subscriber.ended_by is None
            subscriber.leave(["a"])
            assert subscriber.ended_by == "caller"
            assert await subscriber.batch() == []
        await hub.publish(b"2", ["a", "c"])
        async with hub.subscribe(["a", "c"], after=cursor) as subscriber:
            assert data(await take(aiter(subscriber), 2)) == [b"2", b"2"]


async def test_who_leaves_a_channel_whose_history_is_read_gets_the_others(
    hub: Channels, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, may_read = hub.backend.read, asyncio.Event()

    async def slow(channel: str, **arguments: Any) -> Any:
        if channel == "slow":
            await may_read.wait()
        return await read(channel, **arguments)

    monkeypatch.setattr(hub.backend, "read", slow)
    await hub.publish(b"0", ["slow", "a"])
    async with hub.subscribe(["slow", "a"], policy="spill", max_backlog=1) as subscriber:
        for number in range(200):
            await hub.publish(b"%d" % number, ["slow"])
        await until(lambda: subscriber.stats.spilled, "the overflow")
        assert data(await subscriber.batch()) == [b"0"]
        waiting = asyncio.create_task(subscriber.batch())
        await until(lambda: hub.stats.replays, "the read")
        subscriber.leave(["slow"])
        assert not subscriber.stats.behind
        await hub.publish(b"a", ["a"])
        assert data(await asyncio.wait_for(waiting, 5)) == [b"a"]
        may_read.set()


async def test_a_backend_that_swallows_a_cancellation_does_not_keep_the_hub_from_closing() -> None:
    """As `asyncio.wait_for()` does on Python 3.11, when it is done at the same moment."""
    swallowed = 0

    class Swallowing(MemoryChannelsBackend):
        async def events(self) -> Any:
            nonlocal swallowed
            while swallowed < 1:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    swallowed += 1
            await asyncio.Event().wait()
            yield None

    async with asyncio.timeout(10):
        async with Channels(Swallowing()):
            await asyncio.sleep(0)
    assert swallowed == 1


async def test_threads_publish(hub: Channels) -> None:
    """As endpoints that are no coroutines; nothing else wakes the event loop."""

    def publish() -> None:
        time.sleep(0.1)
        for number in range(10):
            hub.publish_nowait(b"%d" % number, "a")

    async with hub.subscribe("a") as subscriber:
        thread = asyncio.create_task(asyncio.to_thread(publish))
        assert data(await take(aiter(subscriber), 10, 5)) == [b"%d" % number for number in range(10)]
        await thread


async def test_what_a_thread_publishes_too_much_or_too_late_is_an_error() -> None:
    told: list[Any] = []
    hub = Channels(MemoryChannelsBackend(), max_queue=1, on_publish_error=lambda *error: told.append(error))
    async with hub:
        await asyncio.to_thread(lambda: [hub.publish_nowait(b"x", "a") for _ in range(100)])
        await until(lambda: len(told) + hub.stats.published == 100, "all to be sent or told")
        assert hub.stats.publish_errors == len(told)
        before = len(told)
        # It comes when the hub is closed: nothing is awaited in between.
        thread = threading.Thread(target=hub.publish_nowait, args=(b"late", "a"))
        thread.start()
        thread.join()
    await until(lambda: len(told) > before or hub.backend.health().publishes.published == 101, "the late one")
    assert all(isinstance(error, BackendUnavailable) for error, *_ in told)
    with pytest.raises(HubClosed):
        await asyncio.to_thread(hub.publish_nowait, b"x", "a")


async def test_a_cursor_before_the_history_was_taken_does_not_pass_over_it(hub: Channels) -> None:
    for number in range(3):
        await hub.publish(b"%d" % number, ["a", "b"])
    async with hub.subscribe(["a", "b"], history=2) as subscriber:
        assert subscriber.cursor is None
        entries = await subscriber.entries()
        subscriber.advance()
        cursor = subscriber.cursor
        first = entries[0].item
    async with hub.subscribe(["a", "b"], history=2, after=cursor) as subscriber:
        rest = await take(aiter(subscriber), 3)
        assert {(event.channel, event.data) for event in [first, *rest]} == {
            ("a", b"1"), ("a", b"2"), ("b", b"1"), ("b", b"2")
        }  # fmt: skip


async def test_an_empty_history_is_a_place_to_resume_from(hub: Channels) -> None:
    async with hub.subscribe("a", history=2) as subscriber:
        cursor = subscriber.cursor
    await hub.publish(b"0", "a")
    async with hub.subscribe("a", after=cursor) as subscriber:
        assert data(await take(aiter(subscriber), 1)) == [b"0"]
