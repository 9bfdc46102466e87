"""How long and how often a row is measured."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from benchmarks.libraries import LIMIT
from benchmarks.rows import Row

FANOUT_DELIVERIES = 200_000
CLIENT_EVENTS_PER_SECOND = 10
EVENTS_PER_SECOND = 200

# Each takes some tenths of a second of CPU. More than 100,000 would fill gapless's backlog.
RECEIVED_EVENTS = {
    ("litestar", "pubsub"): 30_000,
    ("litestar", "streams"): 60_000,
    ("litestar-installed", "pubsub"): 30_000,
    ("litestar-installed", "streams"): 60_000,
    ("gapless", "pubsub"): 100_000,
    ("gapless", "streams"): 60_000,
    ("protocol", "pubsub"): 100_000,
    ("unchained", "streams"): 60_000,
    (LIMIT, "pubsub"): 100_000,
    (LIMIT, "streams"): 60_000,
    ("coredis", "pubsub"): 30_000,
    ("redis-py", "pubsub"): 30_000,
    # One round trip for each event.
    ("channels_redis", "streams"): 3000,
    ("broadcaster-redis", "streams"): 5000,
    ("faststream", "streams"): 5000,
    ("faststream", "pubsub"): 5000,
}
OTHERS_EVENTS = 20_000

# A burst every 2 ms, which not every peer keeps up with: then they wait, as in the other rows.
PACED_EVENTS = 25_000
PACED_RATE = 50_000
PACED_BURST = 100


# Idle channels: the requirement is for so many, the others show how the cost grows.
REQUIRED_CHANNELS = 10_000
GROWTH_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Size:
    """The long rows wait for time to pass; the others count events."""

    repetitions: int
    long_repetitions: dict[str, int]
    long_seconds: dict[str, float]
    publish_seconds: float
    warm_seconds: float
    settle_seconds: float
    receive_share: float
    socket_seconds: float
    latency_seconds: float

    def repetitions_of(self, row: Row, loop: str) -> int:
        if row.scenario in {"idle", "delivery"}:
            return self.long_repetitions[loop]
        return self.repetitions

    def options(self, row: Row, library: str, loop: str) -> dict[str, Any]:
        """Return the keyword arguments of the scenario's `run`."""
        return dict(row.options) | self._size(row, library, loop)

    def load_options(self, row: Row, library: str, loop: str) -> dict[str, Any]:
        """Return the keyword arguments of the load side's `run`."""
        options = self.options(row, library, loop)
        if row.scenario == "receive":
            pace = {"burst": PACED_BURST, "rate": PACED_RATE}
            return options | (pace if row.options["paced"] else {"burst": None, "rate": None})
        options.pop("settle_seconds", None)
        return {} if row.scenario in {"latency", "outage"} else options

    def _size(self, row: Row, library: str, loop: str) -> dict[str, Any]:
        if row.scenario == "publish":
            return {"seconds": self.publish_seconds, "warm_seconds": self.warm_seconds}
        if row.scenario == "receive":
            events = RECEIVED_EVENTS.get((library, row.kind), OTHERS_EVENTS)
            if row.options["paced"]:
                events = min(events, PACED_EVENTS)
            events = round(events * self.receive_share)
            return {"events": events, "warm_events": events // 10}
        if row.scenario == "fanout":
            deliveries = FANOUT_DELIVERIES * self.receive_share
            per_round = row.options["subscribers"] * row.options["burst"]
            return {"rounds": max(3, round(deliveries / per_round))}
        if row.scenario == "sockets":
            return {
                "rate": CLIENT_EVENTS_PER_SECOND,
                "seconds": self.socket_seconds,
                "settle_seconds": self.settle_seconds,
            }
        if row.scenario == "latency":
            alone = {"seconds": self.latency_seconds}
            return alone if library == LIMIT else {"settle_seconds": self.settle_seconds}
        if row.scenario == "outage":
            return {"settle_seconds": self.settle_seconds}
        seconds = self.long_seconds[loop]
        if row.scenario == "idle" and row.options["channels"] != REQUIRED_CHANNELS:
            seconds = min(seconds, GROWTH_SECONDS)
        waiting = {"seconds": seconds, "settle_seconds": self.settle_seconds}
        if row.scenario == "delivery":
            return waiting | {"rate": EVENTS_PER_SECOND}
        return waiting if row.scenario == "idle" else {}


# Everything, for figures that are to be quoted.
FULL = Size(
    repetitions=5,
    long_repetitions={"asyncio": 5, "uvloop": 3},
    long_seconds={"asyncio": 10.0, "uvloop": 2.5},
    publish_seconds=0.5,
    warm_seconds=0.1,
    settle_seconds=0.5,
    receive_share=1.0,
    socket_seconds=3.0,
    latency_seconds=2.0,
)

# The selection of `make bench`.
SHORT = replace(
    FULL,
    long_repetitions={"asyncio": 5, "uvloop": 5},
    long_seconds={"asyncio": 2.0, "uvloop": 2.0},
    publish_seconds=0.3,
    settle_seconds=0.3,
    receive_share=0.6,
    latency_seconds=0.5,
)

# Does it work?
QUICK = Size(
    repetitions=1,
    long_repetitions={"asyncio": 1, "uvloop": 1},
    long_seconds={"asyncio": 1.5, "uvloop": 1.5},
    publish_seconds=0.2,
    warm_seconds=0.1,
    settle_seconds=0.3,
    receive_share=0.3,
    socket_seconds=1.0,
    latency_seconds=0.3,
)
