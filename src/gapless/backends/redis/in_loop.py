"""What a Redis backend has in one event loop, and how that is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple, TypedDict

from gapless._core.event import Gap
from gapless._core.reads import Refill
from gapless._redis.client import ConnectionSource
from gapless._redis.link import Link
from gapless._redis.scripts import Script
from gapless._redis.session import Session, Streams
from gapless._redis.timing import Timing
from gapless.backends.consumer_health import with_consumers
from gapless.backends.delivery import Delivery
from gapless.backends.gap_log import GapLog, OnGap
from gapless.errors import BackendUnavailable, PublishUncertain
from gapless.health import Health, LinkHealth, PublishHealth


class Bounds(TypedDict, total=False):
    """The bounds of every wait and queue, and `on_gap`, as `RedisChannelsBackend` documents them."""

    publish_timeout: float
    subscribe_timeout: float
    liveness_timeout: float
    connect_timeout: float
    max_backlog: int
    max_backlog_bytes: int
    max_outbox_bytes: int
    on_gap: Callable[[Gap], object] | None


class Settings(NamedTuple):
    """What is the same in every loop."""

    source: ConnectionSource
    timing: Timing
    scripts: tuple[Script, ...]
    streams: Streams | None
    max_backlog: int
    max_backlog_bytes: int
    max_outbox_bytes: int
    on_gap: OnGap | None
    impatient: Callable[[], bool]


class InLoop:
    """One event loop's connections, subscriptions and consumers."""

    def __init__(self, settings: Settings) -> None:
        self.loop = asyncio.get_running_loop()
        self.gaps = GapLog(settings.on_gap)
        has_history = settings.streams is not None and settings.streams.kept.history > 0
        self.delivery = Delivery(
            max_events=settings.max_backlog,
            max_bytes=settings.max_backlog_bytes,
            refill=self._refill if has_history else None,
            note=self.gaps.note,
        )
        self.session = Session(
            settings.source,
            settings.timing,
            scripts=settings.scripts,
            streams=settings.streams,
            consumers=self.delivery,
            note=self._note,
            max_outbox_bytes=settings.max_outbox_bytes,
            impatient=settings.impatient,
        )
        # Publishes by outcome; the hot path counts them.
        self.published = 0
        self._refused = self._unavailable = self._uncertain = 0

    async def stop(self) -> None:
        """End the consumers and close the connections, within a bounded time."""
        self.delivery.close()
        self.gaps.stop()
        await self.session.stop()

    def publish_failed(self, error: Exception) -> None:
        """Count a publish that ended with an error."""
        if isinstance(error, PublishUncertain):
            self._uncertain += 1
        elif isinstance(error, BackendUnavailable):
            self._unavailable += 1
        else:
            self._refused += 1

    def health(self) -> Health:
        """Return how it is now."""
        session = self.session
        repairs = session.repairs
        health = Health(
            subscriber=_link_health(session.pushes.link),
            commands=_link_health(session.commands.link),
            channels_wanted=len(session.subscriptions),
            channels_confirmed=len(session.subscriptions.live),
            channels_syncing=repairs.recovery.syncing if repairs else 0,
            repairs=repairs.recovery.repairs if repairs else 0,
            repaired_events=repairs.recovery.repaired_events if repairs else 0,
            refilled_events=repairs.refilled_events if repairs else 0,
            sweep_lag_seconds=repairs.sweep_lag_seconds if repairs else None,
            publishes=PublishHealth(
                published=self.published,
                refused=self._refused,
                unavailable=self._unavailable,
                uncertain=self._uncertain,
                resolved=session.publisher.resolved,
            ),
        )
        return with_consumers(health, self.delivery, self.gaps)

    def _refill(self, refill: Refill) -> None:
        self.session.refill(refill)

    def _note(self, gaps: list[Gap]) -> None:
        """Gaps were found that are delivered among the events."""
        self.delivery.events -= len(gaps)
        self.gaps.note(gaps)


def _link_health(link: Link) -> LinkHealth:
    return LinkHealth(
        wanted=link.started,
        connected_since=link.connected_since if link.connected else None,
        generation=link.generation,
        failed_attempts=link.attempts,
        last_error=link.last_failure,
    )
