"""A blocking socket that speaks Redis: the load side, and the limit of what a client can reach."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Any, Self

import hiredis

from benchmarks.peers import Command

_NOTHING = object()

# As asyncio reads.
READ_BYTES = 256 * 1024


def pack(command: Command) -> bytes:
    # Its stub knows no bytes and int among the parts.
    packer: Any = hiredis.pack_command
    packed: bytes = packer(command)
    return packed


class RawConnection:
    """One connection, without any client library."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = hiredis.Reader(notEnoughData=_NOTHING)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, commands: Iterable[Command]) -> None:
        """Send commands in one write and read their replies."""
        packed = [pack(command) for command in commands]
        self.send_packed(b"".join(packed), len(packed))

    def send_packed(self, packed: bytes, count: int) -> None:
        """Send `count` packed commands in one write and read their replies.

        Raises:
            hiredis.ReplyError: The server refused one of them.
        """
        if count:
            self._socket.sendall(packed)
            for _ in range(count):
                self.read()

    def write(self, packed: bytes) -> None:
        """Send a packed command; `read()` must follow for its reply."""
        self._socket.sendall(packed)

    def count(self) -> int:
        """Wait for something to come, and return how many replies or pushes it completes."""
        self._feed()
        count = 0
        while self._reader.gets() is not _NOTHING:
            count += 1
        return count

    def read(self) -> Any:
        """Read one reply or push, and return it.

        Raises:
            hiredis.ReplyError: It is a refusal.
        """
        while (reply := self._reader.gets()) is _NOTHING:
            self._feed()
        if isinstance(reply, hiredis.ReplyError):
            raise reply
        return reply

    def _feed(self) -> None:
        chunk = self._socket.recv(READ_BYTES)
        if not chunk:
            raise ConnectionError("the server closed the connection")
        self._reader.feed(chunk)
