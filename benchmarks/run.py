"""A run: every row, loop and repetition, the libraries in turn; the outcome is one JSON document."""

from __future__ import annotations

import compileall
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.support.servers import Server

from benchmarks import host
from benchmarks.broker import Broker
from benchmarks.libraries import LIBRARIES, LIMIT, ROOT
from benchmarks.measure import measure
from benchmarks.progress import Progress, Step
from benchmarks.rows import Row
from benchmarks.sizes import Size
from benchmarks.summary import Document

# Version of the document.
FORMAT = 2

IDLE_SERVER_SECONDS = 2.0


def plan(rows: Sequence[Row], loops: Sequence[str], size: Size, absent: Sequence[str] = ()) -> Iterator[Step]:
    """Yield what to measure, in order: within a row and loop A B A B, so that a drift hits all.

    Args:
        rows: The rows.
        loops: The event loops.
        size: How often.
        absent: Libraries to leave out.
    """
    for row in rows:
        ways = [way for way in row.ways if way not in absent and can(way, row)]
        for loop in loops:
            for repetition in range(1, size.repetitions + 1):
                for way in ways:
                    yield Step(row, loop, repetition, size.repetitions, way)


def can(way: str, row: Row) -> bool:
    """Return whether it is asked for so many channels."""
    return way == LIMIT or row.options.get("channels", 0) <= LIBRARIES[way].most_channels


def run(
    binary: Path, rows: Sequence[Row], loops: Sequence[str], size: Size, absent: Sequence[str] = ()
) -> Document:
    """Measure on a server of our own, with progress on stderr.

    An interrupt, or an error of the run itself,
    ends it with the rows that are complete, and is told under "interrupted"; without any, it is passed on.
    """
    started, clock = datetime.now(UTC), time.monotonic()
    load_before = host.load_average()
    measurements: list[dict[str, Any]] = []
    # As pip has done with all others; nobody has, where PYTHONDONTWRITEBYTECODE is set.
    compileall.compile_dir(ROOT / "src", quiet=1)
    with ExitStack() as stack:
        server = Server(binary)
        # Before it starts: an interrupt while it does must not leave it behind.
        stack.callback(server.stop)
        server.start()
        broker = Broker(server)
        versions = host.versions(broker.version())
        idle = broker.idle_percent(IDLE_SERVER_SECONDS)
        steps = list(plan(rows, loops, size, absent))
        progress = stack.enter_context(Progress(len(steps)))
        interrupted = _measure_steps(broker, steps, size, progress, measurements)
    if versions["commit"] is not None and host.commit() != versions["commit"]:
        versions["commit"] += "+"  # every process has read its code afresh
    return {
        "format": FORMAT,
        "started": started.isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - clock, 1),
        "machine": host.machine(),
        "versions": versions,
        "load_average": [load_before, host.load_average()],
        "server_alone_percent": idle,
        "absent": list(absent),
        **({"interrupted": interrupted} if interrupted else {}),
        "measurements": measurements,
    }


def _measure_steps(
    broker: Broker, steps: Sequence[Step], size: Size, progress: Progress, measurements: list[dict[str, Any]]
) -> str | None:
    """Measure, and return None, or what ended it and how far it came; an incomplete row is taken out again."""
    for step in steps:
        try:
            progress.begin(step)
            figures = measure(broker, step.row, step.library, step.loop, size)
            progress.end(step, figures)
        except (KeyboardInterrupt, Exception) as error:
            done = len(measurements)
            row = (step.row.name, step.loop)
            measurements[:] = [m for m in measurements if (m["row"], m["loop"]) != row]
            if not measurements:
                raise
            why = ""
            if not isinstance(error, KeyboardInterrupt):
                why = f": {error!r}"
                traceback.print_exc()
            return f"after {done} of {len(steps)} measurements, in {row[0]} {row[1]}{why}"
        measurements.append(
            {
                "row": step.row.name,
                "loop": step.loop,
                "library": step.library,
                "repetition": step.repetition,
                **figures,
            }
        )
    return None
