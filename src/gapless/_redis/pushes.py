"""The subscriber link: keeps the wanted channels subscribed, and hands on what is pushed.

Nothing is awaited between the socket and the inbox, and nobody waits per message: the server cuts a
subscriber off that lets 32 MB pile up (client-output-buffer-limit pubsub).
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from typing import Any

import hiredis

from gapless._core.backlog import Item, mark_id
from gapless._core.event import Gap
from gapless._core.subscription import Subscription
from gapless._core.subscriptions import Subscriptions
from gapless._core.throttle import Throttle
from gapless._redis import errors
from gapless._redis.client import ConnectionSource
from gapless._redis.errors import ReplyError
from gapless._redis.link import REFUSED_DELAY_SECONDS, Link
from gapless._redis.timing import Timing
from gapless._redis.wire import Replies, Wire

logger = logging.getLogger("gapless")

pack: Any = hiredis.pack_command

# Version and id of an entry, of the one before it ("g-" if there was none), and the payload.
FRAME = re.compile(rb"(g\d+-\d+) (g\d+-\d+|g-) ", re.ASCII)


class PushLink:
    """Subscribes and receives. Pushed messages are bare payloads; see `FramedPushLink` for the other kind."""

    name = "subscriber"

    def __init__(
        self, source: ConnectionSource, timing: Timing, deliver: Callable[[list[Item], int], None]
    ) -> None:
        self.subscriptions = Subscriptions()
        self.link = Link(source, self, timing)
        self._deliver = deliver
        self._wire: Wire | None = None
        self._ping_sent = False
        self._retry: asyncio.TimerHandle | None = None
        self._foreign_messages = Throttle()

    def send_commands(self) -> None:
        """Send what the subscriptions want to be sent."""
        wire = self._wire
        if wire is not None:
            for command in self.subscriptions.take_commands():
                wire.send(pack(command))

    # Called by the link.

    async def open(self, wire: Wire) -> None:
        self._wire = wire
        self._ping_sent = False
        self.subscriptions.connected()
        self.send_commands()

    def received(self, replies: Replies) -> None:
        live = self.subscriptions.live
        items: list[Item] = []
        size_bytes = 0
        try:
            for reply in replies:
                if reply.__class__ is list and reply[0] == b"message":
                    subscription = live.get(reply[1])
                    if subscription is not None:
                        data = reply[2]
                        size_bytes += len(data)
                        items.append((subscription, data, None))
                else:
                    self._control(reply, items)
        finally:
            # Also before an error in the same chunk: what was received counts as delivered.
            if items:
                self._deliver(items, size_bytes)

    def lost(self, error: Exception | None) -> None:  # noqa: ARG002 (a Role's method)
        self._wire = None
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        self.subscriptions.disconnected()

    @property
    def waiting(self) -> bool:
        return self._ping_sent or self.subscriptions.waiting

    def ping(self) -> None:
        if self._wire is not None:
            self._ping_sent = True
            self._wire.send(pack(("PING",)))

    # Everything but messages.

    def _control(self, reply: Any, items: list[Item]) -> None:
        if isinstance(reply, ReplyError):
            # A PING goes out only while nothing else is due, so the first answer after it is its own:
            # also an error (-BUSY, while a script blocks the server) is a sign of life.
            if self._ping_sent:
                self._ping_sent = False
            else:
                self._refused(reply)
        elif reply == b"PONG" or reply[0] == b"pong":
            self._ping_sent = False
        elif reply[0] == b"subscribe" or reply[0] == b"unsubscribe":
            subscription, finished = self.subscriptions.acknowledge(reply[0].decode().upper(), reply[1])
            if subscription is not None and subscription.interrupted:
                subscription.interrupted = False
                self._resumed(subscription, items)
            if finished:
                self.link.wake()
            self.send_commands()
        else:
            logger.warning("unexpected message on the subscriber link: %.200r", reply)

    def _refused(self, reply: ReplyError) -> None:
        error = errors.from_reply(reply, "SUBSCRIBE")
        if error.code in errors.PASSING_CODES:
            self.subscriptions.postpone()
            self._retry_later()
            return
        subscription, finished = self.subscriptions.refuse(error)
        if subscription is not None and subscription.refused and self._retry_later():
            logger.error("channel %r is not subscribed, trying on: %s", subscription.channel, error)
        if finished:
            self.link.wake()
        self.send_commands()

    def _retry_later(self) -> bool:
        """Try the refused channels again in a while. Returns whether that is new."""
        if self._retry is not None:
            return False
        loop = asyncio.get_running_loop()
        self._retry = loop.call_later(REFUSED_DELAY_SECONDS, self._retry_refused)
        return True

    def _retry_refused(self) -> None:
        self._retry = None
        self.subscriptions.retry_refused()
        self.send_commands()

    def _resumed(self, subscription: Subscription, items: list[Item]) -> None:
        """A channel is back after a lost connection: what was published meanwhile is unknown."""
        items.append((subscription, None, Gap(subscription.channel, None, "disconnected")))


class FramedPushLink(PushLink):
    """Receives frames that name the entry before them: "g<id> g<previous id> <payload>"."""

    def received(self, replies: Replies) -> None:
        live = self.subscriptions.live
        items: list[Item] = []
        size_bytes = 0
        try:
            for reply in replies:
                if reply.__class__ is not list or reply[0] != b"message":
                    self._control(reply, items)
                    continue
                _, name, frame = reply
                subscription = live.get(name)
                if subscription is None:
                    continue
                # The hot path looks at the link of the chain alone: what links to our last entry is ours.
                try:
                    mark, previous, data = frame.split(b" ", 2)
                except ValueError:
                    self._foreign(subscription, frame)
                    continue
                if previous != subscription.last_mark and not self._begins(subscription, frame, items):
                    continue
                subscription.last_mark = mark
                size_bytes += len(data)
                items.append((subscription, data, mark))
        finally:
            if items:
                self._deliver(items, size_bytes)

    def _begins(self, subscription: Subscription, message: bytes, items: list[Item]) -> bool:
        """A message that does not follow our last entry: return whether it is to be delivered."""
        frame = FRAME.match(message)
        if frame is None:
            self._foreign(subscription, message)
            return False
        last = subscription.last_mark
        if frame.group(1) == last:
            return False
        if last is not None:
            gap = Gap(subscription.channel, mark_id(last), "disconnected")
            items.append((subscription, None, gap))
        return True

    def _resumed(self, subscription: Subscription, items: list[Item]) -> None:
        """After a known entry the next frame shows whether any are missing; without one nothing can."""
        if subscription.last_mark is None:
            items.append((subscription, None, Gap(subscription.channel, None, "disconnected")))

    def _foreign(self, subscription: Subscription, message: bytes) -> None:
        if self._foreign_messages.picks():
            logger.warning(
                "ignored %d messages that gapless did not publish, the last on %r: %.80r",
                self._foreign_messages.count,
                subscription.wire_name,
                message,
            )
