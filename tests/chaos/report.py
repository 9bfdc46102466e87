"""What a round prints."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator

from tests.chaos.runner import Result
from tests.chaos.schedule import Schedule

MAX_VIOLATIONS = 20


def command(schedule: Schedule, options: str = "") -> str:
    """Return the command that runs the round of a schedule again."""
    words = (
        f"python -m tests.chaos --seed {schedule.seed} --topology {schedule.topology} "
        f"--seconds {schedule.seconds:g} --producers {schedule.producers} --consumers {schedule.consumers}"
    )
    return shlex.join(shlex.split(f"{words} {options}"))


def heading(schedule: Schedule) -> str:
    return (
        f"seed {schedule.seed}: {schedule.topology}, persistence {schedule.persistence}, "
        f"{schedule.producers} producers, {schedule.consumers} consumers, {schedule.seconds:g} s, "
        f"{len(schedule.faults)} faults"
    )


def summary(result: Result) -> Iterator[str]:
    """Yield the figures, and what is wrong."""
    verdict = result.verdict
    published = verdict.published
    yield (
        f"published {published['acknowledged']} acknowledged, {published['uncertain']} uncertain, "
        f"{published['failed']} failed; received {verdict.received}, missed {verdict.missed}"
    )
    yield f"gaps {_counts(verdict.gaps)}; without a loss {_counts(verdict.needless_gaps)}"
    violations = verdict.violations
    if not violations:
        yield "ok"
        return
    yield f"FAILED: {_counts(Counter(violation.kind for violation in violations))}"
    yield from (f"  {violation}" for violation in violations[:MAX_VIOLATIONS])
    if len(violations) > MAX_VIOLATIONS:
        yield f"  and {len(violations) - MAX_VIOLATIONS} more"


def _counts(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "none"
