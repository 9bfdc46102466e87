"""One round: a system, the faults of a schedule, and the verdict."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.injector import Injector
from tests.chaos.process import Worker
from tests.chaos.schedule import Schedule
from tests.chaos.system import System
from tests.chaos.verdict import Verdict, Violation, judge, losses

# Every wait of the backend has ended long before, see worker.BOUNDS.
SETTLE_SECONDS = 15.0
# Times that one more event is published on every channel, to see who is deaf.
MARKS = 2


@dataclass(slots=True)
class Result:
    """A round's schedule, what was done when, and the verdict."""

    schedule: Schedule
    timeline: list[str] = field(default_factory=list)
    verdict: Verdict = field(default_factory=Verdict)


async def run_round(
    schedule: Schedule,
    *,
    bug: str | None = None,
    say: Callable[[str], None] = lambda line: None,
    settle_seconds: float = SETTLE_SECONDS,
) -> Result:
    """Run a schedule and judge what the consumers saw.

    Args:
        schedule: The faults, and how many workers there are.
        bug: One of bugs.BUGS, planted in every consumer.
        say: Gets each line of the timeline at once.
        settle_seconds: How long consumers may take to get or report everything, once nothing disturbs them.
    """
    result = Result(schedule)

    def log(line: str) -> None:
        result.timeline.append(line)
        say(line)

    with tempfile.TemporaryDirectory(prefix="gapless-chaos-") as folder:
        system = System(schedule, Path(folder), bug)
        extra: list[Violation] = []
        try:
            await system.start()
            extra += await _disturb_and_settle(system, schedule, log, settle_seconds)
        except (EOFError, TimeoutError) as error:
            extra.append(Violation("worker", "a worker", "any", str(error) or "no answer in time"))
        finally:
            # Shielded: Ctrl-C must leave no process behind.
            problems = await asyncio.shield(asyncio.ensure_future(system.stop()))
        result.verdict = judge(system.history(), schedule.allowed_needless_gaps(), schedule.reasons())
        extra += [Violation("worker", name, "any", text) for name, text in problems.items()]
        result.verdict.violations += extra
    return result


async def _disturb_and_settle(
    system: System, schedule: Schedule, log: Callable[[str], None], settle_seconds: float
) -> list[Violation]:
    """Publish under faults; then see that everything comes out, first by itself, then with one more event."""
    started = time.monotonic()
    for producer in system.producers:
        producer.ask(do="publish")
    faults = asyncio.ensure_future(Injector(system, log).run(schedule.faults))
    try:
        await asyncio.sleep(schedule.seconds)
        # Faults that began late outlast the producers: what they cost shows at the end of a channel.
        await faults
    finally:
        faults.cancel()
        await asyncio.gather(faults, return_exceptions=True)
    system.heal()
    await system.remove_wrong_keys()
    await _ask_all(system.producers, "pause")
    log(f"{time.monotonic() - started:6.2f} s  the faults are over, nothing is published any more")
    left = await _settle(system, settle_seconds)
    found = [
        Violation("tail", v.consumer, v.channel, f"{settle_seconds:g} s later still: {v.text}") for v in left
    ]
    for attempt in range(MARKS):
        marks = [mark for answer in await _ask_all(system.producers, "finish") for mark in answer["finished"]]
        log(f"{time.monotonic() - started:6.2f} s  one more event on every channel")
        deaf = await _expect(system, marks, settle_seconds)
        # Some repairs outlast the faults, and where a read had been refused the next loss of a connection is a
        # Gap: a mark may lie in it. Nobody is deaf who gets the next ones.
        if not deaf or losses(system.history()) or attempt == MARKS - 1:
            found += deaf
            break
    log(f"{time.monotonic() - started:6.2f} s  the end")
    return found


async def _expect(system: System, marks: list[str], seconds: float) -> list[Violation]:
    """Return who does not get all of `marks` in time."""
    for consumer in system.consumers:
        consumer.ask(do="expect", payloads=marks)
    deaf: list[Violation] = []
    for consumer in system.consumers:
        try:
            await consumer.answer(seconds)
        except TimeoutError:
            deaf.append(_deaf(system, consumer, marks, seconds))
    return deaf


async def _ask_all(workers: list[Worker], request: str) -> list[dict[str, list[str]]]:
    for worker in workers:
        worker.ask(do=request)
    return [await worker.answer(SETTLE_SECONDS) for worker in workers]


async def _settle(system: System, seconds: float) -> list[Violation]:
    """Return when no loss is left, or the losses that are left after `seconds`."""
    end = time.monotonic() + seconds
    while left := losses(system.history()):
        if time.monotonic() > end:
            return left
        await asyncio.sleep(0.25)
    return []


def _deaf(system: System, consumer: Worker, marks: list[str], seconds: float) -> Violation:
    items = next(c.items for c in system.history().consumers if c.name == consumer.name)
    missing = sorted(set(marks) - {item.payload for item in items})
    return Violation("deaf", consumer.name, "any", f"not received within {seconds:g} s: {missing}")
