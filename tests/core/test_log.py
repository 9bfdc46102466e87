"""Log, Reader and Replay against a model of a channel, under arbitrary interleavings.

What must hold for each subscriber: no event twice, none out of the order of publishing, and each event that
was published after the subscriber's place and not delivered lies where a Gap stands, which counts it.
"""

from __future__ import annotations

import os
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gapless._core.log
from gapless._core.event import Event, Gap
from gapless._core.history import BEGINNING, id_key, resume
from gapless._core.log import Entry, Log
from gapless._core.reader import POLICIES, Policy, Reader
from gapless._core.replay import Replay

# `GAPLESS_TEST_LONG=1`: the long profile, as CI runs it.
EXAMPLES = 40_000 if os.environ.get("GAPLESS_TEST_LONG") else 2000

PAGE = 4
ALL = 1 << 62


class Stream:
    """One channel on a server: all that was ever published, and what of it is kept."""

    def __init__(self, *, with_ids: bool) -> None:
        self.with_ids = with_ids
        self.published: list[Event] = []
        # By index into `published`: what the server has lost, so that nobody can be told of it.
        self.rolled_back: set[int] = set()
        self.kept: list[Event] = []
        # Before the first of `kept`; None if the server can't know.
        self.before_first: str | None = BEGINNING
        self.last_id: str | None = None
        self.index_of = {BEGINNING: -1}
        self._now = 0
        self._epoch = 0

    def publish(self, size: int) -> Event:
        self._now += 1
        index = len(self.published)
        event_id = f"{self._now}-{self._epoch}" if self.with_ids else None
        event = Event("c", b"%d:" % index + b"x" * size, event_id)
        self.published.append(event)
        self.kept.append(event)
        if event_id is not None:
            self.last_id = event_id
            self.index_of[event_id] = index
        return event

    def trim(self, count: int) -> None:
        if self.kept[:count]:
            self.before_first = self.kept[:count][-1].id
        del self.kept[:count]

    def roll_back(self, count: int) -> None:
        """Lose the newest; another server goes on, whose ids begin anew after those that it has."""
        lost = self.kept[max(0, len(self.kept) - count) :]
        if not lost:
            return
        del self.kept[len(self.kept) - len(lost) :]
        self.rolled_back.update(index(event) for event in lost)
        self._now = id_key(lost[0].id or BEGINNING)[0] - 1
        self._epoch += 1
        kept = [event for at, event in enumerate(self.published) if at not in self.rolled_back]
        self.last_id = kept[-1].id if kept else None
        if not self.kept:
            self.before_first = self.last_id or BEGINNING

    def position(self) -> str:
        return self.last_id or BEGINNING

    def read(self, after: str | None, limit: int) -> list[Event | Gap]:
        if after is None:
            return [*self.kept[-limit:]]
        entries = [event for event in self.kept if id_key(event.id or "") >= id_key(after)]
        found = resume(
            "c",
            after=after,
            entries=entries,
            oldest_id=self.kept[0].id if self.kept else None,
            last_id=self.last_id,
            before_first=self.before_first if entries and entries[0] is self.kept[0] else None,
        )
        return found[: limit + 1] if found and isinstance(found[0], Gap) else found[:limit]


def index(event: Event) -> int:
    return int(event.data.partition(b":")[0])


@dataclass
class Hole:
    """Gaps that a subscriber was given between two events."""

    lost: int = 0
    unknown: bool = False
    # Of gaps that came from upstream: what they count may have come from the history.
    upstream: int = 0
    gaps: int = 0


class Client:
    """A subscriber with one reader: takes as the hub does, and checks what it is given."""

    def __init__(self, world: World, policy: Policy, max_events: int, max_bytes: int) -> None:
        self.world = world
        self.policy = policy
        self.reader = Reader(world.log, self, policy=policy, max_events=max_events, max_bytes=max_bytes)
        # The last event that was given, or is not to be given; None: the first one tells.
        self.last: int | None = None
        # All from here on must come.
        self.required = len(world.stream.published)
        self.hole = Hole()
        self.cursors: list[str] = [self.reader.reached] if self.reader.reached else []
        self.started_at = self.reader.reached
        self.has_read = False
        self.want: Replay | None = None
        self.open = True

    def take(self, limit: int, *, hot: bool) -> int:
        reader, log = self.reader, self.world.log
        if hot and reader.plain:
            position = reader.position - log.start
            assert 0 <= position <= len(log.entries)
            entries = log.entries[position : position + limit]
            reader.position += len(entries)
        else:
            waiting = reader.waiting_events
            assert waiting >= 0
            assert reader.waiting_bytes >= 0
            entries = reader.take(limit)
            assert len(entries) <= limit
        for entry in entries:
            self.check(entry)
        if not entries and reader.after is not None and self.want is None:
            self.world.read_for(self, reader.after, PAGE)
        return len(entries)

    def check(self, entry: Entry) -> None:
        item = entry.item
        if isinstance(item, Event):
            self.check_event(index(item))
            assert entry.reached == item.id
        else:
            self.check_gap(item)
            if entry.reached is not None:
                # What the gap stands for is behind it.
                reached = self.world.stream.index_of[entry.reached.partition("@")[0]]
                if self.last is None or reached > self.last:
                    self.last = reached
                    self.hole = Hole(gaps=1, unknown=True)
        if entry.reached is not None:
            self.cursors.append(entry.reached)

    def check_event(self, at: int) -> None:
        if self.last is None:
            assert at <= self.required or self.hole.gaps, "the first events are missing"
            if self.started_at and not self.has_read:
                assert at > self.world.stream.index_of[self.started_at]
            if self.started_at and not (self.has_read or self.world.disturbed or self.hole.gaps):
                assert at == self.world.stream.index_of[self.started_at] + 1
        elif at <= self.last and self.has_read and self.hole.gaps and at in self.world.stream.rolled_back:
            # The history told of the rollback, and what was on its way before it came after that.
            return
        else:
            assert at > self.last, "a duplicate, or out of order"
            self.check_hole(self.last + 1, at)
        self.last = at
        self.hole = Hole()

    def check_gap(self, gap: Gap) -> None:
        upstream = id(gap) in self.world.upstream_gaps
        hole = self.hole
        hole.gaps += 1
        if gap.lost is None:
            hole.unknown = True
        elif upstream:
            hole.upstream += gap.lost
        else:
            hole.lost += gap.lost
            assert gap.reason == "backlog"
        if self.policy == "spill" and not upstream and not self.world.lossy:
            # Many gaps from upstream may become one.
            assert self.world.disturbed, "spill has lost what the history has"

    def check_hole(self, start: int, end: int) -> None:
        """Check the gaps that stand for the events from `start` to before `end`."""
        rolled_back = self.world.stream.rolled_back
        missing = [at for at in range(start, end) if at not in rolled_back]
        hole = self.hole
        if missing:
            assert hole.gaps, f"silently lost: {missing}"
        if self.policy == "spill" and not self.world.lossy:
            assert self.world.dropped.issuperset(missing), "spill has lost what the history has"
        if hole.unknown or len(missing) < end - start:
            return
        assert len(missing) <= hole.lost + hole.upstream
        if not hole.upstream and not (self.has_read and self.world.disturbed):
            assert len(missing) == hole.lost

    def check_end(self, end: int) -> None:
        """Check that nothing is missing of what was published before the event `end`."""
        if self.last is not None:
            self.check_hole(self.last + 1, end)
        elif end > self.required:
            assert self.hole.gaps, "silent from its begin on"

    def end(self) -> None:
        """Disconnected: take what there is."""
        while self.take(ALL, hot=False):
            pass
        assert self.reader.ended
        assert self.hole.gaps, "disconnected without a word"
        self.check_end(self.world.appended)
        self.close()

    def close(self) -> None:
        if self.want is not None:
            self.want.readers.pop(self.reader, None)
        self.reader.close()
        self.open = False
        assert self.reader not in self.world.log.readers


@dataclass
class Read:
    """A read that is under way, and what the server has answered."""

    replay: Replay
    answer: tuple[list[Event | Gap], str | None] | None = None


@dataclass
class World:
    """A stream, what is on its way from there, the log, and those who take from it."""

    stream: Stream
    log: Log = field(default_factory=lambda: Log("c"))
    coming: deque[Event | Gap] = field(default_factory=deque)
    clients: list[Client] = field(default_factory=list)
    reads: dict[tuple[str | None, int], Read] = field(default_factory=dict)
    upstream_gaps: dict[int, Gap] = field(default_factory=dict)
    # Events that never came to the log.
    dropped: set[int] = field(default_factory=set)
    # Events before this one came to the log, or a gap for them.
    appended: int = 0
    # Whether the history has lost something; whether a gap came from upstream.
    lossy: bool = False
    disturbed: bool = False
    order: int = 0
    # So many entries were needed at once, so far.
    needed: int = 0

    def publish(self, count: int, size: int) -> None:
        for _ in range(count):
            self.coming.append(self.stream.publish(size))

    def append(self, count: int) -> None:
        for _ in range(min(count, len(self.coming))):
            item = self.coming.popleft()
            self.order += 1
            self.log.append(item, self.order)
            self.appended = max(self.appended, self.next_index(item))
            self.end_disconnected()
            self.check_bounds()

    def next_index(self, item: Event | Gap) -> int:
        if isinstance(item, Event):
            return index(item) + 1
        following = next((index(other) for other in self.coming if isinstance(other, Event)), None)
        return len(self.stream.published) if following is None else following

    def end_disconnected(self) -> None:
        readers, self.log.disconnected = self.log.disconnected, []
        for reader in readers:
            reader.owner.end()

    def check_bounds(self) -> None:
        log = self.log
        assert log.end - log.start == len(log.entries)
        needed = self.needed
        for reader in log.readers:
            assert isinstance(reader, Reader)
            if reader.bounded:
                waiting = log.end - reader.position
                assert waiting <= reader.max_events
                assert waiting <= 1 or log.end_bytes - log.bytes_before(reader.position) <= reader.max_bytes
            needed = max(needed, reader.max_events)
            # A page, and what had come until it fell behind.
            gaps = len(self.upstream_gaps) + 2
            kept = [entry.item for entry in reader._kept or ()]
            assert len(kept) <= PAGE + reader.max_events + gaps
            if not reader.owner.has_read:
                assert len(kept) <= reader.max_events + (gaps if reader._policy == "spill" else 1)
                sizes = [len(item.data) for item in kept if isinstance(item, Event)]
                assert len(sizes) <= 1 or sum(sizes) <= reader.max_bytes
        for read in self.reads.values():
            needed = max(needed, log.end - read.replay.start)
        self.needed = needed
        assert len(log) <= 2 * needed + gapless._core.log.SPARE_ENTRIES + 1

    def gap(self, reason: Any, lost: int | None, *, drop: int = 0) -> None:
        """Something is amiss upstream: the next events are dropped, and a gap stands for them."""
        dropped = 0
        while dropped < drop and self.coming:
            first = self.coming[0]
            if isinstance(first, Gap):
                break
            self.coming.popleft()
            self.dropped.add(index(first))
            dropped += 1
        if lost is not None and not dropped:
            return
        gap = Gap("c", None, reason, dropped if lost is not None else None)
        self.upstream_gaps[id(gap)] = gap
        self.disturbed = True
        if drop:
            self.coming.appendleft(gap)
        else:
            self.coming.append(gap)

    def subscribe(self, policy: Policy, max_events: int, max_bytes: int, begin: tuple[str, int]) -> None:
        if not self.stream.with_ids and (begin[0] != "live" or policy == "spill"):
            return
        client = Client(self, policy, max_events, max_bytes)
        self.clients.append(client)
        kind, number = begin
        if kind == "history":
            client.reader.resume(None)
            self.read_for(client, None, number % PAGE + 1)
        elif kind == "after":
            # Of subscribers here, or in any other process.
            cursors = [
                *self.stream.index_of,
                *(cursor for other in self.clients[:-1] for cursor in other.cursors),
            ]
            after = cursors[-1 - number % len(cursors)]
            client.last = self.stream.index_of[after]
            last = self.log.last
            if isinstance(last, Event) and last.id == after:
                # As the hub does.
                assert client.reader.reached == after
            else:
                client.reader.resume(after)
                self.read_for(client, after, PAGE)
            client.cursors = [after]

    def read_for(self, client: Client, after: str | None, limit: int) -> None:
        read = self.reads.get((after, limit))
        if read is None:
            read = self.reads[after, limit] = Read(Replay(self.log, after, limit))
        read.replay.readers[client.reader] = None
        client.want = read.replay

    def attempt(self, number: int) -> None:
        """The server did not answer: a read is sent again."""
        waiting = [read for read in self.reads.values() if read.answer is None]
        if waiting:
            waiting[number % len(waiting)].replay.begin()

    def answer(self, number: int) -> None:
        waiting = [read for read in self.reads.values() if read.answer is None]
        if waiting:
            read = waiting[number % len(waiting)]
            position = None
            items = self.stream.read(read.replay.after, read.replay.limit)
            if items and isinstance(items[-1], Gap):
                position = self.stream.position()
            read.answer = (items, position)

    def join(self, number: int) -> None:
        answered = [key for key, read in self.reads.items() if read.answer is not None]
        if not answered:
            return
        key = answered[number % len(answered)]
        read = self.reads.pop(key)
        assert read.answer is not None
        read.replay.found(*read.answer)
        read.replay.end()
        for reader in read.replay.readers:
            client = reader.owner
            client.want = None
            client.has_read = True
            if key[0] is None:
                client.required = len(self.stream.published)
            reader.join(read.replay)
        self.end_disconnected()
        self.check_bounds()

    def those_open(self) -> list[Client]:
        return [client for client in self.clients if client.open]

    def do(self, step: tuple[Any, ...]) -> None:
        kind, *arguments = step
        clients = self.those_open()
        match kind:
            case "take" if clients:
                number, limit, hot = arguments
                clients[number % len(clients)].take(limit, hot=hot)
            case "close" if clients:
                clients[arguments[0] % len(clients)].close()
            case "trim":
                self.lossy = self.lossy or bool(self.stream.kept)
                self.stream.trim(arguments[0])
            case "roll back" if self.stream.with_ids:
                self.lossy = True
                self.stream.roll_back(arguments[0])
                # Its connections broke: what only the old server has does not come after the new one was read.
                lost = self.stream.rolled_back
                self.coming = deque(
                    item for item in self.coming if isinstance(item, Gap) or index(item) not in lost
                )
                self.gap("rollback", None)
            case "restart":
                self.gap("restart", None)
            case "lose":
                count, told = arguments
                self.gap("backlog" if told else "disconnected", 0 if told else None, drop=count)
            case "publish" | "append" | "subscribe" | "attempt" | "answer" | "join":
                getattr(self, kind)(*arguments)

    def finish(self) -> None:
        """Let everything come, and everybody take everything."""
        self.append(len(self.coming))
        for _ in range(10 * len(self.stream.published) + 100):
            taken = [client.take(3, hot=True) for client in self.those_open()]
            if not any(taken) and not self.reads:
                break
            self.answer(0)
            self.join(0)
        else:
            raise AssertionError("it does not come to an end")
        for client in self.those_open():
            client.check_end(len(self.stream.published))
            assert client.reader.waiting_events == 0
            if self.stream.with_ids and client.last is not None and not client.hole.gaps:
                assert client.reader.after is None
                assert self.stream.index_of[client.cursors[-1].partition("@")[0]] == client.last
            client.close()
        assert not self.log.readers
        assert not self.log._holds
        self.publish(3 * gapless._core.log.SPARE_ENTRIES + 3 * self.needed, 0)
        self.append(len(self.coming))
        assert len(self.log) <= gapless._core.log.SPARE_ENTRIES


def begin(world: World, before: int, between: int, arrived: int, *, known: bool) -> None:
    """Subscribe the channel: events may arrive before it is known where it stands, or after."""
    world.publish(before, 1)
    world.coming.clear()
    world.publish(between, 1)
    for _ in range(min(arrived, between)):
        world.order += 1
        world.log.append(world.coming.popleft(), world.order)
    position = world.stream.position() if known and world.stream.with_ids else None
    world.log.begin(position)
    world.appended = before + between if position is not None else before + min(arrived, between)


pytestmark = pytest.mark.timeout(60 if EXAMPLES == 2000 else 900)

numbers = st.integers(0, 20)
Subscribe = st.tuples(
    st.just("subscribe"),
    st.sampled_from(POLICIES),
    st.integers(1, 5),
    st.sampled_from([4, 20, 1000]),
    st.tuples(st.sampled_from(["live", "history", "after", "after"]), numbers),
)
Step = st.one_of(
    st.tuples(st.just("publish"), st.integers(1, 6), st.integers(0, 6)),
    st.tuples(st.just("append"), st.integers(1, 8)),
    st.tuples(st.just("append"), st.integers(1, 8)),
    Subscribe,
    st.tuples(st.just("take"), numbers, st.sampled_from([1, 2, 5, ALL]), st.booleans()),
    st.tuples(st.just("take"), numbers, st.sampled_from([1, 2, 5, ALL]), st.booleans()),
    st.tuples(st.just("attempt"), numbers),
    st.tuples(st.just("answer"), numbers),
    st.tuples(st.just("join"), numbers),
    st.tuples(st.just("close"), numbers),
    st.tuples(st.just("lose"), st.integers(1, 4), st.booleans()),
)
# What makes the history forget; without it, nothing may be missing to who reads it.
Loss = st.one_of(
    Step,
    st.tuples(st.just("trim"), st.integers(1, 6)),
    st.tuples(st.just("roll back"), st.integers(1, 4)),
    st.tuples(st.just("restart")),
)


def run(steps: list[tuple[Any, ...]], start: tuple[int, int, int, bool], *, with_ids: bool) -> World:
    world = World(Stream(with_ids=with_ids))
    before, between, arrived, known = start
    begin(world, before, between, arrived, known=known)
    for step in steps:
        world.do(step)
    world.finish()
    return world


@pytest.fixture(params=[(2, 8), (64, 1 << 18)], ids=["often", "seldom"])
def spare(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """How often the log looks for what nobody needs."""
    monkeypatch.setattr("gapless._core.log.SPARE_ENTRIES", request.param[0])
    monkeypatch.setattr("gapless._core.log.SPARE_BYTES", request.param[1])


Start = st.tuples(st.integers(0, 6), st.integers(0, 4), st.integers(0, 4), st.booleans())
thorough = settings(
    max_examples=EXAMPLES // 2,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.mark.usefixtures("spare")
@thorough
@given(
    st.lists(Subscribe, max_size=2),
    st.one_of(st.lists(Step, min_size=20, max_size=60), st.lists(Loss, min_size=20, max_size=60)),
    Start,
    st.booleans(),
)
def test_every_event_comes_once_in_order_or_is_inside_a_gap(
    first: list[tuple[Any, ...]],
    steps: list[tuple[Any, ...]],
    start: tuple[int, int, int, bool],
    no_ids: bool,
) -> None:
    run(first + steps, start, with_ids=not no_ids)


@pytest.mark.usefixtures("spare")
@pytest.mark.parametrize(
    ("steps", "start"),
    [
        pytest.param(
            [
                ("subscribe", "backoff", 5, 1000, ("history", 0)),
                ("publish", 2, 0),
                ("append", 2),
                ("roll back", 2),
                ("publish", 1, 0),
                ("restart",),
                ("append", 3),
                ("answer", 0),
                ("join", 0),
            ],
            (0, 0, 0, False),
            id="what the server has lost while the history was read does not come after what it has now",
        ),
        pytest.param(
            [("subscribe", "backoff", 5, 1000, ("live", 0)), ("append", 8)],
            (0, 3, 0, True),
            id="the event where the channel stood when it was opened is not live",
        ),
        pytest.param(
            [("publish", 2, 0), ("subscribe", "backoff", 1, 4, ("after", 3))],
            (0, 2, 1, True),
            id="an event that came before it was known where the channel stands is not its newest",
        ),
        pytest.param(
            [
                ("restart",),
                ("publish", 3, 0),
                ("subscribe", "backoff", 2, 4, ("history", 0)),
                ("answer", 0),
                ("append", 4),
                ("join", 0),
            ],
            (0, 0, 0, False),
            id="a late gap before events that were read",
        ),
        pytest.param(
            [
                ("lose", 1, False),
                ("lose", 1, False),
                ("restart",),
                ("subscribe", "spill", 1, 4, ("after", 1)),
            ],
            (0, 3, 1, False),
            id="a gap of gaps stands before what is kept",
        ),
        pytest.param(
            [
                ("publish", 20, 0),
                ("subscribe", "backoff", 5, 1000, ("after", 20)),
                *[("answer", 0), ("join", 0), ("take", 0, 5, False)] * 9,
                ("append", 15),
            ],
            (0, 0, 0, True),
            id="more known events at once than are taken at once",
        ),
    ],
)
def test_cases_that_were_wrong_once(steps: list[tuple[Any, ...]], start: tuple[int, int, int, bool]) -> None:
    run(steps, start, with_ids=True)
