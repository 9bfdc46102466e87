"""What a backend says about itself. Plain frozen values; `dataclasses.asdict()` makes JSON of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from gapless._core.event import GapReason

__all__ = ["Health", "LinkHealth", "PublishHealth"]


@dataclass(frozen=True, slots=True)
class LinkHealth:
    """One connection.

    Attributes:
        wanted: Whether anything has needed it so far; the first use connects.
        connected_since: When it was made, in UTC; None while there is none.
        generation: Number of connections made so far, this one included.
        failed_attempts: To connect, since the last connection was lost.
        last_error: Why the last connection was lost, or could not be made; None if that never happened. It
            stays after a reconnect.
    """

    wanted: bool = False
    connected_since: datetime | None = None
    generation: int = 0
    failed_attempts: int = 0
    last_error: str | None = None

    @property
    def reconnects(self) -> int:
        """Connections made after the first one."""
        return max(0, self.generation - 1)


@dataclass(frozen=True, slots=True)
class PublishHealth:
    """What became of the publishes that have ended; one counts once, to however many channels it went.

    One whose caller was cancelled is not counted.

    Attributes:
        published: The server has confirmed them.
        refused: `BackendError`: the server has refused them, or an argument was wrong.
        unavailable: `BackendUnavailable`: not sent, nothing was published.
        uncertain: `PublishUncertain`: the reply was lost, and what became of them can't be known.
        resolved: The reply was lost, and it was found out whether they were published. What was not was sent
            again, so that most of these are in `published` too.
    """

    published: int = 0
    refused: int = 0
    unavailable: int = 0
    uncertain: int = 0
    resolved: int = 0


@dataclass(frozen=True, slots=True)
class Health:
    """A backend in one event loop at one moment. All counts are since its first use there.

    Attributes:
        subscriber: The connection that events are pushed on.
        commands: The connection for publishes and reads.
        channels_wanted: Channels that are subscribed, or will be as soon as that is possible.
        channels_confirmed: Those of them that the server has confirmed on the present connection.
        channels_syncing: Those of them that may have missed something, which is being looked for.
        events: Events handed to the consumers, each once, however many consumers there are.
        repairs: Times that missed events of a channel were looked for in its history.
        repaired_events: Events that were found so.
        refilled_events: Events that were read from the history for consumers whose queue had been full.
        gaps: Number of gaps by reason.
        lost_events: Events in these gaps, as far as their number is known. What two slow consumers have lost
            counts twice.
        consumers: Generators of `events()` and `stream_events()` that are being consumed.
        consumers_behind: Those whose queue was full, and that have not caught up yet.
        queue_events: Events that wait in the fullest queue.
        queue_bytes: Their payloads, in bytes.
        sweep_lag_seconds: How long ago what was published was last compared with what was pushed, for all
            channels at once. None before that, and where there is no history (Pub/Sub).
        publishes: What became of the publishes.
    """

    subscriber: LinkHealth = field(default_factory=LinkHealth)
    commands: LinkHealth = field(default_factory=LinkHealth)
    channels_wanted: int = 0
    channels_confirmed: int = 0
    channels_syncing: int = 0
    events: int = 0
    repairs: int = 0
    repaired_events: int = 0
    refilled_events: int = 0
    gaps: dict[GapReason, int] = field(default_factory=dict)
    lost_events: int = 0
    consumers: int = 0
    consumers_behind: int = 0
    queue_events: int = 0
    queue_bytes: int = 0
    sweep_lag_seconds: float | None = None
    publishes: PublishHealth = field(default_factory=PublishHealth)

    @property
    def connected(self) -> bool:
        """Whether each connection that something has needed is up; False if nothing has."""
        wanted = [link for link in (self.subscriber, self.commands) if link.wanted]
        return bool(wanted) and all(link.connected_since is not None for link in wanted)

    @property
    def whole(self) -> bool:
        """Whether every wanted channel is live, nothing missed is looked for, and no consumer is behind."""
        return (
            self.connected
            and self.channels_confirmed == self.channels_wanted
            and not self.channels_syncing
            and not self.consumers_behind
        )
