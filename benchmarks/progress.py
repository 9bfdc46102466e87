"""How far a run is: a bar on a terminal, a line for each measurement elsewhere."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import Any, Self

from benchmarks.rows import METRICS, Row

BAR_WIDTH = 30
CLEAR_LINE = "\r\x1b[K"


@dataclass(frozen=True, slots=True)
class Step:
    """One measurement to take. The library may be the limit."""

    row: Row
    loop: str
    repetition: int
    repetitions: int
    library: str

    def __str__(self) -> str:
        return f"{self.row.name} {self.loop} {self.library} {self.repetition}/{self.repetitions}"


class Progress:
    """A context manager: the terminal is as it was when the block ends."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._done = 0
        self._started = time.monotonic()
        self._bar = sys.stderr.isatty()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            print(CLEAR_LINE, end="", file=sys.stderr, flush=True)

    def begin(self, step: Step) -> None:
        if self._bar:
            print(CLEAR_LINE + bar(self._done, self._count, self._seconds(), str(step)), end="",
                  file=sys.stderr, flush=True)  # fmt: skip

    def end(self, step: Step, figures: dict[str, Any]) -> None:
        self._done += 1
        failed = figures.get("failed")
        if self._bar and failed is None:
            return
        shown = [
            METRICS[name].show(figures[name]) for name in step.row.metrics if figures.get(name) is not None
        ]
        line = f"[{self._done:3}/{self._count}, {self._seconds():4.0f} s] {step}: "
        line += f"FAILED: {failed}" if failed is not None else ", ".join(shown)
        print((CLEAR_LINE if self._bar else "") + line, file=sys.stderr, flush=True)

    def _seconds(self) -> float:
        return time.monotonic() - self._started


def bar(done: int, count: int, seconds: float, what: str) -> str:
    """Return a bar with the time that is probably left."""
    filled = BAR_WIDTH * done // count if count else BAR_WIDTH
    left = f"{seconds / done * (count - done):.0f} s left" if done else "..."
    return f"[{'#' * filled}{'.' * (BAR_WIDTH - filled)}] {done}/{count}, {left}: {what}"
