"""What applications and clients may do to the endpoints for Starlette and FastAPI without harm."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from gapless import Channels, ConfigurationError, MemoryChannelsBackend
from gapless._core import cursor as cursors
from gapless.integrations.starlette import EventStream, allow_all, lifespan, routes, serve_websocket
from gapless.transports import websocket as codes
from tests.support.waiting import until
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


async def test_headers_and_cookies_that_are_set_later_are_sent(hub: Channels) -> None:
    def make(request: Request) -> EventStream:
        response = EventStream(request, hub, "a", headers={"X-First": "1", "Cache-Control": "no-store"})
        response.headers["x-second"] = "2"
        response.set_cookie("session", "abc")
        return response

    async with serving(app_of(hub, make)) as web, listening(f"{web.url}/events") as source:
        headers = source.response.headers
        assert source.response.cookies["session"] == "abc"
        assert (headers["x-first"], headers["x-second"]) == ("1", "2")
        assert headers.get_list("cache-control") == ["no-store"]
        assert headers.get_list("content-type") == ["text/event-stream; charset=utf-8"]
        assert "content-length" not in headers


async def test_what_is_to_be_done_afterwards_is_done_when_the_client_has_left(hub: Channels) -> None:
    done: list[int] = []

    def make(request: Request) -> EventStream:
        response = EventStream(request, hub, "a")
        response.background = BackgroundTask(lambda: done.append(hub.stats.subscribers))
        return response

    async with serving(app_of(hub, make)) as web:
        async with listening(f"{web.url}/events"):
            await until(lambda: hub.stats.subscribers, "the subscriber")
            assert not done
        await until(lambda: done, "the task")
        assert done == [0]


async def test_head_is_answered_and_leaves_the_connection_free(hub: Channels) -> None:
    app = Starlette(routes=routes(hub, authorize=allow_all), lifespan=lifespan(hub))
    app.router.routes.append(Route("/other", lambda request: PlainTextResponse("other")))
    limits = httpx.Limits(max_connections=1)
    async with serving(app) as web, httpx.AsyncClient(timeout=5, limits=limits) as client:
        response = await client.head(f"{web.url}/events?channel=a")
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert (await client.get(f"{web.url}/other")).text == "other"
        assert hub.stats.subscribers == 0


@pytest.mark.parametrize(
    "options",
    [{"heartbeat": 0}, {"heartbeat": -1}, {"retry": -1}, {"retry": float("inf")}, {"policy": "none"}],
    ids=str,
)
async def test_arguments_out_of_range_are_refused_and_leave_no_subscriber(
    hub: Channels, options: dict[str, Any]
) -> None:
    errors: list[Exception] = []

    def make(request: Request) -> EventStream:
        try:
            return EventStream(request, hub, (name for name in ["a"]), **options)
        except Exception as error:
            errors.append(error)
            raise HTTPException(500) from None

    async with serving(app_of(hub, make)) as web, httpx.AsyncClient() as client:
        assert (await client.get(f"{web.url}/events")).status_code == 500
        assert isinstance(errors[0], ConfigurationError)
        assert hub.stats.subscribers == 0


async def test_headers_that_are_none_leave_no_subscriber(hub: Channels) -> None:
    def make(request: Request) -> EventStream:
        try:
            return EventStream(request, hub, "a", headers={"x-number": 1})  # type: ignore[dict-item]
        except AttributeError:
            raise HTTPException(500) from None

    async with serving(app_of(hub, make)) as web, httpx.AsyncClient() as client:
        assert (await client.get(f"{web.url}/events")).status_code == 500
        assert hub.stats.subscribers == 0


async def test_a_refusal_with_a_long_reason_has_its_close_code(hub: Channels) -> None:
    def authorize(connection: HTTPConnection, channels: Sequence[str]) -> bool:
        raise HTTPException(401, "é" * 200)

    app = Starlette(routes=routes(hub, authorize=authorize), lifespan=lifespan(hub))
    async with (
        serving(app) as web,
        asyncio.timeout(10),
        connect(f"ws://{web.address}/ws?channel=a") as socket,
    ):
        with pytest.raises(ConnectionClosed) as end:
            await socket.recv()
        assert end.value.rcvd is not None
        assert end.value.rcvd.code == codes.FORBIDDEN
        assert end.value.rcvd.reason.startswith("éé")


@pytest.mark.parametrize("subprotocols", [None, [Subprotocol("gapless.v1")]])
async def test_what_the_application_says_wrong_is_raised_there_and_not_told_to_the_client(
    hub: Channels, subprotocols: list[Subprotocol] | None
) -> None:
    errors: list[Exception] = []

    async def serve(websocket: WebSocket) -> None:
        try:
            await serve_websocket(websocket, hub, "a", policy="none")  # type: ignore[arg-type]
        except ConfigurationError as error:
            errors.append(error)
        await websocket.close(1011)

    app = Starlette(routes=[WebSocketRoute("/ws", serve)], lifespan=lifespan(hub))
    async with serving(app) as web, asyncio.timeout(10):
        async with connect(f"ws://{web.address}/ws", subprotocols=subprotocols) as socket:
            if subprotocols:
                await socket.send("{}")
            with pytest.raises(ConnectionClosed) as end:
                await socket.recv()
        assert end.value.rcvd is not None
        assert (end.value.rcvd.code, end.value.rcvd.reason) == (1011, "")
        assert "policy" in str(errors[0])
        assert hub.stats.subscribers == 0


async def test_a_socket_that_was_accepted_already_is_an_error_that_says_so(hub: Channels) -> None:
    errors: list[Exception] = []

    async def accept_and_serve(websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            await serve_websocket(websocket, hub, "a")
        except ConfigurationError as error:
            errors.append(error)
        await websocket.close()

    app = Starlette(routes=[WebSocketRoute("/ws", accept_and_serve)], lifespan=lifespan(hub))
    async with serving(app) as web, connect(f"ws://{web.address}/ws"):
        await until(lambda: errors, "the error", 5)
    assert "accepted" in str(errors[0])


@pytest.mark.parametrize(
    ("name", "value"),
    [("max_channels", 0), ("heartbeat", 0), ("retry", -1), ("first_message_timeout", "10"), ("mode", "txt")],
)
def test_what_routes_are_made_with_is_looked_at_at_once(hub: Channels, name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=name):
        routes(hub, authorize=allow_all, **{name: value})
