"""The subscriber link of streams: frames that name the entry before them.

g<id> g<previous id> <payload>      "g-" if there was no previous entry
g<id> r<previous id>                by reference: the stream has the payload
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from typing import Any

from gapless._core.entries import Push
from gapless._core.event import Gap
from gapless._core.item import Consumers, Item
from gapless._core.subscription import Subscription
from gapless._core.throttle import Throttle
from gapless._redis.client import ConnectionSource
from gapless._redis.identity import COMMANDS, Identity
from gapless._redis.pushes import PushLink, pack
from gapless._redis.repairs import Repairs
from gapless._redis.timing import Timing
from gapless._redis.wire import Replies, Wire

logger = logging.getLogger("gapless")

FRAME = re.compile(rb"(g\d{1,40}-\d{1,40}) ([gr])(\d{1,40}-\d{1,40}|-) ", re.ASCII)


class FramedPushLink(PushLink):
    """Receives frames, and has `Repairs` make up for those that were missed.

    durable: Whether the server's restart loses nothing; None to find out.
    """

    chained = True

    def __init__(
        self,
        source: ConnectionSource,
        timing: Timing,
        consumers: Consumers,
        note: Callable[[list[Gap]], None],
        repairs: Repairs,
        *,
        durable: bool | None,
    ) -> None:
        super().__init__(source, timing, consumers, note)
        self._repairs = repairs
        self._durable = durable
        self._identity: Identity | None = None
        self._greeting: asyncio.Future[list[Any]] | None = None
        self._greeted: list[Any] = []
        self._foreign_messages = Throttle()

    async def open(self, wire: Wire) -> None:
        self._meet(await self._ask_identity(wire))
        await super().open(wire)

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
                chain = subscription.chain
                if previous != chain.tip and not self._is_next(subscription, frame):
                    continue
                chain.tip = mark
                size_bytes += len(data)
                items.append((subscription, data, mark))
        finally:
            if items:
                self._hand_over(items, size_bytes)

    def up(self) -> None:
        self._repairs.start_sweeping()

    def lost(self, error: Exception | None) -> None:
        greeting, self._greeting = self._greeting, None
        if greeting is not None and not greeting.done():
            greeting.set_exception(ConnectionError(str(error or "the connection was closed")))
        super().lost(error)

    async def _ask_identity(self, wire: Wire) -> Identity:
        self._greeted = []
        self._greeting = asyncio.get_running_loop().create_future()
        for command in COMMANDS:
            wire.send(pack(command))
        return Identity.read(await self._greeting)

    def _meet(self, identity: Identity) -> None:
        """Find out what it means that the connection leads to this server."""
        before, self._identity = self._identity, identity
        recovery = self._repairs.recovery
        name, tag = recovery.server, identity.tag
        if before is None and identity.run_id is None and self._durable is None:
            logger.warning(
                'the server may not be asked who it is, so each reconnect is told as Gap("restart"): '
                "permit +info, or say durable=True if it loses nothing when it restarts"
            )
        if before is not None and before.may_have_lost(identity, durable=self._durable):
            # Kept until a channel is subscribed again: this connection may break before that.
            for subscription in self.subscriptions:
                # Nobody believes yet to be subscribed to the others.
                if subscription.interrupted and subscription.doubt is None:
                    subscription.doubt = name or b""
        elif name is not None and tag and tag != name:
            recovery.aliases[tag] = name
        recovery.server = recovery.aliases.get(tag, tag) or None

    def _control(self, reply: Any, items: list[Item]) -> None:
        if self._greeting is None:
            super()._control(reply, items)
            return
        self._greeted.append(reply)
        if len(self._greeted) == len(COMMANDS):
            greeting, self._greeting = self._greeting, None
            if not greeting.done():
                greeting.set_result(self._greeted)

    def _is_next(self, subscription: Subscription, message: bytes) -> bool:
        """A message that does not follow our last entry: return whether it is to be delivered now."""
        frame = FRAME.match(message)
        if frame is None:
            self._foreign(subscription, message)
            return False
        mark, form, previous = frame.groups()
        data = message[frame.end() :] if form == b"g" else None
        return self._repairs.push(subscription, Push(mark, b"g" + previous, data))

    def _resumed(self, subscription: Subscription, items: list[Item]) -> None:  # noqa: ARG002 (as inherited)
        self._repairs.resubscribed(subscription, subscription.doubt)
        subscription.doubt = None

    def _foreign(self, subscription: Subscription, message: bytes) -> None:
        if self._foreign_messages.picks():
            logger.warning(
                "ignored %d messages that gapless did not publish, the last on %r: %.80r",
                self._foreign_messages.count,
                subscription.wire_name,
                message,
            )
