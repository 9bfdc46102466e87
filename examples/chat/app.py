"""The application: Litestar, its own `ChannelsPlugin`, and gapless as the plugin's backend."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from litestar import Litestar, Response, WebSocket, post, websocket
from litestar.channels import ChannelsPlugin
from litestar.connection import ASGIConnection
from litestar.di import Provide
from litestar.exceptions import ClientException, HTTPException, PermissionDeniedException
from litestar.handlers import BaseRouteHandler
from litestar.static_files import create_static_files_router
from litestar.types import Scope
from redis.asyncio import Redis
from redis.exceptions import RedisError

from examples.chat.connections import BackendConnections
from examples.chat.messages import (
    Hello,
    Message,
    Problem,
    RedisStatus,
    RefusedError,
    encode,
    now_ms,
    read_draft,
    read_room_name,
)
from examples.chat.rooms import Rooms
from gapless import ChannelsError, PublishUncertain, RedisChannelsStreamBackend

logger = logging.getLogger("examples.chat")

Socket: TypeAlias = WebSocket[Any, Any, Any]

BUILT_IN_ROOMS = ("lobby", "kitchen", "music", "night-shift")
HISTORY = 50
WINDOW_BACKLOG = 1000
CLIENT_NAME = "chat-backend"

# A close code of the application's own range; the page does not try again after it.
CLOSE_UNKNOWN_ROOM = 4404

# What others write is shown on this page: nothing but our own files may run in it.
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


class NewRoom(msgspec.Struct):
    name: str


class Cut(msgspec.Struct):
    hold_seconds: Annotated[float, msgspec.Meta(ge=0, le=5)] = 0
    # One of the two connections; both without it.
    only: Literal["subscriber", "commands"] | None = None


class CutInProgressError(HTTPException):
    status_code = 409


class RedisAwayError(HTTPException):
    status_code = 503


@dataclass(frozen=True, slots=True)
class Chat:
    """What the handlers share."""

    backend: RedisChannelsStreamBackend
    connections: BackendConnections
    rooms: Rooms
    cutting: asyncio.Lock = field(default_factory=asyncio.Lock)


def create_app(redis_url: str) -> Litestar:
    """Return the application. It connects on startup, and closes its connections on shutdown."""
    redis = Redis.from_url(redis_url, client_name=CLIENT_NAME)
    admin = Redis.from_url(redis_url, client_name="chat-admin", single_connection_client=True)
    # No TTL: the embedded server, and all that it holds, goes when the demo ends.
    backend = RedisChannelsStreamBackend(history=HISTORY, redis=redis, stream_ttl=None)
    plugin = ChannelsPlugin(
        backend=backend,
        channels=BUILT_IN_ROOMS,
        arbitrary_channels_allowed=True,
        subscriber_max_backlog=WINDOW_BACKLOG,
    )
    chat = Chat(backend, BackendConnections(admin, CLIENT_NAME), Rooms(BUILT_IN_ROOMS))

    @asynccontextmanager
    async def clients(_: Litestar) -> AsyncGenerator[None, None]:
        yield
        await redis.aclose()
        await admin.aclose()

    page = Path(__file__).parent / "page"
    return Litestar(
        route_handlers=[
            window,
            create_room,
            cut_redis,
            create_static_files_router(path="/", directories=[page], html_mode=True),
        ],
        plugins=[plugin],
        dependencies={"chat": Provide(lambda: chat, sync_to_thread=False)},
        lifespan=[clients],
        guards=[same_origin],
        after_request=with_security_headers,
        after_exception=[report],
        openapi_config=None,
        logging_config=None,
    )


def same_origin(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """Keep other web sites, open in the same browser, from talking to the demo."""
    origin = connection.headers.get("origin")
    if origin is not None and origin.partition("://")[2] != connection.headers.get("host"):
        raise PermissionDeniedException("Only the page of the demo itself may do this.")


def with_security_headers(response: Response[Any]) -> Response[Any]:
    response.headers.update(SECURITY_HEADERS)
    return response


def report(error: Exception, _: Scope) -> None:
    """Show a bug where the demo was started; what clients do wrong is answered to them alone."""
    if not isinstance(error, HTTPException):
        logger.error("unexpected", exc_info=error)


@websocket("/rooms/{room:str}")
async def window(socket: WebSocket[Any, Any, Any], room: str, channels: ChannelsPlugin, chat: Chat) -> None:
    """One browser window in one room, from hello until it leaves."""
    # ASGI: send() raises an OSError once the client is gone. Windows are closed at any time.
    with suppress(OSError):
        await socket.accept()
        if room in chat.rooms:
            await look_into(room, socket, channels, chat)
        else:
            await socket.close(CLOSE_UNKNOWN_ROOM, "There is no such room.")


async def look_into(room: str, socket: Socket, channels: ChannelsPlugin, chat: Chat) -> None:
    # Subscribe before reading history: a message published in between would be lost otherwise.
    # It may come twice instead, and the page knows messages by their id.
    async with channels.start_subscription(room) as subscriber:
        await send(socket, encode(await hello(room, chat)))
        with chat.rooms.entered(room, subscriber):
            async with subscriber.run_in_background(partial(send, socket), join=False):
                async for data in socket.iter_data("text"):
                    problem = await publish(channels, room, data)
                    if problem is not None:
                        subscriber.put_nowait(encode(problem))


async def send(socket: Socket, data: bytes) -> None:
    """Send to a window.

    Raises:
        OSError: It is gone.
    """
    try:
        await socket.send_text(data)
    except RuntimeError as error:
        # What uvicorn raises when it has closed the connection itself: after a frame that is too
        # large, for example.
        raise ConnectionAbortedError("the server closed the WebSocket") from error


async def hello(room: str, chat: Chat) -> Hello:
    """Return what a window has to know when it comes, as far as Redis can tell."""
    history = None
    with suppress(ChannelsError):
        history = [msgspec.Raw(data) for data in await chat.backend.get_history(room)]
    status = RedisStatus("down")
    with suppress(RedisError):
        status = await chat.connections.status()
    return Hello(room=room, rooms=chat.rooms.overview(), history=history, redis=status)


async def publish(channels: ChannelsPlugin, room: str, data: str) -> Problem | None:
    """Publish what a window sent. Success is not answered: the message itself comes back."""
    try:
        draft = read_draft(data)
    except RefusedError as refused:
        return Problem(str(refused), refused.message_id)
    message = Message(draft.id, room, draft.author, draft.text, now_ms())
    try:
        try:
            await channels.wait_published(message, room)
        except PublishUncertain:
            # The connection broke before the answer. Sent twice, the message is shown once, since
            # it keeps its id; not sent, it would be lost.
            await channels.wait_published(message, room)
    except ChannelsError as error:
        return Problem(f"Not sent, Redis is away: {error}", draft.id)
    return None


@post("/rooms")
async def create_room(data: NewRoom, chat: Chat) -> dict[str, str]:
    """Create a room and return the name that it got."""
    try:
        name = read_room_name(data.name)
        chat.rooms.create(name)
    except RefusedError as refused:
        raise ClientException(str(refused)) from None
    return {"name": name}


@post("/cut", status_code=200)
async def cut_redis(data: Cut, chat: Chat) -> RedisStatus:
    """Kill the backend's connections to Redis, and return when they are back."""
    if chat.cutting.locked():
        raise CutInProgressError("A cut is under way already.")
    async with chat.cutting:
        status = RedisStatus("down")
        try:
            before = await chat.connections.ids()
            if data.only is not None:
                before = {role: number for role, number in before.items() if role == data.only}
            chat.rooms.announce(RedisStatus("cut", before=before))
            status = await chat.connections.cut(before, hold_seconds=data.hold_seconds)
        except RedisError as error:
            raise RedisAwayError(f"Redis can't be reached: {error}") from error
        finally:
            chat.rooms.announce(status)
    return status
