"""From the measurements of a document to the figures of its table. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from statistics import median
from typing import Any

from benchmarks.libraries import LIMIT
from benchmarks.rows import METRICS, Must, Row
from benchmarks.table import ROWS

# What a run writes: see `benchmarks.run`.
Document = dict[str, Any]

# A figure is too noisy if its repetitions lie further apart than this share of their median.
NOISY_SPREAD = 0.25


@dataclass(frozen=True, slots=True)
class Figure:
    """What the repetitions of one measurement gave."""

    median: float
    low: float
    high: float
    repetitions: int

    def is_noisy(self, resolution: float = 0.0) -> bool:
        spread = self.high - self.low
        return spread > resolution and spread > NOISY_SPREAD * self.median


@dataclass(frozen=True, slots=True)
class Verdict:
    """One requirement of a row.

    `ratio` is over pairs: the two libraries in the same repetition. `noisy`: one of the two figures is.
    """

    must: Must
    ratio: Figure | None
    met: bool
    noisy: bool


@dataclass(frozen=True, slots=True)
class RowSummary:
    """One row in one event loop."""

    row: Row
    loop: str
    figures: dict[str, dict[str, Figure]]  # library, metric
    verdicts: list[Verdict]
    failed: int

    @property
    def noisy(self) -> list[str]:
        """The libraries of which a required figure is too noisy to be quoted.

        Of an absolute requirement, when the repetitions of gapless don't agree whether it is met.
        """
        return [
            library
            for library, figures in self.figures.items()
            if any(
                _is_noisy(must, library, figures[must.metric])
                for must in self.row.musts or (Must(self.row.metrics[0], "times", 1),)
                if must.metric in figures
            )
        ]

    @property
    def ranking(self) -> list[str]:
        """The libraries that were measured, the best first. The limit is none."""
        metrics = self.row.metrics
        measured = [way for way in self.row.libraries if metrics[0] in self.figures[way]]
        # Those that don't differ, by the next figure.
        badness = [_badness(name, {way: self.figures[way].get(name) for way in measured}) for name in metrics]
        return sorted(measured, key=lambda way: [of_metric[way] for of_metric in badness])

    def lead(self, library: str) -> float | None:
        """How many times better gapless is than a library; None if they don't differ, or can't be compared.

        Beside nothing at all, everything is infinitely more.
        """
        name = self.row.metrics[0]
        metric = METRICS[name]
        if any(name not in self.figures[way] for way in (library, "gapless")):
            return None
        ours, theirs = (self.figures[way][name].median for way in ("gapless", library))
        if abs(ours - theirs) <= metric.resolution or ours == theirs:
            return None
        over, under = (ours, theirs) if metric.more_is_better else (theirs, ours)
        return over / under if under else inf

    def overlap(self, library: str) -> bool:
        """Return whether the repetitions of gapless and of a library lie in ranges that overlap."""
        ours, theirs = (self.figures[way][self.row.metrics[0]] for way in ("gapless", library))
        return ours.low <= theirs.high and theirs.low <= ours.high

    def share_of_limit(self, library: str) -> float | None:
        """How much of the limit a library reaches: of what it does in a second, or with what it costs."""
        name = self.row.metrics[0]
        if any(name not in self.figures[way] for way in (library, LIMIT)):
            return None
        theirs, limit = (self.figures[way][name].median for way in (library, LIMIT))
        over, under = (theirs, limit) if METRICS[name].more_is_better else (limit, theirs)
        return over / under if under else None


def _badness(name: str, figures: Mapping[str, Figure | None]) -> dict[str, float]:
    """Return what to sort by, for each library: the less the better, and the same for all that equal the best."""
    sign = -1 if METRICS[name].more_is_better else 1
    medians = {way: inf if figure is None else sign * figure.median for way, figure in figures.items()}
    best = min(medians.values(), default=inf)
    return {way: max(value, best + METRICS[name].resolution) for way, value in medians.items()}


def _is_noisy(must: Must, library: str, figure: Figure) -> bool:
    if must.kind == "below" and library == "gapless":
        return figure.low < must.bound <= figure.high
    return figure.is_noisy(METRICS[must.metric].resolution)


def summaries(document: Document, loop: str) -> list[RowSummary]:
    """Return the rows that were measured in an event loop, in the order of the table."""
    found: list[RowSummary] = []
    for row in ROWS:
        measurements = [m for m in document["measurements"] if m["row"] == row.name and m["loop"] == loop]
        if measurements:
            found.append(summarised(row, loop, measurements))
    return found


def summarised(row: Row, loop: str, measurements: Sequence[dict[str, Any]]) -> RowSummary:
    """Return what a row's measurements in an event loop give."""
    good = [m for m in measurements if "failed" not in m]
    figures: dict[str, dict[str, Figure]] = {}
    for library in (*row.libraries, LIMIT):
        figures[library] = {
            metric: figure(values)
            for metric in METRICS
            if (values := [v for _, v in _values(good, library, metric)])
        }
    verdicts = [v for must in row.musts if (v := _verdict(must, row, good, figures)) is not None]
    return RowSummary(row, loop, figures, verdicts, len(measurements) - len(good))


def _verdict(
    must: Must, row: Row, measurements: Sequence[dict[str, Any]], figures: dict[str, dict[str, Figure]]
) -> Verdict | None:
    if must.kind == "below":
        own = figures["gapless"].get(must.metric)
        if own is None:
            return None
        return Verdict(must, None, own.median < must.bound, _is_noisy(must, "gapless", own))
    against = LIMIT if must.of_limit else row.against or ""
    theirs = dict(_values(measurements, against, must.metric))
    ours = dict(_values(measurements, "gapless", must.metric))
    pairs = [(ours[n], theirs[n]) for n in sorted(ours.keys() & theirs.keys())]
    if not pairs:
        return None
    ratio = figure([a / b if must.kind == "times" else b / a for a, b in pairs])
    noisy = any(_is_noisy(must, way, figures[way][must.metric]) for way in ("gapless", against))
    return Verdict(must, ratio, ratio.median >= must.bound, noisy)


def _values(measurements: Sequence[dict[str, Any]], library: str, metric: str) -> Iterator[tuple[int, float]]:
    for measurement in measurements:
        if measurement["library"] == library and measurement.get(metric) is not None:
            yield measurement["repetition"], measurement[metric]


def figure(values: Sequence[float]) -> Figure:
    return Figure(median(values), min(values), max(values), len(values))
