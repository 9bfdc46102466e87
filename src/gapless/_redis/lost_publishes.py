"""Finds out what became of publishes whose reply was lost with a connection.

A publish that was executed has left its unique id in its entries. So on the next connection we make sure that
the old one can't execute anything any more, and look: what is there was published, and what is certainly not
there can be sent again. All publishes that were lost with one connection are looked for together.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Iterable
from typing import NamedTuple

from gapless._core.absence import Findings, doubt
from gapless._core.backoff import Backoff
from gapless._redis import errors, scripts
from gapless._redis.commands import Command, CommandLink, ConnectionLost, run
from gapless._redis.errors import ReplyError
from gapless._redis.peer import Peer
from gapless.errors import BackendError, BackendUnavailable

FIND = scripts.load("find_publishes.lua")

# Streams that are looked at together, each with a script call.
AT_ONCE = 50

# Entries that are looked at in a stream: some 10 ms of the server's time.
MOST_ENTRIES = 10_000

# How much later than the clock of `INFO` the clock may be that makes the ids of entries.
CLOCK_MARGIN_MS = 100

StreamKeys = tuple[str, str]


class Trace(NamedTuple):
    """What a publish leaves on the server.

    Attributes:
        by: Unique id, in each of its entries.
        first, last: Keys of the streams that get its first and its last entry: stream and last id.
    """

    by: str
    first: StreamKeys
    last: StreamKeys


class Unknown(Exception):
    """Whether the publish was executed can't be known; the text says why."""


# What was found in one stream: unique ids, and what the stream is like, or why it could not be looked at.
_Look = tuple[set[str], Findings | str]


class _Batch:
    """Publishes that were lost with one connection, each with its future and the time it was sent at.

    The future gets True (published), False (not published, and never will be) or why that can't be known.
    """

    def __init__(self) -> None:
        self.lost: dict[asyncio.Future[bool | str], tuple[Trace, float]] = {}
        self.task: asyncio.Task[None] | None = None

    def wanted(self) -> dict[StreamKeys, tuple[set[str], float]]:
        """Return which unique ids to look for in which streams, and when the first of them was sent."""
        wanted: dict[StreamKeys, tuple[set[str], float]] = {}
        for trace, sent_at in self.lost.values():
            for keys in (trace.first, trace.last):
                bys, since = wanted.get(keys) or (set(), sent_at)
                bys.add(trace.by)
                wanted[keys] = (bys, min(since, sent_at))
        return wanted

    def fail(self, why: str) -> None:
        for outcome in self.lost:
            if not outcome.done():
                outcome.set_result(why)


class LostPublishes:
    """The look-ups of one session; one task for each lost connection, while somebody waits for it."""

    def __init__(self, commands: CommandLink, publish_timeout: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._commands = commands
        self._publish_timeout = publish_timeout
        self._batches: dict[Peer, _Batch] = {}

    async def was_published(self, trace: Trace, peer: Peer, sent_at: float, deadline: float) -> bool:
        """Return whether a publish was executed. If not, it never will be.

        Args:
            trace: What it leaves on the server.
            peer: The connection that it was sent on, and that is lost.
            sent_at: When it was sent, or before, on the clock of `time.monotonic`.
            deadline: Loop time.

        Raises:
            Unknown: It can't be known, or not by the deadline.
        """
        batch = self._batches.get(peer)
        if batch is None:
            # The first one brings the task. The others fail in the same turn of the loop, so they are all
            # there before the next connection is.
            batch = self._batches[peer] = _Batch()
            batch.task = self._loop.create_task(self._resolve(peer, batch), name="gapless recovery")
        outcome: asyncio.Future[bool | str] = self._loop.create_future()
        batch.lost[outcome] = (trace, sent_at)
        try:
            async with asyncio.timeout_at(deadline):
                known = await outcome
        except TimeoutError:
            raise Unknown(self._why_late()) from None
        finally:
            del batch.lost[outcome]
            if not batch.lost:
                self._end_batch(peer, batch)
        if isinstance(known, str):
            raise Unknown(known)
        return known

    def tasks(self) -> list[asyncio.Task[None]]:
        """Return the tasks to wait for after the link was closed, which ends them."""
        return [batch.task for batch in self._batches.values() if batch.task is not None]

    def _end_batch(self, peer: Peer, batch: _Batch) -> None:
        """Nobody waits for it any more, or it is done."""
        if self._batches.get(peer) is batch:
            del self._batches[peer]
            if batch.task is not None:
                batch.task.cancel()

    async def _resolve(self, peer: Peer, batch: _Batch) -> None:
        deadline = self._loop.time() + self._publish_timeout
        backoff = Backoff(cap_seconds=errors.RETRY_SECONDS)
        while True:
            try:
                await self._commands.link.wait(self._commands.link.is_ready, deadline)
                return await self._look_for(peer, batch)
            except ConnectionLost:
                continue  # also this connection is gone: on the next one from the start
            except BackendUnavailable:
                return batch.fail(self._why_late())
            except BackendError as error:
                return batch.fail(f"the server refuses the connection ({error})")
            except ReplyError:
                await asyncio.sleep(backoff.next_delay_seconds(random.random()))  # noqa: S311 (jitter)

    def _why_late(self) -> str:
        link = self._commands.link
        if link.closed:
            return "the backend was shut down before it could look"
        cause = f": {link.last_error}" if link.last_error else ""
        return f"there was no time to look on a new connection within {self._publish_timeout:g} s{cause}"

    async def _look_for(self, peer: Peer, batch: _Batch) -> None:
        """Look for all of a batch on the connection there is, and tell those who wait.

        Raises:
            ConnectionLost: It broke.
            ReplyError: The server is not ready.
        """
        now = self._commands.peer
        alive = await self._disarm(peer, now)
        wanted = batch.wanted()
        since_ms = {
            keys: min(peer.earliest_ms(sent_at), now.earliest_ms(sent_at)) - CLOCK_MARGIN_MS
            for keys, (_, sent_at) in wanted.items()
        }
        streams = list(wanted)
        looks: dict[StreamKeys, _Look] = {}
        for start in range(0, len(streams), AT_ONCE):
            some = streams[start : start + AT_ONCE]
            answers = (self._look(keys, since_ms[keys], wanted[keys][0]) for keys in some)
            looks.update(zip(some, await _all(answers), strict=True))
        for outcome, (trace, _) in batch.lost.items():
            if not outcome.done():
                outcome.set_result(_judge(trace, looks, since_ms[trace.first], alive))

    async def _disarm(self, peer: Peer, now: Peer) -> str | None:
        """End the lost connection for the server as well, so that nothing sent on it is executed any more.

        Returns:
            None, or why that is not sure.
        """
        if peer.run_id is None or now.run_id is None:
            return "the server doesn't tell whether it was restarted (permission for INFO is missing)"
        if not peer.is_process_of(now):
            return "the server was restarted, or another one has taken over"
        if peer.client_id is None:
            return "what was sent may still be on its way (permission for CLIENT ID is missing)"
        try:
            # What it had not read of the old connection yet, it would execute later. Not found is as good.
            await self._commands.send(("CLIENT", "KILL", "ID", peer.client_id))
        except ReplyError as error:
            if errors.error_code(str(error)) in errors.PASSING_CODES:
                raise
            if "No such client" not in str(error):
                return f"what was sent may still be on its way (CLIENT KILL: {error})"
        return None

    async def _look(self, keys: StreamKeys, since_ms: int, bys: set[str]) -> _Look:
        call: Command = (2, *keys, max(0, since_ms), MOST_ENTRIES, *bys)
        try:
            found, complete, oldest_id, last_id = await run(FIND, call, self._commands.send)
        except ReplyError as error:
            if errors.error_code(str(error)) in errors.PASSING_CODES:
                raise
            return set(), f"the stream can't be looked at: {error}"
        return {by.decode() for by in found}, Findings(
            complete=bool(complete),
            oldest_id=oldest_id.decode() or None,
            last_id=last_id.decode() or None,
        )


def _judge(trace: Trace, looks: dict[StreamKeys, _Look], since_ms: int, alive: str | None) -> bool | str:
    """Return whether a publish was executed, or why that can't be known."""
    # The script writes one stream after the other: it came to its end if the last one is written, and has not
    # begun if the first one is not.
    if trace.by in looks[trace.last][0]:
        return True
    bys, findings = looks[trace.first]
    if trace.by in bys:
        return "the first channel has it, and in the last one it was not found"
    if isinstance(findings, str):
        return findings
    return alive or doubt(findings, since_ms=since_ms) or False


async def _all(looks: Iterable[Awaitable[_Look]]) -> list[_Look]:
    """Return all results when all have ended, or raise one of the errors."""
    results = await asyncio.gather(*looks, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]
