"""Real web servers, in the event loop of the test or as processes, and a client of event streams."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from httpx_sse import EventSource, ServerSentEvent, aconnect_sse

from tests.support.servers import Server
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]


class Web(uvicorn.Server):
    """uvicorn, without its signal handlers."""

    @property
    def address(self) -> str:
        port = self.servers[0].sockets[0].getsockname()[1]
        return f"127.0.0.1:{port}"

    @property
    def url(self) -> str:
        return f"http://{self.address}"


@asynccontextmanager
async def serving(app: Any, **options: Any) -> AsyncIterator[Web]:
    """Serve an ASGI application on a free port of 127.0.0.1; its lifespan is over when the block is."""
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, log_level=logging.WARNING, timeout_graceful_shutdown=5, **options
    )
    server = Web(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    running = asyncio.create_task(server._serve())
    try:
        await until(lambda: server.started or running.done(), "the server to start")
        assert not running.done(), "the application did not start"
        yield server
    finally:
        server.should_exit = True
        async with asyncio.timeout(15):
            await running


@asynccontextmanager
async def application(
    app: str, server: Server, *, port: int = 0
) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """Run `app` as users do, on a free port of 127.0.0.1 or this one; give the process and its address."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "uvicorn", app, "--port", str(port),
        cwd=ROOT, env=os.environ | {"REDIS_URL": server.url}, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        log = b""
        async with asyncio.timeout(20):
            while b"running on http://" not in log:
                line = await process.stderr.readline()
                assert line, log.decode()
                log += line
        yield process, log.decode().split("running on http://")[1].split()[0]
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@asynccontextmanager
async def listening(
    url: str, *, last_event_id: str | None = None, **options: Any
) -> AsyncIterator[EventSource]:
    """Open an event stream."""
    headers = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
    async with (
        httpx.AsyncClient(timeout=10) as client,
        aconnect_sse(client, "GET", url, headers=headers, **options) as source,
    ):
        yield source


async def events(source: EventSource, count: int, seconds: float = 10) -> list[ServerSentEvent]:
    """Return the next events that have data, of a stream that was not read yet."""
    found: list[ServerSentEvent] = []
    async with asyncio.timeout(seconds):
        async for event in source.aiter_sse():
            if event.data:
                found.append(event)
            if len(found) == count:
                break
    return found
