"""As much of the servers' protocol (RESP 2 and 3) as faults need: where a value ends, and what a reply is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import IO, Any

# What a request begins with: the number of words, and the first word.
REQUEST = re.compile(rb"\*\d+\r\n\$\d+\r\n([^\r\n]+)\r\n")
MAX_HEAD_BYTES = 128
MAX_LINE_BYTES = 65536


class Values:
    """Splits a stream of bytes where one value ends and the next begins.

    Attributes:
        readable: False from the first byte on that is not the protocol (TLS, say).
    """

    def __init__(self) -> None:
        self.readable = True
        self._skip_bytes = 0
        self._line = b""
        # Parts of the value that are still to come.
        self._missing = 1

    def split(self, data: bytes) -> Iterator[tuple[bytes, bool]]:
        """Yield the pieces of `data`, and of each whether a value ends with it. Joined, they are `data`."""
        start = position = 0
        while position < len(data) and self.readable:
            if self._skip_bytes:
                step = min(self._skip_bytes, len(data) - position)
                self._skip_bytes -= step
                position += step
                ended = not self._skip_bytes and self._end_part()
            else:
                end = data.find(b"\n", position) + 1
                self._line += data[position : end or len(data)]
                position = end or len(data)
                ended = bool(end) and self._take_line()
                if len(self._line) > MAX_LINE_BYTES:
                    self.readable = False
            if ended:
                yield data[start:position], True
                start = position
        if start < len(data):
            yield data[start:], False

    def _take_line(self) -> bool:
        """Take a header; return whether the value ends with it."""
        line, self._line = self._line, b""
        kind = line[:1]
        if kind not in b"*~>%|$=!":
            return self._end_part()
        try:
            count = int(line[1:])
        except ValueError:
            self.readable = False
            return False
        if kind in b"$=!":
            if count < 0:
                return self._end_part()
            self._skip_bytes = count + 2
            return False
        parts = max(count, 0) * (2 if kind in b"%|" else 1)
        self._missing += parts
        # Attributes stand before a value and are none.
        return False if kind == b"|" else self._end_part()

    def _end_part(self) -> bool:
        self._missing -= 1
        if self._missing:
            return False
        self._missing = 1
        return True


class Requests:
    """Reads the names of the commands in a client's stream of bytes."""

    def __init__(self) -> None:
        self._values = Values()
        self._head = b""

    def names(self, data: bytes) -> Iterator[str]:
        """Yield the name, in upper case, of each command that ends in `data`."""
        for piece, ended in self._values.split(data):
            self._head += piece[: MAX_HEAD_BYTES - len(self._head)]
            if ended:
                if found := REQUEST.match(self._head):
                    yield found.group(1).decode(errors="replace").upper()
                self._head = b""


def pack(words: tuple[str | bytes | float, ...]) -> bytes:
    """Return a command as bytes."""
    request = b"*%d\r\n" % len(words)
    for word in words:
        data = word if isinstance(word, bytes) else str(word).encode()
        request += b"$%d\r\n%b\r\n" % (len(data), data)
    return request


class ErrorReply(Exception):
    """The server's reply is an error."""


def read_reply(stream: IO[bytes]) -> Any:
    """Return the next RESP2 reply: bytes, int, None or a list of these.

    Raises:
        ErrorReply: It is an error.
        ConnectionError: The stream ended.
    """
    line = stream.readline()
    if not line.endswith(b"\r\n"):
        raise ConnectionError("the server closed the connection")
    kind, rest = line[:1], line[1:-2]
    match kind:
        case b"+":
            return rest
        case b"-":
            raise ErrorReply(rest.decode(errors="replace"))
        case b":":
            return int(rest)
        case b"$":
            size = int(rest)
            return None if size < 0 else stream.read(size + 2)[:-2]
        case b"*":
            return None if int(rest) < 0 else [read_reply(stream) for _ in range(int(rest))]
    raise ConnectionError(f"not a reply: {line!r}")
