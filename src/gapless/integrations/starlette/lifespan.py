"""The lifespan of an application that has a hub."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from gapless.hub import Channels
from gapless.transports.shutdown import ending_with_the_server


def lifespan(hub: Channels) -> Callable[[Any], AbstractAsyncContextManager[None]]:
    """Return a lifespan that opens `hub`: `FastAPI(lifespan=lifespan(hub))`.

    It ends the event streams as soon as the process is told to stop. Web servers wait for open responses
    before they end the lifespan, and an event stream has no end of its own.
    """

    @asynccontextmanager
    async def run(app: Any) -> AsyncIterator[None]:  # noqa: ARG001
        async with hub:
            with ending_with_the_server(hub):
                yield

    return run
