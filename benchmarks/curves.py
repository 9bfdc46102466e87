"""How figures grow: which rows are points of one line."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.table import CHANNELS, KINDS, PROCESSES, idle


@dataclass(frozen=True, slots=True)
class Curve:
    """How a figure grows: one line per library."""

    title: str
    axis: str
    metric: str
    points: tuple[tuple[int, str], ...]  # where on the axis, and which row


BROKER_CURVES = tuple(
    curve
    for kind, shown in KINDS.items()
    for curve in (
        Curve(
            f"publish, {shown}", "concurrent publishes", "rate",
            (
                (1, "publish-one" if kind == "pubsub" else "publish-one-streams"),
                *((n, f"publish-{n}-{kind}") for n in (10, 100, 1000)),
            ),
        ),
        Curve(
            f"publish, 100 concurrent, {shown}", "bytes of payload", "rate",
            (
                (64, f"publish-100-{kind}"), (1024, f"publish-100-{kind}-1kB"),
                (65536, f"publish-100-{kind}-64kB"),
            ),
        ),
        Curve(
            f"receive at 50,000 events/s, {shown}, CPU of the server", "processes that receive", "server_us",
            (
                (1, f"receive-{kind}-paced"),
                *((n, f"receive-{kind}-processes-{n}") for n in PROCESSES),
            ),
        ),
        Curve(
            f"idle channels, {shown}", "channels", "client_percent",
            tuple((channels, idle(kind, channels).name) for channels in CHANNELS),
        ),
    )
)  # fmt: skip

CURVES = (
    *BROKER_CURVES,
    Curve(
        "publish, 100 concurrent, Streams", "events that are kept", "rate",
        (
            (10, "publish-100-history-10"), (100, "publish-100-streams"), (1000, "publish-100-history-1000"),
            (10_000, "publish-100-history-10000"),
        ),
    ),
    Curve(
        "hub, in process, by delivery", "subscribers of one channel", "cpu_us",
        tuple((n, f"fanout-{n}") for n in (10, 100, 1000, 10_000)),
    ),
)  # fmt: skip
