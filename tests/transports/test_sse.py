"""Server-sent events, on a real server, with a real client."""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from gapless import Channels, MemoryChannelsBackend
from gapless.integrations.starlette import EventStream, lifespan
from gapless.transports.frames import Frames
from gapless.transports.sse import EventStream as Answer
from tests.support.waiting import until
from tests.support.web import Web, events, listening, serving

OPTIONS: dict[str, Any] = {"policy": "spill", "heartbeat": 15.0}


@pytest.fixture
async def hub() -> Channels:
    return Channels(MemoryChannelsBackend(history=100), linger=0.05)


# uvicorn alone has h11, and with its extra "standard", as FastAPI's, httptools.
@pytest.fixture(params=["httptools", "h11"])
async def web(hub: Channels, request: pytest.FixtureRequest) -> AsyncIterator[Web]:
    async def stream(asked: Request) -> EventStream:
        options = OPTIONS | json.loads(asked.query_params.get("options", "{}"))
        return EventStream(asked, hub, asked.query_params.getlist("channel"), **options)

    app = Starlette(routes=[Route("/events", stream)], lifespan=lifespan(hub))
    async with serving(app, http=request.param) as server:
        yield server


def url(web: Web, *channels: str, **options: Any) -> str:
    query = httpx.QueryParams([("channel", name) for name in channels] + [("options", json.dumps(options))])
    return f"{web.url}/events?{query}"


async def test_the_headers_keep_proxies_from_holding_events_back(web: Web) -> None:
    async with listening(url(web, "a")) as source:
        headers = source.response.headers
        assert source.response.status_code == 200
        assert headers["content-type"] == "text/event-stream; charset=utf-8"
        assert headers["cache-control"] == "no-cache, no-transform"
        assert headers["x-accel-buffering"] == "no"


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ("text", "text"),
        ("ä€😀", "ä€😀"),
        ("two\nlines", "two\nlines"),
        ("\n\nbegins and ends\n\n", "\n\nbegins and ends\n\n"),
        ("windows\r\nmac\rend", "windows\nmac\nend"),
        (" leading space: kept", " leading space: kept"),
        ({"json": [1, "\n"]}, '{"json":[1,"\\n"]}'),
    ],
)
async def test_payloads_arrive_as_they_are(hub: Channels, web: Web, payload: Any, expected: str) -> None:
    async with listening(url(web, "a")) as source:
        await until(lambda: hub.stats.subscribers, "the subscriber")
        await hub.publish(payload, "a")
        (event,) = await events(source, 1)
        assert event.event == "message"
        assert event.data == expected


async def test_an_empty_payload_is_an_event(hub: Channels, web: Web) -> None:
    async with httpx.AsyncClient() as client, client.stream("GET", url(web, "a")) as response:
        await until(lambda: hub.stats.subscribers, "the subscriber")
        await hub.publish("", "a")
        text = ""
        async for chunk in response.aiter_text():
            text += chunk
            if "data: \n" in text:
                break
    assert "data: \nid: " in text


async def test_binary_payloads_are_base64(hub: Channels, web: Web) -> None:
    async with listening(url(web, "a")) as plain, listening(url(web, "a", base64=True)) as encoded:
        await until(lambda: hub.stats.subscribers == 2, "the subscribers")
        await hub.publish(b"\xff\x00\n", "a")
        await hub.publish(b"text", "a")
        first, second = await events(plain, 2)
        assert (first.event, b64decode(first.data)) == ("base64", b"\xff\x00\n")
        assert (second.event, second.data) == ("message", "text")
        assert [(event.event, b64decode(event.data)) for event in await events(encoded, 2)] == [
            ("message", b"\xff\x00\n"),
            ("message", b"text"),
        ]


@pytest.mark.parametrize("channels", [("a",), ("a", "b", "ü c~.")])
async def test_a_client_that_comes_back_gets_exactly_what_it_missed(
    hub: Channels, web: Web, channels: tuple[str, ...]
) -> None:
    """At each event, in one channel and in several."""
    address = url(web, *channels)
    async with listening(address) as source:
        await until(lambda: hub.stats.subscribers, "the subscriber")
        for number in range(9):
            await hub.publish(f"{number}", channels[number % len(channels)])
        seen = await events(source, 9)
    await hub.publish("last", channels[0])
    for count, event in enumerate(seen, 1):
        async with listening(address, last_event_id=event.id) as source:
            missed = await events(source, 10 - count)
        texts = [json.loads(e.data)["data"] if len(channels) > 1 else e.data for e in missed]
        # From the history they come channel by channel.
        expected = [(number % len(channels), f"{number}") for number in range(count, 9)] + [(0, "last")]
        for place in range(len(channels)):
            wanted = [text for at, text in expected if at == place]
            assert [text for text in texts if text in wanted] == wanted
        assert len(texts) == len(expected)


async def test_a_client_that_has_received_nothing_can_resume(hub: Channels, web: Web) -> None:
    async with listening(url(web, "a")) as source:
        async with asyncio.timeout(5):
            beginning = await anext(aiter(source.aiter_sse()))
        assert beginning.data == ""
        assert beginning.retry == 2000
    await hub.publish("missed", "a")
    async with listening(url(web, "a"), last_event_id=beginning.id) as source:
        assert [event.data for event in await events(source, 1)] == ["missed"]
    async with listening(url(web, "a") + f"&last_event_id={beginning.id}") as source:
        assert [event.data for event in await events(source, 1)] == ["missed"]


async def test_a_gap_is_an_event_of_its_own(hub: Channels, web: Web) -> None:
    async with listening(url(web, "a")) as source:
        async with asyncio.timeout(5):
            beginning = await anext(aiter(source.aiter_sse()))
    for number in range(150):
        await hub.publish(f"{number}", "a")
    async with listening(url(web, "a"), last_event_id=beginning.id) as source:
        gap, first, *_ = await events(source, 101)
        assert gap.event == "gap"
        assert json.loads(gap.data) == {"channel": "a", "after": "0-0", "reason": "trimmed", "lost": None}
        assert first.data == "50"


async def test_several_channels_come_in_an_envelope(hub: Channels, web: Web) -> None:
    async with listening(url(web, "a", "b")) as source:
        await until(lambda: hub.stats.subscribers, "the subscriber")
        await hub.publish("x", ["a", "b"])
        found = [json.loads(event.data) for event in await events(source, 2)]
        assert found == [{"channel": "a", "data": "x"}, {"channel": "b", "data": "x"}]


async def test_what_waits_leaves_in_one_chunk(hub: Channels, web: Web) -> None:
    async with httpx.AsyncClient() as client, client.stream("GET", url(web, "a")) as response:
        await until(lambda: hub.stats.subscribers, "the subscriber")
        chunks = response.aiter_raw()
        await anext(chunks)
        for number in range(50):
            await hub.publish(f"{number}", "a")
        async with asyncio.timeout(5):
            assert (await anext(chunks)).count(b"data: ") == 50


async def test_a_quiet_stream_shows_that_it_lives(hub: Channels, web: Web) -> None:
    async with httpx.AsyncClient() as client, client.stream("GET", url(web, "a", heartbeat=0.05)) as response:
        chunks = response.aiter_raw()
        await anext(chunks)
        async with asyncio.timeout(5):
            assert [await anext(chunks) for _ in range(3)] == [b":\n\n"] * 3
        await hub.publish("x", "a")
        async with asyncio.timeout(5):
            while b"data: x" not in await anext(chunks):
                pass


async def test_a_client_that_leaves_is_noticed_while_nothing_happens(hub: Channels, web: Web) -> None:
    tasks = len(asyncio.all_tasks())
    async with listening(url(web, "a")):
        await until(lambda: hub.stats.subscribers, "the subscriber")
    await until(lambda: not hub.stats.subscribers, "the end of the subscriber")
    await until(lambda: not hub.stats.channels, "the end of the subscription")
    await until(lambda: len(asyncio.all_tasks()) <= tasks, "the end of its tasks")


async def test_a_thousand_that_come_and_leave_at_once_leave_nothing(hub: Channels, web: Web) -> None:
    tasks = len(asyncio.all_tasks())
    host, _, port = web.address.partition(":")
    for _ in range(20):
        writers = [(await asyncio.open_connection(host, int(port)))[1] for _ in range(50)]
        for number, writer in enumerate(writers):
            writer.write(b"GET /events?channel=a HTTP/1.1\r\nHost: x\r\n\r\n")
            if number % 2:
                await writer.drain()
            writer.transport.abort()
    await until(lambda: not hub.stats.subscribers, "the end of the subscribers")
    await until(lambda: not hub.stats.channels, "the end of the subscription")
    await until(lambda: len(asyncio.all_tasks()) <= tasks, "the end of the tasks")


async def test_a_client_that_never_reads_is_ended_by_its_policy(hub: Channels, web: Web) -> None:
    host, _, port = web.address.partition(":")
    options = httpx.QueryParams(
        {"channel": "a", "options": json.dumps({"policy": "disconnect", "max_backlog": 50})}
    )
    _, writer = await asyncio.open_connection(host, int(port), limit=1)
    writer.write(f"GET /events?{options} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    await until(lambda: hub.stats.subscribers, "the subscriber")
    async with listening(url(web, "a")) as other:
        await until(lambda: hub.stats.subscribers == 2, "the other one")
        receiving = asyncio.create_task(events(other, 300, seconds=30))
        for _ in range(300):
            await hub.publish("x" * 100_000, "a")
            await asyncio.sleep(0.001)
        assert len(await receiving) == 300
    await until(lambda: not hub.stats.subscribers, "the end of the slow one")
    assert hub.stats.disconnected == 1
    writer.transport.abort()


async def test_the_end_of_the_server_ends_the_streams_and_spreads_the_return(hub: Channels) -> None:
    async def stream(request: Request) -> EventStream:
        return EventStream(request, hub, "a")

    chunks: list[bytes] = []
    app = Starlette(routes=[Route("/events", stream)], lifespan=lifespan(hub))
    async with serving(app) as web, httpx.AsyncClient() as client:
        async with client.stream("GET", f"{web.url}/events") as response:
            await until(lambda: hub.stats.subscribers, "the subscriber")
            hub.drain()
            async with asyncio.timeout(5):
                chunks += [chunk async for chunk in response.aiter_raw()]
        assert (await client.get(f"{web.url}/events")).status_code == 503
        # Another status than 200, and EventSource would give up for ever.
        put_off = await client.get(f"{web.url}/events", headers={"Accept": "text/event-stream"})
        assert (put_off.status_code, put_off.headers["content-type"]) == (
            200,
            response.headers["content-type"],
        )
    for last in chunks[-1], put_off.content:
        (again,) = [int(line[7:]) for line in last.splitlines() if line.startswith(b"retry: ")]
        assert 2000 <= again <= 10_000
    assert b"id:" not in put_off.content


@pytest.mark.parametrize("cursor", ["nonsense", "1~zzz", "2~12345678.1-0", "1~" + "a" * 50_000, "%00%ff"])
async def test_a_malformed_cursor_is_refused(web: Web, cursor: str) -> None:
    async with httpx.AsyncClient() as client:
        response = await client.get(url(web, "a") + f"&last_event_id={cursor}")
        assert response.status_code == 400
        assert "cursor" in response.text


async def test_no_channel_is_refused(web: Web) -> None:
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"{web.url}/events")).status_code == 400


@pytest.mark.parametrize("error", [ConnectionResetError, asyncio.CancelledError])
async def test_a_client_that_has_left_before_the_headers_leaves_nothing(
    hub: Channels, error: type[BaseException]
) -> None:
    async def send(message: Any) -> None:
        raise error

    async def receive() -> Any:
        await asyncio.Event().wait()

    async with hub:
        subscriber = hub.subscribe("a")
        await subscriber.open()
        frames = Frames(envelope=False, base64=False)
        stream = Answer(subscriber, frames, heartbeat=15.0, retry=2.0)
        with suppress(asyncio.CancelledError):
            await stream.serve(receive, send)
        assert hub.stats.subscribers == 0
