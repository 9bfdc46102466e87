"""The WebSocket handlers that the plugin makes, on a real web server with real clients."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import litestar.channels
import pytest
from litestar import Litestar
from litestar.testing import TestClient
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from gapless import MemoryChannelsBackend, RedisChannelsStreamBackend
from gapless.integrations.litestar import ChannelsPlugin, Subscriber
from tests.conftest import make_client
from tests.integrations.conftest import MakePlugin, plugin_class
from tests.support.servers import Server
from tests.support.waiting import until
from tests.support.web import Web, serving

ENVELOPE = [Subprotocol("gapless.v1")]


def application(plugin: Any) -> Litestar:
    return Litestar(plugins=[plugin])


async def receive(socket: ClientConnection, count: int) -> list[Any]:
    async with asyncio.timeout(10):
        return [await socket.recv() for _ in range(count)]


async def receive_json(socket: ClientConnection, count: int) -> list[Any]:
    return [json.loads(frame) for frame in await receive(socket, count)]


async def closed(socket: ClientConnection) -> tuple[int | None, str | None]:
    """Read until the connection is closed; return code and reason."""
    async with asyncio.timeout(15):
        try:
            while True:
                await socket.recv()
        except ConnectionClosed:
            return socket.close_code, socket.close_reason


def plugin_with_handlers(make_plugin: MakePlugin, **options: Any) -> Any:
    return make_plugin(create_ws_route_handlers=True, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"channels": ["a", "b"]},
        {"channels": ["a", "b"], "ws_handler_base_path": "/ws"},
        {"channels": ["a"], "ws_handler_base_path": "/ws/"},
        {"channels": ["a"], "arbitrary_channels_allowed": True},
        {"arbitrary_channels_allowed": True, "ws_handler_base_path": "/ws"},
    ],
)
def test_the_paths_are_litestars(options: dict[str, Any]) -> None:
    def paths(kind: Any) -> list[str]:
        plugin = kind(MemoryChannelsBackend(), create_ws_route_handlers=True, **options)
        return sorted(route.path for route in application(plugin).routes)

    assert paths(ChannelsPlugin) == paths(litestar.channels.ChannelsPlugin)


async def test_history_and_then_live_events_in_text_frames(make_plugin: MakePlugin) -> None:
    plugin = plugin_with_handlers(make_plugin, channels=["a"], ws_handler_send_history=3)
    async with serving(application(plugin)) as web:
        for number in range(5):
            await plugin.wait_published({"n": number}, "a")
        async with connect(f"ws://{web.address}/a") as socket:
            assert socket.subprotocol is None
            await plugin.wait_published("live: ä", "a")
            await plugin.wait_published(b"\xff", "a")
            assert await receive(socket, 5) == ['{"n":2}', '{"n":3}', '{"n":4}', "live: ä", b"\xff"]
        await until(lambda: not plugin.hub.stats.subscribers, "the end of the subscription")


async def test_all_of_the_history_in_binary_frames(make_plugin: MakePlugin) -> None:
    plugin = plugin_with_handlers(make_plugin, ws_handler_send_history=-1, ws_send_mode="binary")
    async with serving(application(plugin)) as web:
        for number in range(50):
            await plugin.wait_published(b"%d" % number, "any name")
        async with connect(f"ws://{web.address}/any%20name") as socket:
            assert await receive(socket, 50) == [b"%d" % number for number in range(50)]


async def enveloped(web: Web, path: str, after: dict[str, str] | None = None) -> ClientConnection:
    """Return a client of `gapless.v1` that has said where it was."""
    socket = await connect(f"ws://{web.address}{path}", subprotocols=ENVELOPE, max_queue=None)
    assert socket.subprotocol == "gapless.v1"
    await socket.send(json.dumps({} if after is None else {"after": after}))
    (ready,) = await receive_json(socket, 1)
    assert ready.keys() == {"ready"}
    return socket


async def test_who_comes_back_gets_exactly_what_it_missed(make_plugin: MakePlugin) -> None:
    plugin = plugin_with_handlers(make_plugin, ws_handler_send_history=2)
    async with serving(application(plugin)) as web:
        async with await enveloped(web, "/a") as socket:
            await plugin.wait_published("0", "a")
            await plugin.wait_published(b"\xff", "a")
            first, second = await receive_json(socket, 2)
            assert (first["channel"], first["data"]) == ("a", "0")
            assert (second["data"], second["base64"]) == ("/w==", True)
        for number in range(5):
            await plugin.wait_published(f"{number}", "a")
        expected = ["0", "1", "2", "3", "4", "5"]
        last_id = second["id"]
        async with await enveloped(web, "/a", {"a": last_id}) as socket:
            await plugin.wait_published("5", "a")
            assert [frame["data"] for frame in await receive_json(socket, 6)] == expected
        async with await enveloped(web, f"/a?last_event_id={last_id}") as socket:
            assert [frame["data"] for frame in await receive_json(socket, 6)] == expected
        # Also without the envelope, and with a cursor that an application has handed out.
        async with connect(f"ws://{web.address}/a?last_event_id={last_id}") as socket:
            assert await receive(socket, 6) == expected
        async with plugin.start_subscription("a", history=1) as subscriber:
            await subscriber.batch()
            cursor = subscriber.cursor
        await plugin.wait_published("6", "a")
        async with connect(f"ws://{web.address}/a?last_event_id={cursor}") as socket:
            assert await receive(socket, 1) == ["6"]


async def test_a_history_that_is_too_short_is_a_gap(make_plugin: MakePlugin) -> None:
    plugin = plugin_with_handlers(make_plugin, backend={"history": 3})
    async with serving(application(plugin)) as web:
        async with await enveloped(web, "/a") as socket:
            await plugin.wait_published("first", "a")
            (first,) = await receive_json(socket, 1)
        for number in range(300):
            await plugin.wait_published(f"{number}", "a")
        async with await enveloped(web, "/a", {"a": first["id"]}) as socket:
            gap, event = await receive_json(socket, 2)
            assert (gap["gap"]["channel"], gap["gap"]["reason"]) == ("a", "trimmed")
            assert event["channel"] == "a"


@pytest.mark.parametrize("last_event_id", ["nonsense", "2~x", "1~abc.1-0", "0-0-0", "%00"])
async def test_a_cursor_that_is_none_closes_the_socket(make_plugin: MakePlugin, last_event_id: str) -> None:
    plugin = plugin_with_handlers(make_plugin)
    async with serving(application(plugin)) as web:
        async with connect(f"ws://{web.address}/a?last_event_id={last_event_id}") as socket:
            code, reason = await closed(socket)
            assert code == 4500
            assert reason
        assert plugin.hub.stats.subscribers == 0


async def test_the_server_is_away_and_comes_back(own_server: Server) -> None:
    client = make_client(own_server)
    backend = RedisChannelsStreamBackend(10, redis=client, subscribe_timeout=0.3, publish_timeout=1)
    plugin = ChannelsPlugin(backend, channels=["a"], create_ws_route_handlers=True, ws_handler_send_history=3)
    own_server.kill()
    async with serving(application(plugin)) as web:
        async with connect(f"ws://{web.address}/a") as socket:
            assert await closed(socket) == (4413, "events are not available now; come back later")
        own_server.start()

        def up() -> bool:
            health = backend.health()
            return None not in {health.subscriber.connected_since, health.commands.connected_since}

        await until(up, "the connections")
        async with connect(f"ws://{web.address}/a") as socket:
            await plugin.wait_published("x", "a")
            assert await receive(socket, 1) == ["x"]
    await client.aclose()


async def stuck(web: Web, path: str) -> ClientConnection:
    """Return a client that reads nothing more."""
    socket = await connect(f"ws://{web.address}{path}", max_queue=1, compression=None)
    socket.transport.pause_reading()
    return socket


async def test_a_client_that_does_not_read_is_given_up_if_the_policy_says_so(make_plugin: MakePlugin) -> None:
    plugin = plugin_with_handlers(
        make_plugin, subscriber_max_backlog=10, subscriber_backlog_strategy="disconnect"
    )
    async with serving(application(plugin)) as web:
        slow = await stuck(web, "/a")
        async with connect(f"ws://{web.address}/a") as quick:
            number = 0

            async def given_up() -> bool:
                nonlocal number
                await plugin.wait_published(b"x" * 100_000, "a")
                assert len((await receive(quick, 1))[0]) == 100_000
                number += 1
                return bool(plugin.hub.stats.disconnected)

            await until(given_up, "the end of the slow client")
            await until(lambda: plugin.hub.stats.subscribers == 1, "the end of its handler")
            await plugin.wait_published("still here", "a")
            assert await receive(quick, 1) == ["still here"]
        slow.transport.resume_reading()
        code, _ = await closed(slow)
        # The closing frame comes only if the client reads on in time.
        assert code in {4408, 1006}


async def test_without_a_bound_a_client_that_stalls_gets_everything(make_plugin: MakePlugin) -> None:
    plugin = plugin_with_handlers(make_plugin, backend={"history": 5000})
    async with serving(application(plugin)) as web:
        slow = await stuck(web, "/a")
        payload = "x" * 5_000
        for number in range(3000):
            await plugin.wait_published(f"{number}:{payload}", "a")
        await until(lambda: plugin.hub.stats.events == 3000, "all to arrive")
        slow.transport.resume_reading()
        assert [frame.partition(":")[0] for frame in await receive(slow, 3000)] == [
            f"{number}" for number in range(3000)
        ]
        await slow.close()


async def test_clients_that_vanish_leave_nothing(make_plugin: MakePlugin) -> None:
    """L2: with Litestar's, a socket that dies while it is sent to leaves handler and queue for ever."""
    plugin = plugin_with_handlers(make_plugin)
    async with serving(application(plugin)) as web:
        tasks = len(asyncio.all_tasks())
        for _ in range(10):
            sockets = await asyncio.gather(*(connect(f"ws://{web.address}/a") for _ in range(20)))
            for number, socket in enumerate(sockets):
                if number % 2:
                    socket.transport.abort()
            for _ in range(5):
                await plugin.wait_published(b"x" * 10_000, "a")
            for socket in sockets[::2]:
                socket.transport.abort()
        await until(lambda: not plugin.hub.stats.subscribers, "the end of the subscriptions")
        del sockets, socket
        await until(lambda: len(asyncio.all_tasks()) <= tasks, "the tasks to end")


async def test_a_socket_that_fails_while_it_is_sent_to_ends_its_handler() -> None:
    """L2, in the order in which it hangs with Litestar's: the send fails, and then the client is gone."""
    plugin = plugin_class()(
        MemoryChannelsBackend(), arbitrary_channels_allowed=True, create_ws_route_handlers=True
    )
    app = application(plugin)
    async with app.lifespan():
        gone = asyncio.Event()
        connected = asyncio.Event()
        messages: list[Any] = [{"type": "websocket.connect"}]

        async def receive() -> Any:
            if messages:
                return messages.pop()
            await gone.wait()
            return {"type": "websocket.disconnect", "code": 1006}

        async def send(message: Any) -> None:
            if message["type"] == "websocket.accept":
                connected.set()
            else:
                gone.set()
                raise OSError("the client is gone")

        scope = {
            "type": "websocket", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "ws",
            "path": "/a", "raw_path": b"/a", "root_path": "", "query_string": b"", "headers": [],
            "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2), "subprotocols": [], "state": {},
        }  # fmt: skip
        handling = asyncio.create_task(app(scope, receive, send))  # type: ignore[arg-type]
        await connected.wait()
        await until(lambda: plugin.hub.stats.subscribers, "the subscription")
        for _ in range(3):
            await plugin.wait_published(b"x", "a")
        await asyncio.wait_for(handling, 5)
        assert plugin.hub.stats.subscribers == 0


async def test_an_error_of_the_application_closes_the_socket(make_plugin: MakePlugin) -> None:
    class Failing(Subscriber):
        def entries_nowait(self, limit: int = 1) -> Any:
            if super().entries_nowait(limit):
                raise RuntimeError("a bug")
            return []

    plugin = plugin_with_handlers(make_plugin, subscriber_class=Failing)
    async with serving(application(plugin)) as web:
        async with connect(f"ws://{web.address}/a") as socket:
            await plugin.wait_published("x", "a")
            code, _ = await closed(socket)
            assert code in {1011, 4500}
        await until(lambda: not plugin.hub.stats.subscribers, "the end of the subscription")


async def test_the_end_of_the_application_closes_the_sockets(make_plugin: MakePlugin) -> None:
    plugin = plugin_with_handlers(make_plugin)
    async with serving(application(plugin)) as web:
        sockets = [await connect(f"ws://{web.address}/a") for _ in range(5)]
        await plugin.wait_published("last", "a")
        await until(lambda: plugin.hub.stats.events == 1, "the event")
        # As a server that runs the shutdown while connections are open.
        await plugin.hub.close()
        for socket in sockets:
            assert await receive(socket, 1) == ["last"]
            assert await closed(socket) == (4410, "the server goes away; come back and resume")
        async with connect(f"ws://{web.address}/a") as socket:
            assert await closed(socket) == (4410, "the server goes away; come back and resume")
    async with serving(application(plugin)) as web, connect(f"ws://{web.address}/a") as socket:
        await plugin.wait_published("again", "a")
        assert await receive(socket, 1) == ["again"]


def test_the_test_client_can_leave_while_events_come() -> None:
    plugin = ChannelsPlugin(
        MemoryChannelsBackend(history=10), arbitrary_channels_allowed=True, create_ws_route_handlers=True
    )
    with TestClient(application(plugin)) as client:
        for number in range(5):
            with client.websocket_connect("/a") as socket:
                plugin.publish({"n": number}, "a")
                assert socket.receive_json(timeout=5) == {"n": number}
