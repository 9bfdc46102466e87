"""How the run and its processes talk: one JSON object per line, from the process to the run.

process -> run      {"event": "ready"}  ...  {"event": "result", ...figures}
                    or, at any time, {"event": "failed", "reason": ...}
run -> process      an object, mostly empty: go on
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from benchmarks.libraries import ROOT, python

# Longer than any step of any scenario takes.
STEP_SECONDS = 60.0

# For a process that has told its result. Litestar's busy reader misses its cancellation.
END_SECONDS = 0.5


class BenchmarkError(Exception):
    """A measurement failed; the run goes on with the next."""


@dataclass(frozen=True, slots=True)
class Job:
    """What one process has to do."""

    scenario: str
    library: str
    kind: str
    port: int
    loop: str = "asyncio"
    cores: list[int] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)


class Parent:
    """The run, as its process sees it. From now on, what a library prints goes to stderr: it is no answer."""

    def __init__(self) -> None:
        self._answers = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def say(self, event: str, **figures: Any) -> None:
        print(json.dumps({"event": event, **figures}), file=self._answers, flush=True)

    def wait(self) -> dict[str, Any]:
        """Wait for the run to say go on, and return what else it says.

        Blocks the event loop, which has nothing to do then.
        """
        line = sys.stdin.readline()
        if not line:
            raise SystemExit(1)  # the run is gone
        said: dict[str, Any] = json.loads(line)
        return said


class Process:
    """A process of the run. A context manager: it is over when the block ends, whatever happens."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self._lines: list[bytes] = []
        self._rest = b""
        self._process = subprocess.Popen(
            [python(job.library), "-m", "benchmarks.worker", json.dumps(asdict(job))],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Ctrl-C is for the run, which then stops this process.
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, exception_type: type[BaseException] | None, *_: object) -> None:
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            if exception_type is None:
                process.stdin.close()
                process.wait(END_SECONDS)
        except (subprocess.TimeoutExpired, BrokenPipeError):
            # Of a peer it is no news: some unsubscribe one channel after the other.
            if self.job.library == "gapless":
                print(f"  {self._name} did not end by itself", file=sys.stderr)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            process.stdout.close()
            with suppress(BrokenPipeError):  # something was said to it that it never read
                process.stdin.close()

    def go(self, **said: Any) -> None:
        """Let the process go on from its `Parent.wait()`, which returns `said`."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(said).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise BenchmarkError(f"{self._name} ended early") from None

    def expect(self, event: str) -> dict[str, Any]:
        """Return the next message, which must be `event`.

        Raises:
            BenchmarkError: It is another one, or none came in time, or the process ended.
        """
        message: dict[str, Any] = json.loads(self._line(time.monotonic() + STEP_SECONDS))
        found = message.pop("event")
        if found != event:
            reason = message.get("reason", f"{found!r} instead of {event!r}")
            raise BenchmarkError(f"{self._name}: {reason}")
        return message

    def _line(self, deadline: float) -> bytes:
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        while not self._lines:
            if not select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise BenchmarkError(f"{self._name}: silent for {STEP_SECONDS:g} s")
            chunk = os.read(descriptor, 65536)
            if not chunk:
                raise BenchmarkError(f"{self._name} ended early with {self._process.wait()}")
            *self._lines, self._rest = (self._rest + chunk).split(b"\n")
        return self._lines.pop(0)

    @property
    def _name(self) -> str:
        return f"{self.job.scenario} ({self.job.library} {self.job.kind})"
