"""Measured side: time and memory to subscribe to many channels at once."""

from __future__ import annotations

import gc
import time
import tracemalloc

from benchmarks.clock import cpu_seconds, resident_bytes
from benchmarks.peers import open_backend
from benchmarks.protocol import Job, Parent

WARM_CHANNELS = 100


def channel_names(count: int) -> list[str]:
    """Return names of 20 characters each."""
    return [f"organisation-{number:07d}" for number in range(count)]


async def run(job: Job, parent: Parent, *, channels: int, traced: bool) -> None:
    # The caller's names are there before memory is looked at: they don't count.
    names = channel_names(channels)
    async with open_backend(job) as backend:
        await backend.subscribe([f"warm-{number}" for number in range(WARM_CHANNELS)])
        gc.collect()
        if traced:
            tracemalloc.start()
        resident = resident_bytes()
        parent.say("ready")
        parent.wait()
        cpu, started = cpu_seconds(), time.perf_counter()
        await backend.subscribe(names)
        elapsed, cpu = time.perf_counter() - started, cpu_seconds() - cpu
        gc.collect()
        if traced:
            used, _ = tracemalloc.get_traced_memory()
            parent.say("result", traced_bytes=used / channels)
            return
        now = resident_bytes()
        grown = None if resident is None or now is None else (now - resident) / channels
        parent.say(
            "result",
            subscribe_seconds=elapsed,
            cpu_us=cpu / channels * 1e6,
            resident_bytes=grown,
        )
