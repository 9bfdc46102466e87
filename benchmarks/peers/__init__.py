"""The libraries that are compared. One module per library, each with the same names:

backend(kind, client)        a backend of kind "pubsub" or "streams", with the library's defaults
Publisher(kind)              the commands with which a publisher of that library would publish
open_application(kind)       an ASGI application with /room, over SSE and WebSocket: `app`, `publish(data)`, `clients()`
open_hub()                   a broker in memory with its hub: `publish(data)`, and `subscribe()`, which returns an
                             async iterator, on one channel
"""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

from redis.asyncio import Redis

from benchmarks.protocol import Job

PREFIX = "BENCH"
CHANNEL = "room"
HISTORY = 100
PAYLOAD_BYTES = 64

Command = tuple[str | bytes | int, ...]


class Publisher(Protocol):
    """What the load side writes to its socket."""

    def prepare(self) -> list[Command]:
        """Return the commands to send once per connection."""

    def publish(self, channel: str, data: bytes) -> Command:
        """Return the command that publishes one event, in the library's own format."""


def publisher(job: Job) -> Publisher:
    made: Publisher = importlib.import_module(f"benchmarks.peers.{job.library}").Publisher(job.kind)
    return made


def open_application(job: Job) -> Any:
    """Return the library's web application, with a broker in memory."""
    return importlib.import_module(f"benchmarks.peers.{job.library}").open_application(job.kind)


def open_hub(job: Job) -> AbstractAsyncContextManager[Any]:
    """Give the library's hub, started."""
    hub: AbstractAsyncContextManager[Any] = importlib.import_module(
        f"benchmarks.peers.{job.library}"
    ).open_hub()
    return hub


@asynccontextmanager
async def open_backend(job: Job) -> AsyncIterator[Any]:
    """Give the library's backend, started, on a client of its own."""
    peer = importlib.import_module(f"benchmarks.peers.{job.library}")
    # protocol=2: Litestar's streams backend can't read RESP3 replies.
    client = Redis(host="127.0.0.1", port=job.port, protocol=2)
    backend = peer.backend(job.kind, client)
    await backend.on_startup()
    try:
        yield backend
    finally:
        await backend.on_shutdown()
        await client.aclose()
