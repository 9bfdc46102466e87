"""The rows: what is measured, in which size, and what must come out."""

from __future__ import annotations

from benchmarks.libraries import others
from benchmarks.rows import Must, Row

KINDS = {"pubsub": "Pub/Sub", "streams": "Streams"}
OTHERS = {kind: others(kind) for kind in KINDS}
PAYLOADS = {64: "64 B", 1024: "1 kB", 65536: "64 kB"}
HISTORIES = (10, 1000, 10_000)
PROCESSES = (2, 4, 8)
CHANNELS = {1: "one channel", 100: "100", 1000: "1,000", 10_000: "10,000", 100_000: "100,000"}

COSTS = ("cpu_us", "server_us")
LATENCIES = tuple(f"{p}_{load}_ms" for load in ("low", "half", "most") for p in ("p50", "p99", "p999"))


def _publish(
    name: str, kind: str, concurrency: int = 1, payload: int = 64, musts: tuple[Must, ...] = ()
) -> Row:
    how = "one at a time" if concurrency == 1 else f"{concurrency:,} concurrent"
    size = "" if payload == 64 else f", {PAYLOADS[payload]}"
    return Row(
        name,
        f"publish, {how}{size}, {KINDS[kind]}",
        "publish",
        kind,
        musts,
        ("rate", *COSTS, "more_rate"),
        {"concurrency": concurrency, "payload_bytes": payload},
        limited=True,
        others=OTHERS[kind],
    )


PUBLISH = (
    _publish("publish-one", "pubsub", musts=(Must("rate", "times", 3),)),
    Row(
        "publish-one-core",
        "publish, one at a time, client and server on one core",
        "publish",
        "pubsub",
        (Must("rate", "times", 3),),
        COSTS,
        {"concurrency": 1, "payload_bytes": 64},
        one_core=True,
        limited=True,
    ),
    _publish("publish-10-pubsub", "pubsub", 10),
    _publish(
        "publish-100-pubsub", "pubsub", 100,
        musts=(Must("rate", "times", 12), Must("rate", "times", 0.5, of_limit=True)),
    ),
    _publish("publish-1000-pubsub", "pubsub", 1000),
    _publish("publish-100-pubsub-1kB", "pubsub", 100, 1024),
    _publish("publish-100-pubsub-64kB", "pubsub", 100, 65536),
    _publish("publish-one-streams", "streams"),
    _publish("publish-10-streams", "streams", 10),
    _publish(
        "publish-100-streams", "streams", 100,
        musts=(Must("rate", "times", 5), Must("rate", "times", 0.6, of_limit=True)),
    ),
    _publish("publish-1000-streams", "streams", 1000),
    _publish("publish-100-streams-1kB", "streams", 100, 1024),
    _publish("publish-100-streams-64kB", "streams", 100, 65536),
    Row(
        "publish-100-pubsub-loop",
        "the same as publish-100-pubsub, beside as many tasks that wait for a future each, and nothing else",
        "publish",
        "pubsub",
        (),
        ("rate", "cpu_us"),
        {"concurrency": 100, "payload_bytes": 64},
        against="loop",
    ),
    *(
        Row(
            f"publish-100-history-{history}",
            f"publish, 100 concurrent, a history of {history:,}, Streams",
            "publish",
            "streams",
            (),
            ("rate", *COSTS),
            {"concurrency": 100, "payload_bytes": 64, "history": history},
        )
        for history in HISTORIES
    ),
)  # fmt: skip


# What the event loop needs by itself, without a library.
BESIDE_PROTOCOL = "beside a protocol that writes, parses and wakes who waits, and nothing else"


def _receive(kind: str, part: float, *, paced: bool = False) -> Row:
    how = "receive at 50,000 events/s in bursts of 100" if paced else "receive, as fast as they come"
    musts: tuple[Must, ...] = (Must("cpu_us", "part", part),)
    if not paced:
        musts += (Must("cpu_us", "share", 0.6, of_limit=True),)
    return Row(
        f"receive-{kind}{'-paced' if paced else ''}",
        f"{how}, {KINDS[kind]}",
        "receive",
        kind,
        musts,
        ("rate", "server_us"),
        {"paced": paced},
        limited=True,
        others=OTHERS[kind],
    )


RECEIVE = (
    _receive("pubsub", 8),
    _receive("streams", 2),
    _receive("pubsub", 8, paced=True),
    _receive("streams", 2, paced=True),
    Row(
        "receive-chain",
        "receive through `stream_events`, Streams: what the chain costs",
        "receive",
        "streams",
        (Must("cpu_us", "share", 0.85),),
        ("rate",),
        {"paced": False},
        against="unchained",
    ),
    Row(
        "receive-pubsub-loop",
        f"the same as receive-pubsub, {BESIDE_PROTOCOL}",
        "receive",
        "pubsub",
        (),
        ("cpu_us", "rate"),
        {"paced": False},
        limited=True,
        against="protocol",
    ),
    *(
        Row(
            f"receive-{kind}-processes-{processes}",
            f"the same as receive-{kind}-paced, in {processes} processes; CPU in each",
            "receive",
            kind,
            (),
            COSTS,
            {"paced": True, "processes": processes},
        )
        for kind in KINDS
        for processes in PROCESSES
    ),
)

LATENCY = (
    *(
        Row(
            f"latency-{kind}",
            f"from publish() in one process to the loop body in another, {KINDS[kind]}",
            "latency",
            kind,
            (Must("p50_low_ms", "part", 1 / 1.3, of_limit=True),) if kind == "pubsub" else (),
            (*LATENCIES, "rate"),
            limited=True,
            others=OTHERS[kind],
        )
        for kind in KINDS
    ),
    Row(
        "latency-pubsub-loop",
        f"the same as latency-pubsub, {BESIDE_PROTOCOL}",
        "latency",
        "pubsub",
        (),
        (*LATENCIES, "rate"),
        limited=True,
        against="protocol",
    ),
)


def _hub(name: str, title: str, must: Must | None, subscribers: int, **options: int) -> Row:
    options = {"subscribers": subscribers, "burst": 1} | options
    musts = () if must is None else (must,)
    beside = ("cpu_us",) if must is None else ()
    return Row(name, f"hub: {title}, in process", "fanout", "memory", musts, beside, options)


def _sockets(transport: str, title: str, musts: tuple[Must, ...], against: str = "litestar") -> Row:
    return Row(
        f"{transport}-500{'-limit' if against == 'bare' else ''}",
        "the same, beside a bare ASGI loop" if against == "bare" else f"{title}: 500 clients, 10 events/s",
        "sockets",
        "memory",
        musts,
        ("resident_bytes", "p99_ms"),
        {"clients": 500, "transport": transport},
        against=against,
    )


HUB = (
    _hub("fanout-10", "1 event to 10 subscribers", None, 10),
    _hub("fanout-100", "1 event to 100 subscribers", None, 100),
    _hub("fanout-1000", "1 event to 1,000 subscribers", Must("cpu_us", "part", 3), 1000),
    _hub("fanout-1000-bursts", "bursts of 10 events to 1,000 subscribers", Must("cpu_us", "part", 8), 1000,
         burst=10),
    _hub("fanout-10000", "1 event to 10,000 subscribers", Must("cpu_us", "part", 3), 10_000),
    _hub("subscriber-memory", "an idle subscriber with its task", Must("traced_bytes", "part", 3), 1000,
         traced=True),
    _sockets(
        "sse",
        "server-sent events",
        (Must("cpu_us", "part", 2.4), Must("resident_bytes", "part", 3), Must("p99_ms", "part", 1 / 0.6)),
        "broadcaster",
    ),
    _sockets("sse", "", (Must("cpu_us", "share", 0.7),), "bare"),
    _sockets(
        "websocket",
        "WebSocket",
        (Must("cpu_us", "part", 1.5), Must("resident_bytes", "part", 1 / 0.7), Must("p99_ms", "part", 1 / 0.6)),
    ),
    _sockets("websocket", "", (Must("cpu_us", "share", 0.7),), "bare"),
)  # fmt: skip

# The CPU that 10,000 idle channels may cost.
_QUIET = (Must("client_percent", "below", 0.5), Must("server_percent", "below", 0.5))


def idle(kind: str, channels: int) -> Row:
    name = f"idle-{kind}" if channels == 10_000 else f"idle-{kind}-{channels}"
    title = f"{CHANNELS[channels]}{' channels' if channels > 1 else ''} subscribed, nothing happens, {KINDS[kind]}"
    costs = ("client_percent", "server_percent")
    return Row(name, title, "idle", kind, _QUIET, costs, {"channels": channels}, others=OTHERS[kind])


IDLE = tuple(idle(kind, channels) for kind in KINDS for channels in CHANNELS)

CHANNEL_MUSTS = (Must("subscribe_seconds", "below", 0.5), Must("traced_bytes", "below", 1000))

RECOVERY = (
    Row(
        "delivery-streams",
        "delivery at 200 events/s over 10,000 channels, Streams",
        "delivery",
        "streams",
        (Must("p99_ms", "part", 12),),
        ("p50_ms", "client_percent", "server_percent"),
        {"channels": 10_000},
    ),
    Row(
        "recover-streams",
        "10,000 channels after a killed connection: first retry, and all resubscribed and verified",
        "recover",
        "streams",
        (Must("recover_seconds", "below", 1.0), Must("retry_ms", "below", 50.0)),
        options={"channels": 10_000},
        against=None,
    ),
    Row(
        "resume-storm",
        "1,000 clients of one channel come back at once, each 100 events behind",
        "storm",
        "streams",
        (Must("resume_seconds", "below", 2.0), Must("history_reads", "below", 2)),
        options={"clients": 1000, "behind": 100},
        against=None,
    ),
)

OUTAGE = tuple(
    Row(
        f"outage-{kind}",
        f"a receiver's connections are killed at 200 events/s, {KINDS[kind]}: of 600 events",
        "outage",
        kind,
        (Must("lost_events", "below", 1), Must("twice_events", "below", 1)) if kind == "streams" else (),
        ("lost_events", "twice_events", "silent_ms"),
        others=OTHERS[kind],
    )
    for kind in KINDS
)

COSTS_OF_CHANNELS = tuple(
    Row(
        f"subscribe-{kind}",
        f"subscribe to 10,000 channels, {KINDS[kind]}",
        "subscribe",
        kind,
        CHANNEL_MUSTS,
        ("resident_bytes", "server_bytes"),
        {"channels": 10_000},
        others=OTHERS[kind],
    )
    for kind in KINDS
)

START = (
    Row(
        "start",
        "a new process: until its first event, and of that the import",
        "start",
        "pubsub",
        beside=("start_ms", "import_ms"),
        others=OTHERS["pubsub"],
    ),
)

ROWS = (*PUBLISH, *RECEIVE, *LATENCY, *HUB, *IDLE, *OUTAGE, *RECOVERY, *COSTS_OF_CHANNELS, *START)

# What `make bench` measures: it must take less than 10 minutes.
HEADLINE = (
    "publish-one",
    "publish-100-pubsub",
    "publish-100-streams",
    "receive-pubsub",
    "receive-streams",
    "latency-pubsub",
    "idle-streams",
    "resume-storm",
    "start",
)

# What is in the headline if it was measured.
SHOWN = (*HEADLINE, "outage-pubsub", "outage-streams")
