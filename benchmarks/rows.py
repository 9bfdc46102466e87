"""What a row of the table is: a scenario, its options, and what must come out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from benchmarks.libraries import LIMIT


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure of one measurement. Differences below `resolution` are no noise."""

    number: str
    unit: str
    label: str = ""
    resolution: float = 0.0
    more_is_better: bool = False

    def show(self, value: float) -> str:
        return f"{self.label} {self.number.format(value)}{self.unit}".lstrip()

    def show_number(self, value: float) -> str:
        return self.number.format(value)


METRICS = {
    "rate": Metric("{:,.0f}", "/s", more_is_better=True),
    # Of the limit, at the same number of commands under way.
    "more_rate": Metric("{:,.0f}", "/s", "on 2 or 4 connections", more_is_better=True),
    "cpu_us": Metric("{:.2f}", " us CPU"),
    "server_us": Metric("{:.1f}", " us", "server"),
    "client_percent": Metric("{:.2f}", " %", "client", resolution=0.5),
    "server_percent": Metric("{:.2f}", " %", "server", resolution=0.5),
    "p50_ms": Metric("{:.2f}", " ms", "p50"),
    "p99_ms": Metric("{:.2f}", " ms", "p99", resolution=0.3),
    # End to end: at a low rate, at 50 % and at 90 % of what each one can do.
    "p50_low_ms": Metric("{:.3f}", " ms", "p50"),
    "p99_low_ms": Metric("{:.3f}", " ms", "p99"),
    "p999_low_ms": Metric("{:.3f}", " ms", "p99.9"),
    "p50_half_ms": Metric("{:.2f}", " ms", "at 50 %: p50"),
    "p99_half_ms": Metric("{:.2f}", " ms", "p99"),
    "p999_half_ms": Metric("{:.2f}", " ms", "p99.9"),
    "p50_most_ms": Metric("{:.2f}", " ms", "at 90 %: p50"),
    "p99_most_ms": Metric("{:.2f}", " ms", "p99"),
    "p999_most_ms": Metric("{:.2f}", " ms", "p99.9"),
    "recover_seconds": Metric("{:.3f}", " s", "whole after"),
    "retry_ms": Metric("{:.1f}", " ms", "retry after"),
    # One more or less is the moment at which the connection is killed.
    "lost_events": Metric("{:,.0f}", " lost", resolution=1.0),
    "twice_events": Metric("{:,.0f}", " twice", resolution=0.5),
    "silent_ms": Metric("{:,.0f}", " ms", "silent for"),
    "resume_seconds": Metric("{:.3f}", " s", "all after"),
    "history_reads": Metric("{:.0f}", "", "reads of the history:"),
    "subscribe_seconds": Metric("{:.3f}", " s"),
    "traced_bytes": Metric("{:,.0f}", " B", "traced"),
    "resident_bytes": Metric("{:,.0f}", " B", "resident"),
    "server_bytes": Metric("{:,.0f}", " B", "server"),
    "import_ms": Metric("{:.0f}", " ms", "import"),
    "start_ms": Metric("{:.0f}", " ms", "first event after"),
}


@dataclass(frozen=True, slots=True)
class Must:
    """A requirement on the median.

    times: gapless / the other is at least `bound`. part: the other / gapless is at least `bound`, so that
    gapless needs at most 1/bound. share: the same, of two costs, so that gapless reaches at least `bound` of
    the other's throughput. below: gapless's own figure is less than `bound`.

    The other is the row's `against`, or the limit: `of_limit`.
    """

    metric: str
    kind: Literal["times", "part", "share", "below"]
    bound: float
    of_limit: bool = False

    def show(self) -> str:
        limit = " of the limit" if self.of_limit else ""
        if self.kind == "times":
            return f">= {self.bound:.0%}{limit}" if limit else f">= {self.bound:g}x"
        if self.kind == "part":
            return f"<= {1 / self.bound:.2g}x the limit" if limit else f"<= 1/{self.bound:g}"
        if self.kind == "share":
            return f">= {self.bound:.0%} of the {'limit, ' if limit else ''}events per CPU second"
        metric = METRICS[self.metric]
        return f"{metric.label} < {self.bound:g}{metric.unit}".lstrip()

    def show_ratio(self, ratio: float) -> str:
        if self.kind == "share" or (self.of_limit and self.kind == "times"):
            return f"{ratio:.0%}"
        if self.of_limit:
            return f"{1 / ratio:.2f}x"
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
    musts: tuple[Must, ...] = ()
    beside: tuple[str, ...] = ()
    # Of the scenario: keyword arguments of its `run`, and those of `Size`.
    options: Mapping[str, Any] = field(default_factory=dict)
    # Client and server on one core, so that no wake-up crosses cores.
    one_core: bool = False
    # Also measure the limit.
    limited: bool = False
    # What gapless is compared with; None: with nothing.
    against: str | None = "litestar"
    # What is measured beside these two.
    others: tuple[str, ...] = ()

    @property
    def libraries(self) -> tuple[str, ...]:
        against = () if self.against is None else (self.against,)
        return (*against, *self.others, "gapless")

    @property
    def metrics(self) -> tuple[str, ...]:
        """What is shown of it; the first is the one that libraries are ranked by."""
        return tuple(dict.fromkeys([*(must.metric for must in self.musts), *self.beside]))

    @property
    def ways(self) -> tuple[str, ...]:
        """The libraries and the limit, in the order of their turns."""
        # The limit has no event loop, but the same moment counts.
        return (*self.libraries, LIMIT) if self.limited else self.libraries
