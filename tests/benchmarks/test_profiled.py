"""Where the CPU goes."""

from __future__ import annotations

import pytest
from benchmarks import profiled


@pytest.mark.parametrize(
    ("file", "name", "part"),
    [
        ("/x/src/gapless/_redis/wire.py", "send", "`_redis.wire`"),
        ("/usr/lib/python3.11/asyncio/events.py", "_run", "event loop"),
        ("~", "<method 'set_result' of '_asyncio.Future' objects>", "event loop"),
        ("~", "<method 'send' of '_socket.socket' objects>", "system calls"),
        ("~", "<built-in method hiredis.hiredis.pack_command>", "hiredis"),
        ("~", "<built-in method builtins.len>", "other built-in functions"),
        ("/x/benchmarks/scenarios/publish.py", "publish_in_turn", "the caller"),
    ],
)
def test_parts(file: str, name: str, part: str) -> None:
    assert profiled.part_of(file, name) == part


def test_every_path_has_a_profile(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(profiled, "EVENTS", 2000)
    monkeypatch.setattr(profiled, "SUBSCRIBERS", 50)
    monkeypatch.setattr(profiled, "SMALLEST_PERCENT", 0)
    profiled.main()
    header, _, *lines = capsys.readouterr().out.splitlines()
    columns = list(zip(*([cell.strip() for cell in line.split("|")[2:-1]] for line in lines), strict=True))
    assert header.count("|") == len(columns) + 2 == len(profiled.PATHS) + 2
    for column in columns:
        # Rounded, and without what is below half a per cent.
        assert sum(int(cell) for cell in column if cell) == pytest.approx(100, abs=8)
