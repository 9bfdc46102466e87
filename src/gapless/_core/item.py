"""What waits for a consumer."""

from __future__ import annotations

from gapless._core.entries import Output
from gapless._core.event import Gap
from gapless._core.subscription import Subscription

# A subscription, then payload and mark of an event (the mark is its id after one letter, as it came);
# or None and the Gap that stands in its place.
Item = tuple[Subscription, bytes, bytes | None] | tuple[Subscription, None, Gap]


def items_of(subscription: Subscription, output: list[Output]) -> list[Item]:
    """Return what a chain gives out as items of its channel."""
    items: list[Item] = []
    for out in output:
        if out[0] is None:
            items.append((subscription, None, out[1]))
        else:
            items.append((subscription, out[0], out[1]))
    return items
