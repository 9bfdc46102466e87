"""What a Redis backend has in one event loop: two links and the subscriptions."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

from gapless._core.entries import Kept
from gapless._core.event import Gap
from gapless._core.item import Consumers
from gapless._core.reads import Refill
from gapless._core.subscription import Ticket
from gapless._core.throttle import Throttle
from gapless._redis import errors
from gapless._redis.client import ConnectionSource
from gapless._redis.commands import CommandLink, run
from gapless._redis.errors import ReplyError
from gapless._redis.frames import FramedPushLink
from gapless._redis.keys import Keys
from gapless._redis.publisher import Publisher
from gapless._redis.pushes import PushLink
from gapless._redis.repairs import Repairs
from gapless._redis.scripts import Script
from gapless._redis.timing import Timing
from gapless.errors import BackendError, BackendUnavailable

logger = logging.getLogger("gapless")


class Streams(NamedTuple):
    """What a session must know to make up for missed events.

    resume_ttl_ms: Time to live of a last id. sweep_interval: Seconds between two sweeps. durable: The
    server's restart loses nothing; None to find out.
    """

    keys: Keys
    kept: Kept
    resume_ttl_ms: int
    sweep_interval: float
    durable: bool | None


class Session:
    """Lives in one event loop, from the first use or `start()` to `stop()`."""

    def __init__(
        self,
        source: ConnectionSource,
        timing: Timing,
        *,
        scripts: Iterable[Script],
        streams: Streams | None,
        consumers: Consumers,
        note: Callable[[list[Gap]], None],
        max_outbox_bytes: int,
        impatient: Callable[[], bool],
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self._timing = timing
        self._late_subscribes = Throttle()
        self.commands = CommandLink(source, timing, scripts)
        self.publisher = Publisher(self.commands, timing.publish_timeout, max_outbox_bytes, impatient)
        self.repairs: Repairs | None = None
        if streams is None:
            self.pushes = PushLink(source, timing, consumers, note)
        else:
            self.repairs = Repairs(
                self.commands,
                streams.keys,
                consumers,
                note,
                kept=streams.kept,
                resume_ttl_ms=streams.resume_ttl_ms,
                sweep_interval=streams.sweep_interval,
            )
            self.pushes = FramedPushLink(
                source, timing, consumers, note, self.repairs, durable=streams.durable
            )
            self.repairs.subscriptions = lambda: list(self.subscriptions)
            self.repairs.renew_pushes = self.pushes.link.renew
        self.subscriptions = self.pushes.subscriptions

    @property
    def server(self) -> bytes:
        """Short name of the server that the command link leads to, or led to; empty if unknown."""
        return self.commands.peer.tag

    def known_as(self, server: bytes) -> bytes:
        """Return the name of the server whose place `server` took without a loss, as far as we saw that."""
        return self.repairs.recovery.aliases.get(server, server) if self.repairs else server

    async def start(self) -> None:
        """Connect. Returns when both links are up or have failed once; the rest goes on by itself.

        Raises:
            BackendError: The server refuses us (wrong password, too old); trying again will not help.
        """
        deadline = self.loop.time() + self._timing.connect_timeout + 1.0
        for link in (self.commands.link, self.pushes.link):
            link.start()
        for link in (self.commands.link, self.pushes.link):
            try:
                await link.wait(link.tried, deadline)
            except BackendUnavailable:
                return
            if link.refusal is not None:
                raise errors.afresh(link.refusal)

    async def stop(self) -> None:
        """Close both links. They close even if this is cancelled."""
        if self.repairs is not None:
            self.repairs.stop()
        ending = [self.commands.link.stop(), self.pushes.link.stop(), *self.publisher.lost.tasks()]
        await asyncio.gather(*filter(None, ending), return_exceptions=True)

    async def request(self, *command: str | bytes | int) -> Any:
        """Send a command that only reads and return its reply.

        Raises:
            BackendUnavailable: No reply within `publish_timeout`.
            BackendError: The server refused.
        """
        try:
            return await self.commands.request(command, self.loop.time() + self._timing.publish_timeout)
        except ReplyError as error:
            raise errors.from_reply(error, str(command[0])) from None

    async def read(self, script: Script, keys: Sequence[str], *arguments: str | int) -> Any:
        """Run a script that only reads and return its reply. Raises as `request()`."""
        deadline = self.loop.time() + self._timing.publish_timeout
        try:
            return await run(
                script,
                (len(keys), *keys, *arguments),
                lambda command: self.commands.request(command, deadline),
            )
        except ReplyError as error:
            raise errors.from_reply(error, "EVALSHA") from None

    async def subscribe(self, names: Sequence[tuple[str, bytes]]) -> None:
        """Want channels, and wait until the server has confirmed them or `subscribe_timeout` has passed.

        A timeout is not an error: what is wanted is recorded, and is subscribed when the server can be
        reached.

        Raises:
            BackendError: The server refuses us or a channel; the channels of this call are given up.
        """
        ticket = self.subscriptions.want(names, later=True)
        link = self.pushes.link
        if not ticket.done:
            try:
                down_since = link.down_since
                start = self.loop.time() if down_since is None else down_since
                deadline = start + self._timing.subscribe_timeout
                link.start()
                try:
                    if self.repairs is not None and ticket.new:
                        await self.repairs.fix_positions(ticket.new, deadline)
                finally:
                    # Also when cancelled: another call may want them, too.
                    self.subscriptions.enlist(ticket.new)
                    self.pushes.send_commands()
                await link.wait(lambda: ticket.done, deadline, partial(setattr, ticket, "waiter"))
            except BackendUnavailable as error:
                if link.closed:
                    self._give_up(ticket)
                    raise
                if self._late_subscribes.picks():
                    logger.warning(
                        "%d channels will be subscribed as soon as possible: %s", len(ticket.pending), error
                    )
            except (asyncio.CancelledError, BackendError):
                self._give_up(ticket)
                raise
        if ticket.error is not None:
            self._give_up(ticket)
            raise errors.afresh(ticket.error)
        self.subscriptions.claim(ticket)

    def refill(self, refill: Refill) -> None:
        """Read from the history what a consumer could not take."""
        if self.repairs is not None:
            self.repairs.refill(refill)

    def unsubscribe(self, channels: Iterable[str]) -> None:
        """No longer want channels. Takes effect at once."""
        if self.subscriptions.forget(channels):
            self.pushes.link.wake()
        self.pushes.send_commands()

    def _give_up(self, ticket: Ticket) -> None:
        if self.subscriptions.abandon(ticket):
            self.pushes.link.wake()
        self.pushes.send_commands()
