"""Measured side: a web server with many clients of one channel, and a publisher in the same process.

The broker is in memory, so what is measured is the way from a publish to the sockets: CPU of the process by events
that clients received, resident memory by client, and the delay from the publisher's clock to the client's.
The clients are a process of their own: raw sockets that read and look for the stamp.
"""

from __future__ import annotations

import asyncio
import gc
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn

from benchmarks.clock import cpu_seconds, resident_bytes
from benchmarks.peers import PAYLOAD_BYTES, open_application
from benchmarks.protocol import Job, Parent, Process

WARM_EVENTS = 5
STAMP = "T:{:020d}"


async def run(
    job: Job,
    parent: Parent,
    *,
    transport: str,
    clients: int,
    rate: int,
    seconds: float,
    settle_seconds: float,
) -> None:
    application = open_application(job)
    async with serving(application.app) as port:
        options = {"port": port, "clients": clients, "transport": transport}
        watchers = Job("watch", job.library, job.kind, job.port, options=options)
        gc.collect()
        before = resident_bytes()
        with Process(watchers) as process:
            await asyncio.to_thread(process.expect, "ready")
            while application.clients() < clients:
                await asyncio.sleep(0.02)
            await asyncio.sleep(settle_seconds)
            gc.collect()
            now = resident_bytes()
            per_client = None if now is None or before is None else (now - before) / clients
            for _ in range(WARM_EVENTS):
                await publish(application)
                await asyncio.sleep(0.05)
            await asyncio.sleep(settle_seconds)
            process.go()
            await asyncio.to_thread(process.expect, "warm")
            parent.say("ready")
            cpu = cpu_seconds()
            for _ in range(round(rate * seconds)):
                await publish(application)
                await asyncio.sleep(1 / rate)
            cpu = cpu_seconds() - cpu
            process.go()
            figures = await asyncio.to_thread(process.expect, "result")
            events = figures["events"]
            parent.say(
                "result", **figures, lost=round(rate * seconds) * clients - events,
                cpu_us=cpu / events * 1e6, resident_bytes=per_client,
            )  # fmt: skip
    # The server waits for its clients otherwise, which are gone.
    os._exit(0)


async def publish(application: Any) -> None:
    await application.publish(STAMP.format(time.monotonic_ns()).ljust(PAYLOAD_BYTES, "x"))


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[int]:
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, log_level="critical", access_log=False, loop="none", interface="asgi3"
    )
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    task = asyncio.create_task(server._serve())
    while not server.started:
        await asyncio.sleep(0.01)
        if task.done():
            raise SystemExit(1)
    yield server.servers[0].sockets[0].getsockname()[1]
