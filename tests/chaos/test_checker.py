"""The checker is able to fail: it finds planted bugs, and nothing where there are none."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import pytest

from tests.chaos.bugs import BUGS
from tests.chaos.report import summary
from tests.chaos.runner import Result, run_round
from tests.chaos.schedule import Fault, Schedule

# A consumer is away, and what it misses on the busy channel is deleted meanwhile: there must be a Gap.
LOSSY = Schedule(
    1, "single", 5.0, 1, 1, "always",
    (Fault(0.5, "refuse", "consumer-1", seconds=1.0), Fault(1.2, "trim-stream", "server", "busy")),
)  # fmt: skip

FOUND_AS = {
    "skip-verify": {"loss", "tail"},
    "duplicate": {"duplicate"},
    "swallow-gap": {"loss", "tail"},
    "deaf": {"loss", "tail", "deaf"},
    "miscount": {"count"},
}


async def judged(schedule: Schedule, bug: str | None = None) -> Result:
    result = await run_round(schedule, bug=bug, settle_seconds=4)
    print(*result.timeline, *summary(result), sep="\n")
    return result


async def test_without_a_bug_nothing_is_found() -> None:
    result = await judged(LOSSY)
    assert result.verdict.violations == []
    assert result.verdict.missed > 0
    assert result.verdict.published["acknowledged"] > 100
    assert result.verdict.published.keys() == {"acknowledged"}


@pytest.mark.parametrize("bug", BUGS)
async def test_a_planted_bug_is_found(bug: str) -> None:
    result = await judged(LOSSY, bug)
    assert FOUND_AS[bug] <= result.verdict.kinds


async def test_ctrl_c_leaves_nothing_behind() -> None:
    # Not pytest's folder: the name of a unix socket has 107 bytes at most.
    folder = tempfile.mkdtemp(prefix="ctrl-c-")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.chaos", "--seed", "1", "--seconds", "60",
        "--producers", "1", "--consumers", "2", "--topology", "replica",
        stdout=asyncio.subprocess.PIPE, env=os.environ | {"TMPDIR": folder}, cwd=Path(__file__).parents[2],
        # A shell lets what it starts in the background ignore Ctrl-C, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert process.stdout is not None
    try:
        async with asyncio.timeout(50):
            while b" at " not in await process.stdout.readline():
                pass
            assert len(_processes_with(folder)) >= 5
    finally:
        # Also when the test fails: what a killed parent has started would live on.
        process.send_signal(signal.SIGINT)
        code = await process.wait()
    assert code == 130
    assert _processes_with(folder) == []
    assert list(Path(folder).iterdir()) == []
    shutil.rmtree(folder)


def _processes_with(text: str) -> list[str]:
    """Return the command lines of processes that have `text` in it, or in the name of their directory."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            # A server changes its command line; it works in its directory.
            line = f"{path.read_bytes().decode(errors='replace')} in {(path.parent / 'cwd').readlink()}"
        except OSError:
            continue
        if text in line:
            found.append(line)
    return found
