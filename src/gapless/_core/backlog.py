"""Events that wait for one consumer, bounded by count and by bytes."""

from __future__ import annotations

from collections import deque

from gapless._core.event import Gap
from gapless._core.subscriptions import Subscription

# A subscription, then payload and id of an event; or None and the Gap that stands in its place.
Item = tuple[Subscription, bytes, str | None] | tuple[Subscription, None, Gap]


class Backlog:
    """A queue that refuses what would exceed its bounds, and says in its place what it refused.

    Once an event was refused, everything is, until the consumer has taken all that waits. So each
    channel has its refused events in one piece, after everything that waited and before everything
    that comes later, and one Gap tells of it. An event larger than the bound is taken if it is alone.
    """

    __slots__ = ("_bytes", "_items", "_max_bytes", "_max_events", "_refused")

    def __init__(self, *, max_events: int, max_bytes: int) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._items: deque[Item] = deque()
        self._bytes = 0
        # How many events of each channel were refused.
        self._refused: dict[Subscription, int] = {}

    def __len__(self) -> int:
        return len(self._items) + len(self._refused)

    @property
    def size_bytes(self) -> int:
        return self._bytes

    def put(self, items: list[Item], size_bytes: int) -> None:
        """Append items, whose payloads have `size_bytes` in all."""
        if (
            not self._refused
            and len(self._items) + len(items) <= self._max_events
            and self._bytes + size_bytes <= self._max_bytes
        ):
            self._items.extend(items)
            self._bytes += size_bytes
        else:
            for item in items:
                self._put_one(item)

    def take(self, limit: int) -> deque[Item]:
        """Take up to `limit` items, oldest first; with the last of them the gaps of what was refused."""
        items = self._items
        if len(items) <= limit:
            taken, self._items = items, deque()
            self._bytes = 0
            for subscription, lost in self._refused.items():
                taken.append((subscription, None, Gap(subscription.channel, None, "backlog", lost)))
            self._refused.clear()
            return taken
        taken = deque([items.popleft() for _ in range(limit)])
        self._bytes -= _size(taken)
        return taken

    def put_back(self, items: deque[Item]) -> None:
        """Return items that were taken and not used; they come first again."""
        self._items.extendleft(reversed(items))
        self._bytes += _size(items)

    def _put_one(self, item: Item) -> None:
        subscription, data, _ = item
        size = len(data) if data is not None else 0
        fits = not self._items or (
            len(self._items) < self._max_events and self._bytes + size <= self._max_bytes
        )
        if fits and not self._refused:
            self._items.append(item)
            self._bytes += size
        else:
            self._refused[subscription] = self._refused.get(subscription, 0) + (data is not None)


def _size(items: deque[Item]) -> int:
    return sum(len(data) for _, data, _ in items if data is not None)
