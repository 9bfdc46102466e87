"""Where one subscriber is in one channel, and what becomes of events that come faster than it takes them."""

from __future__ import annotations

from collections import deque
from typing import Any, Literal, get_args

from gapless._core.event import Event, Gap
from gapless._core.history import id_key
from gapless._core.log import Entry, Log, Lost, is_backwards
from gapless._core.replay import Replay

Policy = Literal["backoff", "dropleft", "disconnect", "spill"]
POLICIES: tuple[Policy, ...] = get_args(Policy)


class Reader:
    """A place in a log.

    It is *attached* while the log keeps its entries. It is not, while it needs none of them: because it has
    to read the history first, because it drops what is new (policy `backoff`), or because it was
    disconnected.

    Args:
        log: The channel's log.
        owner: Whom to wake, and whose this is.
        policy: What to do when more waits than may. `backoff`: drop what is new until what waits was taken.
            `dropleft`: drop what is oldest. `disconnect`: end. `spill`: drop all but the first, and read on
                after that in the history. What is dropped, and that cannot be read, is a Gap in its place.
        max_events: Events that may wait.
        max_bytes: Bytes of payloads that may wait; a single event may be larger.

    Attributes:
        position: Number of the next entry, while attached.
        plain: Whether to take the next entries is no more than to read them off the log, and to move on.
        after: Where it has to read on in the history, as soon as it has taken what it has; None if it has
            not.
        ended: Whether it was disconnected.
        dropped: Events in the gaps that it was given, as far as their number is known.
        spilled: How often it has dropped what it can read in the history.
    """

    __slots__ = (
        "_dropping", "_floor", "_kept", "_known", "_lost", "_policy", "after", "attached", "dropped", "ended",
        "log", "max_bytes", "max_events", "owner", "plain", "position", "reached", "spilled",
    )  # fmt: skip

    def __init__(self, log: Log, owner: Any, *, policy: Policy, max_events: int, max_bytes: int) -> None:
        self.log = log
        self.owner = owner
        self._policy: Policy = policy
        self.max_events = max_events
        self.max_bytes = max_bytes
        self.position = log.end
        # The last event that its owner has handed on.
        self.reached = log.position
        self.after: str | None = None
        self.attached = True
        self.plain = policy != "dropleft"
        self.ended = False
        self.dropped = 0
        self.spilled = 0
        # What comes before the entries of the log.
        self._kept: deque[Entry] | None = None
        # What was passed over between the two; and what the log had counted when dropping began.
        self._lost: Lost | None = None
        self._dropping: Lost | None = None
        # What it has from the history and may come again: all up to here, as long as ids don't go backwards.
        self._known: str | None = None
        self._floor: tuple[int, int] | None = None
        log.attach(self)

    @property
    def bounded(self) -> bool:
        """Whether the log has to look at it in time."""
        return self.attached and self._policy != "dropleft"

    @property
    def waiting_events(self) -> int:
        """Entries that wait for it here; what it has to read is not counted."""
        kept = len(self._kept) if self._kept else 0
        return kept + (self.log.end - self.position if self.attached else 0)

    @property
    def waiting_bytes(self) -> int:
        """Bytes of their payloads."""
        kept = sum(len(entry.item.data) for entry in self._kept or () if isinstance(entry.item, Event))
        return kept + (self.log.end_bytes - self.log.bytes_before(self.position) if self.attached else 0)

    def take(self, limit: int) -> list[Entry]:
        """Return the next entries, `limit` at most; none if none waits, or `after` has to be read first."""
        if self._policy == "dropleft":
            self.check()
        elif self._floor is not None and self.attached:
            self._settle()
        taken = self._take_rest(limit)
        self.plain = (
            self.attached
            and self._kept is None
            and self._lost is None
            and self._floor is None
            and self._policy != "dropleft"
        )
        return taken

    def check(self) -> None:
        """If more waits than may, do what the policy says."""
        if not self.attached:
            return
        if self._floor is not None:
            self._settle()
            if not self.attached:
                return
        log = self.log
        waiting = log.end - self.position
        if waiting > self.max_events or (
            waiting > 1 and log.end_bytes - log.bytes_before(self.position) > self.max_bytes
        ):
            if self._floor is None:
                self._overflow()
            else:
                self._pass_gaps()

    def resume(self, after: str | None) -> None:
        """Need nothing of the log until `join()`, which brings what the history has.

        Args:
            after: The event to go on from; None if the newest ones are read.
        """
        self.attached = self.plain = False
        # Not where the log is: what it will have read comes before that.
        self.reached = after

    def join(self, replay: Replay) -> None:
        """Take what was found, and then go on live, or read on."""
        self.plain = False
        if self.reached is None and not replay.entries and replay.start == self.log.end:
            self.reached = self.log.position
        self._kept = deque(replay.entries) or None
        self.after = replay.after
        if self.after is None:
            self._go_live(replay)

    def _go_live(self, replay: Replay) -> None:
        log = self.log
        self.attached = True
        if isinstance(log.last, Event) and log.last.id == replay.position:
            # What was read and what came live end with the same event.
            self.position = log.end
        else:
            # The log may be ahead of what was read, or behind: the backend's events are on their way to it.
            self.position = replay.start
            if replay.position is not None:
                self._known = replay.position
                self._floor = id_key(replay.position.partition("@")[0])
                backwards = [entry for entry in log.slice(replay.start) if is_backwards(entry.item)]
                if backwards:
                    self._read_again(backwards)
                    return
        log.expect(self)
        self.check()

    def close(self) -> None:
        """Need nothing any more."""
        self.log.detach(self)
        self.attached = self.plain = False
        self.after = self._kept = self._lost = self._dropping = None

    def _take_rest(self, limit: int) -> list[Entry]:
        taken: list[Entry] = []
        if self._kept is not None:
            while self._kept and len(taken) < limit:
                taken.append(self._kept.popleft())
            if self._kept or len(taken) == limit:
                return taken
            self._kept = None
        if self._dropping is not None:
            # What waited was taken: from here on it takes part again.
            self._lost = self.log.totals.plus(self._dropping, -1)
            self._dropping = None
            self.attached = True
            self.position = self.log.end
            self.log.expect(self)
        self._tell_lost(taken)
        if self.attached:
            entries = self.log.slice(self.position, limit - len(taken))
            self.position += len(entries)
            taken += entries
        return taken

    def _tell_lost(self, entries: list[Entry]) -> None:
        """Append a Gap for what was passed over."""
        if self._lost is not None:
            self.dropped += self._lost.events
            order = entries[-1].order if entries else 0
            entries.append(Entry(self._lost.gap(self.log.channel), order=order))
            self._lost = None

    def _settle(self) -> None:
        """Pass over what it has from the history: that does not wait. Gaps in between do."""
        gaps: list[Entry] = []
        passed: list[Entry] = []
        for number, entry in enumerate(self.log.slice(self.position), self.position + 1):
            item = entry.item
            if isinstance(item, Gap):
                gaps.append(entry)
                if is_backwards(item):
                    self._read_again([*passed, *gaps])
                    return
            elif item.id is not None and self._floor is not None and id_key(item.id) <= self._floor:
                passed += gaps
                gaps = []
                self.position = number
            else:
                # Events come in the order of the history: after this one, none comes that is known.
                self._known = self._floor = None
                break
        if passed:
            self._kept = deque([*(self._kept or ()), *passed])

    def _read_again(self, gaps: list[Entry]) -> None:
        """Have the history read from what it has: ids do not tell any more what follows that.

        The last of `gaps` may have come late, so that events after it are known; or the server has lost
        something since the read.
        """
        self._kept = deque([*(self._kept or ()), *gaps])
        self.after = self._known
        self._known = self._floor = None
        self.attached = self.plain = False

    def _pass_gaps(self) -> None:
        """Only gaps wait: they become one, and no event is dropped for them."""
        self.plain = False
        self._pass_over(self.log.end)

    def _pass_over(self, position: int) -> None:
        lost = Lost(self.log.slice(self.position, position - self.position))
        self._lost = lost if self._lost is None else self._lost.plus(lost)
        self.position = position

    def _overflow(self) -> None:
        match self._policy:
            case "backoff":
                self._drop_newest()
            case "dropleft":
                self._drop_oldest()
            case "disconnect":
                self._pass_over(self.log.end)
                self.attached = self.plain = False
                self.ended = True
                self.log.disconnected.append(self)
            case "spill":
                self._spill()

    def _drop_oldest(self) -> None:
        log = self.log
        self._pass_over(log.fitting(max(self.position, log.end - self.max_events), self.max_bytes))

    def _drop_newest(self) -> None:
        log = self.log
        entries = log.slice(self.position)
        first_bytes = entries[0].before_bytes
        count = 1
        while (
            count < self.max_events
            and log.bytes_before(self.position + count + 1) - first_bytes <= self.max_bytes
        ):
            count += 1
        self._keep(entries[:count])
        # As if the log had counted nothing of the rest.
        self._dropping = log.totals.plus(Lost(entries[count:]), -1)

    def _spill(self) -> None:
        entries = self.log.slice(self.position)
        for at, entry in enumerate(entries):
            if isinstance(entry.item, Event) and entry.item.id is not None:
                self._keep(entries[: at + 1])
                self.after = entry.item.id
                self.spilled += 1
                return
        # There is nothing to read from.
        if all(isinstance(entry.item, Gap) for entry in entries):
            self._pass_gaps()
        else:
            self._drop_newest()

    def _keep(self, entries: list[Entry]) -> None:
        kept = [*(self._kept or ())]
        self._tell_lost(kept)
        self._kept = deque([*kept, *entries])
        self.attached = self.plain = False
