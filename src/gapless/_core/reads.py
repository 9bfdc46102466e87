"""The reads that a session makes on its command link, as plain descriptions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from gapless._core.refused import Span
from gapless._core.subscription import Subscription

# One MGET of so many last ids; one XRANGE of so many entries.
LOOK_CHANNELS = 256
PAGE_ENTRIES = 1024

Purpose = Literal["sync", "sweep"]


class Look:
    """Fetch the last ids of `subscriptions`."""

    __slots__ = ("purpose", "rounds", "subscriptions")

    def __init__(self, subscriptions: list[Subscription], purpose: Purpose) -> None:
        self.subscriptions = subscriptions
        self.purpose: Purpose = purpose
        self.rounds = [subscription.chain.round for subscription in subscriptions]


class Page:
    """Read at most PAGE_ENTRIES entries of `subscription`, from `start` on, inclusive ("-": the oldest)."""

    __slots__ = ("round", "start", "subscription")

    def __init__(self, subscription: Subscription, start: bytes) -> None:
        self.subscription = subscription
        self.start = start
        self.round = subscription.chain.round


class Refill:
    """Read the entries of `span`, which a consumer could not take. `done` gets payloads and marks.

    It gets None if they can't be read.
    """

    __slots__ = ("done", "span")

    def __init__(self, span: Span, done: Callable[[list[tuple[bytes, bytes]] | None], None]) -> None:
        self.span = span
        self.done = done


Read = Look | Page | Refill
