"""What the command line refuses before anything is measured."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks import cli


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--repeat", "0"], "at least 1"),
        (["--output", "run.md"], "ends in .json"),
        (["--show", "nowhere.json"], "no such file"),
        (["--draw", "README.md"], "ends in .json"),
        (["--write-readme", "nowhere.json"], "no such file"),
        (["--only", "nothing"], "invalid choice"),
    ],
)
def test_bad_options(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.parsed(words)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_an_output_that_is_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.json").mkdir()
    with pytest.raises(SystemExit):
        cli.parsed(["--output", str(tmp_path / "a.json")])
    assert "can't be written" in capsys.readouterr().err
