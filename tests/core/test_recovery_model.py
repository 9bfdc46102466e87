"""Recovery against a simple model of the server, under arbitrary interleavings.

What must hold for each channel: no event twice, none out of the order of publishing, and each event that was
published after the subscription and not delivered lies in a place where a Gap stands.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gapless._core.chain import FRESH, SYNCING
from gapless._core.entries import NOTHING, Entries, Entry, Kept, Push
from gapless._core.event import Gap
from gapless._core.recovery import Look, Page, Read, Recovery
from gapless._core.subscription import Subscription

# `GAPLESS_TEST_LONG=1`: the long profile, as CI runs it.
EXAMPLES = 20_000 if os.environ.get("GAPLESS_TEST_LONG") else 500

HOUR_MS = 3_600_000
RESUME_TTL_MS = 24 * HOUR_MS


@dataclass
class Server:
    """One channel on a server: its stream, its last id, and its clock."""

    history: int
    now_ms: int = 1_000_000_000_000
    entries: list[Entry] = field(default_factory=list)
    last: bytes | None = None
    # What XADD remembers of a stream as long as it exists.
    top: tuple[int, int] = (0, 0)
    name: bytes = b"1"

    def publish(self, data: bytes) -> Push:
        self.now_ms += 1
        key = (self.now_ms, 0)
        if key <= self.top:
            key = (self.top[0], self.top[1] + 1)
        self.top = key
        entry_id = b"%d-%d" % key
        previous = NOTHING if self.last is None else b"g" + self.last
        self.entries.append(Entry(entry_id, data, self.name, previous))
        del self.entries[: max(0, len(self.entries) - self.history)]
        self.last = entry_id
        return Push(b"g" + entry_id, previous, data)

    def expire(self) -> None:
        self.entries = []
        self.top = (0, 0)

    def copy(self) -> Server:
        return Server(self.history, self.now_ms, list(self.entries), self.last, self.top, self.name)

    def look(self) -> bytes | None:
        return self.last

    def read(self, page: Page, count: int) -> Entries:
        start = (0, 0) if page.start == b"-" else tuple(map(int, page.start.split(b"-")))
        kept = [e for e in self.entries if tuple(map(int, e.id.split(b"-"))) >= start]
        return Entries(
            kept[: count + 1],
            self.entries[0].id if self.entries else None,
            self.last,
            len(kept) > count,
            len(self.entries),
            self.name,
        )


class World:
    """A server, the pushes and replies under way, and one consumer."""

    def __init__(self, history: int, earlier: int, *, known: bool = True, page: int = 3) -> None:
        self.server = Server(history)
        self.page_entries = page
        self.published: list[bytes] = []
        self.waived: set[int] = set()
        self.owed_from = 0
        for _ in range(earlier):
            self.publish()
        self.subscription = Subscription("room", b"room", chained=True)
        self.subscription.live = True
        # Hour-long outages are not part of this: the streams' time to live ends them in `expire`.
        self.recovery = Recovery(Kept(history, HOUR_MS), RESUME_TTL_MS)
        if known:
            self.subscription.chain.begin(self.server.last, self.server.now_ms)
        else:
            # Subscribed during an outage: nobody could look where the channel stood.
            self.recovery.resubscribed(self.subscription)
        self.owed_from = len(self.published)
        self.snapshot = self.server.copy()
        self.connected = True
        self.starts = 1
        self.clock_is_wrong = False
        self.live_on = self.recovery.server = self.server.name
        self.wire: list[Push] = []
        self.replies: list[tuple[Read, bytes | Entries | None]] = []
        self.got: list[bytes | Gap] = []

    def publish(self, *, by_reference: bool = False) -> None:
        data = b"%d" % len(self.published)
        push = self.server.publish(data)
        self.published.append(data)
        if getattr(self, "connected", False):
            self.wire.append(push._replace(data=None) if by_reference else push)

    def take(self, items: list) -> None:  # type: ignore[type-arg]
        for _, data, mark in items:
            self.got.append(mark if data is None else data)

    def receive(self, index: int = 0) -> None:
        if index < len(self.wire):
            push = self.wire.pop(index)
            chain = self.subscription.chain
            assert chain.tip != b"g"
            if push.data is not None and push.previous == chain.tip:
                deliver = True
            else:
                deliver = self.recovery.push(self.subscription, push)
            if deliver:
                chain.tip = push.mark
                assert push.data is not None
                self.got.append(push.data)

    def duplicate(self) -> None:
        if self.wire:
            self.wire.insert(1, self.wire[0])

    def lose(self) -> None:
        # Without a history the first push can't be told from one before the subscription.
        if self.wire and not (self.server.history == 0 and self.subscription.chain.tip is FRESH):
            self.wire.pop(0)

    def disconnect(self) -> None:
        self.connected = False
        self.subscription.live = False
        self.wire.clear()

    def reconnect(self) -> None:
        self.disconnect()
        self.connected = True
        self.subscription.live = True
        if self.live_on != self.server.name and self.subscription.doubt is None:
            self.subscription.doubt = self.live_on
        self.live_on = self.recovery.server = self.server.name
        self.recovery.resubscribed(self.subscription, self.subscription.doubt)
        self.subscription.doubt = None

    def restart(self, *, lingers: bool = False) -> None:
        """The same data, and another identity.

        lingers: What the old server had pushed is still on its way, and nobody has told us that its connection
        is gone; reads get to the new one already.
        """
        self.starts += 1
        self.server.name = b"%d" % self.starts
        if lingers:
            self.connected = False
        else:
            self.disconnect()

    def send_reads(self) -> None:
        for read in self.recovery.take_reads():
            if isinstance(read, Look):
                self.replies.append((read, self.server.look()))
            else:
                self.replies.append((read, self.server.read(read, self.page_entries)))

    def answer(self, index: int = 0) -> None:
        if index < len(self.replies):
            read, reply = self.replies.pop(index)
            if isinstance(read, Look):
                assert not isinstance(reply, Entries)
                self.take(self.recovery.looked(read, [reply], self.server.now_ms))
            else:
                assert isinstance(reply, Entries)
                self.take(self.recovery.paged(read, reply))

    def fail(self) -> None:
        if self.replies:
            self.recovery.failed(self.replies.pop(0)[0])

    def refuse(self) -> None:
        """The stream can't be read: a key of the wrong type, or a permission that was taken away."""
        if self.replies:
            self.take(self.recovery.refused(self.replies.pop(0)[0]))

    def sweep(self) -> None:
        self.recovery.sweep([self.subscription])

    def read_all(self) -> None:
        """A sweep finds what there is, while what was pushed is still on its way."""
        self.sweep()
        for _ in range(20):
            self.send_reads()
            self.answer()
        self.recovery.recheck()
        for _ in range(20):
            self.send_reads()
            self.answer()

    def save(self) -> None:
        self.snapshot = self.server.copy()

    def rollback(self, *, lingers: bool = False) -> None:
        """An older snapshot comes back, on another server. Its connections are lost, see `restart()`."""
        now_ms = self.server.now_ms
        self.server = self.snapshot.copy()
        self.server.now_ms = now_ms
        self.restart(lingers=lingers)

    def reset(self) -> None:
        """FLUSHALL."""
        if self.clock_is_wrong:
            self._let_arrive()
        # A channel without any event, before and after: nothing can show that it had some meanwhile.
        self._waive_if_nothing_came()
        self.server.entries, self.server.last, self.server.top = [], None, (0, 0)
        if self.clock_is_wrong:
            self.save()  # a deletion that a rollback takes back is beyond what ids can tell then

    def turn_clock_back(self) -> None:
        self._let_arrive()
        self.server.now_ms -= HOUR_MS // 4
        self.save()
        self.clock_is_wrong = True
        self._waive_if_nothing_came()

    def expire(self) -> None:
        """Nothing is published for so long that the stream expires; the last id stays."""
        self.server.now_ms += HOUR_MS
        self.server.expire()
        if self.clock_is_wrong:
            # Only the age of the next stream can show that there was another one before it.
            self._waive_if_nothing_came()

    def _let_arrive(self) -> None:
        """Ids don't tell old from new where a stream is deleted and the clock goes back: the order of arrival
        does, unless a push is on its way for longer than both take."""
        while self.wire:
            self.receive()

    def _waive_if_nothing_came(self) -> None:
        if self.subscription.chain.position in (None, NOTHING):
            self.waived |= set(range(len(self.published)))

    def settle(self) -> None:
        """No more faults: everything arrives, is asked and answered; then one sweep finds what is left."""
        if not self.connected:
            self.reconnect()
        for _ in range(2):
            self._drain()
            self.sweep()
            self._drain()
            self.recovery.recheck()
            self._drain()
        assert self.recovery.syncing == 0
        assert self.subscription.chain.tip != SYNCING

    def _drain(self) -> None:
        for _ in range(10_000):
            if not (self.wire or self.replies or self.recovery.pending):
                return
            self.receive()
            self.send_reads()
            self.answer()
        raise AssertionError("recovery does not come to an end")


def check(world: World) -> None:
    owed = world.published[world.owed_from :]
    events = [item for item in world.got if isinstance(item, bytes)]
    assert len(set(events)) == len(events), f"twice: {world.got}"
    numbers = [int(event) for event in events]
    assert numbers == sorted(numbers), f"out of order: {world.got}"
    assert set(events) <= set(owed), f"before the subscription: {world.got}"
    # Each hole in what was delivered has a Gap in its place.
    position = world.owed_from
    covered = False
    for item in [*world.got, None]:
        if isinstance(item, Gap):
            covered = True
            continue
        number = len(world.published) if item is None else int(item)
        missed = set(range(position, number)) - world.waived
        assert not missed or covered, f"{missed} vanished: {world.got}"
        position = number + 1
        covered = False


ACTIONS = st.lists(
    st.sampled_from(
        ["publish"] * 6
        + ["receive"] * 5
        + ["send_reads"] * 4
        + ["answer"] * 4
        + [
            "publish_reference", "answer_second", "lose", "duplicate", "disconnect", "reconnect",
            "restart", "fail", "sweep", "recheck", "save", "rollback", "reset", "expire",
            "turn_clock_back", "release", "restart_lingering", "rollback_lingering", "read_all", "refuse",
        ]
    ),
    max_size=60,
)  # fmt: skip


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    history=st.integers(0, 6), earlier=st.integers(0, 3), actions=ACTIONS, known=st.booleans(),
    page=st.integers(1, 3),
)  # fmt: skip
# Late pushes of a stream that is gone link to what is left of it.
@example(
    history=1,
    earlier=0,
    actions=["publish", "publish", "reset", "publish", "read_all", "reset"],
    known=True,
    page=3,
)
@example(
    history=6,
    earlier=2,
    actions=["save", "publish", "read_all", "rollback_lingering", "read_all", "receive"],
    known=True,
    page=3,
)
# Pushes come late, and then it turns out that the stream can't be read any more.
@example(
    history=6,
    earlier=0,
    actions=["publish", "publish", "publish", "read_all", "receive", "send_reads", "refuse"],
    known=True,
    page=3,
)
# A page ends where the old server's entries do, and the next event is pushed before it is read.
@example(
    history=6,
    earlier=0,
    actions=[
        "disconnect", "publish", "publish", "publish", "publish", "save", "publish", "rollback", "reconnect",
        "send_reads", "answer", "send_reads", "publish",
    ],
    known=True,
    page=3,
)  # fmt: skip
# A stream that was deleted is back: a page of it ends with what was delivered last.
@example(
    history=2,
    earlier=2,
    actions=["reset", "read_all", "rollback_lingering"],
    known=True,
    page=1,
)
def test_no_interleaving_loses_an_event_without_a_gap(
    history: int, earlier: int, actions: list[str], known: bool, page: int
) -> None:
    # What was there before, a rollback can bring to a channel that was seen empty: behind a Gap, but not owed.
    world = World(history, earlier if known else 0, known=known, page=page)
    for action in actions:
        match action:
            case "publish_reference":
                world.publish(by_reference=history > 0)
            case "answer_second":
                world.answer(1)
            case "recheck":
                world.recovery.recheck()
            case "restart_lingering":
                world.restart(lingers=True)
            case "rollback_lingering":
                world.rollback(lingers=True)
            case "release":
                world.subscription.chain.release()
            case _:
                getattr(world, action)()
    world.settle()
    check(world)
