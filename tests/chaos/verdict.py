"""Whether a history is what gapless promises. Pure.

Each consumer's stream of a channel is judged by what is known of the real order: if one publish had ended
before another began, its event comes first.

- order: no event comes after one whose publish began when its own had ended. Only acknowledged publishes count.
- duplicate: no payload comes twice; every publish has its own.
- phantom: nothing is received that was never published, or whose publish has failed for certain.
- loss: an acknowledged event that was not received has a Gap in its place: after the last event that surely came
  before it, and before the first that surely came after it.
- cry-wolf: a Gap in whose place nothing is missing, not even an uncertain publish, is counted; how many there may
  be, says `Schedule.allowed_needless_gaps()`.
- reason: a Gap has a reason that no fault of the schedule can be the cause of.
- count: a Gap says that more events are lost than were published between its neighbours; or all gaps in a place
  count, and fewer than are missing there.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate

from tests.chaos.history import Consumer, History, Item, Publish

# A publish that has ended as uncertain may still be on its way to the server, held up by a fault of the network.
LATE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Violation:
    kind: str
    consumer: str
    channel: str
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.consumer} on {self.channel}: {self.text}"


@dataclass(slots=True)
class Verdict:
    """What is wrong, and figures: publishes by outcome, events, gaps, missed events, gaps without a loss."""

    violations: list[Violation] = field(default_factory=list)
    published: Counter[str] = field(default_factory=Counter)
    received: int = 0
    missed: int = 0
    gaps: Counter[str] = field(default_factory=Counter)
    needless_gaps: Counter[str] = field(default_factory=Counter)

    @property
    def kinds(self) -> set[str]:
        return {violation.kind for violation in self.violations}


def judge(
    history: History, allowed_needless_gaps: Mapping[str, int], reasons: Collection[str] | None = None
) -> Verdict:
    """Judge every consumer's stream of every channel.

    Args:
        history: What was recorded.
        allowed_needless_gaps: By consumer, for each channel; none is allowed to a consumer that is not in it.
        reasons: That a Gap may have; None for any.
    """
    verdict = Verdict(published=Counter(publish.outcome for publish in history.publishes))
    channels = sorted({publish.channel for publish in history.publishes})
    known = {publish.payload: publish for publish in history.publishes}
    for consumer in history.consumers:
        for item in consumer.items:
            if item.reason and reasons is not None and item.reason not in reasons:
                verdict.violations.append(
                    Violation("reason", consumer.name, item.channel, f"a Gap ({item.reason}) without a cause")
                )
            if item.channel not in channels:
                verdict.violations.append(
                    Violation("phantom", consumer.name, item.channel, f"nothing was published there: {item}")
                )
        for channel in channels:
            _Stream(consumer, channel, known).judge(verdict, allowed_needless_gaps.get(consumer.name, 0))
    return verdict


def losses(history: History) -> list[Violation]:
    """Return the losses alone: what is asked again and again while a system settles."""
    return [violation for violation in judge(history, {}).violations if violation.kind == "loss"]


class _Stream:
    """What one consumer got of one channel."""

    def __init__(self, consumer: Consumer, channel: str, known: Mapping[str, Publish]) -> None:
        self.consumer = consumer
        self.channel = channel
        self.known = known
        self.items = [item for item in consumer.items if item.channel == channel]
        self.gaps = [position for position, item in enumerate(self.items) if item.reason]
        self.places: dict[str, int] = {}
        for position, item in enumerate(self.items):
            if not item.reason:
                self.places.setdefault(item.payload, position)
        self._index_times()

    def judge(self, verdict: Verdict, allowed: int) -> None:
        verdict.received += len(self.places)
        verdict.gaps.update(self.items[position].reason for position in self.gaps)
        verdict.violations += self._violations()
        missing = [
            publish
            for publish in self.known.values()
            if publish.channel == self.channel
            and publish.began > self.consumer.subscribed
            and publish.payload not in self.places
        ]
        holes = [self._hole(publish) for publish in missing if publish.outcome != "failed"]
        lost = [publish for publish in missing if publish.outcome == "acknowledged"]
        verdict.missed += len(lost)
        verdict.violations += self._losses(lost)
        verdict.violations += self._counts(holes, [self._hole(publish) for publish in lost])
        needless = [gap for gap in self.gaps if not any(before < gap < behind for before, behind in holes)]
        verdict.needless_gaps.update(self.items[gap].reason for gap in needless)
        if len(needless) > allowed:
            gaps = ", ".join(f"{self.items[gap].reason} after {self._name(gap - 1)}" for gap in needless)
            verdict.violations.append(
                self._violation("cry-wolf", f"{len(needless)} gaps without a loss, {allowed} allowed: {gaps}")
            )

    def _violations(self) -> Iterator[Violation]:
        seen: set[str] = set()
        latest: Publish | None = None
        for position, item in enumerate(self.items):
            if item.reason:
                continue
            publish = self.known.get(item.payload)
            if publish is None or publish.channel != self.channel:
                yield self._violation("phantom", f"{item.payload!r} was not published there")
                continue
            if item.payload in seen:
                first, again = self._before(self.places[item.payload]), self._before(position)
                yield self._violation(
                    "duplicate", f"{item.payload} (id {item.id}) came after {first}, and again after {again}"
                )
                continue
            seen.add(item.payload)
            if publish.outcome == "failed":
                yield self._violation("phantom", f"{item.payload} came, but publish raised {publish.error}")
            elif publish.outcome == "acknowledged":
                if latest is not None and publish.ended < latest.began:
                    yield self._violation("order", f"{item.payload} came after {latest.payload}")
                if latest is None or publish.began > latest.began:
                    latest = publish

    def _losses(self, lost: list[Publish]) -> Iterator[Violation]:
        """Yield one violation for each run of lost events between the same two that were received."""
        runs: dict[tuple[int, int], list[Publish]] = {}
        for publish in lost:
            before, behind = self._hole(publish)
            nearest = bisect_right(self.gaps, before)
            if nearest == len(self.gaps) or self.gaps[nearest] >= behind:
                runs.setdefault((before, behind), []).append(publish)
        for (before, behind), publishes in runs.items():
            names = ", ".join(publish.payload for publish in publishes[:3])
            yield self._violation(
                "loss",
                f"{len(publishes)} acknowledged events and no Gap between {self._name(before)} and "
                f"{self._name(behind)}: {names}{', ...' if len(publishes) > 3 else ''}",
            )

    def _counts(self, holes: list[tuple[int, int]], certain: list[tuple[int, int]]) -> Iterator[Violation]:
        """Yield a violation for each Gap that counts more events than are missing in its place, or fewer.

        certain: The holes of acknowledged events; an uncertain publish may have left none.
        """
        for gap in self.gaps:
            lost = self.items[gap].lost
            missing = sum(before < gap < behind for before, behind in holes)
            if lost is not None and lost > missing:
                yield self._violation(
                    "count", f"{_short(self.items[gap])}: {lost} lost, {missing} are missing"
                )
        for before, behind in set(certain):
            counts = [self.items[gap].lost for gap in self.gaps if before < gap < behind]
            known = [count for count in counts if count is not None]
            missing = sum(before <= other[0] and other[1] <= behind for other in certain)
            if known and len(known) == len(counts) and sum(known) < missing:
                where = f"between {self._name(before)} and {self._name(behind)}"
                yield self._violation("count", f"{sum(known)} lost {where}, {missing} are missing")

    def _index_times(self) -> None:
        """Prepare to find the neighbours of an event in the stream by the times of its publish."""
        received = [
            (self.known[payload], position)
            for payload, position in self.places.items()
            if payload in self.known
        ]
        ended = sorted((p.ended, position) for p, position in received if p.outcome == "acknowledged")
        self._ended = [time for time, _ in ended]
        self._last_before = list(accumulate((position for _, position in ended), max, initial=-1))
        began = sorted((p.began, position) for p, position in received)
        self._began = [time for time, _ in began]
        behind = accumulate((position for _, position in reversed(began)), min, initial=len(self.items))
        self._first_behind = list(behind)[::-1]

    def _hole(self, publish: Publish) -> tuple[int, int]:
        """Return the positions between which its event belongs, both excluded."""
        before = self._last_before[bisect_left(self._ended, publish.began)]
        executed = publish.ended + (LATE_SECONDS if publish.outcome == "uncertain" else 0)
        return before, self._first_behind[bisect_right(self._began, executed)]

    def _name(self, position: int) -> str:
        if position < 0:
            return "the beginning"
        return "the end" if position >= len(self.items) else _short(self.items[position])

    def _before(self, position: int) -> str:
        """Name the items before a position."""
        return ", ".join(map(self._name, range(max(-1, position - 4), position)))

    def _violation(self, kind: str, text: str) -> Violation:
        return Violation(kind, self.consumer.name, self.channel, text)


def _short(item: Item) -> str:
    return f"a Gap ({item.reason})" if item.reason else f"{item.payload} (id {item.id})"
