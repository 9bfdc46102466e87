"""Which channels have to be looked at or read, in which order, and how much at once.

Feed it what happens to the subscriber connection and what the reads found; drain `take_reads()` and make
those reads on another connection. A *look* fetches the last ids of many channels: after a reconnect, and
in every sweep. A *page* reads the entries of one channel. What is to be delivered comes out of each input.
A *refill* is for a consumer that was slow; it waits here for its turn.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from gapless._core.chain import FRESH
from gapless._core.entries import NOTHING, Entries, Kept, Push
from gapless._core.item import Item, items_of
from gapless._core.reads import LOOK_CHANNELS, Look, Page, Read, Refill
from gapless._core.subscription import Subscription

# So many reads are under way at once.
MAX_READS = 16

# What is pushed to channels that sync is held up to this size; beyond it, it is read from the stream.
MAX_HELD_BYTES = 16 * 1024 * 1024


class Recovery:
    """The channels of one process that are not known to be whole.

    Attributes:
        server: The one that the subscriber connection leads to, None if unknown.
        aliases: Servers that took the place of another one and have everything that it had: their names,
            and the name under which both count.
        starving: A sweep found events that were never pushed: the subscriber connection is of no use.
            Whoever renews it sets it back.
        sweeps: Sweeps that have compared every channel.
        repairs: Times that a channel was read, after which it was whole.
        repaired_events: Events that these reads found.
    """

    def __init__(self, kept: Kept, resume_ttl_ms: int) -> None:
        self._kept = kept
        self._resume_ttl_ms = resume_ttl_ms
        self._to_look: dict[Subscription, None] = {}
        self._to_sweep: list[Subscription] = []
        self._to_read: dict[Subscription, None] = {}
        self._to_refill: deque[Refill] = deque()
        self._active: set[Read] = set()
        self._held_bytes = 0
        # Channels whose last id was ahead of what was pushed, with the tip, that id and the server's clock at
        # that time; then those that are read because it still was when they were looked at again.
        self._suspects: dict[Subscription, tuple[bytes, bytes | None, int]] = {}
        self._starved: set[Subscription] = set()
        # Channels that are read because the next event was pushed by reference: nothing is missing.
        self._fetching: set[Subscription] = set()
        self._checking = False
        self._checked_all = True
        self.server: bytes | None = None
        self.aliases: dict[bytes, bytes] = {}
        self.starving = False
        self.sweeps = 0
        self.repairs = 0
        self.repaired_events = 0

    @property
    def syncing(self) -> int:
        """Number of channels that are looked at or read, or wait for it, because something was missed."""
        active = tuple(self._active)  # another thread may ask
        reading = sum(isinstance(read, Page) for read in active)
        looking = sum(
            len(read.subscriptions) for read in active if isinstance(read, Look) and read.purpose == "sync"
        )
        return max(0, len(self._to_look) + len(self._to_read) + reading + looking - len(self._fetching))

    @property
    def pending(self) -> bool:
        """Whether `take_reads()` has something to give."""
        waiting = self._to_look or self._to_read or self._to_sweep or self._to_refill
        return bool(waiting) and len(self._active) < MAX_READS

    @property
    def sweeping(self) -> bool:
        """Whether a sweep is not complete."""
        return self._checking

    def resubscribed(self, subscription: Subscription, doubt: bytes | None = None) -> None:
        """A channel is subscribed again after a time in which pushes may have been missed."""
        self._held_bytes -= subscription.chain.held_bytes
        subscription.chain.interrupt(doubt)
        self._starved.discard(subscription)
        self._fetching.discard(subscription)
        self._to_read.pop(subscription, None)
        self._to_look[subscription] = None

    def push(self, subscription: Subscription, push: Push) -> bool:
        """A frame that does not follow the last entry: return whether to deliver it."""
        chain = subscription.chain
        was_syncing = chain.syncing
        follows = chain.position == push.previous
        held_before = chain.held_bytes
        if chain.push(push, self._kept):
            return True
        if chain.syncing:
            if not was_syncing:
                self._to_read[subscription] = None
                if follows:
                    self._fetching.add(subscription)
            self._held_bytes += chain.held_bytes - held_before
            if self._held_bytes > MAX_HELD_BYTES:
                self._held_bytes -= chain.held_bytes
                chain.release()
        return False

    def sweep(self, subscriptions: Iterable[Subscription]) -> None:
        """Compare every channel's last id with what was pushed; does nothing while a sweep goes on."""
        if not self._checking:
            self._checking = True
            subscriptions = list(subscriptions)
            self._checked_all = all(s.live and not s.chain.syncing for s in subscriptions)
            self._suspects.clear()
            self._to_sweep = [s for s in subscriptions if s.live and not s.chain.syncing]
            self._finish_sweep()

    def recheck(self) -> None:
        """Some time after a sweep: read the channels that have not moved since and are still behind."""
        for subscription, (tip, last_id, now_ms) in self._suspects.items():
            chain = subscription.chain
            if not subscription.live or chain.tip is not tip:
                continue
            if chain.position is None and chain.seen is None:
                # Nothing is owed so far, and nothing was pushed meanwhile: begin here.
                chain.begin(last_id, now_ms)
                continue
            if tip is not FRESH:
                self._starved.add(subscription)
            chain.interrupt()
            self._to_look[subscription] = None
        self._suspects.clear()

    @property
    def suspicious(self) -> bool:
        """Whether `recheck()` has anything to do."""
        return bool(self._suspects)

    def take_reads(self) -> list[Read]:
        """Return the reads to make now.

        Each must be answered by `looked`, `paged`, `refilled`, `failed` or `refused`.
        """
        reads: list[Read] = []
        while self.pending:
            read: Read
            if channels := self._take(self._to_look, LOOK_CHANNELS):
                read = Look(channels, "sync")
                for subscription in channels:
                    subscription.chain.cover()
            elif channels := self._take(self._to_read, 1):
                channels[0].chain.cover()
                position = channels[0].chain.position or NOTHING
                read = Page(channels[0], b"-" if position == NOTHING else position[1:])
            elif self._to_sweep:
                read = Look(self._to_sweep[:LOOK_CHANNELS], "sweep")
                del self._to_sweep[:LOOK_CHANNELS]
            elif self._to_refill:
                read = self._to_refill.popleft()
            else:
                break
            self._active.add(read)
            reads.append(read)
        return reads

    def looked(self, look: Look, last_ids: list[bytes | None], now_ms: int) -> list[Item]:
        """A look's last ids, in the order of its channels. `now_ms`: the server's clock, or less."""
        self._active.discard(look)
        items: list[Item] = []
        for subscription, round_, last_id in zip(look.subscriptions, look.rounds, last_ids, strict=True):
            chain = subscription.chain
            if not self._is_wanted(subscription, round_):
                continue
            if look.purpose == "sweep":
                if not chain.syncing and chain.position != (NOTHING if last_id is None else b"g" + last_id):
                    self._suspects[subscription] = (chain.tip, last_id, now_ms)
                continue
            held_before = chain.held_bytes
            output = chain.looked(last_id, now_ms, self._resume_ttl_ms)
            self._held_bytes += chain.held_bytes - held_before
            if output is not None:
                items += items_of(subscription, output)
            if chain.syncing:
                self._to_read[subscription] = None
        self._finish_sweep()
        return items

    def paged(self, page: Page, found: Entries) -> list[Item]:
        """What a page found."""
        self._active.discard(page)
        subscription = page.subscription
        chain = subscription.chain
        if not self._is_wanted(subscription, page.round):
            return []
        held_before = chain.held_bytes
        output = chain.read(self._with_aliases(found), self._kept, self.server)
        self._held_bytes += chain.held_bytes - held_before
        events = sum(data is not None for data, _ in output)
        is_repair = subscription not in self._fetching
        self.repaired_events += events * is_repair
        if subscription in self._starved and events:
            self.starving = True
        if chain.syncing:
            self._to_read[subscription] = None
        else:
            self.repairs += is_repair
            self._starved.discard(subscription)
            self._fetching.discard(subscription)
        return items_of(subscription, output)

    def refill(self, refill: Refill) -> None:
        """A consumer wants to read what it could not take."""
        self._to_refill.append(refill)

    def refilled(self, refill: Refill) -> None:
        """A refill was answered."""
        self._active.discard(refill)

    def failed(self, read: Read) -> None:
        """The connection of a read was lost: it is made again."""
        self._active.discard(read)
        if isinstance(read, Refill):
            self._to_refill.append(read)
        elif isinstance(read, Page):
            if self._is_wanted(read.subscription, read.round):
                self._to_read[read.subscription] = None
        elif read.purpose == "sweep":
            self._checked_all = False
        else:
            for subscription, round_ in zip(read.subscriptions, read.rounds, strict=True):
                if self._is_wanted(subscription, round_):
                    self._to_look[subscription] = None
        self._finish_sweep()

    def refused(self, read: Read) -> list[Item]:
        """The server refuses a read, and will again: what can't be checked is reported."""
        self._active.discard(read)
        items: list[Item] = []
        if isinstance(read, Refill):
            return items
        if isinstance(read, Look) and read.purpose == "sweep":
            self._checked_all = False
            self._finish_sweep()
            return items
        affected = (
            [(read.subscription, read.round)]
            if isinstance(read, Page)
            else zip(read.subscriptions, read.rounds, strict=True)
        )
        for subscription, round_ in affected:
            chain = subscription.chain
            if self._is_wanted(subscription, round_):
                self._held_bytes -= chain.held_bytes
                self._fetching.discard(subscription)
                self._to_read.pop(subscription, None)
                items += items_of(subscription, chain.give_up())
        return items

    def _take(self, waiting: dict[Subscription, None], count: int) -> list[Subscription]:
        """Take the first channels that are still wanted."""
        taken: list[Subscription] = []
        while waiting and len(taken) < count:
            subscription = next(iter(waiting))
            del waiting[subscription]
            if self._is_wanted(subscription):
                taken.append(subscription)
        return taken

    def _is_wanted(self, subscription: Subscription, round_: int | None = None) -> bool:
        """Whether a read's result is still of use; what is held for a channel nobody wants is let go."""
        chain = subscription.chain
        if not subscription.wanted:
            self._held_bytes -= chain.held_bytes
            chain.release()
            self._starved.discard(subscription)
            self._fetching.discard(subscription)
            return False
        return round_ is None or chain.round == round_

    def _with_aliases(self, found: Entries) -> Entries:
        if not self.aliases:
            return found
        names = self.aliases
        entries = [
            entry._replace(server=names.get(entry.server or b"", entry.server)) for entry in found.entries
        ]
        return found._replace(entries=entries, server=names.get(found.server or b"", found.server))

    def _finish_sweep(self) -> None:
        if self._checking and not self._to_sweep:
            if any(isinstance(read, Look) and read.purpose == "sweep" for read in self._active):
                return
            self._checking = False
            self.sweeps += self._checked_all
