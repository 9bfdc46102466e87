"""From measurements to what a reader is told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from benchmarks import cli, compare, report
from benchmarks.libraries import LIMIT, ROOT
from benchmarks.progress import bar
from benchmarks.rows import Must, Row
from benchmarks.summary import Document, summaries, summarised

RESULTS = sorted((ROOT / "benchmarks" / "results").glob("*.json"))


def document(row: str, rates: dict[str, Sequence[float]], **more: Any) -> Document:
    """Return what a run would have written."""
    measurements = [
        {"row": row, "loop": "asyncio", "library": library, "repetition": number, "rate": rate}
        for library, values in rates.items()
        for number, rate in enumerate(values, 1)
    ]
    return {
        "started": "2026-11-25T00:00:00+00:00",
        "seconds": 1.0,
        "command": "python -m benchmarks",
        "machine": {"cores": 2, "cpu": "a CPU", "architecture": "x", "kernel": "Linux"},
        "versions": dict.fromkeys(["python", "server", *report.PACKAGES, "commit"], "1.0"),
        "load_average": [0.0, 0.1],
        "server_alone_percent": 0.1,
        "measurements": measurements + more.get("failures", []),
    }


STEADY = {
    "litestar": [10.0, 10.1],
    "redis-py": [50.0, 51.0],
    "gapless": [100.0, 101.0],
    LIMIT: [150.0, 151.0],
}


def test_a_steady_run_has_a_verdict_for_each_requirement() -> None:
    (summary,) = summaries(document("publish-100-pubsub", STEADY), "asyncio")
    assert not summary.noisy
    assert [verdict.met for verdict in summary.verdicts] == [False, True]  # 10 times of 12, and of the limit
    shown = report.text(document("publish-100-pubsub", STEADY))
    assert ">= 12x" in shown
    assert ">= 50% of the limit" in shown
    assert "67%" in shown


def test_gapless_is_first() -> None:
    (summary,) = summaries(document("publish-100-pubsub", STEADY), "asyncio")
    assert summary.ranking == ["gapless", "redis-py", "litestar"]
    (*_, line) = compare.headline(document("publish-100-pubsub", STEADY))
    assert line.endswith("| gapless, 2.0x |")
    assert "redis-py: 50/s (50-51)" in line


def test_a_peer_that_wins_is_shown_to_win() -> None:
    found = document("publish-100-pubsub", STEADY | {"redis-py": [200.0, 202.0]})
    (*_, line) = compare.headline(found)
    assert line.endswith("| **redis-py, 2.0x** |")
    page = compare.page(found, "a.json", ["a.svg"])
    assert "| **redis-py** |" in page
    assert "2.0x worse |" in page
    assert "![a.svg](a.svg)" in page


def test_equal_ones_are_ranked_by_the_next_figure() -> None:
    found = document("outage-streams", {})
    found["measurements"] = [
        {"row": "outage-streams", "loop": "asyncio", "library": library, "repetition": 1,
         "lost_events": 0, "twice_events": 0, "silent_ms": silent}
        for library, silent in {"faststream": 5000, "redis-py": 20, "gapless": 10}.items()
    ]  # fmt: skip
    found["measurements"][1]["lost_events"] = 1  # which is no difference
    (summary,) = summaries(found, "asyncio")
    assert summary.ranking == ["gapless", "redis-py", "faststream"]
    assert "redis-py: 1 lost (1-1), 0 twice, silent for 20 ms | equal |" in compare.headline(found)[-1]


def test_a_noisy_run_says_so() -> None:
    found = document("publish-100-pubsub", STEADY | {"gapless": [50.0, 100.0]})
    assert "TOO NOISY" in report.text(found)
    assert "publish-100-pubsub asyncio (gapless)" in report.text(found)
    assert "(noisy)" in compare.headline(found)[-1]


def test_noise_is_told_of_the_figures_that_are_compared() -> None:
    found = document("publish-100-pubsub", STEADY | {"redis-py": [20.0, 50.0]})
    (summary,) = summaries(found, "asyncio")
    assert summary.noisy == ["redis-py"]
    assert not any("(noisy)" in cell for line in report.lines(summary) for cell in line)
    (summary,) = summaries(document("publish-10-pubsub", STEADY | {"gapless": [50.0, 100.0]}), "asyncio")
    assert report.lines(summary)[0][-1] == "(noisy)"


def test_a_row_that_requires_nothing_tells_who_wins() -> None:
    (summary,) = summaries(document("publish-10-pubsub", STEADY | {"litestar": [200.0, 202.0]}), "asyncio")
    assert report.lines(summary)[0][3] == "**Litestar: 2.0x**"
    (summary,) = summaries(document("publish-10-pubsub", STEADY), "asyncio")
    assert report.lines(summary)[0][3] == ""
    assert report.lines(summary)[1][:3] == ("limit: 150/s (150-151)", "7% of it", "67% of it")
    (summary,) = summaries(document("publish-100-pubsub", STEADY | {"redis-py": [200.0, 202.0]}), "asyncio")
    assert report.lines(summary)[0][3] == "10.0x (10.0-10.0); **redis-py: 2.0x**"
    overlapping = STEADY | {"redis-py": [100.9, 102.0]}
    (summary,) = summaries(document("publish-10-pubsub", overlapping), "asyncio")
    assert report.lines(summary)[0][3] == "**redis-py: 1.0x**, ranges overlap"


def test_why_a_consumer_has_ended_is_told() -> None:
    found = document("outage-streams", {})
    found["measurements"] = [
        {"row": "outage-streams", "loop": "asyncio", "library": "broadcaster-redis", "repetition": 1,
         "lost_events": 400, "silent_ms": None, "consumer_ended": "ConnectionError()"}
    ]  # fmt: skip
    assert (
        "broadcaster-redis (outage-streams, asyncio): its events have ended with ConnectionError()"
        in report.text(found)
    )


def test_ranges_that_overlap_are_told() -> None:
    overlapping = STEADY | {"redis-py": [90.0, 100.5]}
    (*_, line) = compare.headline(document("publish-100-pubsub", overlapping))
    assert line.endswith("| gapless, 1.1x, ranges overlap |")


def test_one_core_is_told() -> None:
    found = document("publish-100-pubsub", STEADY)
    assert "one core" not in report.text(found)
    found["machine"]["cores"] = 1
    assert "one core" in report.text(found)


def test_of_a_cost_the_share_of_the_limit_is_below_one() -> None:
    found = document("receive-pubsub-paced", {})
    found["measurements"] = [
        {"row": "receive-pubsub-paced", "loop": "asyncio", "library": library, "repetition": 1, "cpu_us": us}
        for library, us in {"gapless": 2.0, "litestar": 20.0, LIMIT: 0.5}.items()
    ]
    (summary,) = summaries(found, "asyncio")
    assert report.lines(summary)[-1][1:3] == ("2% of it", "25% of it")


@pytest.mark.parametrize(
    ("must", "ours", "theirs", "met"),
    [
        (Must("rate", "times", 2), 20.0, 10.0, True),
        (Must("rate", "times", 2), 19.0, 10.0, False),
        (Must("cpu_us", "part", 2), 10.0, 20.0, True),
        (Must("cpu_us", "part", 2), 10.0, 19.0, False),
        (Must("cpu_us", "share", 0.5, of_limit=True), 10.0, 5.0, True),
        (Must("cpu_us", "share", 0.5, of_limit=True), 11.0, 5.0, False),
        (Must("client_percent", "below", 0.5), 0.4, 9.0, True),
        (Must("client_percent", "below", 0.5), 0.5, 9.0, False),
    ],
)
def test_a_requirement_is_met_or_not(must: Must, ours: float, theirs: float, met: bool) -> None:
    row = Row("a", "a row", "publish", "pubsub", (must,))
    other = LIMIT if must.of_limit else "litestar"
    found = [
        {"library": way, "repetition": 1, must.metric: v} for way, v in (("gapless", ours), (other, theirs))
    ]
    (verdict,) = summarised(row, "asyncio", found).verdicts
    assert verdict.met is met


def test_a_failure_is_no_figure() -> None:
    failure = {"row": "publish-100-pubsub", "loop": "asyncio", "library": "coredis", "failed": "it ended"}
    found = document("publish-100-pubsub", STEADY, failures=[failure | {"repetition": 1}])
    assert "1 measurements FAILED" in report.text(found)
    (summary,) = summaries(found, "asyncio")
    assert "coredis" not in summary.ranking


def test_a_difference_below_the_resolution_is_none() -> None:
    found = document("idle-streams", {})
    found["measurements"] = [
        {
            "row": "idle-streams",
            "loop": "asyncio",
            "library": library,
            "repetition": 1,
            "client_percent": percent,
        }
        for library, percent in {"gapless": 0.3, "redis-py": 0.01, "litestar": 80.0}.items()
    ]
    (summary,) = summaries(found, "asyncio")
    assert summary.lead("redis-py") is None
    assert summary.lead("litestar") == pytest.approx(80 / 0.3)
    assert compare.headline(found)[-1].endswith("| equal |")


def test_what_is_no_library_stands_beside_gapless() -> None:
    found = document("latency-pubsub-loop", STEADY)
    found["measurements"] = [
        {
            "row": "latency-pubsub-loop",
            "loop": "asyncio",
            "library": library,
            "repetition": 1,
            "p50_low_ms": ms,
        }
        for library, ms in {"gapless": 0.5, "protocol": 0.4, "limit": 0.25}.items()
    ]
    assert compare.beside_the_loop(found)[-2] == (
        "| `latency-pubsub-loop` | p50 0.250 ms (0.250-0.250) | a bare asyncio protocol: p50 0.400 ms (0.400-0.400) "
        "| p50 0.500 ms (0.500-0.500) | at 80% |"
    )
    assert compare.beside_the_loop(document("publish-100-pubsub", STEADY)) == []


def test_readmes_are_filled_between_their_marks(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    found = document("publish-100-pubsub", STEADY)
    report.fill_readme(readme, compare.with_headline(found, "results/a.json"))
    text = readme.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert "results/a.json" in text
    assert "### asyncio" in text
    readme.write_text("nothing")
    with pytest.raises(ValueError, match="has no lines"):
        report.fill_readme(readme, "x")


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_committed_results_can_be_shown(path: Path) -> None:
    found = cli.load(path)
    assert "gapless" in report.text(found)
    assert compare.page(found, path.name, [])


def test_the_bar_says_how_far_it_is() -> None:
    assert bar(0, 4, 0.0, "a") == f"[{'.' * 30}] 0/4, ...: a"
    assert bar(1, 2, 10.0, "b") == f"[{'#' * 15}{'.' * 15}] 1/2, 10 s left: b"
