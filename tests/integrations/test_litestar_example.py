"""The example of docs/litestar.md, served and used by a WebSocket and an EventSource."""

from __future__ import annotations

import asyncio
import importlib
import json

import httpx
import pytest
from httpx_sse import ServerSentEvent
from websockets.asyncio.client import connect

from tests.support.servers import Server
from tests.support.waiting import until
from tests.support.web import events, listening, serving


async def test_an_application_that_was_moved_over(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", server.url)
    import examples.litestar_plugin as example

    example = importlib.reload(example)

    async def listen(count: int, last_id: str | None = None) -> list[ServerSentEvent]:
        async with listening(f"{web.url}/news/stream", last_event_id=last_id) as source:
            return await events(source, count)

    async with (
        serving(example.app) as web,
        httpx.AsyncClient(base_url=web.url, timeout=10, trust_env=False) as client,
        connect(f"ws://{web.address}/news") as socket,
    ):
        for number in range(3):
            assert (await client.post("/news", json={"n": number})).status_code == 201
        async with asyncio.timeout(10):
            assert [json.loads(await socket.recv()) for _ in range(3)] == [{"n": n} for n in range(3)]
        first = await listen(2)
        assert [event.json() for event in first] == [{"n": 0}, {"n": 1}]
        await client.post("/news", json={"n": 3})
        rest = await listen(2, first[-1].id)
        assert [event.json() for event in rest] == [{"n": 2}, {"n": 3}]
        await until(lambda: example.plugin.hub.stats.subscribers == 1, "the end of the streams")
    await example.redis.aclose()
