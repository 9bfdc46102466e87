"""A run as a process."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path

from benchmarks import report
from benchmarks.libraries import ROOT


async def run_and_interrupt(output: Path, line: bytes) -> tuple[int | None, str]:
    """Start a run of two rows, and interrupt it when a line of its progress says so."""
    words = ["--quick", "--only", "subscribe-pubsub", "--only", "start", "--output", str(output)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks", *words,
        cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    said = b""
    try:
        assert process.stderr is not None
        while line not in said:
            more = await process.stderr.readline()
            assert more, said.decode()
            said += more
        process.send_signal(signal.SIGINT)
        _, rest = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode, (said + rest).decode()


async def test_an_interrupted_run_keeps_the_rows_that_are_complete(tmp_path: Path) -> None:
    output = tmp_path / "run.json"
    status, said = await run_and_interrupt(output, b"start asyncio")
    assert status == 130, said
    document = json.loads(output.read_text())
    assert {m["row"] for m in document["measurements"]} == {"subscribe-pubsub"}
    assert "only the rows before are written" in said
    assert "in start asyncio" in report.text(document)


async def test_an_interrupt_in_the_first_row_writes_nothing(tmp_path: Path) -> None:
    output = tmp_path / "run.json"
    status, said = await run_and_interrupt(output, b"subscribe-pubsub asyncio")
    assert status == 130, said
    assert "nothing was written" in said
    assert not output.exists()
