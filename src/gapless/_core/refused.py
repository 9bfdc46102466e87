"""What a backlog remembers of the events that it refused."""

from __future__ import annotations

from collections import deque

from gapless._core.event import Gap
from gapless._core.item import Item
from gapless._core.subscription import Subscription


class Span:
    """Refused events of one channel, without one between them that was not: the marks of first and last."""

    __slots__ = ("count", "first", "last", "size_bytes", "subscription")

    def __init__(self, subscription: Subscription, mark: bytes, size_bytes: int) -> None:
        self.subscription = subscription
        self.first = self.last = mark
        self.count = 1
        self.size_bytes = size_bytes


# A Gap, and an event, which is a tuple.
Part = Span | Gap | Item


class Refused:
    """What a channel has after everything that waits: spans, gaps, and events behind a span being read."""

    __slots__ = ("parts", "reading")

    def __init__(self) -> None:
        self.parts: deque[Part] = deque()
        self.reading: Span | None = None


def is_hole(part: Part) -> bool:
    return not isinstance(part, tuple)


def is_ours(gap: Gap) -> bool:
    """Whether it was made here; what the channel had before, others have been told of."""
    return gap.reason == "backlog"


def as_gap(part: Part) -> Gap:
    """Return a part as a Gap. Behind the first hole there are no events."""
    if isinstance(part, Span):
        return Gap(part.subscription.channel, None, "backlog", part.count)
    if isinstance(part, Gap):
        return part
    raise AssertionError(part)


def merged(first: Gap, second: Gap) -> Gap:
    lost = None if first.lost is None or second.lost is None else first.lost + second.lost
    reason = second.reason if is_ours(first) else first.reason
    return Gap(first.channel, first.after, reason, lost)
