"""Where the CPU goes."""

from __future__ import annotations

import asyncio
import json
import selectors
from pathlib import Path

import pytest
from benchmarks import profiled
from benchmarks.libraries import ROOT
from benchmarks.scenarios import publish as scenario

from gapless._redis import wire


@pytest.mark.parametrize(
    ("file", "name", "part"),
    [
        (wire.__file__, "send", "`_redis.wire`"),
        (asyncio.events.__file__, "_run", "event loop"),
        (selectors.__file__, "select", "event loop"),
        ("/x/site-packages/redis/asyncio/client.py", "execute_command", "other built-in functions"),
        ("/x/gapless/setup.py", "run", "other built-in functions"),
        ("~", "<method 'set_result' of '_asyncio.Future' objects>", "event loop"),
        ("~", "<method 'send' of '_socket.socket' objects>", "system calls"),
        ("~", "<built-in method hiredis.hiredis.pack_command>", "hiredis"),
        ("~", "<built-in method builtins.len>", "other built-in functions"),
        (scenario.__file__, "publish_in_turn", "the caller"),
    ],
)
def test_parts(file: str, name: str, part: str) -> None:
    assert profiled.part_of(file, name) == part


def test_every_path_has_a_profile(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(profiled, "EVENTS", 2000)
    monkeypatch.setattr(profiled, "SUBSCRIBERS", 50)
    monkeypatch.setattr(profiled, "SMALLEST_PERCENT", 0)
    profiled.main(["--output", str(tmp_path / "a.json")])
    printed = capsys.readouterr().out
    profiled.main(["--show", str(tmp_path / "a.json")])
    assert capsys.readouterr().out == printed
    header, _, *lines = printed.splitlines()
    columns = list(zip(*([cell.strip() for cell in line.split("|")[2:-1]] for line in lines), strict=True))
    assert header.count("|") == len(columns) + 2 == len(profiled.PATHS) + 2
    for column in columns:
        # Rounded, and without what is below half a per cent.
        assert sum(int(cell) for cell in column if cell) == pytest.approx(100, abs=8)


def test_the_documented_shares_are_those_of_the_raw_file() -> None:
    (path,) = (ROOT / "benchmarks" / "results" / "profiles").glob("*.json")
    percent = json.loads(path.read_text())["percent"]
    page = (ROOT / "docs" / "performance.md").read_text()
    assert profiled.table(percent) in page
    assert f"benchmarks/results/profiles/{path.name}" in page
