"""Waiting for a condition, never for a time."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from typing import Any


async def until(condition: Callable[[], Any], what: str = "the condition", seconds: float = 15) -> Any:
    """Return the first true value of `condition` (a function or a coroutine function)."""
    try:
        async with asyncio.timeout(seconds):
            while True:
                value = condition()
                if inspect.isawaitable(value):
                    value = await value
                if value:
                    return value
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"{what} did not come true within {seconds} s") from None


async def take(stream: AsyncIterator[Any], count: int, seconds: float = 15) -> list[Any]:
    """Return the next `count` items of a stream."""
    items: list[Any] = []
    try:
        async with asyncio.timeout(seconds):
            while len(items) < count:
                items.append(await anext(stream))
    except TimeoutError:
        raise AssertionError(f"{len(items)} of {count} items within {seconds} s: {items!r:.500}") from None
    return items


async def nothing(stream: AsyncIterator[Any], seconds: float = 0.15) -> None:
    """Check that a stream has nothing to give. Not to be used where something could be late."""
    task = asyncio.ensure_future(anext(stream))
    done, _ = await asyncio.wait({task}, timeout=seconds)
    if done:
        raise AssertionError(f"unexpected: {task.result()!r}")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
