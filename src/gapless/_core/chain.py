"""The chain of one channel: which event comes next, and what proves that none is missing.

Each pushed frame names the entry before it. A frame that names our last entry is delivered; that is one
comparison, made by the caller on `tip`. Everything else comes here: the chain *syncs*. It holds what is
pushed, asks for the stream's entries from our last one on, and decides by them what is to be delivered
and where a Gap stands. Until then `tip` equals no mark, so that every frame comes here.
"""

from __future__ import annotations

from gapless._core.entries import NOTHING, Entries, Entry, Kept, Output, Push, id_of, is_newer, mark_of
from gapless._core.event import Gap, GapReason
from gapless._core.history import id_key

# Values of `tip` that equal no mark, and no word of anybody's message. FRESH: nothing was delivered yet.
SYNCING = b" "
FRESH = b" *"


class Chain:
    """Where one channel stands.

    Attributes:
        tip: The mark of the last delivered entry; SYNCING or FRESH otherwise. The caller compares and
            sets it on the hot path.
        round: Grows with each sync that begins anew; what was asked for in an older round is void.
        seen: While nothing followed a Gap without a position: where the channel stood when that Gap was told.
            What is newer is owed.
    """

    __slots__ = (
        "_base", "_born_ms", "_covered", "_doubt", "_floor", "_held",
        "channel", "held_bytes", "round", "seen", "tip",
    )  # fmt: skip

    def __init__(self, channel: str) -> None:
        self.channel = channel
        self.tip = FRESH
        # While tip is no mark: the mark after which everything is owed, None if it isn't known.
        self._base: bytes | None = None
        self.seen: bytes | None = None
        # Server time at which the channel had no entry yet, if one of the two is NOTHING because of that.
        self._born_ms: int | None = None
        # The server under which we last knew that nothing was missing, if another one took its place since.
        self._doubt: bytes | None = None
        # The last delivered mark of a stream that is gone, whose pushes may still be on their way.
        self._floor = NOTHING
        self._held: list[Push] | None = None
        self._covered = self.held_bytes = self.round = 0

    @property
    def syncing(self) -> bool:
        return self.tip is SYNCING

    @property
    def position(self) -> bytes | None:
        """The mark after which everything is owed, or None if it isn't known."""
        return self._base if self.tip in (SYNCING, FRESH) else self.tip

    def begin(self, last_id: bytes | None, now_ms: int) -> None:
        """Fix the position, read before the SUBSCRIBE is sent: what is published from now on is owed."""
        mark = mark_of(last_id)
        if self.tip is FRESH and self._base is None and self._can_go_on(mark):
            self._base = mark
            self._born_ms = now_ms if last_id is None else None

    def interrupt(self, doubt: bytes | None = None) -> None:
        """Pushes may have been missed: sync.

        doubt: The server until now, if it was replaced by one that may have lost acknowledged events.
        Nothing shows what it lost, so a Gap stands where its entries end.
        """
        self._base = self.position or self.seen
        self.tip = SYNCING
        self._doubt = doubt if self._doubt is None else self._doubt
        self.round += 1
        self.release()

    def push(self, push: Push, kept: Kept) -> bool:
        """A frame that does not follow `tip`: return whether to deliver it; if not, look at `syncing`."""
        if self.tip is FRESH:
            if self._base is None and self.seen is not None and is_newer(push.mark, self.seen):
                self._base = self.seen
            # Without a position it is the beginning. Without a history nothing could be read, and what was
            # published before the SUBSCRIBE came through is not owed. But it can be of a stream that is gone.
            is_new = is_newer(push.mark, self._floor)
            begins = self._base is None or push.previous == self._base or kept.history == 0
            if is_new and begins and push.data is not None:
                self._base = None  # the caller's `tip` says it from here on
                return True
            if self._base is None:
                if not is_new:
                    return False
                self._base = push.previous  # by reference: everything from its predecessor on
        elif push.mark == self.tip:
            return False
        if self.tip is not SYNCING:
            self.interrupt()
        self._hold(push)
        return False

    def cover(self) -> None:
        """A read is sent now: it will find what was pushed until now."""
        self._covered = len(self._held or ())

    def release(self) -> None:
        """Forget what is held; it is read from the stream instead."""
        self._held = None
        self.held_bytes = self._covered = 0

    def looked(self, last_id: bytes | None, now_ms: int, resume_ttl_ms: int) -> list[Output] | None:
        """The channel's last id, read while subscribed: return what to deliver, None to read the entries."""
        mark = mark_of(last_id)
        if self._base is None:
            output = self.give_up()
            # No `_base`: pushes of what was published before this read can still be on their way.
            if self._can_go_on(mark):
                self.seen, self._born_ms = mark, now_ms
            return output
        if last_id is None and self._base != NOTHING:
            # Nothing was published for so long that the last id has expired, or it was deleted.
            if id_key(self._base[1:].decode())[0] + resume_ttl_ms > now_ms:
                return None
            self._floor, self._base, self._born_ms = self._base, NOTHING, now_ms
        elif self._base != mark:
            return None
        output = [] if self._doubt is None else [self._gap("restart")]
        self._join(output, set(), proven=True)
        return output

    def read(self, found: Entries, kept: Kept, server: bytes | None) -> list[Output]:
        """The stream's entries from `position` on: return what to deliver. Then look at `syncing`.

        server: The one that the subscriber connection leads to, None if unknown.
        """
        if self._doubt is None and found.server != server:
            # Another one has taken its place, and the subscriber connection does not know yet.
            self._doubt = server
        base = self._base or NOTHING
        reason = self._find_reason(base, found, kept)
        entries = [entry for entry in found.entries if b"g" + entry.id != base]
        if base == NOTHING and entries and not is_newer(b"g" + entries[0].id, self._floor):
            # The stream was gone; what is back of it now was delivered long ago.
            if any(b"g" + entry.id == self._floor for entry in entries):
                self._base = base = self._floor
                reason = None
            else:
                reason = reason or "rollback"
            entries = [entry for entry in entries if is_newer(b"g" + entry.id, self._floor)]
        if reason is None and not found.more and self._has_lost_pushed(entries, base):
            reason = "trimmed"
        output: list[Output] = [] if reason is None else [self._gap(reason)]
        if reason is not None:
            self._pass_to(server or self._doubt, output)  # it pushed what is held, behind this Gap
            self._take_trimmed(output, entries, base)
        for entry in entries:
            self._pass_to(entry.server, output)
            self._base = b"g" + entry.id
            self._born_ms = None
            output.append((entry.data, self._base))
        if not found.more:
            self._pass_to(found.server, output)
        if reason is not None and self._base is base:
            # Nothing to go on from: begin anew where the server is, with whatever is pushed next.
            self._begin_anew(found.last)
        else:
            self._join(output, {base, *(b"g" + entry.id for entry in entries)}, proven=not found.more)
        return output

    def give_up(self) -> list[Output]:
        """What was missed can't be known: report it, and go on with what is pushed."""
        output: list[Output] = [self._gap("disconnected")]
        base = self._base or NOTHING
        if base != NOTHING and is_newer(base, self._floor):
            self._floor = base
        self._doubt = self._base = self.seen = None
        self.tip = FRESH
        self.round += 1  # what was found meanwhile is no longer wanted
        for push in self._held or ():
            if push.data is not None and is_newer(push.mark, self._floor):
                if self.tip is not FRESH and push.previous != self.tip:
                    output.append((None, Gap(self.channel, id_of(self.tip), "disconnected")))
                output.append((push.data, push.mark))
                self.tip = push.mark
        self.release()
        return output

    def _pass_to(self, server: bytes | None, output: list[Output]) -> None:
        """What comes next is of `server`: a Gap, if that is not the one of what came before."""
        if self._doubt is not None and (server is None or server != self._doubt):
            if not output or output[-1][0] is not None:
                output.append(self._gap("restart"))
            self._doubt = server or b""

    def _find_reason(self, base: bytes, found: Entries, kept: Kept) -> GapReason | None:
        if base == NOTHING:
            # There was no entry.
            return None if found.is_whole(kept, self._born_ms) else "trimmed"
        reason = found.gap_after(base)
        if reason == "trimmed" and any(
            push.previous == NOTHING and is_newer(push.mark, base) for push in self._held or ()
        ):
            # The server had forgotten the channel when it pushed that one.
            return "reset"
        return reason

    def _has_lost_pushed(self, entries: list[Entry], base: bytes) -> bool:
        """Whether something was pushed before the read that the stream has no more: it was deleted since."""
        marks = {b"g" + entry.id for entry in entries}
        held = self._held or []
        return any(p.mark not in marks and self._is_new(p.mark, base) for p in held[: self._covered])

    def _take_trimmed(self, output: list[Output], entries: list[Entry], base: bytes) -> None:
        """After a Gap: deliver what is held and no longer kept, up to the first entry that was read."""
        marks = [b"g" + entry.id for entry in entries]
        first = marks[0] if marks else None
        held = self._held or []
        # Pushes are in the order of publishing, ids need not be: a server's clock can go back.
        shared = next((index for index, push in enumerate(held) if push.mark in marks), None)
        end = shared if shared is not None else self._covered if first is not None else len(held)
        for push in held[:end]:
            if shared is None and first is not None and is_newer(push.mark, first):
                continue  # of an older stream, or deleted; the Gap tells of it
            # What is not newer may be an old one, delivered long ago; the Gap tells of it if it is not.
            if push.data is not None and self._is_new(push.mark, self._base or NOTHING):
                if self._base is not base and push.previous != self._base:
                    output.append(self._gap("trimmed"))
                output.append((push.data, push.mark))
                self._base = push.mark
        if first is not None and self._base is not base:
            joined = shared is not None and held[shared].mark == first and held[shared].previous == self._base
            if not joined:
                output.append(self._gap("trimmed"))
        self._held = held[end:]
        self._covered = max(0, self._covered - end)

    def _begin_anew(self, last_id: bytes | None) -> None:
        if self._base is not None and self._base != NOTHING:
            self._floor = self._base
        self._base = mark_of(last_id)
        self._born_ms = self._doubt = None
        self.tip = FRESH
        self.release()

    def _join(self, output: list[Output], seen: set[bytes], *, proven: bool) -> None:
        """Go on with what is held, as far as it links; live again if all of it does.

        proven: What was read is all that the stream had after `_base`.
        """
        held = self._held or []
        base = self._base or NOTHING
        # Pushes come in the order of publishing: what came before one that was read is older.
        done = max((index + 1 for index, push in enumerate(held) if push.mark in seen), default=0)
        for index, push in enumerate(held[done:], done):
            # It can be of a stream that is gone by now: its pushes come late, and can link to what is left.
            # And the next page may show that it is of another server: read it then, behind its Gap.
            linked = push.previous == base and is_newer(push.mark, self._floor)
            linked = linked and (proven or self._doubt is None)
            if not linked or push.data is None:
                if index >= self._covered or not proven:
                    break
                done = index + 1
                if not self._is_new(push.mark, base):
                    continue  # an old one
                # It was there when we read, and the stream has it no more.
                output.append((None, Gap(self.channel, id_of(base), "trimmed")))
            if push.data is not None:
                output.append((push.data, push.mark))
            base = push.mark
            done = index + 1
        self._base = base
        if proven:
            self._doubt = None
        rest = held[done:]
        if rest or not proven:
            self._held = rest
            self.held_bytes = sum(len(push.data or b"") for push in rest)
            self._covered = 0
        else:
            # A late push of a stream that is gone, or anybody's message with a "g-", is not the next event.
            is_past = base != NOTHING and is_newer(base, self._floor)
            self.tip, self._base = (base, None) if is_past else (FRESH, base)
            self.release()

    def _can_go_on(self, mark: bytes | None) -> bool:
        """Whether the channel stands, by its last id, not before what was delivered."""
        return mark is not None and (mark in (NOTHING, self._floor) or is_newer(mark, self._floor))

    def _is_new(self, mark: bytes, base: bytes) -> bool:
        """Whether an entry is later than `base`, and than what was delivered of streams that are gone."""
        return is_newer(mark, base) and is_newer(mark, self._floor)

    def _gap(self, reason: GapReason) -> Output:
        return None, Gap(self.channel, id_of(self._base), reason)

    def _hold(self, push: Push) -> None:
        self._held = self._held or []
        if not self._held or self._held[-1].mark != push.mark:
            self._held.append(push)
            self.held_bytes += len(push.data or b"")
