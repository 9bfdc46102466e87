"""The rows of the table: what is measured, how large, and what must come out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

# What gapless is compared with. The second is gapless itself, without the chain.
LIBRARIES = {
    "litestar": "Litestar",
    "unchained": "without the chain",
    "broadcaster": "sse-starlette with broadcaster",
    "bare": "a bare ASGI loop",
}


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure of one measurement. Differences below `resolution` are no noise."""

    number: str
    unit: str
    label: str = ""
    resolution: float = 0.0

    def show(self, value: float) -> str:
        return f"{self.label} {self.number.format(value)}{self.unit}".lstrip()

    def show_number(self, value: float) -> str:
        return self.number.format(value)


METRICS = {
    "rate": Metric("{:,.0f}", "/s"),
    "cpu_us": Metric("{:.2f}", " us CPU"),
    "server_us": Metric("{:.1f}", " us", "server"),
    "client_percent": Metric("{:.2f}", " %", "client"),
    "server_percent": Metric("{:.2f}", " %", "server"),
    "p50_ms": Metric("{:.2f}", " ms", "p50"),
    "p99_ms": Metric("{:.2f}", " ms", "p99", resolution=0.3),
    "recover_seconds": Metric("{:.3f}", " s", "whole after"),
    "retry_ms": Metric("{:.1f}", " ms", "retry after"),
    "subscribe_seconds": Metric("{:.3f}", " s"),
    "traced_bytes": Metric("{:,.0f}", " B", "traced"),
    "resident_bytes": Metric("{:,.0f}", " B", "resident"),
}


@dataclass(frozen=True, slots=True)
class Must:
    """A requirement on the median.

    times: gapless / the other is at least `bound`. part: the other / gapless is at least `bound`, so that
    gapless needs at most 1/bound. share: the same, of two costs, so that gapless reaches at least `bound` of
    the other's throughput. below: gapless's own figure is less than `bound`.
    """

    metric: str
    kind: Literal["times", "part", "share", "below"]
    bound: float

    def show(self) -> str:
        if self.kind == "times":
            return f">= {self.bound:g}x"
        if self.kind == "part":
            return f"<= 1/{self.bound:g}"
        if self.kind == "share":
            return f">= {self.bound:.0%} of the events per CPU second"
        metric = METRICS[self.metric]
        return f"{metric.label} < {self.bound:g}{metric.unit}".lstrip()

    def show_ratio(self, ratio: float) -> str:
        if self.kind == "share":
            return f"{ratio:.0%}"
        return f"1/{ratio:.1f}" if self.kind == "part" else f"{ratio:.1f}x"

    def show_ratio_number(self, ratio: float) -> str:
        return self.show_ratio(ratio).rstrip("x")


@dataclass(frozen=True, slots=True)
class Row:
    """One row: a scenario, what is asked of it, and what is printed beside that."""

    name: str
    title: str
    scenario: str
    kind: str
    musts: tuple[Must, ...]
    beside: tuple[str, ...] = ()
    concurrency: int = 1
    # Client and server on one core, so that no wake-up crosses cores.
    one_core: bool = False
    # Events come at a steady pace, not as fast as the server takes them.
    paced: bool = False
    # In process: subscribers of one channel, and events at once.
    subscribers: int = 0
    burst: int = 1
    # Clients of a web server, and their transport.
    clients: int = 0
    transport: str = ""
    # What objects hold is measured, and nothing else.
    traced: bool = False
    # Also measure what a blocking socket reaches.
    limited: bool = False
    # What gapless is compared with; None: with nothing.
    against: str | None = "litestar"

    @property
    def libraries(self) -> tuple[str, ...]:
        return ("gapless",) if self.against is None else (self.against, "gapless")


ROWS = (
    Row(
        "publish-one",
        "publish, one at a time",
        "publish",
        "pubsub",
        (Must("rate", "times", 3),),
        ("cpu_us", "server_us"),
        limited=True,
    ),
    Row(
        "publish-one-core",
        "publish, one at a time, client and server on one core",
        "publish",
        "pubsub",
        (Must("rate", "times", 3),),
        ("cpu_us", "server_us"),
        one_core=True,
        limited=True,
    ),
    Row(
        "publish-100-pubsub",
        "publish, 100 concurrent, Pub/Sub",
        "publish",
        "pubsub",
        (Must("rate", "times", 12),),
        ("cpu_us", "server_us"),
        concurrency=100,
    ),
    Row(
        "publish-100-streams",
        "publish, 100 concurrent, Streams",
        "publish",
        "streams",
        (Must("rate", "times", 5),),
        ("cpu_us", "server_us"),
        concurrency=100,
    ),
    Row(
        "receive-pubsub",
        "receive through `stream_events`, Pub/Sub",
        "receive",
        "pubsub",
        (Must("cpu_us", "part", 8),),
        ("rate",),
    ),
    Row(
        "receive-streams",
        "receive through `stream_events`, Streams",
        "receive",
        "streams",
        (Must("cpu_us", "part", 2),),
        ("rate",),
    ),
    Row(
        "receive-pubsub-paced",
        "receive at 50,000 events/s in bursts of 100, Pub/Sub",
        "receive",
        "pubsub",
        (Must("cpu_us", "part", 8),),
        ("rate",),
        paced=True,
    ),
    Row(
        "receive-streams-paced",
        "receive at 50,000 events/s in bursts of 100, Streams",
        "receive",
        "streams",
        (Must("cpu_us", "part", 2),),
        ("rate",),
        paced=True,
    ),
    Row(
        "receive-chain",
        "receive through `stream_events`, Streams: what the chain costs",
        "receive",
        "streams",
        (Must("cpu_us", "share", 0.85),),
        ("rate",),
        against="unchained",
    ),
    Row(
        "fanout-1000",
        "hub: 1 event to 1,000 subscribers, in process",
        "fanout",
        "memory",
        (Must("cpu_us", "part", 3),),
        subscribers=1000,
    ),
    Row(
        "fanout-1000-bursts",
        "hub: bursts of 10 events to 1,000 subscribers, in process",
        "fanout",
        "memory",
        (Must("cpu_us", "part", 8),),
        subscribers=1000,
        burst=10,
    ),
    Row(
        "fanout-10000",
        "hub: 1 event to 10,000 subscribers, in process",
        "fanout",
        "memory",
        (Must("cpu_us", "part", 3),),
        subscribers=10_000,
    ),
    Row(
        "subscriber-memory",
        "hub: an idle subscriber with its task, in process",
        "fanout",
        "memory",
        (Must("traced_bytes", "part", 3),),
        subscribers=1000,
        traced=True,
    ),
    Row(
        "sse-500",
        "server-sent events: 500 clients, 10 events/s",
        "sockets",
        "memory",
        (Must("cpu_us", "part", 2.4), Must("resident_bytes", "part", 3), Must("p99_ms", "part", 1 / 0.6)),
        clients=500,
        transport="sse",
        against="broadcaster",
    ),
    Row(
        "sse-500-limit",
        "the same, beside a bare ASGI loop",
        "sockets",
        "memory",
        (Must("cpu_us", "share", 0.7),),
        ("resident_bytes", "p99_ms"),
        clients=500,
        transport="sse",
        against="bare",
    ),
    Row(
        "websocket-500",
        "WebSocket: 500 clients, 10 events/s",
        "sockets",
        "memory",
        (
            Must("cpu_us", "part", 1.5),
            Must("resident_bytes", "part", 1 / 0.7),
            Must("p99_ms", "part", 1 / 0.6),
        ),
        clients=500,
        transport="websocket",
    ),
    Row(
        "websocket-500-limit",
        "the same, beside a bare ASGI loop",
        "sockets",
        "memory",
        (Must("cpu_us", "share", 0.7),),
        ("resident_bytes", "p99_ms"),
        clients=500,
        transport="websocket",
        against="bare",
    ),
    Row(
        "idle-streams",
        "10,000 subscribed idle channels, Streams",
        "idle",
        "streams",
        (Must("client_percent", "below", 0.5), Must("server_percent", "below", 0.5)),
    ),
    Row(
        "delivery-streams",
        "delivery at 200 events/s over 10,000 channels, Streams",
        "delivery",
        "streams",
        (Must("p99_ms", "part", 12),),
        ("p50_ms", "client_percent", "server_percent"),
    ),
    Row(
        "recover-streams",
        "10,000 channels after a killed connection: first retry, and all resubscribed and verified",
        "recover",
        "streams",
        (Must("recover_seconds", "below", 1.0), Must("retry_ms", "below", 50.0)),
        against=None,
    ),
    Row(
        "subscribe-pubsub",
        "subscribe to 10,000 channels, Pub/Sub",
        "subscribe",
        "pubsub",
        (Must("subscribe_seconds", "below", 0.5), Must("traced_bytes", "below", 1000)),
        ("resident_bytes",),
        against=None,
    ),
    Row(
        "subscribe-streams",
        "subscribe to 10,000 channels, Streams",
        "subscribe",
        "streams",
        (Must("subscribe_seconds", "below", 0.5), Must("traced_bytes", "below", 1000)),
        ("resident_bytes",),
        against=None,
    ),
)

CHANNELS = 10_000
FANOUT_DELIVERIES = 200_000
CLIENT_EVENTS_PER_SECOND = 10
EVENTS_PER_SECOND = 200

# Each takes some tenths of a second of CPU. More than 100,000 would fill gapless's backlog.
RECEIVED_EVENTS = {
    ("litestar", "pubsub"): 30_000,
    ("litestar", "streams"): 60_000,
    ("gapless", "pubsub"): 100_000,
    ("gapless", "streams"): 60_000,
    ("unchained", "streams"): 60_000,
}

# A burst every 2 ms, which every peer keeps up with on a machine of today.
PACED_EVENTS = 25_000
PACED_RATE = 50_000
PACED_BURST = 100


@dataclass(frozen=True, slots=True)
class Size:
    """How long and how often. The long rows wait for time to pass; the others count events."""

    repetitions: int
    long_repetitions: dict[str, int]
    long_seconds: dict[str, float]
    publish_seconds: float
    warm_seconds: float
    settle_seconds: float
    receive_share: float
    socket_seconds: float

    def repetitions_of(self, row: Row, loop: str) -> int:
        if row.scenario in {"idle", "delivery"}:
            return self.long_repetitions[loop]
        return self.repetitions

    def load_options(self, row: Row, library: str, loop: str) -> dict[str, Any]:
        """Return the keyword arguments of the load side's `run`."""
        options = self.options(row, library, loop)
        if row.scenario == "receive":
            pace = {"burst": PACED_BURST, "rate": PACED_RATE}
            return options | (pace if row.paced else {"burst": None, "rate": None})
        options.pop("settle_seconds", None)
        return options

    def options(self, row: Row, library: str, loop: str) -> dict[str, Any]:
        """Return the keyword arguments of the scenario's `run`."""
        if row.scenario == "publish":
            return {
                "concurrency": row.concurrency,
                "seconds": self.publish_seconds,
                "warm_seconds": self.warm_seconds,
            }
        if row.scenario == "receive":
            events = PACED_EVENTS if row.paced else RECEIVED_EVENTS[library, row.kind]
            events = round(events * self.receive_share)
            return {"events": events, "warm_events": events // 10}
        if row.scenario == "fanout":
            deliveries = FANOUT_DELIVERIES * self.receive_share
            rounds = max(3, round(deliveries / row.subscribers / row.burst))
            return {"subscribers": row.subscribers, "burst": row.burst, "rounds": rounds}
        if row.scenario == "sockets":
            return {
                "transport": row.transport,
                "clients": row.clients,
                "rate": CLIENT_EVENTS_PER_SECOND,
                "seconds": self.socket_seconds,
                "settle_seconds": self.settle_seconds,
            }
        if row.scenario in {"subscribe", "recover"}:
            return {"channels": CHANNELS}
        options = {
            "channels": CHANNELS,
            "seconds": self.long_seconds[loop],
            "settle_seconds": self.settle_seconds,
        }
        return options if row.scenario == "idle" else options | {"rate": EVENTS_PER_SECOND}


FULL = Size(
    repetitions=5,
    long_repetitions={"asyncio": 5, "uvloop": 3},
    long_seconds={"asyncio": 10.0, "uvloop": 2.5},
    publish_seconds=0.5,
    warm_seconds=0.1,
    settle_seconds=0.5,
    receive_share=1.0,
    socket_seconds=3.0,
)

QUICK = Size(
    repetitions=3,
    long_repetitions={"asyncio": 3, "uvloop": 3},
    long_seconds={"asyncio": 1.5, "uvloop": 1.5},
    publish_seconds=0.2,
    warm_seconds=0.1,
    settle_seconds=0.3,
    receive_share=0.3,
    socket_seconds=1.0,
)
