"""The subscriber link: keeps the wanted channels subscribed, and hands on what is pushed.

Nothing is awaited between the socket and the inbox, and nobody waits per message: the server cuts a
subscriber off that lets 32 MB pile up (client-output-buffer-limit pubsub).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import hiredis

from gapless._core.backlog import Item
from gapless._core.event import Gap
from gapless._core.subscriptions import Subscription, Subscriptions
from gapless._core.throttle import Throttle
from gapless._redis import errors
from gapless._redis.client import ConnectionSource
from gapless._redis.link import REFUSED_DELAY_SECONDS, Link, Timing
from gapless._redis.wire import Replies, Wire

logger = logging.getLogger("gapless")

pack: Any = hiredis.pack_command

FRAME_MARK = b"g1"


class PushLink:
    """Subscribes and receives. Pushed messages are bare payloads; see `FramedPushLink` for the other kind."""

    name = "subscriber"

    def __init__(
        self, source: ConnectionSource, timing: Timing, deliver: Callable[[list[Item]], None]
    ) -> None:
        self.subscriptions = Subscriptions()
        self.link = Link(source, self, timing)
        self._deliver = deliver
        self._wire: Wire | None = None
        self._pings = 0
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
        self._pings = 0
        self.subscriptions.connected()
        self.send_commands()

    def received(self, replies: Replies) -> None:
        live = self.subscriptions.live
        items: list[Item] = []
        for reply in replies:
            if reply.__class__ is list and reply[0] == b"message":
                subscription = live.get(reply[1])
                if subscription is not None:
                    items.append((subscription, reply[2], None))
            else:
                self._control(reply, items)
        if items:
            self._deliver(items)

    def lost(self, error: Exception | None) -> None:  # noqa: ARG002 (a Role's method)
        self._wire = None
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        self.subscriptions.disconnected()

    @property
    def waiting(self) -> bool:
        return self._pings > 0

    def ping(self) -> None:
        if self._wire is not None:
            self._pings += 1
            self._wire.send(pack(("PING",)))

    # Everything but messages.

    def _control(self, reply: Any, items: list[Item]) -> None:
        if isinstance(reply, hiredis.ReplyError):
            self._refused(reply)
        elif reply == b"PONG" or reply[0] == b"pong":
            self._pings = 0
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

    def _refused(self, reply: hiredis.ReplyError) -> None:
        error = errors.from_reply(reply, "SUBSCRIBE")
        subscription, finished = self.subscriptions.refuse(error)
        if subscription is not None and subscription.refused and self._retry is None:
            logger.error("channel %r is not subscribed, trying on: %s", subscription.channel, error)
            loop = asyncio.get_running_loop()
            self._retry = loop.call_later(REFUSED_DELAY_SECONDS, self._retry_refused)
        if finished:
            self.link.wake()
        self.send_commands()

    def _retry_refused(self) -> None:
        self._retry = None
        self.subscriptions.retry_refused()
        self.send_commands()

    def _resumed(self, subscription: Subscription, items: list[Item]) -> None:
        """A channel is back after a lost connection: what was published meanwhile is unknown."""
        items.append((subscription, None, Gap(subscription.channel, None, "disconnected")))


class FramedPushLink(PushLink):
    """Receives frames that name the entry before them: "g1 <id> <previous id> <payload>"."""

    def received(self, replies: Replies) -> None:
        live = self.subscriptions.live
        items: list[Item] = []
        for reply in replies:
            if reply.__class__ is list and reply[0] == b"message":
                subscription = live.get(reply[1])
                if subscription is None:
                    continue
                try:
                    mark, entry_id, previous, data = reply[2].split(b" ", 3)
                except ValueError:
                    self._foreign(subscription, reply[2])
                    continue
                if mark != FRAME_MARK:
                    self._foreign(subscription, reply[2])
                    continue
                last = subscription.last_id
                if previous != last and last is not None:
                    if entry_id == last:
                        continue
                    gap = Gap(subscription.channel, last.decode(), "disconnected")
                    items.append((subscription, None, gap))
                subscription.last_id = entry_id
                items.append((subscription, data, entry_id))
            else:
                self._control(reply, items)
        if items:
            self._deliver(items)

    def _resumed(self, subscription: Subscription, items: list[Item]) -> None:
        """After a known entry the next frame shows whether any are missing; without one nothing can."""
        if subscription.last_id is None:
            items.append((subscription, None, Gap(subscription.channel, None, "disconnected")))

    def _foreign(self, subscription: Subscription, message: bytes) -> None:
        if self._foreign_messages.picks():
            logger.warning(
                "ignored %d messages that gapless did not publish, the last on %r: %.80r",
                self._foreign_messages.count,
                subscription.wire_name,
                message,
            )
