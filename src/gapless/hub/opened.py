"""What a hub has while it is open."""

from __future__ import annotations

from gapless.hub.outbox import Outbox
from gapless.hub.replays import Replays
from gapless.hub.upstream import Upstream


class Open:
    """What a hub has while it is open."""

    def __init__(self, upstream: Upstream, outbox: Outbox) -> None:
        self.upstream = upstream
        self.outbox = outbox
        self.replays = Replays(upstream)
        self.published = 0
        # No new subscribers.
        self.draining = False
