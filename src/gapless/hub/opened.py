"""What a hub has while it is open."""

from __future__ import annotations

import asyncio

from gapless.hub.outbox import OnError, Outbox
from gapless.hub.replays import Replays
from gapless.hub.upstream import Upstream


class Open:
    """What a hub has while it is open.

    Args:
        upstream: Of this hub.
        max_events, max_bytes, on_error: As `Outbox`.
    """

    def __init__(
        self, upstream: Upstream, *, max_events: int, max_bytes: int, on_error: OnError | None
    ) -> None:
        self.upstream = upstream
        self.outbox = Outbox(self.publish, max_events=max_events, max_bytes=max_bytes, on_error=on_error)
        self.replays = Replays(upstream)
        self.published = 0
        self.loop = asyncio.get_running_loop()
        # No new subscribers.
        self.draining = False

    async def publish(self, data: bytes, names: tuple[str, ...]) -> None:
        """Publish; also while the hub closes and its outbox is drained."""
        await self.upstream.backend.publish(data, names)
        self.published += 1

    def is_here(self) -> bool:
        """Return whether this is the hub's event loop, and not another thread."""
        try:
            return asyncio.get_running_loop() is self.loop
        except RuntimeError:
            return False
