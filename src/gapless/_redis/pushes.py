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

from gapless._core.event import Gap
from gapless._core.item import Consumers, Item
from gapless._core.subscription import Subscription, Ticket
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

# No more than these are taken in the call that reads them. Of a flood, uvloop makes up to 32 full reads in a
# tick: everybody else would wait for what the consumers do with all of them.
AT_ONCE_EVENTS = 32
AT_ONCE_BYTES = 8 * 1024


class PushLink:
    """Subscribes and receives. Pushed messages are bare payloads; see `frames.py` for the other kind.

    Args:
        source, timing: Of its link.
        consumers: Who takes what is pushed.
        note: Is told of gaps in it.
    """

    name = "subscriber"
    # Whether what is pushed has ids.
    chained = False

    def __init__(
        self,
        source: ConnectionSource,
        timing: Timing,
        consumers: Consumers,
        note: Callable[[list[Gap]], None],
    ) -> None:
        self.subscriptions = Subscriptions(chained=self.chained)
        self.link = Link(source, self, timing)
        self._consumers = consumers
        self._note = note
        self._gaps: list[Gap] = []
        self._wire: Wire | None = None
        self._ping_sent = False
        self._refusals = Throttle()
        self._retry: asyncio.TimerHandle | None = None

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
                self._hand_over(items, size_bytes)

    def _hand_over(self, items: list[Item], size_bytes: int) -> None:
        consumers = self._consumers
        consumers.put(items, size_bytes)
        try:
            if self._gaps:
                gaps, self._gaps = self._gaps, []
                self._note(gaps)
        finally:
            # Last, since consumers who wait go on in this call.
            if len(items) <= AT_ONCE_EVENTS and size_bytes <= AT_ONCE_BYTES:
                consumers.resume()
            else:
                consumers.wake()

    def up(self) -> None:
        pass

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
            _wake(finished)
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
        if (
            subscription is not None
            and subscription.refused
            and self._retry_later()
            and self._refusals.picks()
        ):
            logger.error("channel %r is not subscribed, trying on: %s", subscription.channel, error)
        _wake(finished)
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
        gap = Gap(subscription.channel, None, "disconnected")
        items.append((subscription, None, gap))
        self._gaps.append(gap)


def _wake(finished: list[Ticket]) -> None:
    """Let those subscribe calls return that are done, and no others: there can be thousands."""
    for ticket in finished:
        if ticket.waiter is not None and not ticket.waiter.done():
            ticket.waiter.set_result(None)
