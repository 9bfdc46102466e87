"""The behaviour that every backend shares, as a test suite that anyone can run on their own.

    class TestMyBackend(BackendContract):
        @asynccontextmanager
        async def open_backend(self):
            yield MyBackend(...)

Works under pytest (no plugin needed) and, mixed into a `unittest.TestCase`, under unittest. Each test
runs in an event loop of its own, and fails after `time_limit_seconds`.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

from gapless._core.event import Event, Gap
from gapless.backends.base import ChannelsBackend
from gapless.testing.behaviour import BehaviourSuite, behaviour, live, raises, take

# Names that a careless backend merges, loses or interprets.
AWKWARD_NAMES = [
    "room", "ROOM", "Room", "", " ", "*", "r?om", "[room]", "{a}b", "}{", "a:b", "a_b", "straße", "STRASSE",
    "\u65e5\u672c", "\U0001f600", "nul\0nul", "new\nline", "\r\n", "%s", "n" * 10_000,
]  # fmt: skip


class BackendContract(BehaviourSuite):
    """Inherit, say how to open a backend, and run.

    Attributes:
        keeps_history: Whether the backend keeps at least 10 events of each channel, and gives them ids.
    """

    keeps_history = True

    @behaviour
    async def test_an_event_reaches_its_subscriber_byte_for_byte(self, backend: ChannelsBackend) -> None:
        await backend.on_startup()
        await backend.subscribe(["room"])
        payloads = [b"", b"\x00\xff\r\n", bytes(range(256)), b"g1 1-0 - x"]
        for payload in payloads:
            await backend.publish(payload, ["room"])
        await live(backend, [("room", payload) for payload in payloads])

    @behaviour
    async def test_a_large_payload_keeps_its_place_in_its_channel(self, backend: ChannelsBackend) -> None:
        await backend.subscribe(["room"])
        payloads = [b"before", b"x" * 1_000_000, b"after"]
        for payload in payloads:
            await backend.publish(payload, ["room"])
        async with aclosing(backend.stream_events()) as stream:
            assert await take(stream, 3) == [("room", payload) for payload in payloads]

    @behaviour
    async def test_it_works_without_startup(self, backend: ChannelsBackend) -> None:
        await backend.subscribe(["room"])
        await backend.publish(b"1", ["room"])
        await live(backend, [("room", b"1")])

    @behaviour
    async def test_events_come_in_the_order_of_publishing_across_channels(
        self, backend: ChannelsBackend
    ) -> None:
        await backend.subscribe(["a", "b", "c"])
        expected = []
        for number in range(50):
            channels = [["a"], ["b", "a"], ["c", "a", "b"]][number % 3]
            await backend.publish(b"%d" % number, channels)
            expected += [(channel, b"%d" % number) for channel in channels]
        await live(backend, expected)

    @behaviour
    async def test_a_channel_named_twice_gets_the_event_once(self, backend: ChannelsBackend) -> None:
        await backend.subscribe(["a", "b"])
        await backend.publish(b"1", ["b", "a", "b", "b"])
        await live(backend, [("b", b"1"), ("a", b"1")])

    @behaviour
    async def test_no_channels_is_no_command(self, backend: ChannelsBackend) -> None:
        await backend.subscribe(["a"])
        await backend.publish(b"1", [])
        await backend.subscribe([])
        await backend.unsubscribe([])
        await backend.publish(b"2", ["a"])
        await live(backend, [("a", b"2")])

    @behaviour
    async def test_channels_come_in_any_iterable(self, backend: ChannelsBackend) -> None:
        await backend.subscribe(name for name in ("a", "b", "c"))
        await backend.publish(b"1", (name for name in ("c", "a")))
        await backend.unsubscribe({"a": 1})
        await backend.publish(b"2", dict.fromkeys(["a", "b"]))
        await live(backend, [("c", b"1"), ("b", b"2")])

    @behaviour
    async def test_subscribing_twice_delivers_once(self, backend: ChannelsBackend) -> None:
        await backend.subscribe(["a"])
        await backend.subscribe(["a", "a"])
        await backend.publish(b"1", ["a"])
        await live(backend, [("a", b"1")])
        await backend.unsubscribe(["a"])
        await backend.publish(b"2", ["a"])
        await live(backend, [])

    @behaviour
    async def test_an_earlier_event_is_not_delivered_as_live(self, backend: ChannelsBackend) -> None:
        await backend.publish(b"early", ["a"])
        await backend.subscribe(["a"])
        await live(backend, [])
        await backend.unsubscribe(["a"])
        await backend.publish(b"between", ["a"])
        await backend.subscribe(["a"])
        await live(backend, [])

    @behaviour
    async def test_nothing_comes_after_unsubscribe_not_even_what_was_buffered(
        self, backend: ChannelsBackend
    ) -> None:
        await backend.subscribe(["a", "b"])
        await backend.publish(b"1", ["a", "b"])
        await backend.publish(b"2", ["a", "b"])
        async with aclosing(backend.stream_events()) as stream:
            assert await anext(stream) == ("a", b"1")
            await backend.unsubscribe(["a", "never subscribed"])
            await backend.subscribe(["a"])
            await backend.publish(b"3", ["a"])
            assert await take(stream, 3) == [("b", b"1"), ("b", b"2"), ("a", b"3")]

    @behaviour
    async def test_channel_names_are_exact(self, backend: ChannelsBackend) -> None:
        await backend.subscribe(AWKWARD_NAMES)
        for name in AWKWARD_NAMES:
            await backend.publish(name.encode(), [name])
        await live(backend, [(name, name.encode()) for name in AWKWARD_NAMES])

    @behaviour
    async def test_events_and_ids(self, backend: ChannelsBackend) -> None:
        await backend.subscribe(["a"])
        for number in range(3):
            await backend.publish(b"%d" % number, ["a"])
        async with aclosing(backend.events()) as stream:
            events = await take(stream, 3)
        assert [(event.channel, event.data) for event in events] == [("a", b"0"), ("a", b"1"), ("a", b"2")]
        ids = {event.id for event in events}
        assert len(ids) == 3 if self.keeps_history else ids == {None}

    @behaviour
    async def test_a_consumer_can_be_cancelled_and_the_next_one_goes_on(
        self, backend: ChannelsBackend
    ) -> None:
        await backend.subscribe(["a"])
        waiting = asyncio.ensure_future(anext(backend.stream_events()))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert waiting.cancelled()
        for number in range(3):
            await backend.publish(b"%d" % number, ["a"])
        async with aclosing(backend.stream_events()) as stream:
            assert await anext(stream) == ("a", b"0")
        await live(backend, [("a", b"1"), ("a", b"2")])

    @behaviour
    async def test_each_consumer_gets_every_event(self, backend: ChannelsBackend) -> None:
        await backend.subscribe(["a"])
        streams = [backend.stream_events() for _ in range(3)]
        waiting = [asyncio.ensure_future(anext(stream)) for stream in streams]
        await asyncio.sleep(0)
        await backend.publish(b"1", ["a"])
        assert await asyncio.gather(*waiting) == [("a", b"1")] * 3
        for stream in streams:
            await stream.aclose()

    @behaviour
    async def test_shutdown_ends_the_streams_and_can_be_repeated(self, backend: ChannelsBackend) -> None:
        await backend.on_shutdown()
        await backend.on_startup()
        await backend.on_startup()
        await backend.subscribe(["a"])
        waiting = asyncio.ensure_future(anext(backend.stream_events(), None))
        await asyncio.sleep(0)
        await backend.on_shutdown()
        assert await waiting is None
        await backend.on_shutdown()

    @behaviour
    async def test_a_second_lifespan_starts_without_the_subscriptions_of_the_first(
        self, backend: ChannelsBackend
    ) -> None:
        for number in range(3):
            await backend.on_startup()
            await backend.publish(b"not subscribed", ["a"])
            await backend.subscribe(["a"])
            await backend.publish(b"%d" % number, ["a"])
            await live(backend, [("a", b"%d" % number)])
            await backend.on_shutdown()

    @behaviour
    async def test_many_calls_at_once_end_as_the_last_one_says(self, backend: ChannelsBackend) -> None:
        for _ in range(20):
            await asyncio.gather(
                *(call(["a"]) for call in (backend.subscribe, backend.unsubscribe) * 5),
                backend.subscribe(["a"]),
            )
        await backend.publish(b"1", ["a"])
        await live(backend, [("a", b"1")])

    @behaviour
    async def test_a_cancelled_subscribe_does_not_disturb_the_others(self, backend: ChannelsBackend) -> None:
        for _ in range(20):
            calls = [asyncio.ensure_future(backend.subscribe(["a", f"b{n}"])) for n in range(5)]
            await asyncio.sleep(0)
            calls[0].cancel()
            await asyncio.gather(*calls, return_exceptions=True)
            await backend.publish(b"1", ["a"])
            await live(backend, [("a", b"1")])
            await backend.unsubscribe(["a"])

    @behaviour
    async def test_wrong_arguments_are_refused_and_harm_nobody(self, backend: ChannelsBackend) -> None:
        await backend.subscribe(["a"])
        wrong: list[tuple[Any, Any]] = [("text", ["a"]), (None, ["a"]), (b"1", "a"), (b"1", [1]), (b"1", 1)]
        for data, channels in wrong:
            await raises(TypeError, backend.publish(data, channels))
        await raises(ValueError, backend.publish(b"1", ["\ud800"]))
        await raises(TypeError, backend.subscribe("a"))
        await raises(TypeError, backend.unsubscribe("a"))
        await backend.publish(b"1", ["a"])
        await live(backend, [("a", b"1")])

    @behaviour
    async def test_history_is_the_newest_events_oldest_first(self, backend: ChannelsBackend) -> None:
        if not self.keeps_history:
            await raises(NotImplementedError, backend.get_history("a"))
            return
        assert await backend.get_history("a") == []
        for number in range(15):
            await backend.publish(b"%d" % number, ["a"])
        await backend.publish(b"other", ["b"])
        assert await backend.get_history("a") == [b"%d" % number for number in range(5, 15)]
        assert await backend.get_history("a", 3) == [b"12", b"13", b"14"]
        assert await backend.get_history("a", 0) == []
        assert len(await backend.get_history("a", 1000)) == 10
        await raises(ValueError, backend.get_history("a", -1))
        await backend.subscribe(["a"])
        await backend.unsubscribe(["a"])
        assert len(await backend.get_history("a")) == 10

    @behaviour
    async def test_reading_on_from_an_id(self, backend: ChannelsBackend) -> None:
        if not self.keeps_history:
            await raises(NotImplementedError, backend.read("a"))
            await raises(NotImplementedError, backend.position("a"))
            return
        beginning = await backend.position("a")
        assert await backend.read("a", after=beginning) == []
        for number in range(4):
            await backend.publish(b"%d" % number, ["a"])
        events = await backend.read("a")
        assert [event.data for event in events if isinstance(event, Event)] == [b"0", b"1", b"2", b"3"]
        first = events[0]
        assert isinstance(first, Event)
        assert await backend.read("a", after=beginning) == events
        assert await backend.recent("a", 2) == events[2:]
        assert await backend.read("a", after=first.id) == events[1:]
        assert await backend.read("a", after=first.id, limit=2) == events[1:3]
        # May stop earlier, but never before the first.
        assert (await backend.read("a", after=first.id, max_bytes=1))[:1] == events[1:2]
        last = await backend.position("a")
        assert last is not None
        assert await backend.read("a", after=last) == []
        await raises(ValueError, backend.read("a", after="no id"))
        for number in range(4, 24):
            await backend.publish(b"%d" % number, ["a"])
        kept = [event.id for event in await backend.recent("a")]
        assert all(kept)
        last = await backend.position("a")
        for number in range(len(kept)):
            await backend.publish(b"%d" % number, ["b"])
            await backend.publish(b"%d" % number, ["a"])
        # All that is kept came after this one, and nothing before that: no gap.
        assert all(isinstance(item, Event) for item in await backend.read("a", after=last))
        await backend.publish(b"x", ["a"])
        assert isinstance((await backend.read("a", after=last))[0], Gap)
        trimmed = await backend.read("a", after=first.id, limit=1)
        assert trimmed[0] == Gap("a", first.id, "trimmed")
        assert len(trimmed) == 2
        (gap, *_) = await backend.read("a", after=beginning)
        assert isinstance(gap, Gap)
        assert gap.reason == "trimmed"
