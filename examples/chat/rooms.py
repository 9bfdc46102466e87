"""The rooms of this process, and the windows that look into them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from examples.chat.messages import RefusedError, Room, RoomList, encode

ROOMS_LIMIT = 30


class Window(Protocol):
    """Takes what one browser window is to be sent. Litestar's `Subscriber` is one."""

    def put_nowait(self, item: bytes) -> bool:
        """Queue an item; False if the queue is full."""


class Rooms:
    """Rooms by name, in the order in which they were created, each with its windows."""

    def __init__(self, names: Iterable[str]) -> None:
        self._windows: dict[str, set[Window]] = {name: set() for name in names}

    def __contains__(self, name: str) -> bool:
        return name in self._windows

    def overview(self) -> list[Room]:
        return [Room(name, len(windows)) for name, windows in self._windows.items()]

    def create(self, name: str) -> None:
        """Create a room, and show it to every window.

        Raises:
            RefusedError: It exists, or there are `ROOMS_LIMIT` rooms already.
        """
        if name in self._windows:
            raise RefusedError(f"There is a room called {name} already.")
        if len(self._windows) >= ROOMS_LIMIT:
            raise RefusedError(f"{ROOMS_LIMIT} rooms are enough for a demo.")
        self._windows[name] = set()
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
