"""Applications as processes of their own, which are told to stop while streams are open."""

from __future__ import annotations

import asyncio
import signal

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.support.servers import Server
from tests.support.web import application, listening


@pytest.mark.once
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("app", "path"),
    [
        ("examples.fastapi_notifications:app", "/users/anna/events"),
        ("examples.litestar_plugin:app", "/news/stream"),
    ],
)
async def test_the_server_stops_though_streams_are_open(
    server: Server, app: str, path: str, number: signal.Signals
) -> None:
    """Without the lifespan of ours it would wait for ever."""
    async with application(app, server) as (process, address):
        async with listening(f"http://{address}{path}") as source:
            chunks = source.response.aiter_raw()
            await anext(chunks)
            process.send_signal(number)
            async with asyncio.timeout(10):
                assert b"retry: " in b"".join([chunk async for chunk in chunks])
        async with asyncio.timeout(10):
            await process.wait()


@pytest.mark.once
async def test_the_server_stops_though_sockets_are_open(server: Server) -> None:
    async with (
        application("examples.litestar_plugin:app", server) as (process, address),
        connect(f"ws://{address}/news") as socket,
    ):
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            with pytest.raises(ConnectionClosed) as closed:
                while True:
                    await socket.recv()
            await process.wait()
        assert closed.value.rcvd is not None
        # The server's own code, or ours: both ask to come back.
        assert closed.value.rcvd.code in {1012, 4410}
