"""What waits for a consumer."""

from __future__ import annotations

from typing import Protocol

from gapless._core.entries import Output
from gapless._core.event import Gap
from gapless._core.subscription import Subscription

# A subscription, then payload and mark of an event (the mark is its id after one letter, as it came);
# or None and the Gap that stands in its place.
Item = tuple[Subscription, bytes, bytes | None] | tuple[Subscription, None, Gap]


class Consumers(Protocol):
    """Who takes the items of a backend."""

    def put(self, items: list[Item], size_bytes: int) -> None:
        """Hand items, whose payloads have `size_bytes` in all, to every consumer. Never waits."""

    def wake(self) -> None:
        """Let those go on that wait for items, in the next tick of the event loop."""

    def resume(self) -> None:
        """Let those go on that wait for items, in this call; if a task calls this, in the next tick."""


def items_of(subscription: Subscription, output: list[Output]) -> list[Item]:
    """Return what a chain gives out as items of its channel."""
    items: list[Item] = []
    for out in output:
        if out[0] is None:
            items.append((subscription, None, out[1]))
        else:
            items.append((subscription, out[0], out[1]))
    return items
