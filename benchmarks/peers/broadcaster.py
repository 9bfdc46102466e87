"""What the documentation of FastAPI's ecosystem proposes for server-sent events: sse-starlette with broadcaster."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from broadcaster import Broadcast
from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from benchmarks.peers import CHANNEL


class Application:
    """As in the README files of both."""

    def __init__(self) -> None:
        self._broadcast = Broadcast("memory://")
        self.app = Starlette(routes=[Route("/room", self._events)], lifespan=self._lifespan)

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:  # noqa: ARG002
        async with self._broadcast:
            yield

    async def _events(self, request: Request) -> EventSourceResponse:  # noqa: ARG002
        async def events() -> AsyncIterator[dict[str, Any]]:
            async with self._broadcast.subscribe(channel=CHANNEL) as subscriber:
                async for event in subscriber:
                    yield {"data": event.message}

        return EventSourceResponse(events())

    def clients(self) -> int:
        return len(self._broadcast._subscribers.get(CHANNEL, ()))

    async def publish(self, data: str) -> None:
        await self._broadcast.publish(channel=CHANNEL, message=data)


def open_application(kind: str) -> Application:  # noqa: ARG001
    return Application()
