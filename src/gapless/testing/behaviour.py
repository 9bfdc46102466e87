"""What a suite of behaviours is made of: each runs on a backend of its own, in an event loop of its own."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any

from gapless.backends.base import ChannelsBackend

Behaviour = Callable[[Any, ChannelsBackend], Awaitable[None]]


def behaviour(body: Behaviour) -> Callable[[BehaviourSuite], None]:
    """Turn a coroutine that takes a backend into a test method."""

    def test(self: BehaviourSuite) -> None:
        asyncio.run(self.run_behaviour(body))

    test.__name__ = body.__name__
    test.__qualname__ = body.__qualname__
    test.__doc__ = body.__doc__
    return test


async def take(stream: AsyncGenerator[Any, None], count: int) -> list[Any]:
    """Return the next `count` items."""
    return [await anext(stream) for _ in range(count)]


class BehaviourSuite(ABC):
    """Runs behaviours.

    Attributes:
        time_limit_seconds: For one behaviour.
    """

    time_limit_seconds = 20.0

    @abstractmethod
    def open_backend(self) -> AbstractAsyncContextManager[ChannelsBackend]:
        """Return a context manager that gives a fresh backend, keeping 10 events of history if any."""

    async def run_behaviour(self, body: Behaviour) -> None:
        """Run one behaviour on a fresh backend, and shut that down."""
        async with asyncio.timeout(self.time_limit_seconds), self.open_backend() as backend:
            try:
                await body(self, backend)
            finally:
                await backend.on_shutdown()


async def live(backend: ChannelsBackend, published: list[tuple[str, bytes]]) -> None:
    """Check that exactly `published` comes out of the stream, then a mark published now."""
    await backend.subscribe(["mark"])
    await backend.publish(b"mark", ["mark"])
    async with aclosing(backend.stream_events()) as stream:
        got = await take(stream, len(published) + 1)
    assert got == [*published, ("mark", b"mark")]


async def raises(expected: type[Exception], call: Awaitable[Any]) -> None:
    try:
        await call
    except expected:
        return
    raise AssertionError(f"{expected.__name__} was not raised")
