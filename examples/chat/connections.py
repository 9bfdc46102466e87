"""The backend's connections, seen and killed from outside: over a connection of our own.

The backend makes its connections like those of the client it was given, so they carry that client's
`client_name`, and CLIENT LIST tells them from all others. The one that subscribes has the flag P.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from examples.chat.messages import RedisStatus

SUBSCRIBER = "subscriber"
COMMANDS = "commands"

# CLIENT LIST every 5 ms, but only while a cut is under way.
LOOK_SECONDS = 0.005
PATIENCE_SECONDS = 10.0


class BackendConnections:
    """The connections that carry `client_name`.

    Args:
        admin: A client with another name, and with one connection only: that one must exist before
            others are turned away.
        client_name: The name of the client that the backend was given.
    """

    def __init__(self, admin: Redis, client_name: str) -> None:
        self._admin = admin
        self._client_name = client_name

    async def ids(self) -> dict[str, int]:
        """Return the ids of the connections by their role; without those that are not there.

        Raises:
            redis.exceptions.RedisError: The server can't be reached.
        """
        found: dict[str, int] = {}
        clients: Sequence[Mapping[str, Any]] = await self._admin.client_list()
        for client in clients:
            if client["name"] == self._client_name:
                found[SUBSCRIBER if "P" in client["flags"] else COMMANDS] = int(client["id"])
        return found

    async def status(self) -> RedisStatus:
        """Return whether both connections are there, as far as the server lets us know.

        Raises what `ids()` raises, unless that is a refusal.
        """
        try:
            ids = await self.ids()
        except ResponseError:
            # Not everybody may list connections. It has answered: the light is on, without numbers.
            return RedisStatus("up")
        return RedisStatus("up" if COMMANDS in ids else "down", ids)

    async def cut(self, before: Mapping[str, int], *, hold_seconds: float) -> RedisStatus:
        """Kill the connections `before`, admit no others for `hold_seconds`, and await their return.

        Returns:
            State "up" with the new ids, or "down" if they were not back within `PATIENCE_SECONDS`.

        Raises what `ids()` raises.
        """
        start = time.monotonic()
        if hold_seconds:
            async with self._door_shut():
                await self._kill(before)
                await asyncio.sleep(hold_seconds)
        else:
            await self._kill(before)
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            ids = await self.ids()
            elapsed_seconds = time.monotonic() - start
            after_ms = round(elapsed_seconds * 1000)
            if ids.keys() >= {COMMANDS, *before} and not {*ids.values()} & {*before.values()}:
                return RedisStatus("up", ids, dict(before), after_ms)
            if elapsed_seconds > hold_seconds + PATIENCE_SECONDS:
                return RedisStatus("down", ids, dict(before), after_ms)

    async def _kill(self, ids: Mapping[str, int]) -> None:
        for connection_id in ids.values():
            # By filter: that one answers with a number, and is no error if the connection has gone.
            await self._admin.client_kill_filter(_id=str(connection_id))

    @asynccontextmanager
    async def _door_shut(self) -> AsyncGenerator[None, None]:
        """Let the server turn away whoever connects; the connection that says so stays."""
        settings: Mapping[Any, Any] = await self._admin.config_get("maxclients")
        await self._admin.config_set("maxclients", 1)
        try:
            yield
        finally:
            await self._admin.config_set("maxclients", settings["maxclients"])
