"""The rooms, which Redis keeps, and the windows of this process that look into them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from redis.asyncio import Redis

from examples.chat.messages import RefusedError, Room, RoomList, encode
from examples.chat.store import KEY_PREFIX

ROOMS_LIMIT = 30

# A sorted set: names of rooms, by the time of their creation in microseconds.
KEY = f"{KEY_PREFIX}:rooms"


class Window(Protocol):
    """Takes what one browser window is to be sent. The plugin's `Subscriber` is one."""

    def put_nowait(self, item: bytes) -> bool:
        """Queue an item; False if the queue is full."""


class Rooms:
    """Rooms by name, in the order in which they were created, each with its windows.

    Args:
        redis: Keeps the rooms that people create, beyond the life of this process.
        names: Rooms that there are always.
    """

    def __init__(self, redis: Redis, names: Iterable[str]) -> None:
        self._redis = redis
        self._windows: dict[str, set[Window]] = {name: set() for name in names}

    def __contains__(self, name: str) -> bool:
        return name in self._windows

    def overview(self) -> list[Room]:
        return [Room(name, len(windows)) for name, windows in self._windows.items()]

    async def load(self) -> None:
        """Learn of rooms that were created before this process was, or in another one.

        Raises:
            redis.exceptions.RedisError: They can't be read.
        """
        names: Sequence[Any] = await self._redis.zrange(KEY, 0, -1)
        for name in names:
            self._windows.setdefault(name.decode(), set())

    async def create(self, name: str) -> None:
        """Create a room, and show it to every window.

        Raises:
            RefusedError: It exists, or there are `ROOMS_LIMIT` rooms already.
            redis.exceptions.RedisError: It can't be kept. There is no such room then.
        """
        await self.load()
        if name not in self._windows and len(self._windows) >= ROOMS_LIMIT:
            raise RefusedError(f"{ROOMS_LIMIT} rooms are enough for a demo.")
        # Of several who create it at once, one has created it.
        if name in self._windows or not await self._redis.zadd(KEY, {name: time.time_ns() // 1000}, nx=True):
            raise RefusedError(f"There is a room called {name} already.")
        self._windows.setdefault(name, set())
        self._announce_rooms()

    @contextmanager
    def entered(self, name: str, window: Window) -> Iterator[None]:
        """Keep a window in a room; every window sees the number change."""
        self._windows[name].add(window)
        self._announce_rooms()
        try:
            yield
        finally:
            self._windows[name].discard(window)
            self._announce_rooms()

    def announce(self, event: Any) -> None:
        """Send an event to every window of every room. Not through Redis: it may be about Redis."""
        data = encode(event)
        for windows in self._windows.values():
            for window in windows:
                window.put_nowait(data)

    def _announce_rooms(self) -> None:
        self.announce(RoomList(self.overview()))
