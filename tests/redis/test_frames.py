"""What a publish of the Streams backend leaves on the server, and what it pushes."""

from __future__ import annotations

import re
from typing import Any

import pytest

from gapless import RedisChannelsStreamBackend
from tests.support.waiting import until


async def pushed(client: Any, backend: Any, payloads: list[bytes], channels: list[str]) -> list[bytes]:
    """Publish payloads, and return what was pushed on the first of the channels."""
    pubsub = client.pubsub()
    await pubsub.subscribe(backend._make_key(channels[0]))
    await until(lambda: pubsub.get_message(timeout=1), "the confirmation")
    for payload in payloads:
        await backend.publish(payload, channels)
    frames = [
        await until(lambda: pubsub.get_message(ignore_subscribe_messages=True, timeout=1), "a frame")
        for _ in payloads
    ]
    await pubsub.aclose()
    return [frame["data"] for frame in frames]


@pytest.fixture
async def raw_client(server: Any) -> Any:
    import redis.asyncio

    client = redis.asyncio.Redis(port=server.port)
    yield client
    await client.aclose()


async def test_large_payloads_are_pushed_by_reference(raw_client: Any) -> None:
    backend = RedisChannelsStreamBackend(10, redis=raw_client, max_push_bytes=10)
    payloads = [b"x" * 11, b"x" * 10, b"y" * 11, b""]
    frames = await pushed(raw_client, backend, payloads, ["room", "other"])
    ids = [entry_id for entry_id, _ in await raw_client.xrange(backend._make_key("room"))]
    assert frames == [
        b"g%b r- " % ids[0],
        b"g%b g%b xxxxxxxxxx" % (ids[1], ids[0]),
        b"g%b r%b " % (ids[2], ids[1]),
        b"g%b g%b " % (ids[3], ids[2]),
    ]
    assert await backend.get_history("room") == payloads
    await backend.on_shutdown()


async def test_without_history_everything_is_pushed(raw_client: Any) -> None:
    backend = RedisChannelsStreamBackend(0, redis=raw_client, max_push_bytes=10)
    (frame,) = await pushed(raw_client, backend, [b"x" * 1000], ["room"])
    assert re.fullmatch(rb"g\d+-\d+ g- x{1000}", frame)
    await backend.on_shutdown()


async def test_entries_carry_the_id_of_their_publish(raw_client: Any) -> None:
    first, second = (RedisChannelsStreamBackend(10, redis=raw_client) for _ in range(2))
    for backend in (first, second, first):
        await backend.publish(b"1", ["room", "other"])
    found = await raw_client.xrange(first._make_key("room"))
    entries = [fields for _, fields in found]
    assert [list(fields) for fields in entries] == [[b"data", b"channel", b"by", b"server", b"previous"]] * 3
    assert [fields[b"previous"] for fields in entries] == [b"-", *(entry_id for entry_id, _ in found[:-1])]
    others = [fields for _, fields in await raw_client.xrange(first._make_key("other"))]
    for name in (b"data", b"by", b"server"):
        assert [fields[name] for fields in others] == [fields[name] for fields in entries]
    assert {fields[b"channel"] for fields in others} == {b"other"}
    ids = [fields[b"by"] for fields in entries]
    assert len(set(ids)) == 3
    assert ids[0][:8] == ids[2][:8] != ids[1][:8]
    for backend in (first, second):
        await backend.on_shutdown()


async def test_the_connection_knows_whom_it_leads_to(server: Any, streams: Any) -> None:
    await streams.on_startup()
    commands = streams._enter().session.commands
    info = server.command("INFO", "server").decode()
    assert f"run_id:{commands.peer.run_id}\r" in info
    assert f"id={commands.peer.client_id} " in server.command("CLIENT", "LIST").decode()
