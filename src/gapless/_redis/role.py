"""What a link (`link.py`) needs of what is spoken over it: `commands.py`, `pushes.py`, `frames.py`."""

from __future__ import annotations

from typing import Protocol

from gapless._redis.wire import Replies, Wire


class Role(Protocol):
    """What is spoken over a link."""

    name: str

    async def open(self, wire: Wire) -> None:
        """Shake hands on a new connection; an exception closes it."""

    def received(self, replies: Replies) -> None:
        """Take the replies of one chunk."""

    def up(self) -> None:
        """The connection is ready for use."""

    def lost(self, error: Exception | None) -> None:
        """The connection is gone."""

    @property
    def waiting(self) -> bool:
        """Whether an answer is due."""
        ...

    def ping(self) -> None:
        """Ask for a sign of life."""
