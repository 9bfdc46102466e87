"""Bugs to plant in a consumer, so that the checker can be seen to find them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

from gapless import Event, Gap
from gapless._core.entries import Push
from gapless._redis.repairs import Repairs

BUGS = ("skip-verify", "duplicate", "swallow-gap", "deaf", "miscount")
# One event in so many is delivered twice.
DUPLICATE_EVERY = 20
# After so many events, nothing comes any more.
DEAF_AFTER = 100


def plant(bug: str | None) -> None:
    """Plant a bug that lies inside the backend."""
    if bug == "skip-verify":
        skip_verify()


def skip_verify() -> None:
    """Take every frame as the next one, whatever entry it follows, and never look for what was missed.

    With benchmarks/peers/unchained.py the one place that knows how the Streams backend finds holes: adapt
    both when that changes.
    """

    def push(self: Repairs, subscription: Any, push: Push) -> bool:
        return push.data is not None

    def resubscribed(self: Repairs, subscription: Any, doubt: bytes | None) -> None:
        """Go on where the pushes go on."""

    Repairs.push = push  # type: ignore[method-assign]
    Repairs.resubscribed = resubscribed  # type: ignore[method-assign]
    Repairs.start_sweeping = lambda self: None  # type: ignore[method-assign]


async def spoil(
    bug: str | None, events: AsyncGenerator[Event | Gap, None]
) -> AsyncGenerator[Event | Gap, None]:
    """Yield what a backend with the bug would yield."""
    count = 0
    async for item in events:
        if bug == "swallow-gap" and isinstance(item, Gap):
            continue
        if bug == "miscount" and isinstance(item, Gap):
            yield replace(item, lost=1)
            continue
        yield item
        count += isinstance(item, Event)
        if bug == "duplicate" and isinstance(item, Event) and count % DUPLICATE_EVERY == 0:
            yield item
        if bug == "deaf" and count == DEAF_AFTER:
            return
