"""The libraries that are compared. One module per library, with those of these names that it has:

open_backend(kind, port, keep)   a context manager: what publishes and receives, kind "pubsub" or "streams", with the
                             library's defaults. It has `publish(data, channels)`, `subscribe(channels)` and
                             `stream_events()`. Where the library limits what is stored: to `keep` events; None if
                             there is a reader, for whom none may be dropped
data_of(item)                the payload of what `stream_events()` yields; without it, items are (channel, data)
again(command, number)       the recorded command for another event; without it, the same command
Publisher(kind)              the commands with which a publisher of that library would publish; without it, they are
                             recorded (`benchmarks.recorded`)
open_application(kind)       an ASGI application with /room, over SSE and WebSocket: `app`, `publish(data)`, `clients()`
open_hub()                   a broker in memory with its hub: `publish(data)`, and `subscribe()`, which returns an
                             async iterator, on one channel

A peer's environment has neither gapless nor each other's libraries, so nothing is imported here.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from operator import itemgetter
from typing import Any, Protocol

from benchmarks.libraries import LIBRARIES
from benchmarks.protocol import Job

PREFIX = "BENCH"
CHANNEL = "room"
HISTORY = 100
PAYLOAD_BYTES = 64

# Of a library that has to be told how many, where none may be dropped.
UNTRIMMED = 10_000_000

# redis-py 8 raises when more than 100 commands are under way; before, there was no such limit. Nor is there here.
MOST_CONNECTIONS = 10_000

Command = tuple[str | bytes | int, ...]


class Publisher(Protocol):
    """What the load side writes to its socket."""

    def prepare(self) -> list[Command]:
        """Return the commands to send once per connection."""

    def publish(self, channel: str, data: bytes) -> Command:
        """Return the command that publishes one event, in the library's own format."""


def adapter(library: str) -> Any:
    """Return the module of a library."""
    return importlib.import_module(f"benchmarks.peers.{LIBRARIES[library].module}")


def publisher(job: Job) -> Publisher:
    made: Publisher = adapter(job.library).Publisher(job.kind)
    return made


def has_publisher(job: Job) -> bool:
    return hasattr(adapter(job.library), "Publisher")


def data_of(job: Job) -> Callable[[Any], bytes]:
    """Return what gets the payload out of an item of `stream_events()`."""
    found: Callable[[Any], bytes] = getattr(adapter(job.library), "data_of", itemgetter(1))
    return found


def open_application(job: Job) -> Any:
    """Return the library's web application, with a broker in memory."""
    return adapter(job.library).open_application(job.kind)


def open_hub(job: Job) -> AbstractAsyncContextManager[Any]:
    """Give the library's hub, started."""
    hub: AbstractAsyncContextManager[Any] = adapter(job.library).open_hub()
    return hub


def open_backend(job: Job) -> AbstractAsyncContextManager[Any]:
    """Give the library's backend, started, on connections of its own."""
    keep = job.options.get("history", HISTORY) if job.scenario == "publish" else None
    backend: AbstractAsyncContextManager[Any] = adapter(job.library).open_backend(job.kind, job.port, keep)
    return backend
