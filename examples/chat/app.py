"""The application: Litestar, and gapless's plugin in the place of Litestar's own."""

from __future__ import annotations

import logging
import secrets
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from litestar import Litestar, Response, WebSocket, post, websocket
from litestar.connection import ASGIConnection
from litestar.di import NamedDependency, Provide
from litestar.exceptions import ClientException, HTTPException, PermissionDeniedException
from litestar.handlers import BaseRouteHandler
from litestar.static_files import create_static_files_router
from litestar.types import Scope
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from examples.chat.connections import BackendConnections
from examples.chat.messages import RedisStatus, RefusedError, Work, read_room_name
from examples.chat.rooms import Rooms
from examples.chat.store import Store
from examples.chat.windows import Chat, serve
from gapless.integrations.litestar import ChannelsPlugin

logger = logging.getLogger("examples.chat")

BUILT_IN_ROOMS = ("lobby", "kitchen", "music", "night-shift")
WINDOW_BACKLOG = 1000

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


class BusyError(HTTPException):
    status_code = 409


class RedisAwayError(HTTPException):
    status_code = 503


def create_app(store: Store, restart: Callable[[Work], bool]) -> Litestar:
    """Return the application. It connects on startup, and closes its connections on shutdown.

    Args:
        restart: Has the web server stopped, and started again when the work is done; False if it stops
            already.
    """
    # Of this application alone: another demo may use the same server.
    name = f"chat-backend-{secrets.token_hex(4)}"
    redis = Redis.from_url(store.url, client_name=name)
    admin = Redis.from_url(store.url, client_name="chat-admin", single_connection_client=True)
    plugin = ChannelsPlugin(
        backend=store.backend(redis),
        channels=BUILT_IN_ROOMS,
        arbitrary_channels_allowed=True,
        subscriber_max_backlog=WINDOW_BACKLOG,
        # Nothing is lost that the history has, however slow a window is.
        subscriber_backlog_strategy="spill",
    )
    chat = Chat(store, BackendConnections(admin, name), Rooms(admin, BUILT_IN_ROOMS), restart)

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
            restart_server,
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
async def window(
    socket: WebSocket[Any, Any, Any],
    room: str,
    channels: NamedDependency[ChannelsPlugin],
    chat: NamedDependency[Chat],
    after: str | None = None,
) -> None:
    """One browser window in one room, from hello until it leaves."""
    # ASGI: send() raises an OSError once the client is gone. Windows are closed at any time.
    try:
        await socket.accept()
        await serve(socket, room, after, channels, chat)
    except* OSError:
        pass


@post("/rooms")
async def create_room(data: NewRoom, chat: NamedDependency[Chat]) -> dict[str, str]:
    """Create a room and return the name that it got."""
    try:
        name = read_room_name(data.name)
        await chat.rooms.create(name)
    except RefusedError as refused:
        raise ClientException(str(refused)) from None
    except RedisError as error:
        raise redis_problem(error) from error
    return {"name": name}


@post("/cut", status_code=200)
async def cut_redis(data: Cut, chat: NamedDependency[Chat]) -> RedisStatus:
    """Kill the backend's connections to Redis, and return when they are back."""
    if data.hold_seconds and not chat.store.embedded:
        # It takes a setting of the server, and turns everybody away.
        raise ClientException("Others may use this server: a cut can't be held.")
    if chat.cutting.locked():
        raise BusyError("A cut is under way already.")
    async with chat.cutting:
        try:
            before = await chat.connections.ids()
        except RedisError as error:
            raise redis_problem(error) from error
        if data.only is not None:
            before = {role: number for role, number in before.items() if role == data.only}
        chat.rooms.announce(RedisStatus("cut", before=before))
        status = RedisStatus("down")
        try:
            status = await chat.connections.cut(before, hold_seconds=data.hold_seconds)
        except RedisError as error:
            raise redis_problem(error) from error
        finally:
            chat.rooms.announce(status)
    return status


@post("/restart", status_code=202)
async def restart_server(data: Work, chat: NamedDependency[Chat]) -> Work:
    """Stop the web server, let a worker write meanwhile, and start it again."""
    if data.room not in chat.rooms:
        raise ClientException(f"There is no room called {data.room}.")
    if chat.cutting.locked():
        raise BusyError("A cut is under way: restart the web server when it is over.")
    if not chat.restart(data):
        raise BusyError("The web server stops already.")
    return data


def redis_problem(error: RedisError) -> RedisAwayError:
    refuses = isinstance(error, ResponseError)
    return RedisAwayError(f"Redis refuses: {error}" if refuses else f"Redis can't be reached: {error}")
