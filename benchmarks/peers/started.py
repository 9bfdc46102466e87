"""What gapless's and Litestar's backends have in common: they are given a client, started and stopped."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import Redis

from benchmarks.peers import MOST_CONNECTIONS


@asynccontextmanager
async def started(make: Callable[[Redis], Any], port: int) -> AsyncIterator[Any]:
    # protocol=2: Litestar's streams backend can't read RESP3 replies.
    client = Redis(host="127.0.0.1", port=port, protocol=2, max_connections=MOST_CONNECTIONS)
    backend = make(client)
    await backend.on_startup()
    try:
        yield backend
    finally:
        await backend.on_shutdown()
        await client.aclose()
