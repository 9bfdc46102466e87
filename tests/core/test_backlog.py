"""gapless._core.backlog: bounded, and exact about what it refused."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gapless._core.backlog import Backlog
from gapless._core.event import Gap
from gapless._core.item import Item
from gapless._core.refused import Span
from gapless._core.subscription import Subscription

A, B = Subscription("a", b"a"), Subscription("b", b"b")


def event(data: bytes, subscription: Subscription = A) -> Item:
    return (subscription, data, None)


def take(backlog: Backlog, limit: int) -> list[Item]:
    """Take as a consumer does."""
    taken: list[Item] = []
    while len(taken) < limit:
        if not backlog.items:
            backlog.take_spans()
        if not backlog.items:
            break
        item = backlog.items.popleft()
        backlog.size_bytes -= len(item[1]) if item[1] is not None else 0
        taken.append(item)
    return taken


def test_items_come_out_in_order() -> None:
    backlog = Backlog(max_events=10, max_bytes=100)
    backlog.put([event(b"1"), event(b"2"), event(b"3")], 3)
    assert backlog.size_bytes == 3
    assert [item[1] for item in take(backlog, 2)] == [b"1", b"2"]
    assert backlog.size_bytes == 1
    assert [item[1] for item in take(backlog, 2)] == [b"3"]
    assert not backlog.items
    assert not backlog.behind


def test_what_exceeds_the_count_is_refused_and_reported_after_what_waits() -> None:
    backlog = Backlog(max_events=2, max_bytes=100)
    for number in range(5):
        backlog.put([event(b"%d" % number)], 1)
    backlog.put([event(b"x", B)], 1)
    taken = take(backlog, 10)
    assert taken[:2] == [event(b"0"), event(b"1")]
    assert taken[2:] == [
        (A, None, Gap("a", None, "backlog", 3)),
        (B, None, Gap("b", None, "backlog", 1)),
    ]
    backlog.put([event(b"after")], 5)
    assert take(backlog, 10) == [event(b"after")]


def test_after_a_refusal_nothing_is_taken_until_all_was_consumed() -> None:
    backlog = Backlog(max_events=10, max_bytes=4)
    backlog.put([event(b"1")], 1)
    backlog.put([event(b"large")], 5)
    backlog.put([event(b"2")], 1)
    assert [item[1] for item in take(backlog, 10)] == [b"1", None]


def test_an_event_larger_than_the_bound_is_taken_when_it_is_alone() -> None:
    backlog = Backlog(max_events=10, max_bytes=4)
    backlog.put([event(b"larger than that")], 16)
    assert [item[1] for item in take(backlog, 10)] == [b"larger than that"]


@settings(max_examples=500, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.lists(st.tuples(st.sampled_from([A, B]), st.binary(max_size=6)), min_size=1, max_size=6),
            st.integers(1, 5),
        ),
        max_size=30,
    )
)
def test_every_event_is_delivered_in_order_or_counted_in_a_gap_in_its_place(
    steps: list[list[tuple[Subscription, bytes]] | int],
) -> None:
    backlog = Backlog(max_events=5, max_bytes=12)
    put: dict[Subscription, list[bytes]] = {A: [], B: []}
    got: dict[Subscription, list[bytes | int]] = {A: [], B: []}

    def consume(items: list[Item]) -> None:
        for subscription, data, other in items:
            if data is None:
                assert isinstance(other, Gap)
                assert other.lost
                got[subscription].append(other.lost)
            else:
                got[subscription].append(data)

    for step in steps:
        if isinstance(step, int):
            consume(take(backlog, step))
        else:
            backlog.put([(s, data, None) for s, data in step], sum(len(data) for _, data in step))
            for subscription, data in step:
                put[subscription].append(data)
        assert backlog.size_bytes <= 12 or len(backlog.items) == 1
    while taken := take(backlog, 3):
        consume(taken)
    for subscription, events in put.items():
        position = 0
        for item in got[subscription]:
            if isinstance(item, int):
                position += item
            else:
                assert events[position] == item
                position += 1
        assert position == len(events)


class History:
    """Streams that keep their newest `kept` events; read as a server does."""

    def __init__(self, kept: int) -> None:
        self._kept = kept
        self.published: dict[Subscription, list[bytes]] = {A: [], B: []}

    def append(self, subscription: Subscription) -> Item:
        events = self.published.setdefault(subscription, [])
        events.append(b"%d" % len(events))
        return (subscription, events[-1], b"g%d-0" % len(events))

    def read(self, span: Span) -> list[tuple[bytes, bytes]]:
        first, last = int(span.first[1:-2]), int(span.last[1:-2])
        events = self.published[span.subscription]
        kept_from = len(events) - self._kept + 1
        return [(events[n - 1], b"g%d-0" % n) for n in range(max(first, kept_from), last + 1)]


Step = st.one_of(
    st.tuples(st.just("publish"), st.lists(st.sampled_from([A, B]), min_size=1, max_size=8)),
    st.tuples(st.just("gap"), st.sampled_from([A, B])),
    st.tuples(st.just("take"), st.integers(1, 6)),
    st.tuples(st.just("visit"), st.integers(1, 8)),
    st.tuples(st.just("leave"), st.none()),
    st.tuples(st.just("answer"), st.sampled_from(["oldest", "newest", "unreadable"])),
)


@settings(max_examples=500, deadline=None)
@given(st.lists(Step, max_size=50), st.sampled_from([3, 20, 1000]), st.booleans())
def test_what_was_refused_comes_from_the_history_in_order_or_is_counted(
    steps: list[tuple[str, object]], kept: int, ends_early: bool
) -> None:
    backlog = Backlog(max_events=5, max_bytes=12, refillable=True, max_holes=5)
    history = History(kept)
    reads: list[Span] = []
    got: dict[Subscription, list[bytes | int | str]] = {A: [], B: []}
    told = 0
    visitors: list[Subscription] = []

    def consume(limit: int) -> int:
        for count in range(limit):
            if not backlog.items:
                reads.extend(backlog.take_spans())
            if not backlog.items:
                return count
            subscription, data, other = backlog.items.popleft()
            if data is not None:
                backlog.size_bytes -= len(data)
            if subscription not in got:
                continue
            if data is not None:
                got[subscription].append(data)
            else:
                assert isinstance(other, Gap)
                got[subscription].append(other.lost if other.lost is not None else other.reason)
        return limit

    def answer(which: str) -> None:
        if reads:
            span = reads.pop(0 if which == "oldest" else -1)
            backlog.refilled(span, None if which == "unreadable" else history.read(span))

    for kind, argument in steps:
        if kind == "publish":
            items = [history.append(s) for s in argument]  # type: ignore[attr-defined]
            backlog.put(items, sum(len(item[1] or b"") for item in items))
        elif kind == "gap":
            backlog.put([(argument, None, Gap("a", None, "restart"))], 0)  # type: ignore[list-item]
        elif kind == "visit":
            visitors.append(Subscription("visitor", b""))
            items = [history.append(visitors[-1]) for _ in range(argument)]  # type: ignore[call-overload]
            backlog.put(items, sum(len(item[1] or b"") for item in items))
        elif kind == "leave":
            if visitors:
                visitors.pop().wanted = False
        elif kind == "take":
            consume(argument)  # type: ignore[arg-type]
        else:
            answer(argument)  # type: ignore[arg-type]
        told += sum(gap.lost or 0 for gap in backlog.gaps if gap.channel != "visitor")
        backlog.gaps.clear()
        assert sum(item[1] is not None for item in backlog.items) <= 5
        assert backlog._holes <= 5 + 2 + sum(kind == "visit" for kind, _ in steps)
    for visitor in visitors[::2]:
        visitor.wanted = False
    if ends_early:
        backlog.give_up()
    while consume(10) or reads:
        answer("oldest")
    told += sum(gap.lost or 0 for gap in backlog.gaps if gap.channel != "visitor")
    lost = 0
    for subscription in (A, B):
        events = history.published[subscription]
        position = 0
        unsure = False
        for item in got[subscription]:
            if isinstance(item, int):
                position += item
                lost += item
            elif isinstance(item, str):
                unsure = True  # a Gap that was put, perhaps with refused events in it
            else:
                if unsure:
                    assert int(item) >= position
                    lost += int(item) - position
                    position = int(item)
                    unsure = False
                assert events[position] == item
                position += 1
        assert unsure or position == len(events)
        lost += len(events) - position
    assert told == lost
    assert not backlog.behind
    assert (backlog.size_bytes, backlog._parked, backlog._holes) == (0, 0, 0)
    assert (backlog._reads, backlog._coming, backlog._coming_bytes) == (0, 0, 0)


def test_catching_up_ends_although_events_go_on() -> None:
    backlog = Backlog(max_events=8, max_bytes=100, refillable=True)
    history = History(1000)
    for _ in range(10):
        backlog.put([history.append(A)], 1)
    assert len(take(backlog, 8)) == 8
    (span,) = backlog.take_spans()
    backlog.put([history.append(A)], 2)  # while it is being read
    backlog.refilled(span, history.read(span))
    backlog.put([history.append(A)], 2)
    assert not backlog.behind
    assert [item[1] for item in take(backlog, 10)] == [b"8", b"9", b"10", b"11"]


def test_a_channel_that_is_not_behind_is_not_held_up() -> None:
    backlog = Backlog(max_events=8, max_bytes=100, refillable=True)
    history = History(1000)
    for _ in range(10):
        backlog.put([history.append(A)], 1)
    take(backlog, 8)
    backlog.take_spans()
    backlog.put([history.append(B)], 1)
    assert [(item[0], item[1]) for item in backlog.items] == [(B, b"0")]


def test_another_stream_with_ids_in_the_span_is_not_taken_for_it() -> None:
    backlog = Backlog(max_events=1, max_bytes=100, refillable=True)
    backlog.put([(A, b"1", b"g1-0"), (A, b"2", b"g2-0")], 2)
    take(backlog, 1)
    (span,) = backlog.take_spans()
    backlog.refilled(span, [(b"of another server", b"g1-5")])
    assert list(backlog.items) == [(A, None, Gap("a", None, "backlog", 1))]


def test_a_read_is_no_larger_than_its_part_of_the_queue() -> None:
    backlog = Backlog(max_events=40, max_bytes=400, refillable=True)
    history = History(1000)
    for _ in range(200):
        backlog.put([history.append(A)], 3)
    take(backlog, 40)
    (span,) = backlog.take_spans()
    assert span.count == 10
    large = Backlog(max_events=40, max_bytes=400, refillable=True)
    large.put([(A, b"x" * 60, b"g%d-0" % n) for n in range(1, 100)], 99 * 60)
    take(large, 6)
    (span,) = large.take_spans()
    assert (span.count, span.size_bytes) == (1, 60)


def test_many_channels_that_are_behind_are_not_looked_through_each_time() -> None:
    class Counting(Subscription):
        looked_at = 0

        @property
        def wanted(self) -> bool:
            Counting.looked_at += 1
            return True

        @wanted.setter
        def wanted(self, value: bool) -> None:
            """Stays wanted."""

    backlog = Backlog(max_events=10, max_bytes=1000, refillable=True)
    for number in range(5000):
        backlog.put([(Counting(f"room{number}", b""), b"1", b"g1-0")], 1)
    assert Counting.looked_at < 5 * 5000
