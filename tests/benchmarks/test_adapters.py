"""Each library publishes and receives, as its adapter says, and each scenario measures what it should."""

from __future__ import annotations

import asyncio

import pytest
from benchmarks.broker import Broker
from benchmarks.host import c_client
from benchmarks.libraries import LIBRARIES, LIMIT, OWN, is_there
from benchmarks.measure import measure
from benchmarks.protocol import Job
from benchmarks.recorded import parse, record
from benchmarks.rows import Row
from benchmarks.run import can
from benchmarks.scenarios.offer import LOW_RATE
from benchmarks.scenarios.outage import DEAF_SECONDS
from benchmarks.sizes import QUICK
from benchmarks.table import ROWS

from tests.support.servers import Server

WAYS = [(name, kind) for name, library in LIBRARIES.items() for kind in library.kinds]
# What runs in our own environment, once in every shape of every scenario.
OWN_WAYS = {
    (row.scenario, row.options.get("transport"), row.options.get("traced"), way): row
    for row in reversed(ROWS)
    for way in row.libraries
    if LIBRARIES[way].environment == OWN and can(way, row)
}
LIMITED = {(row.scenario, row.kind): row for row in ROWS if row.limited}


@pytest.mark.parametrize(("library", "kind"), WAYS)
def test_an_event_gets_through(server: Server, library: str, kind: str) -> None:
    if not is_there(library):
        pytest.skip(f"make bench makes {LIBRARIES[library].environment}")
    row = Row("start", "", "start", kind)
    figures = measure(Broker(server), row, library, "asyncio", QUICK)
    assert figures.get("failed") is None
    assert 0 < figures["import_ms"] < figures["start_ms"]


@pytest.mark.parametrize(
    ("row", "way"),
    [(row, way) for (*_, way), row in OWN_WAYS.items()],
    ids=[f"{row.name}-{way}" for (*_, way), row in OWN_WAYS.items()],
)
def test_every_figure_of_a_scenario_is_measured(server: Server, row: Row, way: str) -> None:
    figures = measure(Broker(server), row, way, "asyncio", QUICK)
    assert figures.get("failed") is None
    missing = {metric for metric in row.metrics if figures.get(metric) is None}
    # Of the limit; and too few events.
    assert missing <= {"more_rate", *(name for name in row.metrics if name.startswith("p999"))}
    if way == "gapless" and row.scenario == "outage":
        # On Pub/Sub one, or what was published while there was no connection on a slow machine.
        assert figures["silent_ms"] < DEAF_SECONDS * 1000
        missed = max(1, figures["silent_ms"] / 1000 * LOW_RATE) if row.kind == "pubsub" else 0
        assert figures["lost_events"] <= missed


@pytest.mark.parametrize("row", LIMITED.values(), ids=lambda row: row.name)
def test_the_limit_is_measured(server: Server, row: Row) -> None:
    figures = measure(Broker(server), row, LIMIT, "asyncio", QUICK)
    assert figures.get("failed") is None
    assert figures[row.metrics[0]] > 0


def test_the_limit_of_publishing_is_measured_on_several_connections(server: Server) -> None:
    if c_client() is None:
        pytest.skip("neither redis-benchmark nor valkey-benchmark is installed")
    (row,) = (row for row in ROWS if row.name == "publish-100-streams")
    assert measure(Broker(server), row, LIMIT, "asyncio", QUICK)["more_rate"] > 0


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("name", ["publish-100-pubsub-loop", "receive-pubsub-loop", "latency-pubsub-loop"])
def test_what_an_event_loop_costs_by_itself_is_measured(server: Server, name: str, loop: str) -> None:
    (row,) = (row for row in ROWS if row.name == name)
    figures = measure(Broker(server), row, row.against or "", loop, QUICK)
    assert figures.get("failed") is None
    assert figures[row.metrics[0]] > 0


def test_what_a_library_sends_is_recorded(server: Server) -> None:
    payload = b"x" * 20
    for kind, expected in (("pubsub", b"PUBLISH"), ("streams", b"XADD")):
        command = asyncio.run(record(Job("load", "redis-py", kind, server.port), payload))
        assert command[:2] == (expected, b"room")
        assert payload in command


@pytest.mark.parametrize(
    ("line", "command"),
    [
        (b'+1700000000.123456 [0 127.0.0.1:5000] "PUBLISH" "room" "x"\r\n', (b"PUBLISH", b"room", b"x")),
        (b'+1.5 [0 unix:/a b.sock] "GET" "a"\r\n', None),
        (b'+1.5 [0 lua] "xadd" "a"\r\n', None),
        (b"+OK\r\n", None),
        (rb'+1.5 [0 127.0.0.1:1] "a\"b\\" "\x00\xff\r\n\t" ""' + b"\r\n", (b'a"b\\', b"\x00\xff\r\n\t", b"")),
    ],
)
def test_lines_of_monitor(line: bytes, command: tuple[bytes, ...] | None) -> None:
    assert parse(line) == command
