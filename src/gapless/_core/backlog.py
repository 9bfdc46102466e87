"""Events that wait for one consumer, bounded by count and by bytes.

What exceeds the bounds is refused, and takes its place later: once the consumer has taken half of what waits,
what was refused is read from the history, channel by channel, and what can't be read is a Gap that counts it.
Where there is no history, all of it is.
"""

from __future__ import annotations

from collections import deque

from gapless._core.event import Gap
from gapless._core.item import Item
from gapless._core.refused import Part, Refused, Span, as_gap, is_hole, is_ours, merged
from gapless._core.subscription import Subscription

# One read fetches so many entries and bytes; so many are made at once.
SPAN_EVENTS = 1024
SPAN_BYTES = 1024 * 1024
MAX_READS = 4

# So many spans and gaps are remembered, and one more for each channel: some 20 MB. Beyond it, the oldest
# events of a channel are counted and not read.
MAX_HOLES = 100_000


class Backlog:
    """A queue that refuses what would exceed its bounds, and gives it back from the history.

    Each channel keeps its order. Once an event of a channel was refused, all of its later ones are, until the
    consumer has taken half of what waits; while it reads its last span, they wait again. An event larger than
    the bound is taken if it is alone.

    Args:
        refillable: Whether there is a history to read from.

    Attributes:
        items: What waits. The consumer pops from the left, and takes the payload's length off `size_bytes`.
        gaps: Gaps that were made here and that nobody has been told of; whoever tells takes them out.
        due: The channels of which something was refused that is not being read.
    """

    def __init__(
        self, *, max_events: int, max_bytes: int, refillable: bool = False, max_holes: int = MAX_HOLES
    ) -> None:
        self._max_events = max_events
        self._max_holes = max_holes
        self._max_bytes = max_bytes
        self._refillable = refillable
        self._max_reads = min(MAX_READS, max_events)
        self._span_events = min(SPAN_EVENTS, max_events // self._max_reads)
        self._span_bytes = min(SPAN_BYTES, max_bytes // self._max_reads)
        self.items: deque[Item] = deque()
        self.size_bytes = 0
        self.gaps: list[Gap] = []
        self._refused: dict[Subscription, Refused] = {}
        self.due: deque[Subscription] = deque()
        # So many refused channels are looked through for those that nobody wants any more.
        self._prune_at = max_events
        # Spans being read, and the events and bytes that will come of them.
        self._reads = 0
        self._coming = 0
        self._coming_bytes = 0
        # Events among the parts, and spans and gaps among them.
        self._parked = 0
        self._holes = 0

    @property
    def behind(self) -> bool:
        """Whether anything was refused that has not taken its place."""
        return bool(self._refused)

    @property
    def has_half(self) -> bool:
        """Whether half of the queue is free for what was refused."""
        return 2 * len(self.items) <= self._max_events and 2 * self.size_bytes <= self._max_bytes

    def put(self, items: list[Item], size_bytes: int) -> None:
        """Append items, whose payloads have `size_bytes` in all."""
        if (
            not self._refused
            and len(self.items) + len(items) <= self._max_events
            and self.size_bytes + size_bytes <= self._max_bytes
        ):
            self.items.extend(items)
            self.size_bytes += size_bytes
        else:
            if not self.items and not self._refillable:
                # Nothing has to be read: what was refused is gaps, and their place is here.
                self.take_spans()
            for item in items:
                self._put_one(item)

    def take_spans(self) -> list[Span]:
        """Return what to read now, as far as there is room. `refilled()` must follow for each.

        What takes no read is in `items` now.
        """
        spans: list[Span] = []
        while self.due and self._reads < self._max_reads:
            subscription = self.due.popleft()
            refused = self._refused[subscription]
            if not subscription.wanted:
                self._drop(subscription)
                continue
            span = self._advance(subscription, refused)
            if span is not None:
                if not self._has_room(span.count, span.size_bytes):
                    self.due.appendleft(subscription)
                    break
                refused.parts.popleft()
                refused.reading = span
                self._holes -= 1
                self._begin(span)
                spans.append(span)
        return spans

    def refilled(self, span: Span, found: list[tuple[bytes, bytes]] | None) -> None:
        """The history has `found` (payload and mark) of a span; None if it can't be read."""
        subscription = span.subscription
        refused = self._refused.get(subscription)
        if refused is None or refused.reading is not span:
            return
        self._end(refused)
        if not subscription.wanted:
            self._drop(subscription)
            return
        # It is trimmed at the front. Without its end it is another stream than the one that was refused.
        if not found or found[-1][1] != span.last:
            found = []
        if len(found) < span.count:
            self._append_gap(
                subscription, Gap(subscription.channel, None, "backlog", span.count - len(found))
            )
        for data, mark in found:
            self.items.append((subscription, data, mark))
            self.size_bytes += len(data)
        if self._advance(subscription, refused) is not None:
            self.due.append(subscription)

    def give_up(self) -> None:
        """Nothing can be read any more: what was refused becomes gaps."""
        for subscription, refused in list(self._refused.items()):
            if not subscription.wanted:
                self._drop(subscription)
                continue
            if refused.reading is not None:
                refused.parts.appendleft(refused.reading)
                self._holes += 1
                self._end(refused)
            refused.parts = deque(as_gap(part) if isinstance(part, Span) else part for part in refused.parts)
            self._advance(subscription, refused)
        self.due.clear()

    def _begin(self, span: Span) -> None:
        self._reads += 1
        self._coming += span.count
        self._coming_bytes += span.size_bytes

    def _end(self, refused: Refused) -> None:
        span, refused.reading = refused.reading, None
        if span is not None:
            self._reads -= 1
            self._coming -= span.count
            self._coming_bytes -= span.size_bytes

    def _has_room(self, count: int, size_bytes: int) -> bool:
        waiting = len(self.items) + self._parked + self._coming
        return not waiting or (
            waiting + count <= self._max_events
            and self.size_bytes + self._coming_bytes + size_bytes <= self._max_bytes
        )

    def _put_one(self, item: Item) -> None:
        subscription, data, _ = item
        size = len(data) if data is not None else 0
        fits = self._has_room(1, size)
        refused = self._refused.get(subscription)
        if refused is None:
            if fits:
                self.items.append(item)
                self.size_bytes += size
                return
            refused = self._add(subscription)
        parts = refused.parts
        if data is not None and fits and refused.reading and not (parts and is_hole(parts[-1])):
            parts.append(item)
            self._parked += 1
            self.size_bytes += size
        else:
            self._refuse(refused, item, size)

    def _add(self, subscription: Subscription) -> Refused:
        if len(self._refused) > self._prune_at:
            # Channels come and go while the consumer takes nothing: only those that are wanted count.
            for other in [other for other in self._refused if not other.wanted]:
                self._drop(other)
            self.due = deque(other for other in self.due if other in self._refused)
            self._prune_at = max(self._max_events, 2 * len(self._refused))
        refused = self._refused[subscription] = Refused()
        self.due.append(subscription)
        return refused

    def _refuse(self, refused: Refused, item: Item, size: int) -> None:
        parts = refused.parts
        last = parts[-1] if parts else None
        if item[1] is None:
            self._add_hole(refused, item[2])
        elif not self._refillable or item[2] is None:
            self._add_hole(refused, Gap(item[0].channel, None, "backlog", 1))
        elif (
            isinstance(last, Span)
            and last.count < self._span_events
            and last.size_bytes + size <= self._span_bytes
        ):
            last.last = item[2]
            last.count += 1
            last.size_bytes += size
        else:
            self._add_hole(refused, Span(item[0], item[2], size))

    def _add_hole(self, refused: Refused, hole: Span | Gap) -> None:
        parts = refused.parts
        last = parts[-1] if parts else None
        if isinstance(last, Gap) and isinstance(hole, Gap) and is_ours(last) == is_ours(hole):
            parts[-1] = merged(last, hole)
            return
        parts.append(hole)
        self._holes += 1
        if self._holes > self._max_holes:
            self._forget_one(parts)

    def _forget_one(self, parts: deque[Part]) -> None:
        """Make one Gap of the two oldest holes: there are more than can be remembered."""
        at = next((at for at, part in enumerate(parts) if is_hole(part)), len(parts))
        if at + 1 < len(parts):
            first, second = as_gap(parts[at]), as_gap(parts[at + 1])
            if is_ours(first) != is_ours(second):
                self.gaps.append(first if is_ours(first) else second)
            parts[at] = merged(first, second)
            del parts[at + 1]
            self._holes -= 1

    def _advance(self, subscription: Subscription, refused: Refused) -> Span | None:
        """Let a channel's parts take their place up to the next span; return that, None if all have."""
        parts = refused.parts
        while parts:
            part = parts[0]
            if isinstance(part, Span):
                return part
            del parts[0]
            if isinstance(part, Gap):
                self._holes -= 1
                self._append_gap(subscription, part)
            else:
                self._parked -= 1
                self.items.append(part)
        del self._refused[subscription]
        return None

    def _append_gap(self, subscription: Subscription, gap: Gap) -> None:
        self.items.append((subscription, None, gap))
        if is_ours(gap):
            self.gaps.append(gap)

    def _drop(self, subscription: Subscription) -> None:
        """Nobody wants the channel any more."""
        refused = self._refused.pop(subscription)
        self._end(refused)
        for part in refused.parts:
            if isinstance(part, tuple):
                self._parked -= 1
                self.size_bytes -= len(part[1] or b"")
            else:
                self._holes -= 1
