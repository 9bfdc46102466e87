"""The part of `Health` that is about consumers: the same for every backend."""

from __future__ import annotations

from dataclasses import replace

from gapless.backends.delivery import Delivery
from gapless.backends.gap_log import GapLog
from gapless.health import Health


def with_consumers(health: Health, delivery: Delivery, gaps: GapLog) -> Health:
    """Return `health` with events, gaps, and queues."""
    backlogs = [inbox.backlog for inbox in tuple(delivery.inboxes)]
    fullest = max(backlogs, key=lambda backlog: len(backlog.items))
    return replace(
        health,
        events=delivery.events,
        gaps=dict(gaps.by_reason),
        lost_events=gaps.lost,
        consumers=delivery.consumers,
        consumers_behind=sum(backlog.behind for backlog in backlogs),
        queue_events=len(fullest.items),
        queue_bytes=fullest.size_bytes,
    )
