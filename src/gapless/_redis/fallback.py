"""A wire on the client's public methods, for when its transport can't be taken over.

Slower (a task wakes for each reply), the same behaviour: it passes the same tests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import hiredis

from gapless._redis.client import disconnect

# Commands that wait for the socket beyond this size hold up those who would add more.
PAUSE_BYTES = 1024 * 1024

# The clients turn these error replies into exceptions and drop the code from the text.
_CODES = {
    "AskError": "ASK",
    "AuthenticationError": "WRONGPASS",
    "AuthorizationError": "NOPERM",
    "BusyLoadingError": "LOADING",
    "ClusterCrossSlotError": "CROSSSLOT",
    "ClusterDownError": "CLUSTERDOWN",
    "MasterDownError": "MASTERDOWN",
    "MovedError": "MOVED",
    "NoPermissionError": "NOPERM",
    "NoScriptError": "NOSCRIPT",
    "OutOfMemoryError": "OOM",
    "ReadOnlyError": "READONLY",
}


class FallbackWire:
    """A socket that redis-py or valkey-py reads and writes for us."""

    def __init__(
        self,
        connection: Any,
        on_replies: Callable[[list[Any]], None],
        on_writable: Callable[[bool], None],
    ) -> None:
        loop = asyncio.get_running_loop()
        self._connection = connection
        self._on_replies = on_replies
        self._on_writable = on_writable
        self._out: list[bytes] = []
        self._unsent_bytes = 0
        self._wake_writer = asyncio.Event()
        self.closed: asyncio.Future[Exception | None] = loop.create_future()
        self.writable = True
        self.quiet_checks = 0
        self._tasks = [loop.create_task(self._read()), loop.create_task(self._write())]

    def send(self, packed: bytes) -> None:
        self._out.append(packed)
        self._unsent_bytes += len(packed)
        if self._unsent_bytes > PAUSE_BYTES:
            self._pause()
        self._wake_writer.set()

    send_now = send

    @property
    def unsent(self) -> int:
        return len(self._out)

    @property
    def unsent_bytes(self) -> int:
        return self._unsent_bytes

    async def close(self, error: Exception | None = None) -> None:
        self._fail(error)
        for task in self._tasks:
            task.cancel()
        try:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        finally:
            # Also when a shutdown cancels this.
            await disconnect(self._connection)

    async def _read(self) -> None:
        try:
            while True:
                reply = await self._read_reply()
                self.quiet_checks = 0
                self._on_replies([reply])
        except Exception as error:
            self._fail(error)

    async def _read_reply(self) -> Any:
        try:
            return await self._connection.read_response(disable_decoding=True, disconnect_on_error=False)
        except Exception as error:
            code = _CODES.get(type(error).__name__)
            if code is not None:
                return hiredis.ReplyError(f"{code} {error}")
            if any(base.__name__ == "ResponseError" for base in type(error).__mro__):
                return hiredis.ReplyError(str(error))
            raise

    async def _write(self) -> None:
        try:
            while True:
                await self._wake_writer.wait()
                self._wake_writer.clear()
                packed = b"".join(self._out)
                self._out.clear()
                await self._connection.send_packed_command([packed], check_health=False)
                self._unsent_bytes -= len(packed)
                if not self.writable and not self.closed.done():
                    self.writable = True
                    self._on_writable(True)
        except Exception as error:
            self._fail(error)

    def _pause(self) -> None:
        self.writable = False
        self._on_writable(False)

    def _fail(self, error: Exception | None) -> None:
        self._pause()
        if not self.closed.done():
            self.closed.set_result(error)
