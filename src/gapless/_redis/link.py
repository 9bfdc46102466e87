"""A supervised connection: connects, watches, reconnects for ever, and closes within a bound.

What is said over it is the business of a `Role` (`role.py`). One task and one timer
per link, however much goes over it.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from datetime import UTC, datetime

from gapless._core.backoff import Backoff
from gapless._redis import errors
from gapless._redis.client import ConnectionSource, disconnect
from gapless._redis.role import Role
from gapless._redis.timing import Timing
from gapless._redis.wire import Wire, open_wire
from gapless.errors import BackendError, BackendUnavailable

logger = logging.getLogger("gapless")

# The watch looks this many times per liveness_timeout. Looks are counted, not clock time: after the
# event loop itself was stalled, one look passes before the waiting bytes are read, and one is harmless.
CHECKS = 4
CHECKS_BEFORE_PING = 2

# Only a connection that lived so long starts the backoff over: one that is lost right after it was made
# would else be made again at once, for ever.
STABLE_SECONDS = 1.0

# A refusal (wrong password) is tried again this slowly: credentials rotate, and a process must not
# stay deaf after they are right again. Callers get the refusal at once meanwhile.
REFUSED_DELAY_SECONDS = 2.0

Announce = Callable[[asyncio.Future[None]], None] | None


class Link:
    """One connection of one role, kept alive by a task that `start()` makes and `stop()` ends."""

    def __init__(self, source: ConnectionSource, role: Role, timing: Timing) -> None:
        self._source = source
        self._role = role
        self._timing = timing
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self.started = False
        # In the order of the calls, which is the order in which they go on.
        self._waiters: dict[asyncio.Future[None], None] = {}
        self.closed = False
        # Open for new commands: connected, shaken hands, and the socket takes bytes.
        self.ready = False
        self.connected = False
        self._given_up: asyncio.Future[Exception | None] | None = None
        # Why this connection takes no more commands, though it still waits for replies; see `retire()`.
        self.retiring: Exception | None = None
        # Number of connections so far. What an older one still delivers is dropped by its wire (close()).
        self.generation = 0
        self.attempts = 0
        # Loop time since which there is no connection, None while there is one or none was wanted yet.
        self.down_since: float | None = None
        self.last_error: BaseException | None = None
        # For whoever asks how the link is: its text, kept after a reconnect; and since when it is connected.
        self.last_failure: str | None = None
        self.connected_since: datetime | None = None
        self.refusal: BackendError | None = None

    def start(self) -> None:
        """Start connecting; does nothing if it has started."""
        if self._task is None and not self.closed:
            self.started = True
            name = f"gapless {self._role.name} link to {self._source.address}"
            self.down_since = self._loop.time()
            self._task = self._loop.create_task(self._supervise(), name=name)

    def stop(self) -> asyncio.Task[None] | None:
        """Close, for good. Returns the task to wait for, which closes the socket and ends."""
        self.closed = True
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
        self.wake()
        return task

    def renew(self, reason: str) -> None:
        """Give the connection up, if there is one, and make a new one."""
        self._give_up(ConnectionError(reason))

    async def wait(self, condition: Callable[[], bool], deadline: float, announce: Announce = None) -> None:
        """Wait until `condition` holds; it is looked at whenever the state of the link changes.

        announce: Gets a future; its result lets this call look again, and no other one.

        Raises:
            BackendUnavailable: The deadline (loop time) passed, or the link was closed.
            BackendError: The server refuses the connection; trying again will not help.
        """
        self.start()
        while not condition():
            if self.refusal is not None:
                raise errors.afresh(self.refusal)
            if self.closed:
                raise BackendUnavailable("the backend was shut down while the call waited")
            waiter = self._loop.create_future()
            self._waiters[waiter] = None
            if announce is not None:
                announce(waiter)
            try:
                async with asyncio.timeout_at(deadline):
                    await waiter
            except TimeoutError:
                raise self.unavailable() from self.last_error
            finally:
                del self._waiters[waiter]

    def retire(self, error: Exception) -> None:
        """Take no more commands on this connection, and make a new one once the replies due have come."""
        if self.connected and self.retiring is None:
            self.retiring = error
            self.ready = False
            self.drained()

    def drained(self) -> None:
        """Give a retiring connection up if no reply is due. Called when replies have come."""
        if not self._role.waiting:
            self._give_up(self.retiring)

    def _give_up(self, error: Exception | None) -> None:
        if self._given_up is not None and not self._given_up.done():
            self._given_up.set_result(error)

    def is_ready(self) -> bool:
        return self.ready

    def tried(self) -> bool:
        """Whether the first attempt has ended, well or badly."""
        return self.ready or self.attempts > 0

    def unavailable(self) -> BackendUnavailable:
        """Return the exception that describes the outage."""
        address = self._source.address
        if self.down_since is None:
            return BackendUnavailable(
                f"{address}: connected, but the server does not take more data; it is overloaded or paused"
            )
        seconds = self._loop.time() - self.down_since
        cause = f": {self.last_error}" if self.last_error else ""
        return BackendUnavailable(
            f"{address}: no connection for {seconds:.1f} s, {self.attempts} failed attempts{cause}; "
            "nothing was sent, so the call can be repeated",
            since=seconds,
            attempts=self.attempts,
        )

    async def _supervise(self) -> None:
        backoff = Backoff()
        while True:
            try:
                lived_seconds = await self._live()
            except Exception:
                # A bug, or a client library's surprise: it must not make the process deaf.
                logger.exception("%s link to %s", self._role.name, self._source.address)
                lived_seconds = 0.0
            if lived_seconds >= STABLE_SECONDS:
                backoff.reset()
            delay = backoff.next_delay_seconds(random.random())  # noqa: S311 (jitter, not a secret)
            if self.refusal is not None:
                delay = REFUSED_DELAY_SECONDS
            await asyncio.sleep(delay)

    async def _live(self) -> float:
        """Connect, and return when the connection is lost: after how many seconds, 0 if it never was."""
        try:
            wire = await self._connect()
        except Exception as failure:
            self._failed(failure)
            return 0.0
        connected_at = self._loop.time()
        error: Exception | None = None
        try:
            error = await self._watch(wire)
        finally:
            # Also when cancelled: callers that wait for a reply must hear of it.
            self._down(error)
            await wire.close(error)
        logger.warning("%s link to %s lost: %s", self._role.name, self._source.address, error or "closed")
        return self._loop.time() - connected_at

    async def _connect(self) -> Wire:
        connection = self._source.connection()
        wire: Wire | None = None
        try:
            async with asyncio.timeout(self._timing.connect_timeout):
                await connection.connect()
                wire = open_wire(connection, self._role.received, self._writable)
                self.generation += 1
                # Lost while shaking hands: whoever waits for a reply there must hear of it.
                wire.closed.add_done_callback(self._closed_early)
                try:
                    await self._role.open(wire)
                finally:
                    wire.closed.remove_done_callback(self._closed_early)
        except BaseException as error:
            if wire is not None:
                self._role.lost(error if isinstance(error, Exception) else None)
                await wire.close()
            else:
                await disconnect(connection)
            if isinstance(error, TimeoutError) and not str(error):
                seconds = self._timing.connect_timeout
                raise TimeoutError(f"no answer within {seconds:g} s while connecting") from error
            raise
        self._up(wire)
        return wire

    def _closed_early(self, closed: asyncio.Future[Exception | None]) -> None:
        self._role.lost(closed.result())

    async def _watch(self, wire: Wire) -> Exception | None:
        """Wait until the wire closes; close it when the server shows no sign of life."""
        check: asyncio.TimerHandle | None = None
        interval = self._timing.liveness_timeout / CHECKS
        unsent_bytes = 0

        def look() -> None:
            nonlocal check, unsent_bytes
            check = self._loop.call_later(interval, look)
            before, unsent_bytes = unsent_bytes, wire.unsent_bytes
            if unsent_bytes < before:  # a large payload is on its way
                wire.quiet_checks = 0
            wire.quiet_checks += 1
            if wire.quiet_checks >= CHECKS:
                check.cancel()
                self._give_up(None)
            elif wire.quiet_checks >= CHECKS_BEFORE_PING and not self._role.waiting:
                self._role.ping()

        given_up = self._given_up = self._loop.create_future()
        wire.quiet_checks = 0
        check = self._loop.call_later(interval, look)
        try:
            await asyncio.wait({given_up, wire.closed}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            check.cancel()
        if wire.closed.done():
            return wire.closed.result() or ConnectionError("the server closed the connection")
        return given_up.result() or TimeoutError(f"no sign of life for {self._timing.liveness_timeout:g} s")

    def _up(self, wire: Wire) -> None:
        self.connected = True
        self.connected_since = datetime.now(UTC)
        self.ready = wire.writable
        self.retiring = None
        if self.generation > 1 or self.attempts:
            seconds = self._loop.time() - (self.down_since or self._loop.time())
            logger.info("%s link to %s restored after %.2f s", self._role.name, self._source.address, seconds)
        self.attempts = 0
        self.down_since = None
        self.last_error = None
        self.refusal = None
        self._role.up()
        self.wake()

    def _down(self, error: Exception | None) -> None:
        self.connected = False
        self.ready = False
        self.down_since = self._loop.time()
        self.last_error = error
        self.last_failure = str(error or "the connection was closed")
        self._role.lost(error)

    def _failed(self, error: Exception) -> None:
        self.attempts += 1
        self.last_error = error
        self.last_failure = str(error) or repr(error)
        refused = errors.refusal(error, self._source.address)
        # One line per change, not one per attempt.
        if refused is not None and self.refusal is None:
            logger.error("%s link: %s", self._role.name, refused)
        elif self.attempts == 1:
            logger.warning(
                "%s link can't connect to %s, trying on: %s", self._role.name, self._source.address, error
            )
        self.refusal = refused
        self.wake()

    def _writable(self, writable: bool) -> None:
        self.ready = self.connected and writable and self.retiring is None
        if self.ready:
            self._role.up()
            self.wake()

    def wake(self) -> None:
        """Let those who wait look at their condition again."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
