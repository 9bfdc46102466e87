"""How long and how often a row is measured."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from benchmarks.libraries import LIMIT
from benchmarks.rows import Row

FANOUT_DELIVERIES = 200_000
CLIENT_EVENTS_PER_SECOND = 10
EVENTS_PER_SECOND = 200

# Each takes some tenths of a second, those with a check per event or a round trip mostly longer.
RECEIVED_EVENTS = {
    ("litestar", "pubsub"): 30_000,
    ("litestar", "streams"): 150_000,
    ("litestar-installed", "pubsub"): 30_000,
    ("litestar-installed", "streams"): 150_000,
    ("gapless", "pubsub"): 500_000,
    ("gapless", "streams"): 150_000,
    ("protocol", "pubsub"): 500_000,
    ("unchained", "streams"): 150_000,
    (LIMIT, "pubsub"): 500_000,
    (LIMIT, "streams"): 150_000,
    ("coredis", "pubsub"): 30_000,
    ("redis-py", "pubsub"): 50_000,
    ("redis-py", "streams"): 200_000,
    # One round trip for each event.
    ("channels_redis", "streams"): 3000,
    ("broadcaster-redis", "streams"): 5000,
    ("faststream", "streams"): 5000,
    ("faststream", "pubsub"): 5000,
}
OTHERS_EVENTS = 20_000

# They are sent in batches: more at once would fill gapless's backlog.
BATCH_EVENTS = 100_000

# A burst every 2 ms, which not every peer keeps up with: then they wait, as in the other rows.
PACED_EVENTS = 25_000
PACED_RATE = 50_000
PACED_BURST = 100


# Idle channels: the requirement is for so many, the others show how the cost grows.
REQUIRED_CHANNELS = 10_000
GROWTH_SECONDS = 2.0

# On Streams, gapless compares its channels with the server every 5 s, within 20 %. So it is measured after the first time,
# and for about two of them. What others do while nothing happens, they do every second or more often; but for a
# receiver of channels_redis, which asks again every 5 s, in two commands.
SWEEP_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Size:
    """The long rows wait for time to pass; the others count events."""

    repetitions: int
    long_seconds: float
    sweeps: int
    publish_seconds: float
    warm_seconds: float
    settle_seconds: float
    receive_share: float
    socket_seconds: float
    latency_seconds: float
    low_rate_seconds: float

    def options(self, row: Row, library: str) -> dict[str, Any]:
        """Return the keyword arguments of the scenario's `run`."""
        return dict(row.options) | self._size(row, library)

    def load_options(self, row: Row, library: str) -> dict[str, Any]:
        """Return the keyword arguments of the load side's `run`."""
        options = self.options(row, library)
        if row.scenario == "receive":
            pace = {"burst": PACED_BURST, "rate": PACED_RATE}
            return options | (pace if row.options["paced"] else {"burst": None, "rate": None})
        options.pop("settle_seconds", None)
        return {} if row.scenario in {"latency", "outage"} else options

    def _size(self, row: Row, library: str) -> dict[str, Any]:
        if row.scenario == "publish":
            return {"seconds": self.publish_seconds, "warm_seconds": self.warm_seconds}
        if row.scenario == "receive":
            events = RECEIVED_EVENTS.get((library, row.kind), OTHERS_EVENTS)
            if row.options["paced"]:
                events = min(events, PACED_EVENTS)
            events = round(events * self.receive_share)
            batches = -(-events // BATCH_EVENTS)
            return {"events": events // batches, "batches": batches, "warm_events": events // batches // 10}
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
            alone = {"seconds": self.low_rate_seconds}
            return alone if library == LIMIT else {"settle_seconds": self.settle_seconds}
        if row.scenario == "outage":
            return {"settle_seconds": self.settle_seconds}
        waiting = {"seconds": self.long_seconds, "settle_seconds": self.settle_seconds}
        if row.scenario == "delivery":
            return waiting | {"rate": EVENTS_PER_SECOND}
        return self._idle(row, library, waiting) if row.scenario == "idle" else {}

    def _idle(self, row: Row, library: str, waiting: dict[str, float]) -> dict[str, float]:
        seconds = waiting["seconds"]
        if row.options["channels"] != REQUIRED_CHANNELS:
            seconds = min(seconds, GROWTH_SECONDS)
        if library == "gapless" and row.kind == "streams" and self.sweeps:
            # The first one is over then.
            settle = 1.2 * SWEEP_SECONDS
            return {"seconds": max(seconds, self.sweeps * SWEEP_SECONDS), "settle_seconds": settle}
        return waiting | {"seconds": seconds}


# Everything, for figures that are to be quoted.
FULL = Size(
    repetitions=5,
    long_seconds=10.0,
    sweeps=2,
    publish_seconds=0.5,
    warm_seconds=0.1,
    settle_seconds=0.5,
    receive_share=1.0,
    socket_seconds=3.0,
    latency_seconds=2.0,
    # A thousand events.
    low_rate_seconds=5.0,
)

# The selection of `make bench`, which is to take less than 10 minutes once the peers are installed.
SHORT = replace(
    FULL,
    long_seconds=1.5,
    publish_seconds=0.25,
    settle_seconds=0.3,
    receive_share=0.5,
    latency_seconds=0.4,
    low_rate_seconds=0.5,
)

# Does it work?
QUICK = Size(
    repetitions=1,
    long_seconds=1.5,
    sweeps=0,
    publish_seconds=0.2,
    warm_seconds=0.1,
    settle_seconds=0.3,
    receive_share=0.3,
    socket_seconds=1.0,
    latency_seconds=0.3,
    low_rate_seconds=0.3,
)
