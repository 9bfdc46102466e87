"""The smallest schedule that still fails."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from tests.chaos.schedule import Schedule


async def shrink(
    schedule: Schedule, fails: Callable[[Schedule], Awaitable[bool]], tries: int
) -> tuple[Schedule, str]:
    """Leave faults out, in halves and then one by one, while the schedule fails without them.

    Returns:
        The smallest schedule that was seen to fail, and a sentence on how far that can be trusted.
    """
    if not await fails(schedule):
        return schedule, "the failure did not repeat: the schedule is not smaller, and timing decides"
    tries -= 1
    size = len(schedule.faults)
    while size:
        size = (size + 1) // 2
        start = 0
        while start < len(schedule.faults):
            if not tries:
                return schedule, "the tries are used up: a smaller schedule may fail as well"
            smaller = schedule.without(schedule.faults[start : start + size])
            tries -= 1
            if await fails(smaller):
                schedule = smaller
            else:
                start += size
        if size == 1:
            break
    return schedule, "it did not fail without any of these faults"
