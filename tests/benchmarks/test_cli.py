"""What the command line refuses: before anything is measured, and of what was measured before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from benchmarks import cli, host
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
        (["--update", "nowhere.json"], "needs --only"),
        (["--update", "nowhere.json", "--only", "start", "--quick"], "no --quick"),
        (["--update", "nowhere.json", "--only", "start"], "no such file"),
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
        "measurements": [{"row": "start", "library": "gapless", "repetition": 5}],
    } | more


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"command": "python -m benchmarks --only start"}, "without --full"),
        ({"measurements": [{"row": "start", "library": "gapless", "repetition": 4}]}, "less than 5 times"),
        ({"interrupted": "after 3 of 9 measurements"}, "after 3 of 9"),
        ({"versions": {"commit": "abc1234+"}}, "abc1234+"),
        ({"versions": {"commit": None}}, "not in the repository"),
        (
            {"measurements": [{"row": "start", "library": "gapless", "repetition": 5, "failed": "it ended"}]},
            "start (gapless)",
        ),
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
    of_another = {"row": "start", "library": "coredis", "repetition": 5, "failed": "it ended"}
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


def test_rows_that_are_measured_again_take_the_place_of_the_earlier_ones() -> None:
    def measurement(row: str, rate: float) -> dict[str, Any]:
        return {"row": row, "loop": "asyncio", "library": "gapless", "repetition": 5, "rate": rate}

    run = {"started": "then", "seconds": 1.0, "load_average": [0, 0]}
    earlier = written(measurements=[measurement("start", 1.0), measurement("publish-one", 2.0)], **run)
    later = written(measurements=[measurement("start", 3.0)], versions={"commit": "def5678+"}, **run)
    found = cli.updated(earlier, later)
    assert {m["row"]: m["rate"] for m in found["measurements"]} == {"start": 3.0, "publish-one": 2.0}
    assert found["again"][0]["commit"] == "def5678+"
    assert "def5678+" in next(cli.not_to_be_quoted(found))


def test_rows_are_not_measured_again_elsewhere() -> None:
    versions = host.versions("Valkey 9")
    cli.check_same_place({"machine": host.machine(), "versions": versions | {"commit": "another"}})
    with pytest.raises(SystemExit, match="python"):
        cli.check_same_place({"machine": host.machine(), "versions": versions | {"python": "3.9"}})
    with pytest.raises(SystemExit, match="machine"):
        cli.check_same_place({"machine": {}, "versions": versions})
