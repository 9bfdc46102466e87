"""What a library sends when it publishes: recorded by the server while the library does it once.

So that the load of the `receive` rows is every library's own, and needs no library to be written.
"""

from __future__ import annotations

import ast
import re
import socket
from typing import Any

from benchmarks.peers import CHANNEL, Command, open_backend
from benchmarks.protocol import BenchmarkError, Job

# A reply to MONITOR: +<time> [<database> <client>] "PUBLISH" "room" "x\x00y"
_LINE = re.compile(rb'^\+[\d.]+ \[\d+ (\S+)\] (".*")\r?$')
_WORD = re.compile(rb'"(?:[^"\\]|\\.)*"')

DEADLINE_SECONDS = 5.0


async def record(job: Job, payload: bytes) -> Command:
    """Publish one event with the library, and return the command that carried it.

    Raises:
        BenchmarkError: The server has seen none with this payload.
    """
    async with open_backend(job) as backend:
        with socket.create_connection(("127.0.0.1", job.port), DEADLINE_SECONDS) as monitor:
            stream = monitor.makefile("rb")
            monitor.sendall(b"MONITOR\r\n")
            stream.readline()  # +OK
            await backend.publish(payload, [CHANNEL])
            return _carrier(stream, payload)


def _carrier(stream: Any, payload: bytes) -> Command:
    try:
        for line in stream:
            command = parse(line)
            if command is not None and any(payload in word for word in command):
                return command
    except TimeoutError:
        pass
    raise BenchmarkError("the server has seen no command with the payload")


def parse(line: bytes) -> tuple[bytes, ...] | None:
    """Return the command in a line of MONITOR; None for what a script did, and for what is none."""
    found = _LINE.match(line)
    if found is None or found[1] == b"lua":
        return None
    # The server escapes as C does, and Python reads that.
    return tuple(ast.literal_eval(f"b{word.decode('latin-1')}") for word in _WORD.findall(found[2]))
