"""For tests of applications: everything in one process, and nothing to wait for."""

from __future__ import annotations

import asyncio

from gapless.backends.memory import MemoryChannelsBackend
from gapless.errors import ConfigurationError
from gapless.hub import Channels

__all__ = ["settled"]


async def settled(hub: Channels, *, seconds: float = 5.0) -> None:
    """Return when every event that was published has reached its subscribers.

    Afterwards `subscriber.stats.waiting_events` says how much there is, so that a test can also see that
    nothing came, and `subscriber.batch()` returns it at once; if there is nothing, it would wait.

    Args:
        hub: Open, on a `MemoryChannelsBackend`.
        seconds: How long it may take; only a publish that is never confirmed takes long.

    Raises:
        ConfigurationError: The hub is on another backend, where events are on their way for an unknown time.
        TimeoutError: It took longer.
    """
    backend = hub.backend
    if not isinstance(backend, MemoryChannelsBackend):
        raise ConfigurationError(
            f"settled: expected a hub on a MemoryChannelsBackend, got one on a {type(backend).__name__}; "
            "wait for the events themselves there"
        )
    async with asyncio.timeout(seconds):
        # What is queued is published in one tick, and handed to the hub in the next.
        while hub.stats.queued or backend.health().queue_events:  # noqa: ASYNC110 (ticks are counted)
            await asyncio.sleep(0)
        # And the tasks that it woke have taken it in this one.
        await asyncio.sleep(0)
