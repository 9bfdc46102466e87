"""What the hub and its subscribers say about themselves. Plain frozen values."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["HubStats", "SubscriberStats"]


@dataclass(frozen=True, slots=True)
class SubscriberStats:
    """One subscriber at one moment.

    Attributes:
        delivered: Events and gaps that it was given.
        dropped: Events that it will not get since it was too slow, as far as their number is known. Each is
            inside a Gap of reason ``backlog``.
        spilled: How often it fell back to the history (policy ``spill``).
        waiting_events: Events and gaps that wait for it in this process.
        waiting_bytes: Their payloads, in bytes. Shared with the other subscribers of the channel.
        behind: Whether it has to read the history before it is live.
    """

    delivered: int = 0
    dropped: int = 0
    spilled: int = 0
    waiting_events: int = 0
    waiting_bytes: int = 0
    behind: bool = False


@dataclass(frozen=True, slots=True)
class HubStats:
    """A hub at one moment; the counts are since it was opened.

    Attributes:
        channels: Channels that are subscribed at the backend, those included that nobody uses any more and
            that are given up soon.
        subscribers: Subscribers that are open.
        events: Events and gaps that came from the backend.
        kept_events: Events and gaps in memory for those who have not taken them.
        replays: Reads of the history, each for one or many subscribers.
        disconnected: Subscribers that were ended since they were too slow (policy ``disconnect``).
        queued: Publishes of `publish_nowait` that wait.
        published: Publishes that the backend has confirmed.
        publish_errors: Publishes of `publish_nowait` that failed, or that were given up when the hub closed.
    """

    channels: int = 0
    subscribers: int = 0
    events: int = 0
    kept_events: int = 0
    replays: int = 0
    disconnected: int = 0
    queued: int = 0
    published: int = 0
    publish_errors: int = 0
