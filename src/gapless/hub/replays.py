"""Reads of the history for subscribers: one for all that go on from the same place."""

from __future__ import annotations

import asyncio
import logging

from gapless._core.backoff import Backoff
from gapless._core.event import Gap
from gapless._core.reader import Reader
from gapless._core.replay import PAGE_BYTES, PAGE_EVENTS, Replay
from gapless._core.throttle import Throttle
from gapless.errors import BackendUnavailable
from gapless.hub.upstream import Channel, Upstream

logger = logging.getLogger("gapless")

# Reads under way at once: a thousand clients that come back to as many channels must not fill the memory.
MAX_CONCURRENT = 32


class Replays:
    """Makes the reads that readers want.

    Attributes:
        count: Reads so far.
    """

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._turn = asyncio.Semaphore(MAX_CONCURRENT)
        self._in_line: set[Replay] = set()
        self._complaints = Throttle()
        self.count = 0

    def want(self, channel: Channel, reader: Reader, *, after: str | None, limit: int = PAGE_EVENTS) -> None:
        """Read for `reader`; it has joined when its owner is woken, or the owner's `failed()` was called.

        Args:
            channel: Open, and used by the reader's owner until then.
            reader: Detached.
            after: Where it goes on; None for the newest `limit` events.
            limit: Events to read.
        """
        key = (after, limit)
        replay = channel.replays.get(key)
        if replay is None:
            replay = channel.replays[key] = Replay(channel.log, after, limit)
            made = replay
            self._upstream.spawn(lambda: self._run(channel, key, made), "gapless replay")
        replay.readers[reader] = None

    async def _run(self, channel: Channel, key: tuple[str | None, int], replay: Replay) -> None:
        try:
            await self._read(channel.name, replay)
        finally:
            replay.end()
            if channel.replays.get(key) is replay:
                del channel.replays[key]
        for reader in replay.readers:
            reader.join(replay)
            reader.owner.joined(reader)
        self._upstream.wakeups.wake(reader.owner for reader in replay.readers)
        # Those for whom too much has come live meanwhile.
        self._upstream.end_disconnected(channel.log)

    async def _read(self, channel: str, replay: Replay) -> None:
        backoff = Backoff()
        while replay.readers:
            try:
                await self._in_turn(channel, replay)
                return
            except BackendUnavailable as error:
                # Those who have just come are told, the others wait: the history is still there. Those in
                # line, too: there may be so many that the last would be told after minutes.
                for each in (replay, *self._in_line):
                    self._tell_new(each, error)
            except Exception as error:
                self._tell_new(replay, error)
                if self._complaints.picks():
                    logger.exception(
                        "%d reads of a history failed, the last of %r", self._complaints.count, channel
                    )
                replay.found([Gap(channel, None, "backlog")])
                return
            await asyncio.sleep(backoff.next_delay_seconds(1.0))

    async def _in_turn(self, channel: str, replay: Replay) -> None:
        self._in_line.add(replay)
        try:
            await self._turn.acquire()
        finally:
            self._in_line.discard(replay)
        try:
            if replay.readers:
                self.count += 1
                replay.begin()
                await self._read_once(channel, replay)
        finally:
            self._turn.release()

    async def _read_once(self, channel: str, replay: Replay) -> None:
        backend = self._upstream.backend
        after, limit = replay.after, replay.limit
        if after is None:
            replay.found(await backend.recent(channel, limit))
            return
        position = None
        items = await backend.read(channel, after=after, limit=limit, max_bytes=PAGE_BYTES)
        if items and isinstance(items[-1], Gap):
            # Nothing follows it, and who reads on after `after` would be told of it again and again.
            position = await backend.position(channel)
            items = await backend.read(channel, after=after, limit=limit, max_bytes=PAGE_BYTES)
        replay.found(items, position)

    def _tell_new(self, replay: Replay, error: Exception) -> None:
        for reader in list(replay.readers):
            if reader.owner.opening:
                del replay.readers[reader]
                reader.owner.failed(error)
                self._upstream.wakeups.wake((reader.owner,))
