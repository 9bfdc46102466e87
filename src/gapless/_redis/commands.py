"""The command link: many callers, one socket, replies in the order of the commands.

A command costs its caller one future; all commands of a loop tick leave in one write. A caller that
is cancelled leaves its place in the line, so that its reply can't reach somebody else.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import hiredis

from gapless._redis import errors
from gapless._redis.client import ConnectionSource
from gapless._redis.errors import ReplyError
from gapless._redis.identity import run_id_of, tag_of
from gapless._redis.link import ConnectionLost, Link, as_connection_lost
from gapless._redis.scripts import Script
from gapless._redis.timing import Timing
from gapless._redis.wire import Replies, Wire

Command = tuple[str | bytes | int, ...]

pack: Any = hiredis.pack_command


class CommandLink:
    """Sends commands and resolves their futures."""

    name = "command"

    def __init__(self, source: ConnectionSource, timing: Timing, scripts: Iterable[Script]) -> None:
        self._loop = asyncio.get_running_loop()
        self._scripts = tuple(scripts)
        self._pending: deque[asyncio.Future[Any]] = deque()
        self._wire: Wire | None = None
        self._was_lone = False
        # Which server the connection leads to, as entries name it; None if unknown.
        self.server: bytes | None = None
        # Called when the link has become ready.
        self.on_ready: Callable[[], None] | None = None
        self.link = Link(source, self, timing)

    def send(self, command: Command) -> asyncio.Future[Any]:
        """Queue a command; only while `link.connected`.

        Returns:
            A future of the reply as hiredis parses it.

        Raises (through the future):
            ReplyError: The server's error reply.
            ConnectionLost: No reply will come; `sent` tells whether the command may have been executed.
        """
        packed = pack(command)
        future: asyncio.Future[Any] = self._loop.create_future()
        wire = self._wire
        if wire is None:
            future.set_exception(as_connection_lost(self.link.last_error, sent=False))
            return future
        # Two commands in a row that found nobody else under way: a lone caller, who need not wait for
        # others to share the write with.
        lone = not self._pending
        if lone and self._was_lone:
            wire.send_now(packed)
        else:
            wire.send(packed)
        self._was_lone = lone
        self._pending.append(future)
        return future

    async def request(self, command: Command, deadline: float) -> Any:
        """Wait until the link is ready, send, and return the reply. For commands that only read: a lost
        reply is asked for again.

        Raises:
            BackendUnavailable: No reply by the deadline (loop time).
            ReplyError: The server's error reply.
        """
        while True:
            await self.link.wait(self.link.is_ready, deadline)
            try:
                async with asyncio.timeout_at(deadline):
                    return await self.send(command)
            except ConnectionLost:
                continue
            except TimeoutError:
                raise self.link.unavailable() from None

    # Called by the link.

    async def open(self, wire: Wire) -> None:
        self._wire = wire
        await self._check_server()
        for script in self._scripts:
            try:
                # Loaded, not left to EVAL: newer servers evict scripts that only EVAL brought in.
                await self.send(("SCRIPT", "LOAD", script.body))
            except ReplyError:
                # Not permitted: the first call sends the body (see Session.publish).
                break

    async def _check_server(self) -> None:
        self.server = None
        try:
            info = await self.send(("INFO", "server"))
        except ReplyError as error:
            # Forbidden by the ACL: go on without. LOADING: not ready, try again.
            if errors.error_code(str(error)) in {"LOADING", "MASTERDOWN", "NOAUTH"}:
                raise errors.from_reply(error, "INFO") from None
            return
        errors.check_server(info)
        self.server = tag_of(run_id_of(info))

    def received(self, replies: Replies) -> None:
        popleft = self._pending.popleft
        for reply in replies:
            future = popleft()
            try:
                if reply.__class__ is ReplyError:
                    future.set_exception(reply)
                else:
                    future.set_result(reply)
            except asyncio.InvalidStateError:
                # The caller was cancelled; this was its reply.
                continue

    def up(self) -> None:
        if self.on_ready is not None:
            self.on_ready()

    def lost(self, error: Exception | None) -> None:
        unsent = self._wire.unsent if self._wire is not None else 0
        self._wire = None
        sent = len(self._pending) - unsent
        for index, future in enumerate(self._pending):
            if not future.done():
                future.set_exception(as_connection_lost(error, sent=index < sent))
        self._pending.clear()

    @property
    def waiting(self) -> bool:
        return bool(self._pending)

    def ping(self) -> None:
        self.send(("PING",)).add_done_callback(_ignore)


def _ignore(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()
