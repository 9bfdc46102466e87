"""The endpoints for Starlette and FastAPI."""

from __future__ import annotations

import asyncio
import json
import sys
from base64 import b64encode
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.websockets import WebSocket
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from gapless import (
    Channels,
    ConfigurationError,
    MemoryChannelsBackend,
    RedisChannelsPubSubBackend,
    RedisChannelsStreamBackend,
)
from gapless._core import cursor as cursors
from gapless.integrations.starlette import EventStream, allow_all, lifespan, routes, serve_websocket
from gapless.transports import websocket as codes
from tests.conftest import make_client
from tests.support.servers import Server
from tests.support.waiting import until
from tests.support.web import events, listening, serving


def app_of(authorize: Callable[..., Any], **options: Any) -> tuple[Starlette, Channels]:
    hub = Channels(MemoryChannelsBackend(history=100))
    return Starlette(routes=routes(hub, authorize=authorize, **options), lifespan=lifespan(hub)), hub


async def close_code(url: str) -> int:
    async with asyncio.timeout(10), connect(url) as socket:
        try:
            while True:
                await socket.recv()
        except ConnectionClosed as end:
            assert end.rcvd is not None
            return end.rcvd.code


async def test_a_client_names_its_channels() -> None:
    app, hub = app_of(allow_all)
    async with (
        serving(app) as web,
        connect(f"ws://{web.address}/ws?channel=a") as socket,
        listening(f"{web.url}/events?channel=a&channel=b") as source,
    ):
        await until(lambda: hub.stats.subscribers == 2, "the subscribers")
        await hub.publish("x", ["b", "a"])
        assert [json.loads(event.data)["channel"] for event in await events(source, 2)] == ["b", "a"]
        async with asyncio.timeout(5):
            assert await socket.recv() == "x"


def refuse(connection: HTTPConnection, channels: Sequence[str]) -> bool:
    return False


async def refuse_later(connection: HTTPConnection, channels: Sequence[str]) -> bool:
    await asyncio.sleep(0)
    return False


def fail(connection: HTTPConnection, channels: Sequence[str]) -> bool:
    raise ZeroDivisionError


def answer_itself(connection: HTTPConnection, channels: Sequence[str]) -> bool:
    raise HTTPException(401, "log in")


def forget_to_answer(connection: HTTPConnection, channels: Sequence[str]) -> None:
    return None


@pytest.mark.parametrize(
    ("authorize", "status"),
    [(refuse, 403), (refuse_later, 403), (fail, 403), (answer_itself, 401), (forget_to_answer, 403)],
)
async def test_who_may_not_watch_gets_nothing(authorize: Callable[..., Any], status: int) -> None:
    app, hub = app_of(authorize)
    async with serving(app) as web, httpx.AsyncClient() as client:
        response = await client.get(f"{web.url}/events?channel=secret")
        assert response.status_code == status
        assert "0-0" not in response.text
        assert await close_code(f"ws://{web.address}/ws?channel=secret") == codes.FORBIDDEN
        assert hub.stats.channels == 0


async def test_routes_pass_on_how_events_are_sent() -> None:
    app, hub = app_of(allow_all, envelope=True, base64=True, retry=7, mode="binary")
    async with serving(app) as web:
        async with listening(f"{web.url}/events?channel=a") as source:
            chunks = source.response.aiter_raw()
            assert (await anext(chunks)).startswith(b"retry: 7000\n")
            await hub.publish("hello", "a")
            sent = (await anext(chunks)).splitlines()[0].removeprefix(b"data: ")
            assert json.loads(sent) == {"channel": "a", "data": b64encode(b"hello").decode()}
        async with connect(f"ws://{web.address}/ws?channel=a") as socket:
            await until(lambda: hub.stats.subscribers == 1, "the subscriber")
            await hub.publish("hello", "a")
            assert await socket.recv() == b"hello"


def test_somebody_has_to_say_who_may_watch() -> None:
    with pytest.raises(TypeError):
        routes(Channels(MemoryChannelsBackend()))  # type: ignore[call-arg]
    with pytest.raises(ConfigurationError, match="authorize"):
        routes(Channels(MemoryChannelsBackend()), authorize=None)  # type: ignore[arg-type]


async def test_ten_thousand_channels_in_one_request_are_refused() -> None:
    app, hub = app_of(allow_all)
    query = "&".join(f"channel={number}" for number in range(4000))  # a request line has a bound, too
    async with serving(app) as web, httpx.AsyncClient() as client:
        response = await client.get(f"{web.url}/events?{query}")
        assert response.status_code == 400
        assert "1 to 100 channels" in response.text
        assert (await client.get(f"{web.url}/events")).status_code == 400
        few = "&".join(f"channel={number}" for number in range(101))
        assert await close_code(f"ws://{web.address}/ws?{few}") == codes.BAD_REQUEST
        assert hub.stats.channels == 0


async def test_a_channel_that_was_not_declared_is_404_and_a_close_code_of_its_own() -> None:
    hub = Channels(MemoryChannelsBackend(history=100), channels=["a"])
    app = Starlette(routes=routes(hub, authorize=allow_all), lifespan=lifespan(hub))
    async with serving(app) as web, httpx.AsyncClient() as client:
        response = await client.get(f"{web.url}/events?channel=a&channel=b")
        assert response.status_code == 404
        assert "'b'" in response.text
        assert await close_code(f"ws://{web.address}/ws?channel=b") == codes.UNKNOWN_CHANNEL


async def customer(connection: HTTPConnection) -> str:
    name = connection.query_params.get("token")
    if name is None:
        raise HTTPException(401, "log in")
    return name


async def test_dependencies_of_fastapi_say_who_may_watch_and_what() -> None:
    hub = Channels(MemoryChannelsBackend(history=100))
    app = FastAPI(lifespan=lifespan(hub))

    @app.get("/events")
    async def events_of(request: Request, name: Annotated[str, Depends(customer)]) -> EventStream:
        return EventStream(request, hub, f"orders:{name}")

    @app.websocket("/ws")
    async def socket_of(websocket: WebSocket, name: Annotated[str, Depends(customer)]) -> None:
        await serve_websocket(websocket, hub, f"orders:{name}")

    async with serving(app) as web, httpx.AsyncClient() as client:
        assert (await client.get(f"{web.url}/events")).status_code == 401
        with pytest.raises(InvalidStatus):
            async with connect(f"ws://{web.address}/ws"):
                pass
        assert hub.stats.channels == 0
        async with (
            listening(f"{web.url}/events?token=anna") as source,
            connect(f"ws://{web.address}/ws?token=anna") as socket,
        ):
            await until(lambda: hub.stats.subscribers == 2, "the subscribers")
            await hub.publish("for bert", "orders:bert")
            await hub.publish("for anna", "orders:anna")
            assert [event.data for event in await events(source, 1)] == ["for anna"]
            async with asyncio.timeout(5):
                assert await socket.recv() == "for anna"


async def test_a_server_that_is_away_is_503_and_comes_back(own_server: Server) -> None:
    redis = make_client(own_server)
    backend = RedisChannelsStreamBackend(100, redis=redis, publish_timeout=0.2, subscribe_timeout=0.2)
    hub = Channels(backend)
    app = Starlette(routes=routes(hub, authorize=allow_all, history=1), lifespan=lifespan(hub))
    async with serving(app) as web, httpx.AsyncClient() as client:
        await hub.publish("before", "a")
        own_server.kill()
        response = await client.get(f"{web.url}/events?channel=a")
        assert response.status_code == 503
        assert response.headers["retry-after"] == "2"
        assert await close_code(f"ws://{web.address}/ws?channel=b") == codes.UNAVAILABLE
        own_server.start()
        await until(lambda: backend.health().connected, "the reconnect")
        async with listening(f"{web.url}/events?channel=a") as source:
            await until(lambda: hub.stats.subscribers, "the subscriber")
            await hub.publish("after", "a")
            assert (await events(source, 1))[0].data in {"after", "before"}
    await redis.aclose()


async def test_a_cursor_that_the_backend_can_not_resume_from_is_refused(server: Server) -> None:
    redis = make_client(server)
    hub = Channels(RedisChannelsPubSubBackend(redis=redis))
    app = Starlette(routes=routes(hub, authorize=allow_all), lifespan=lifespan(hub))
    cursor = cursors.join([(cursors.digest("a"), "1700000000000-0")])
    async with serving(app) as web, httpx.AsyncClient() as client:
        answer = await client.get(f"{web.url}/events?channel=a&last_event_id={cursor}")
        assert answer.status_code == 400
        assert "keeps no history" in answer.json()["detail"]
        async with listening(f"{web.url}/events?channel=a") as source:
            await until(lambda: hub.stats.subscribers, "the subscriber")
            await hub.publish("x", "a")
            assert (await events(source, 1))[0].data == "x"
    await redis.aclose()


async def test_the_example_resumes(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", server.url)
    sys.modules.pop("examples.fastapi_notifications", None)
    from examples.fastapi_notifications import app, hub

    async with serving(app) as web, httpx.AsyncClient() as client:

        async def notify(text: str) -> None:
            response = await client.post(f"{web.url}/users/anna/notifications", params={"text": text})
            assert response.status_code == 200

        async with listening(f"{web.url}/users/anna/events") as source:
            await until(lambda: hub.stats.subscribers, "the browser")
            await notify("one")
            (seen,) = await events(source, 1)
        await notify("two")
        await notify("three")
        async with listening(f"{web.url}/users/anna/events", last_event_id=seen.id) as source:
            assert [json.loads(event.data)["text"] for event in await events(source, 2)] == ["two", "three"]
