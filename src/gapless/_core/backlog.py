"""Events that wait for one consumer, bounded by count and by bytes."""

from __future__ import annotations

from collections import deque

from gapless._core.event import Gap
from gapless._core.subscription import Subscription

# A subscription, then payload and mark of an event (the mark is its id after one letter, as it came);
# or None and the Gap that stands in its place.
Item = tuple[Subscription, bytes, bytes | None] | tuple[Subscription, None, Gap]


class Backlog:
    """A queue that refuses what would exceed its bounds, and says in its place what it refused.

    Once an event was refused, everything is, until the consumer has taken all that waits. So each
    channel has its refused events in one piece, after everything that waited and before everything
    that comes later, and one Gap tells of it. An event larger than the bound is taken if it is alone.
    """

    __slots__ = ("_max_bytes", "_max_events", "_refused", "items", "size_bytes")

    def __init__(self, *, max_events: int, max_bytes: int) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        # The consumer pops from the left, and takes the payload's length off `size_bytes`.
        self.items: deque[Item] = deque()
        self.size_bytes = 0
        # How many events of each channel were refused; None if a Gap of unknown size was among them.
        self._refused: dict[Subscription, int | None] = {}

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
            for item in items:
                self._put_one(item)

    def waiting(self) -> bool:
        """Return whether there is an item to take; what was refused becomes gaps once all else is taken."""
        if not self.items and self._refused:
            for subscription, lost in self._refused.items():
                gap = Gap(subscription.channel, None, "backlog", lost)
                self.items.append((subscription, None, gap))
            self._refused.clear()
        return bool(self.items)

    def _put_one(self, item: Item) -> None:
        subscription, data, _ = item
        size = len(data) if data is not None else 0
        fits = not self.items or (
            len(self.items) < self._max_events and self.size_bytes + size <= self._max_bytes
        )
        if fits and not self._refused:
            self.items.append(item)
            self.size_bytes += size
        else:
            if len(self._refused) > self._max_events:
                # Channels come and go while the consumer takes nothing: only those that are wanted count.
                self._refused = {s: lost for s, lost in self._refused.items() if s.wanted}
            lost = self._refused.get(subscription, 0)
            self._refused[subscription] = None if data is None or lost is None else lost + 1
