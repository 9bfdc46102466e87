"""Measured side: what a new process does until its first event: import, connect, subscribe, publish, receive.

The interpreter and asyncio are there already.
"""

from __future__ import annotations

import asyncio
import importlib
import time
from typing import Any

from benchmarks.libraries import LIBRARIES
from benchmarks.peers import CHANNEL, PAYLOAD_BYTES, adapter, data_of, open_backend
from benchmarks.protocol import Job, Parent

# Not every library waits until it is subscribed: then the event is lost, and is published again.
AGAIN_SECONDS = 0.002
DEADLINE_SECONDS = 10.0
PAYLOAD = b"payload".ljust(PAYLOAD_BYTES, b"x")


async def run(job: Job, parent: Parent) -> None:
    parent.say("ready")
    parent.wait()
    started = time.perf_counter()
    for name in LIBRARIES[job.library].imports:
        importlib.import_module(name)
    imported = time.perf_counter() - started
    adapter(job.library)  # may import what its user would not
    started = time.perf_counter()
    async with asyncio.timeout(DEADLINE_SECONDS), open_backend(job) as backend:
        await backend.subscribe([CHANNEL])
        first = asyncio.create_task(receive_one(backend))
        while not first.done():
            await backend.publish(PAYLOAD, [CHANNEL])
            await asyncio.wait({first}, timeout=AGAIN_SECONDS)
        elapsed = imported + time.perf_counter() - started
        received = data_of(job)(first.result())
    if received != PAYLOAD:
        raise ValueError(f"{PAYLOAD!r} was published, and {received!r} received")
    parent.say("result", import_ms=imported * 1000, start_ms=elapsed * 1000)


async def receive_one(backend: Any) -> Any:
    async for item in backend.stream_events():
        return item
    raise EOFError("the events have ended")
