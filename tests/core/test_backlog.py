"""gapless._core.backlog: bounded, and exact about what it refused."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gapless._core.backlog import Backlog, Item
from gapless._core.event import Gap
from gapless._core.subscription import Subscription

A, B = Subscription("a", b"a"), Subscription("b", b"b")


def event(data: bytes, subscription: Subscription = A) -> Item:
    return (subscription, data, None)


def take(backlog: Backlog, limit: int) -> list[Item]:
    """Take as a consumer does."""
    taken: list[Item] = []
    while len(taken) < limit and backlog.waiting():
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
    assert not backlog.waiting()


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
    while backlog.waiting():
        consume(take(backlog, 3))
    for subscription, events in put.items():
        position = 0
        for item in got[subscription]:
            if isinstance(item, int):
                position += item
            else:
                assert events[position] == item
                position += 1
        assert position == len(events)
