"""Where the CPU of gapless goes: `python -m benchmarks.profiled`. Prints a Markdown table, a column per path.

`--output FILE.json` keeps what it is made from, and `--show FILE.json` makes it from that.

cProfile, without the time in which the event loop waits. It makes calls dearer than they are, and what happens inside
of them cheaper: the shares say where to look, and not how fast anything is.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import json
import os
import pstats
import selectors
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.support.servers import Server, binaries

import gapless
from benchmarks import host
from benchmarks.broker import Broker
from benchmarks.libraries import ROOT
from benchmarks.peers import CHANNEL, PAYLOAD_BYTES
from benchmarks.peers.gapless import Publisher, open_backend, open_hub
from benchmarks.raw import RawConnection, pack
from benchmarks.scenarios.fanout import Count
from benchmarks.scenarios.publish import publish

PAYLOAD = b"x" * PAYLOAD_BYTES
CONCURRENT = 100
EVENTS = 50_000
SUBSCRIBERS = 1000
ROUNDS = 30

# Parts that are smaller on every path get no line.
SMALLEST_PERCENT = 2

# Whose a function is, by its file. Not by a folder's name: a clone is one, too, and redis-py has an "asyncio".
EVENT_LOOP = (str(Path(asyncio.__file__).parent) + os.sep, selectors.__file__)
OURS = str(Path(gapless.__file__).parent) + os.sep
CALLER = str(ROOT / "benchmarks") + os.sep

WAITING = ("of 'select.epoll'", "of 'select.kqueue'")
SYSTEM_CALLS = ("'send' of '_socket", "'recv_into' of '_socket")


async def publishing(kind: str, port: int, profile: cProfile.Profile) -> None:
    async with open_backend(kind, port, None) as backend:
        await publish(backend, PAYLOAD, 1, CONCURRENT)
        with profile:
            await publish(backend, PAYLOAD, EVENTS // CONCURRENT, CONCURRENT)


async def receiving(kind: str, port: int, profile: cProfile.Profile) -> None:
    async with open_backend(kind, port, None) as backend:
        await backend.subscribe([CHANNEL])
        # Another thread, which is not looked at.
        loading = asyncio.create_task(asyncio.to_thread(load, kind, port))
        count = 0
        with profile:
            async for _ in backend.stream_events():
                count += 1
                if count == EVENTS:
                    break
        await loading


def load(kind: str, port: int) -> None:
    publisher = Publisher(kind)
    with RawConnection(port) as connection:
        connection.send(publisher.prepare())
        connection.send_packed(pack(publisher.publish(CHANNEL, PAYLOAD)) * EVENTS, EVENTS)


async def fanning_out(kind: str, port: int, profile: cProfile.Profile) -> None:  # noqa: ARG001
    async with open_hub() as hub:
        count = Count()
        streams = [await hub.subscribe() for _ in range(SUBSCRIBERS)]
        tasks = [asyncio.create_task(count.consume(stream)) for stream in streams]
        await asyncio.sleep(0.1)
        with profile:
            for _ in range(ROUNDS):
                count.target = count.value + SUBSCRIBERS
                count.reached.clear()
                await hub.publish(PAYLOAD)
                await count.reached.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


Path_ = Callable[[str, int, cProfile.Profile], Awaitable[None]]

PATHS: dict[str, tuple[Path_, str]] = {
    "publish, Pub/Sub": (publishing, "pubsub"),
    "publish, Streams": (publishing, "streams"),
    "receive, Pub/Sub": (receiving, "pubsub"),
    "receive, Streams": (receiving, "streams"),
    "hub to 1,000": (fanning_out, "memory"),
}


def part_of(file: str, name: str) -> str:
    """Return the part of the work that a function belongs to."""
    if any(call in name for call in SYSTEM_CALLS):
        return "system calls"
    if "hiredis" in name:
        return "hiredis"
    if file.startswith(EVENT_LOOP) or "asyncio" in name or "_contextvars" in name or "Context" in name:
        return "event loop"
    if file.startswith(OURS):
        return "`" + file.removeprefix(OURS).removesuffix(".py").replace("/", ".") + "`"
    if file.startswith(CALLER):
        return "the caller"
    return "other built-in functions"


def shares(profile: cProfile.Profile) -> dict[str, float]:
    """Return per cent of the CPU time by part."""
    spent: Counter[str] = Counter()
    statistics: Any = pstats.Stats(profile)
    for (file, _, name), (_, _, own_seconds, _, _) in statistics.stats.items():
        if not any(call in name for call in WAITING):
            spent[part_of(file, name)] += own_seconds
    total = sum(spent.values())
    return {part: seconds / total * 100 for part, seconds in spent.items()}


def table(columns: dict[str, dict[str, float]]) -> str:
    parts = {part for column in columns.values() for part in column}
    shown = sorted(
        (part for part in parts if max(c.get(part, 0) for c in columns.values()) >= SMALLEST_PERCENT),
        key=lambda part: -sum(column.get(part, 0) for column in columns.values()),
    )
    lines = ["| per cent of the CPU | " + " | ".join(columns) + " |", "| --- |" + " ---: |" * len(columns)]
    for part in shown:
        cells = [f"{column[part]:.0f}" if column.get(part, 0) >= 0.5 else "" for column in columns.values()]
        lines.append(f"| {part} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def measured() -> dict[str, Any]:
    """Profile every path on a server of our own."""
    columns: dict[str, dict[str, float]] = {}
    binary: Path = next(iter(binaries().values()))
    with Server(binary) as server:
        versions = host.versions(Broker(server).version())
        for title, (path, kind) in PATHS.items():
            profile = cProfile.Profile()
            server.command("FLUSHALL")
            asyncio.run(path(kind, server.port, profile))
            columns[title] = shares(profile)
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": host.machine(),
        "versions": versions,
        "percent": columns,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.profiled", description="Where the CPU of gapless goes."
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="keep the shares there (JSON)")
    parser.add_argument("--show", type=Path, metavar="FILE", help="print the table of such a file")
    options = parser.parse_args(arguments)
    found = measured() if options.show is None else json.loads(options.show.read_text())
    if options.output is not None:
        options.output.write_text(json.dumps(found, indent=1) + "\n")
    print(table(found["percent"]))


if __name__ == "__main__":
    main()
