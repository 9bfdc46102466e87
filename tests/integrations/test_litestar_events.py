"""Event streams of Litestar handlers, with a real client."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import httpx
import pytest
from litestar import Litestar, Request, get
from litestar.datastructures import Cookie, ResponseHeader
from litestar.di import NamedDependency
from litestar.exceptions import NotAuthorizedException
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from gapless import RedisChannelsPubSubBackend, RedisChannelsStreamBackend
from gapless._core import cursor as cursors
from gapless.integrations.litestar import ChannelsPlugin, EventStream
from tests.conftest import make_client
from tests.integrations.conftest import MakePlugin
from tests.support.servers import Server
from tests.support.waiting import until
from tests.support.web import events, listening, serving


@get("/events", sync_to_thread=False)
def stream(request: Request[Any, Any, Any], channels: NamedDependency[ChannelsPlugin]) -> EventStream:
    options = json.loads(request.query_params.get("options", "{}"))
    return EventStream(
        request,
        channels,
        request.query_params.getall("channel", []),
        headers={"X-Mine": "1"},
        **options,
    )


def application(plugin: Any) -> Litestar:
    return Litestar(
        [stream],
        plugins=[plugin],
        response_headers=[ResponseHeader(name="X-Layer", value="2")],
        response_cookies=[Cookie(key="c", value="3")],
    )


async def test_events_and_resume(make_plugin: MakePlugin) -> None:
    plugin = make_plugin()
    async with serving(application(plugin)) as web:
        async with listening(f"{web.url}/events?channel=a") as source:
            headers = source.response.headers
            assert headers["content-type"].startswith("text/event-stream")
            assert (headers["x-mine"], headers["x-layer"]) == ("1", "2")
            assert headers["set-cookie"].startswith("c=3")
            await plugin.wait_published({"n": 0}, "a")
            await plugin.wait_published("1", "a")
            first, second = await events(source, 2)
            assert (first.json(), second.data) == ({"n": 0}, "1")
        await until(lambda: not plugin.hub.stats.subscribers, "the end of the subscription")
        for number in range(2, 5):
            await plugin.wait_published(f"{number}", "a")
        async with listening(f"{web.url}/events?channel=a", last_event_id=second.id) as source:
            assert [event.data for event in await events(source, 3)] == ["2", "3", "4"]
        async with listening(f"{web.url}/events?channel=a&last_event_id={second.id}") as source:
            assert [event.data for event in await events(source, 3)] == ["2", "3", "4"]
        url = f'{web.url}/events?channel=a&channel=b&options={{"history":2}}'
        async with listening(url) as source:
            assert [event.json() for event in await events(source, 2)] == [
                {"channel": "a", "data": "3"},
                {"channel": "a", "data": "4"},
            ]


@pytest.mark.parametrize(
    ("query", "status"), [("", 400), ("channel=a&last_event_id=nonsense", 400), ("channel=unknown", 404)]
)
async def test_requests_that_are_wrong(make_plugin: MakePlugin, query: str, status: int) -> None:
    plugin = make_plugin(channels=["a"])
    async with serving(application(plugin)) as web, httpx.AsyncClient() as client:
        answer = await client.get(f"{web.url}/events?{query}")
        assert answer.status_code == status
        assert answer.json()["detail"]


async def test_a_server_that_is_away_is_503(own_server: Server) -> None:
    own_server.kill()
    client = make_client(own_server)
    backend = RedisChannelsStreamBackend(10, redis=client, subscribe_timeout=0.3, publish_timeout=0.5)
    plugin = ChannelsPlugin(backend, channels=["a"])
    async with serving(application(plugin)) as web, httpx.AsyncClient(timeout=20) as browser:
        answer = await browser.get(f'{web.url}/events?channel=a&options={{"history":2}}')
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        assert answer.json() == {"detail": "events are not available now"}
        # EventSource would give up for ever.
        answer = await browser.get(answer.url, headers={"Accept": "text/event-stream"})
        assert answer.status_code == 200
        assert re.fullmatch(r"retry: \d{4,5}\n\n", answer.text)
    await client.aclose()


async def test_the_stream_ends_when_the_process_is_told_to_stop(make_plugin: MakePlugin) -> None:
    plugin = make_plugin()
    async with serving(application(plugin)) as web, listening(f"{web.url}/events?channel=a") as source:
        await until(lambda: plugin.hub.stats.subscribers, "the subscription")
        plugin.hub.drain()
        async with asyncio.timeout(5):
            found = [event async for event in source.aiter_sse()]
        assert [event.data for event in found if event.data] == []
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"{web.url}/events?channel=a")).status_code == 503


async def test_the_schema_can_be_made(make_plugin: MakePlugin) -> None:
    async with serving(application(make_plugin())) as web, httpx.AsyncClient() as client:
        schema = (await client.get(f"{web.url}/schema/openapi.json")).json()
        assert "/events" in schema["paths"]


async def test_a_cursor_that_the_backend_can_not_resume_from_is_refused(server: Server) -> None:
    client = make_client(server)
    plugin = ChannelsPlugin(RedisChannelsPubSubBackend(redis=client), channels=["a"])
    cursor = cursors.join([(cursors.digest("a"), "1700000000000-0")])
    async with serving(application(plugin)) as web, httpx.AsyncClient() as browser:
        answer = await browser.get(f"{web.url}/events?channel=a&last_event_id={cursor}")
        assert answer.status_code == 400
        assert "keeps no history" in answer.json()["detail"]
    await client.aclose()


@pytest.mark.parametrize("arbitrary", [False, True])
async def test_the_handlers_that_the_plugin_makes(make_plugin: MakePlugin, arbitrary: bool) -> None:
    plugin = make_plugin(
        channels=["a", "b"],
        arbitrary_channels_allowed=arbitrary,
        create_sse_route_handlers=True,
        create_ws_route_handlers=True,
        sse_handler_base_path="/sse",
        sse_handler_send_history=2,
    )
    async with serving(Litestar(plugins=[plugin])) as web, httpx.AsyncClient() as browser:
        for number in range(4):
            await plugin.wait_published({"n": number}, "a")
        async with listening(f"{web.url}/sse/a") as source:
            first = await events(source, 2)
            assert [event.json()["n"] for event in first] == [2, 3]
        for number in range(4, 8):
            await plugin.wait_published({"n": number}, "a")
        # Who comes back gets what it missed, and not the newest two.
        async with listening(f"{web.url}/sse/a", last_event_id=first[0].id) as source:
            assert [event.json()["n"] for event in await events(source, 5)] == [3, 4, 5, 6, 7]
        if arbitrary:
            async with listening(f"{web.url}/sse/c") as source:
                await until(lambda: "c" in plugin.hub._open.upstream.channels, "the subscription")
                await plugin.wait_published(b"x", "c")
                assert [event.data for event in await events(source, 1)] == ["x"]
        else:
            assert (await browser.get(f"{web.url}/sse/c")).status_code == 404


async def test_guards_of_the_handlers_that_the_plugin_makes(make_plugin: MakePlugin) -> None:
    def only_with_the_word(connection: Any, _: Any) -> None:
        if connection.query_params.get("word") != "please":
            raise NotAuthorizedException("say the word")

    plugin = make_plugin(
        create_sse_route_handlers=True,
        sse_handler_base_path="/sse",
        create_ws_route_handlers=True,
        ws_handler_base_path="/ws",
        handler_guards=[only_with_the_word],
    )
    async with serving(Litestar(plugins=[plugin])) as web, httpx.AsyncClient() as browser:
        assert (await browser.get(f"{web.url}/sse/a")).status_code == 401
        with pytest.raises(InvalidStatus):
            async with connect(f"ws://{web.address}/ws/a"):
                pass
        assert not plugin.hub.stats.subscribers
        async with (
            listening(f"{web.url}/sse/a?word=please") as source,
            connect(f"ws://{web.address}/ws/a?word=please") as socket,
        ):
            await until(lambda: plugin.hub.stats.subscribers == 2, "both")
            await plugin.wait_published(b"x", "a")
            assert [event.data for event in await events(source, 1)] == ["x"]
            assert await socket.recv() == "x"
