"""What applications and clients may do to the endpoints for Starlette and FastAPI without harm."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from gapless import Channels, MemoryChannelsBackend
from gapless._core import cursor as cursors
from gapless.integrations.starlette import EventStream, allow_all, lifespan, routes
from tests.support.web import events, listening, serving


@pytest.fixture
def hub() -> Channels:
    return Channels(MemoryChannelsBackend(history=100))


def app_of(hub: Channels, make: Callable[[Request], EventStream]) -> Starlette:
    async def stream(request: Request) -> EventStream:
        return make(request)

    return Starlette(routes=[Route("/events", stream)], lifespan=lifespan(hub))


async def test_a_cursor_from_another_backend_is_a_gap_and_no_error_of_the_server(hub: Channels) -> None:
    # As Redis gives them to a client that has received nothing; then the application moves to memory.
    cursor = cursors.join([(cursors.digest("a"), "1700000000000-0@abcdef012345")])
    app = Starlette(routes=routes(hub, authorize=allow_all), lifespan=lifespan(hub))
    async with serving(app) as web:
        await hub.publish("x", "a")
        async with listening(f"{web.url}/events?channel=a", last_event_id=cursor) as source:
            assert source.response.status_code == 200
            (gap,) = await events(source, 1)
            assert gap.event == "gap"
