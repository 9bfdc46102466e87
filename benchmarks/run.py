"""A run: every row, loop and repetition, the libraries in turn; the outcome is one JSON document."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.support.servers import Server

from benchmarks import host
from benchmarks.broker import Broker
from benchmarks.clock import usable_cores
from benchmarks.measure import measure, measure_limit
from benchmarks.rows import METRICS, Row, Size

Document = dict[str, Any]

# Version of the document.
FORMAT = 1

LIMIT = "limit"

IDLE_SERVER_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Step:
    """One measurement to take. The library "limit" is the blocking socket."""

    row: Row
    loop: str
    repetition: int
    repetitions: int
    library: str


def plan(rows: Sequence[Row], loops: Sequence[str], size: Size) -> Iterator[Step]:
    """Yield what to measure, in order: within a row and loop A B A B, so that a drift hits both."""
    for row in rows:
        for loop in loops:
            count = size.repetitions_of(row, loop)
            for repetition in range(1, count + 1):
                for library in row.libraries:
                    yield Step(row, loop, repetition, count, library)
                if row.limited:  # it has no event loop, but the same moment counts
                    yield Step(row, loop, repetition, count, LIMIT)


def run(binary: Path, rows: Sequence[Row], loops: Sequence[str], size: Size) -> Document:
    """Measure on a server of our own, with a line of progress on stderr for each step.

    Rows that need to pin processes are left out where the system can't.
    """
    rows = [row for row in rows if usable_cores() or not row.one_core]
    started, clock = datetime.now(UTC), time.monotonic()
    load_before = host.load_average()
    measurements: list[dict[str, Any]] = []
    with ExitStack() as stack:
        server = Server(binary)
        # Before it starts: an interrupt while it does must not leave it behind.
        stack.callback(server.stop)
        server.start()
        broker = Broker(server)
        versions = host.versions(broker.version())
        idle = broker.idle_percent(IDLE_SERVER_SECONDS)
        steps = list(plan(rows, loops, size))
        for number, step in enumerate(steps, 1):
            if step.library == LIMIT:
                figures = measure_limit(broker, step.row, size)
            else:
                figures = measure(broker, step.row, step.library, step.loop, size)
            measurements.append(
                {
                    "row": step.row.name,
                    "loop": step.loop,
                    "library": step.library,
                    "repetition": step.repetition,
                    **figures,
                }
            )
            _progress(number, len(steps), time.monotonic() - clock, step, figures)
    return {
        "format": FORMAT,
        "started": started.isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - clock, 1),
        "machine": host.machine(),
        "versions": versions,
        "load_average": [load_before, host.load_average()],
        "server_alone_percent": idle,
        "measurements": measurements,
    }


def _progress(number: int, count: int, seconds: float, step: Step, figures: dict[str, Any]) -> None:
    wanted = [must.metric for must in step.row.musts] + list(step.row.beside)
    shown = [METRICS[name].show(figures[name]) for name in wanted if figures.get(name) is not None]
    if "failed" in figures:
        shown = ["FAILED: " + figures["failed"]]
    print(
        f"[{number:3}/{count}, {seconds:4.0f} s] {step.row.name} {step.loop} {step.library} "
        f"{step.repetition}/{step.repetitions}: {', '.join(shown)}",
        file=sys.stderr,
        flush=True,
    )
