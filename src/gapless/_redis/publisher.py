"""The slow path of publishing: no connection, a lost reply, a server that is not ready, a lost script.

Nothing is repeated blindly: a command goes out again only if the one before certainly had no effect.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic

from gapless._core.backoff import Backoff
from gapless._redis import errors
from gapless._redis.commands import Command, CommandLink, ConnectionLost
from gapless._redis.errors import ReplyError
from gapless._redis.lost_publishes import LostPublishes, Trace, Unknown
from gapless._redis.scripts import Script
from gapless.errors import BackendError, BackendUnavailable, PublishUncertain


@dataclass(slots=True)
class Publish:
    """One publish that takes the slow path.

    Attributes:
        command: What to send.
        channels: For error messages.
        script: The script that an EVALSHA command runs, in case that the server has lost it.
        trace: What it leaves on the server; None if nothing can be looked up.
        sent_at: When it was sent last, or before, on the clock of `time.monotonic`.
        server_at: Where in the command the server's name stands, if it does.
    """

    command: Command
    channels: Sequence[str]
    script: Script
    trace: Trace | None
    sent_at: float = 0.0
    server_at: int | None = None
    # Loop time until which to wait; None until there is something to wait for.
    deadline: float | None = None
    # The same after a reply was lost; a second loss does not prolong it.
    lost_until: float | None = None
    # The server's refusal that is waited out.
    refusal: BackendError | None = None
    backoff: Backoff = field(default_factory=lambda: Backoff(cap_seconds=errors.RETRY_SECONDS))

    def name_server(self, tag: bytes) -> None:
        """Say which server the command goes to."""
        if self.server_at is not None:
            at = len(self.command) + self.server_at
            self.command = (*self.command[:at], tag, *self.command[at + 1 :])

    @property
    def doing(self) -> str:
        if len(self.channels) == 1:
            return f"publish to {self.channels[0]!r:.200}"
        return f"publish to {len(self.channels)} channels, the first {self.channels[0]!r:.200}"


class Publisher:
    """Sends the publishes of one session that need more than to be sent.

    Args:
        commands: The link that they take.
        publish_timeout: Seconds to wait for a connection, or for a server that is not ready.
        max_outbox_bytes: Bytes that may wait.
        impatient: Asked when there is something to wait for, in the task that waits: whether to wait only
            until `publish_timeout` after the trouble began, instead of after now.
    """

    def __init__(
        self,
        commands: CommandLink,
        publish_timeout: float,
        max_outbox_bytes: int,
        impatient: Callable[[], bool],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.commands = commands
        self._publish_timeout = publish_timeout
        self._max_outbox_bytes = max_outbox_bytes
        self._impatient = impatient
        self._outbox_bytes = 0
        # Loop times of the first and the last of the refusals that are waited out now.
        self._refused_since = self._refused_at = -publish_timeout
        self.lost = LostPublishes(commands, publish_timeout)
        # Lost replies of which it was found out whether the publish was executed.
        self.resolved = 0
        # Together the unique id of a publish, in no other session of any process. Made with the session,
        # not with the backend, which a fork copies.
        self.nonce = secrets.token_urlsafe(6)
        self.serials = itertools.count()

    async def publish(self, publish: Publish, error: ReplyError | ConnectionLost | None = None) -> None:
        """Send until there is a reply.

        Args:
            publish: What to send.
            error: How the first attempt failed, if there was one.

        Raises:
            BackendUnavailable: No connection in time. Nothing was published.
            PublishUncertain: A reply was lost, and what became of the publish can't be known.
            BackendError: The server refused.
        """
        if error is not None and await self._is_published(publish, error):
            return
        link = self.commands.link
        while True:
            if not link.ready:
                await self._wait_for_turn(publish)
            publish.sent_at = monotonic()
            publish.name_server(self.commands.peer.tag)
            try:
                await self.commands.send(publish.command)
                return
            except (ReplyError, ConnectionLost) as failure:
                if await self._is_published(publish, failure):
                    return

    async def _is_published(self, publish: Publish, error: ReplyError | ConnectionLost) -> bool:
        """After a failure: return whether it was published all the same. If not, it is to be sent again.

        Raises:
            PublishUncertain, BackendError: As `publish()`.
        """
        if isinstance(error, ConnectionLost):
            return error.sent and await self._was_published(publish, error)
        code = errors.error_code(str(error))
        command = publish.command
        if code == "NOSCRIPT" and command[0] == "EVALSHA":
            # SCRIPT FLUSH or a failover: the server has lost the script.
            publish.command = ("EVAL", publish.script.body, *command[2:])
            return False
        refusal = errors.from_reply(error, publish.doing)
        if code not in errors.PASSING and code != "READONLY":
            raise refusal from None
        await self._wait_for_server(publish, refusal)
        return False

    async def _was_published(self, publish: Publish, error: ConnectionLost) -> bool:
        if publish.trace is None:
            why = "nothing is stored that could be looked for"
        else:
            if publish.lost_until is None:
                publish.lost_until = publish.deadline = self._loop.time() + self._publish_timeout
            try:
                was_published = await self.lost.was_published(
                    publish.trace, error.peer, publish.sent_at, publish.lost_until
                )
                self.resolved += 1
                return was_published
            except Unknown as unknown:
                why = str(unknown)
        raise PublishUncertain(
            f"{publish.doing}: the connection broke before the reply ({error}); "
            f"it may or may not have been published: {why}",
            channels=publish.channels,
        ) from error

    async def _wait_for_server(self, publish: Publish, refusal: BackendError) -> None:
        """Wait until it is worth while to ask a server again that refused for a passing reason."""
        now = self._loop.time()
        if now - self._refused_at >= self._publish_timeout:
            self._refused_since = now
        self._refused_at = now
        if publish.deadline is None:
            publish.deadline = self._publish_timeout + (self._refused_since if self._impatient() else now)
        if now >= publish.deadline:
            raise refusal from None
        if refusal.code == "READONLY":
            # Where we got to is no primary (any more), and Sentinel or DNS may know another address. The link
            # paces us then. It can't be a newer connection that retires here: nobody has waited since the
            # reply, and making one takes time.
            publish.refusal = refusal
            self.commands.link.retire(refusal)
            return
        delay = min(publish.backoff.next_delay_seconds(random.random()), publish.deadline - now)  # noqa: S311
        with self._waiting(publish.command):
            await asyncio.sleep(delay)

    async def _wait_for_turn(self, publish: Publish) -> None:
        """Wait for a connection."""
        link = self.commands.link
        if publish.deadline is None:
            down_since = link.down_since if self._impatient() else None
            start = self._loop.time() if down_since is None else down_since
            publish.deadline = start + self._publish_timeout
        with self._waiting(publish.command):
            try:
                await link.wait(link.is_ready, publish.deadline)
            except BackendUnavailable:
                if publish.refusal is None or link.closed:
                    raise
                raise errors.afresh(publish.refusal) from None

    @contextmanager
    def _waiting(self, command: Command) -> Iterator[None]:
        """Count a command among those that wait.

        Raises:
            BackendUnavailable: Too much waits already.
        """
        size = sum(len(part) for part in command if not isinstance(part, int))
        if self._outbox_bytes + size > self._max_outbox_bytes and self._outbox_bytes:
            raise BackendUnavailable(
                f"{self._outbox_bytes} bytes of publishes wait for a connection already "
                f"(max_outbox_bytes={self._max_outbox_bytes}); nothing was sent, try again later"
            ) from self.commands.link.last_error
        self._outbox_bytes += size
        try:
            yield
        finally:
            self._outbox_bytes -= size
