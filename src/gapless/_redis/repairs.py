"""Makes the reads that `Recovery` wants, on the command link, and delivers what comes of them.

No task: a read is a command with a callback, and two timers drive the sweep.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from gapless._core.entries import Entries, Entry, Kept, Push, readable
from gapless._core.event import Gap
from gapless._core.item import Consumers, Item
from gapless._core.reads import LOOK_CHANNELS, PAGE_ENTRIES, Look, Page, Read, Refill
from gapless._core.recovery import Recovery
from gapless._core.subscription import Subscription
from gapless._core.throttle import Throttle
from gapless._redis import errors, scripts
from gapless._redis.commands import Command, CommandLink, ConnectionLost
from gapless._redis.errors import ReplyError
from gapless._redis.identity import previous_of, server_of
from gapless._redis.keys import Keys
from gapless.errors import BackendError

logger = logging.getLogger("gapless")

READ = scripts.load("read_stream.lua")

# A read stops after so many bytes of payloads: its reply must not hold up those of publishes for long.
PAGE_BYTES = 1024 * 1024

# Of read_stream.lua: without the entries of others, which are not pushed.
ONLY_PUSHED = "pushed"

# So long a channel may be behind what was pushed before the sweep takes the pushes for lost.
GRACE_SECONDS = 1.0


class Repairs:
    """Keeps the channels of one event loop whole."""

    def __init__(
        self,
        commands: CommandLink,
        keys: Keys,
        consumers: Consumers,
        note: Callable[[list[Gap]], None],
        *,
        kept: Kept,
        resume_ttl_ms: int,
        sweep_interval: float,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._commands = commands
        self._keys = keys
        self._consumers = consumers
        self._note = note
        self._sweep_interval = sweep_interval
        self.recovery = Recovery(kept, resume_ttl_ms)
        self.refilled_events = 0
        # Sweeps that are complete, and when the last one was.
        self._sweeps = 0
        self._swept_at: float | None = None
        self._pumping = False
        self._stopped = False
        self._refusals = Throttle()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        # Set by the session, which knows the subscriber link.
        self.subscriptions: Callable[[], Sequence[Subscription]] = list
        self.renew_pushes: Callable[[str], None] = _ignore
        commands.on_ready = self._pump_soon

    async def fix_positions(self, subscriptions: Sequence[Subscription], deadline: float) -> None:
        """Read where the channels stand, before they are subscribed; what can't be read stays unknown."""
        link = self._commands.link
        try:
            await link.wait(link.tried, deadline)
        except BackendError:
            return
        if not link.ready:
            return
        answers = [self._commands.send(("TIME",))]
        answers += [
            self._commands.send(self._look_command(subscriptions[start : start + LOOK_CHANNELS]))
            for start in range(0, len(subscriptions), LOOK_CHANNELS)
        ]
        try:
            async with asyncio.timeout_at(deadline):
                replies = await asyncio.gather(*answers)
        except (ReplyError, ConnectionLost, TimeoutError) as error:
            logger.debug("positions of %d channels are unknown: %s", len(subscriptions), error)
            return
        seconds, microseconds = map(int, replies[0])
        now_ms = seconds * 1000 + microseconds // 1000
        last_ids = [readable(last_id) for reply in replies[1:] for last_id in reply]
        for subscription, last_id in zip(subscriptions, last_ids, strict=True):
            subscription.chain.begin(last_id, now_ms)

    def push(self, subscription: Subscription, push: Push) -> bool:
        """A frame that does not follow the last entry: return whether to deliver it now."""
        deliver = self.recovery.push(subscription, push)
        self._pump_soon()
        return deliver

    def resubscribed(self, subscription: Subscription, doubt: bytes | None) -> None:
        """A channel is subscribed again after a time in which pushes may have been missed."""
        self.recovery.resubscribed(subscription, doubt)
        self._pump_soon()

    def refill(self, refill: Refill) -> None:
        """Read what a consumer could not take."""
        self.recovery.refill(refill)
        self._pump_soon()

    def start_sweeping(self) -> None:
        """Sweep from now on; does nothing if it does."""
        if "sweep" not in self._timers:
            self._sweep_later()

    @property
    def sweep_lag_seconds(self) -> float | None:
        """Seconds since a sweep was complete; None if none was."""
        return None if self._swept_at is None else self._loop.time() - self._swept_at

    def stop(self) -> None:
        """Stop every timer, and start none any more."""
        self._stopped = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _sweep_later(self) -> None:
        # Spread: many processes started at once must not sweep at once.
        seconds = self._sweep_interval * random.uniform(0.8, 1.2)  # noqa: S311 (jitter, not a secret)
        self._timers["sweep"] = self._loop.call_later(seconds, self._sweep)

    def _sweep(self) -> None:
        self._sweep_later()
        # A sweep begins its comparison anew: before a recheck it would take the time of grace from it.
        if self._commands.link.ready and "recheck" not in self._timers:
            self.recovery.sweep(self.subscriptions())
            self._pump()
            self._note_sweep()

    def _note_sweep(self) -> None:
        if self._sweeps != self.recovery.sweeps:
            self._sweeps = self.recovery.sweeps
            self._swept_at = self._loop.time()

    def _recheck(self) -> None:
        del self._timers["recheck"]
        self.recovery.recheck()
        self._pump()

    def _pump_soon(self) -> None:
        # After the chunk that is being received: what it still brings, the read will find.
        if not self._pumping and not self._stopped and self.recovery.pending:
            self._pumping = True
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        self._pumping = False
        if self._commands.link.ready:
            for read in self.recovery.take_reads():
                self._send(read, self._command(read))

    def _send(self, read: Read, command: Command) -> None:
        sent_at = time.monotonic()
        self._commands.send(command).add_done_callback(partial(self._done, read, sent_at))

    def _command(self, read: Read) -> Command:
        if isinstance(read, Look):
            return self._look_command(read.subscriptions)
        if isinstance(read, Refill):
            span = read.span
            name = span.subscription.wire_name
            # Without COUNT: there may be entries of other publishers between ours.
            return ("XRANGE", name, span.first[1:], span.last[1:])
        stream = read.subscription.wire_name.decode()
        # One more than asked for: the last delivered entry itself.
        return (
            "EVALSHA", READ.sha, 2, stream, self._keys.last(stream), read.start, PAGE_ENTRIES + 1, PAGE_BYTES,
            ONLY_PUSHED,
        )  # fmt: skip

    def _look_command(self, subscriptions: Sequence[Subscription]) -> Command:
        return ("MGET", *(self._keys.last(s.wire_name.decode()) for s in subscriptions))

    def _done(self, read: Read, sent_at: float, future: asyncio.Future[Any]) -> None:
        error = future.exception()
        if self._stopped:
            return
        if error is not None:
            self._failed(read, error)
        else:
            try:
                items = self._found(read, future.result(), sent_at)
            except Exception as unexpected:
                # Something else than we write: an id that is none. The channel must not stay silent.
                self._refused(read, unexpected)
            else:
                self._hand_on(items)
        self._after_read()

    def _found(self, read: Read, reply: Any, sent_at: float) -> list[Item]:
        if isinstance(read, Look):
            # Not the time now: the reply may have waited for us, and something was published meanwhile.
            now_ms = self._commands.peer.earliest_ms(sent_at)
            return self.recovery.looked(read, [readable(last_id) for last_id in reply], now_ms)
        if isinstance(read, Refill):
            self.recovery.refilled(read)
            found = [(fields[1], b"g" + entry_id) for entry_id, fields in reply if _is_ours(fields)]
            self.refilled_events += len(found)
            read.done(found)
            return []
        return self.recovery.paged(read, _entries(reply, self._commands.peer.tag or None))

    def _failed(self, read: Read, error: BaseException) -> None:
        code = errors.error_code(str(error)) if isinstance(error, ReplyError) else None
        if code == "NOSCRIPT" and isinstance(read, Page):
            command = self._command(read)
            self._send(read, ("EVAL", READ.body, *command[2:]))
        elif (code is None and isinstance(error, ReplyError)) or code not in {None, *errors.PASSING_CODES}:
            self._refused(read, error)
        else:
            self.recovery.failed(read)
            if isinstance(error, ReplyError) and "retry" not in self._timers:
                self._timers["retry"] = self._loop.call_later(errors.RETRY_SECONDS, self._retry)

    def _refused(self, read: Read, error: BaseException) -> None:
        if self._refusals.picks():
            logger.error("%d reads of what was missed failed, the last: %r", self._refusals.count, error)
        self._hand_on(self.recovery.refused(read))
        if isinstance(read, Refill):
            read.done(None)

    def _retry(self) -> None:
        del self._timers["retry"]
        self._pump()

    def _after_read(self) -> None:
        recovery = self.recovery
        self._note_sweep()
        if recovery.starving:
            recovery.starving = False
            self.renew_pushes("events are published that are not pushed")
        if recovery.suspicious and not recovery.sweeping and "recheck" not in self._timers:
            self._timers["recheck"] = self._loop.call_later(GRACE_SECONDS, self._recheck)
        if "retry" not in self._timers:
            self._pump_soon()

    def _hand_on(self, items: list[Item]) -> None:
        if items:
            self._consumers.put(items, sum(len(item[1]) for item in items if item[1] is not None))
            # Not in this call, in which more is to be done.
            self._consumers.wake()
            if gaps := [item[2] for item in items if item[1] is None]:
                self._note(gaps)


def _entries(reply: Any, server: bytes | None) -> Entries:
    """Parse the reply of read_stream.lua; entries that are not ours are left out."""
    entries, oldest, last, more, length = reply
    return Entries(
        [
            Entry(entry_id, fields[1], server_of(fields), previous_of(fields))
            for entry_id, fields in entries
            if _is_ours(fields)
        ],
        oldest[0][0] if oldest else None,
        readable(last),
        bool(more),
        length,
        server,
    )


def _is_ours(fields: Sequence[bytes]) -> bool:
    """Whether gapless has appended an entry; only those are pushed. Others have no `by`."""
    return len(fields) > 5 and fields[0] == b"data" and fields[4] == b"by"


def _ignore(reason: str) -> None:
    """No subscriber link yet."""
