"""One subscribed channel, and one call that asks for channels."""

from __future__ import annotations

from typing import Any

from gapless._core.chain import Chain
from gapless.errors import BackendError


class Ticket:
    """One subscribe call. It is done when each of its channels is live, refused or given up.

    waiter: What the call waits for; the edge knows what that is.
    """

    __slots__ = ("error", "new", "pending", "subscriptions", "waiter")

    def __init__(self) -> None:
        self.waiter: Any = None
        self.subscriptions: list[Subscription] = []
        # Those that this call was the first to want.
        self.new: list[Subscription] = []
        self.pending: set[Subscription] = set()
        self.error: BackendError | None = None

    @property
    def done(self) -> bool:
        return not self.pending


class Subscription:
    """One channel from the call that wanted it to the call that no longer does.

    Args:
        channel: Its name.
        wire_name: The name that stands in a push.
        chained: Whether its events have ids.

    Attributes:
        chain: Where it stands, if it is `chained`; else there is none, and to look for it is a bug.
    """

    __slots__ = (
        "callers",
        "chain",
        "channel",
        "claimed",
        "doubt",
        "interrupted",
        "live",
        "preparing",
        "refused",
        "tickets",
        "wanted",
        "wire_name",
    )

    chain: Chain

    def __init__(self, channel: str, wire_name: bytes, *, chained: bool = False) -> None:
        self.channel = channel
        self.wire_name = wire_name
        self.wanted = True
        self.live = False
        # The call that was the first to want it has still to do something before it is subscribed.
        self.preparing = False
        # A caller believes that it is live, and it is not, or was not for a while: a Gap is due.
        self.interrupted = False
        # The server that it was live on, if one has taken its place that may have lost acknowledged events.
        self.doubt: bytes | None = None
        # The server refused it; it is tried again by retry_refused() or the next subscribe call.
        self.refused = False
        # Subscribe calls that have neither returned nor failed yet; and whether one has returned, so
        # that the cancellation of another must not end it.
        self.callers = 0
        self.claimed = False
        self.tickets: list[Ticket] | None = None
        if chained:
            self.chain = Chain(channel)
