"""A run as a process."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from benchmarks import report, run
from benchmarks.libraries import ROOT
from benchmarks.rows import Row
from benchmarks.sizes import QUICK

from tests.support.servers import binaries


async def run_and_interrupt(output: Path, line: bytes, number: int = signal.SIGINT) -> tuple[int | None, str]:
    """Start a run of two rows, and interrupt it when a line of its progress says so, as a terminal does: all of its group."""
    words = ["--quick", "--only", "subscribe-pubsub", "--only", "start", "--output", str(output)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks", *words,
        cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    said = b""
    try:
        assert process.stderr is not None
        while line not in said:
            more = await process.stderr.readline()
            assert more, said.decode()
            said += more
        os.killpg(process.pid, number)
        _, rest = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode, (said + rest).decode()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_an_interrupted_run_keeps_the_rows_that_are_complete(tmp_path: Path, number: int) -> None:
    output = tmp_path / "run.json"
    status, said = await run_and_interrupt(output, b"start asyncio", number)
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


def test_an_error_of_the_run_keeps_the_rows_that_are_complete(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(broker: Any, row: Row, *_: Any) -> dict[str, Any]:
        if row.name == "second":
            raise OSError("the server is gone")
        return {"rate": 1.0}

    monkeypatch.setattr(run, "measure", measure)
    rows = [
        Row(name, "", "publish", "pubsub", beside=("rate",), against=None) for name in ("first", "second")
    ]
    document = run.run(next(iter(binaries().values())), rows, ["asyncio"], QUICK)
    assert [m["row"] for m in document["measurements"]] == ["first"]
    assert "the server is gone" in document["interrupted"]
    assert "Traceback" in capsys.readouterr().err
