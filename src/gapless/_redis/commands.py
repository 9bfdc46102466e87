"""The command link: many callers, one socket, replies in the order of the commands.

All commands of a loop tick leave in one write. A caller that is cancelled leaves its place in the line, so
that its reply can't reach somebody else.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from time import monotonic
from typing import Any

import hiredis

from gapless._core.backoff import Backoff
from gapless._redis import errors
from gapless._redis.client import ConnectionSource
from gapless._redis.errors import ReplyError
from gapless._redis.link import Link
from gapless._redis.peer import Peer
from gapless._redis.scripts import Script
from gapless._redis.timing import Timing
from gapless._redis.wire import Replies, Wire
from gapless._waiter import Waiter, done_future, resume

Command = tuple[str | bytes | int, ...]

pack: Any = hiredis.pack_command

_NOT_READY = {"LOADING", "MASTERDOWN", "NOAUTH"}


class ConnectionLost(Exception):
    """The connection broke before the reply came.

    Attributes:
        sent: Whether the command may have been executed.
        peer: The connection it was sent on.
    """

    def __init__(self, error: object, *, sent: bool, peer: Peer) -> None:
        super().__init__(str(error or "the connection was closed"))
        self.sent = sent
        self.peer = peer


class CommandLink:
    """Sends commands, and lets those go on who wait for their replies."""

    name = "command"

    def __init__(self, source: ConnectionSource, timing: Timing, scripts: Iterable[Script]) -> None:
        self._loop = asyncio.get_running_loop()
        self._scripts = tuple(scripts)
        # Who waits for the replies that are due, in their order.
        self._pending: deque[asyncio.Future[Any] | Waiter] = deque()
        self._done = done_future()
        self._wire: Wire | None = None
        self._was_lone = False
        # Of the newest connection.
        self.peer = Peer()
        # Called when the link has become ready.
        self.on_ready: Callable[[], None] | None = None
        self.link = Link(source, self, timing)

    def send(self, command: Command) -> asyncio.Future[Any]:
        """Queue a command; only while `link.connected`.

        Returns:
            A future of the reply as hiredis parses it.

        Raises (through the future):
            ReplyError: The server's error reply.
            ConnectionLost: No reply will come.
        """
        future: asyncio.Future[Any] = self._loop.create_future()
        try:
            self.post(pack(command))
        except ConnectionLost as error:
            future.set_exception(error)
        else:
            self._pending[-1] = future
        return future

    def post(self, packed: bytes) -> Waiter:
        """Queue a command as it goes over the wire, of whose reply only an error matters.

        Only while `link.connected`.

        Returns:
            What is to be awaited, at once. It raises what the future of `send()` does, and has no result.

        Raises:
            ConnectionLost: There is no connection.
        """
        wire = self._wire
        if wire is None:
            raise ConnectionLost(self.link.last_error, sent=False, peer=self.peer)
        waiter = Waiter()
        waiter._loop = self._loop  # noqa: SLF001 (as asyncio calls it)
        waiter.callback = None
        pending = self._pending
        if pending:
            self._was_lone = False
            wire.send(packed)
        elif self._was_lone:
            # Two commands in a row that found nobody else under way: a lone caller, who need not wait for
            # others to share the write with.
            wire.send_now(packed)
        else:
            self._was_lone = True
            wire.send(packed)
        pending.append(waiter)
        return waiter

    async def request(self, command: Command, deadline: float) -> Any:
        """Wait until the link is ready, send, and return the reply. For commands that only read: a lost
        reply is asked for again, and so is a server that says it is not ready.

        Raises:
            BackendUnavailable: No reply by the deadline (loop time).
            ReplyError: The server's error reply.
        """
        backoff = Backoff(cap_seconds=errors.RETRY_SECONDS)
        refusal = ""
        while True:
            await self.link.wait(self.link.is_ready, deadline)
            try:
                async with asyncio.timeout_at(deadline):
                    return await self.send(command)
            except ConnectionLost:
                continue
            except TimeoutError:
                raise (ReplyError(refusal) if refusal else self.link.unavailable()) from None
            except ReplyError as error:
                refusal = str(error)
                if errors.error_code(refusal) not in errors.PASSING:
                    raise
            delay = backoff.next_delay_seconds(random.random())  # noqa: S311 (jitter, not a secret)
            await asyncio.sleep(min(delay, deadline - self._loop.time()))

    # Called by the link.

    async def open(self, wire: Wire) -> None:
        self._wire = wire
        await self._check_server()
        for script in self._scripts:
            try:
                # Loaded, not left to EVAL: newer servers evict scripts that only EVAL brought in.
                await self.send(("SCRIPT", "LOAD", script.body))
            except ReplyError:
                # Not permitted: the first call sends the body (see Publisher).
                break

    async def _check_server(self) -> None:
        self.peer = Peer()
        answers: tuple[Any, Any] = await asyncio.gather(
            self.send(("INFO", "server")), self.send(("CLIENT", "ID")), return_exceptions=True
        )
        for answer in answers:
            if isinstance(answer, ReplyError):
                # Forbidden by the ACL: go on without. LOADING: not ready, try again.
                if errors.error_code(str(answer)) in _NOT_READY:
                    raise errors.from_reply(answer, "INFO") from None
            elif isinstance(answer, BaseException):
                raise answer
        info, client_id = answers
        if isinstance(info, bytes):
            errors.check_server(info)
        self.peer = Peer.told(
            info if isinstance(info, bytes) else b"",
            client_id if isinstance(client_id, int) else None,
            monotonic(),
        )

    def received(self, replies: Replies) -> None:
        popleft = self._pending.popleft
        going_on: list[Waiter] = []
        go_on = going_on.append
        try:
            for reply in replies:
                waiter = popleft()
                if isinstance(waiter, Waiter):
                    if reply.__class__ is ReplyError:
                        waiter.fail(reply)
                    else:
                        go_on(waiter)
                    continue
                try:
                    if reply.__class__ is ReplyError:
                        waiter.set_exception(reply)
                    else:
                        waiter.set_result(reply)
                except asyncio.InvalidStateError:
                    # The caller was cancelled; this was its reply.
                    continue
            if self.link.retiring is not None:
                self.link.drained()
        finally:
            # Last, since each of them may send its next command; also before a reply that nobody waits for.
            resume(going_on, self._done)

    def up(self) -> None:
        if self.on_ready is not None:
            self.on_ready()

    def lost(self, error: Exception | None) -> None:
        unsent = self._wire.unsent if self._wire is not None else 0
        self._wire = None
        sent = len(self._pending) - unsent
        for index, waiter in enumerate(self._pending):
            failure = ConnectionLost(error, sent=index < sent, peer=self.peer)
            if isinstance(waiter, Waiter):
                waiter.fail(failure)
            elif not waiter.done():
                waiter.set_exception(failure)
        self._pending.clear()

    @property
    def waiting(self) -> bool:
        return bool(self._pending)

    def ping(self) -> None:
        self.send(("PING",)).add_done_callback(_ignore)


async def run(script: Script, call: Command, ask: Callable[[Command], Awaitable[Any]]) -> Any:
    """Run a script, also if the server has lost it (SCRIPT FLUSH, failover), and return its reply.

    Args:
        script: The script.
        call: Number of keys, keys and arguments.
        ask: Sends a command and returns its reply; what it raises is passed on.
    """
    try:
        return await ask(("EVALSHA", script.sha, *call))
    except ReplyError as error:
        if errors.error_code(str(error)) != "NOSCRIPT":
            raise
    return await ask(("EVAL", script.body, *call))


def _ignore(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()
