"""Measured side: a worker was restarted, and all clients of a channel come back at once with their cursor."""

from __future__ import annotations

import asyncio
import time

from benchmarks.clock import cpu_seconds
from benchmarks.peers import CHANNEL, PAYLOAD_BYTES
from benchmarks.peers.gapless import open_channels
from benchmarks.protocol import Job, Parent
from gapless import Channels, Event

DEADLINE_SECONDS = 30.0


async def run(job: Job, parent: Parent, *, clients: int, behind: int) -> None:
    async with open_channels(job.port, 2 * behind) as hub:
        cursor = await leave_behind(hub, behind)
    async with open_channels(job.port, 2 * behind) as hub:
        parent.say("ready")
        parent.wait()
        cpu, started = cpu_seconds(), time.perf_counter()
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                whole = await asyncio.gather(*(resume(hub, cursor, behind) for _ in range(clients)))
        except TimeoutError:
            parent.say("failed", reason=f"not all clients had all events within {DEADLINE_SECONDS:g} s")
            return
        elapsed, cpu = time.perf_counter() - started, cpu_seconds() - cpu
        if not all(whole):
            parent.say("failed", reason=f"{whole.count(False)} clients were told of a gap")
            return
        events = clients * behind
        parent.say("result", events=events, resume_seconds=elapsed, cpu_us=cpu / events * 1e6)


async def leave_behind(hub: Channels, events: int) -> str:
    """Publish so many events after a place, and return the place."""
    async with hub.subscribe(CHANNEL) as subscriber:
        await hub.publish(b"x" * PAYLOAD_BYTES, CHANNEL)
        await anext(aiter(subscriber))
        cursor = subscriber.cursor
    assert cursor is not None
    for _ in range(events):
        await hub.publish(b"x" * PAYLOAD_BYTES, CHANNEL)
    return cursor


async def resume(hub: Channels, cursor: str, events: int) -> bool:
    """Be one client. Returns False if events are missing."""
    async with hub.subscribe(CHANNEL, after=cursor) as subscriber:
        async for item in subscriber:
            if not isinstance(item, Event):
                return False
            events -= 1
            if not events:
                break
    return True
