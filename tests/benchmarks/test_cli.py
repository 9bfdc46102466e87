"""What the command line refuses: before anything is measured, and of what was measured before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from benchmarks import cli
from benchmarks.run import FORMAT


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


def written(**more: Any) -> dict[str, Any]:
    """Return a document that may be quoted, but for what is given."""
    return {
        "format": FORMAT,
        "command": "python -m benchmarks --full",
        "versions": {"commit": "abc1234"},
        "measurements": [],
    } | more


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"command": "python -m benchmarks --quick"}, "--quick"),
        ({"interrupted": "after 3 of 9 measurements"}, "after 3 of 9"),
        ({"versions": {"commit": "abc1234+"}}, "abc1234+"),
        ({"versions": {"commit": None}}, "not in the repository"),
        ({"measurements": [{"row": "start", "library": "gapless", "failed": "it ended"}]}, "start (gapless)"),
    ],
)
def test_what_a_readme_does_not_quote(
    more: dict[str, Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "RESULTS", tmp_path)
    path = tmp_path / "run.json"
    path.write_text(json.dumps(written(**more)))
    with pytest.raises(SystemExit, match="not to be quoted") as ended:
        cli.write_readme(path)
    assert said in str(ended.value)


def test_what_may_be_quoted() -> None:
    of_another = {"row": "start", "library": "coredis", "failed": "it ended"}
    assert list(cli.not_to_be_quoted(written(measurements=[of_another]))) == []


def test_figures_of_another_version(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text(json.dumps(written(format=FORMAT - 1)))
    with pytest.raises(SystemExit, match="not written by this version"):
        cli.load(path)


def test_figures_are_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.json"
    cli.save({"measurements": [1]}, path)

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cli.save({"measurements": [2]}, path)
    assert json.loads(path.read_text()) == {"measurements": [1]}
