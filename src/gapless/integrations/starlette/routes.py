"""Routes where the client names the channels, and a function of the application says whether it may."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from inspect import isawaitable
from typing import Unpack

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

from gapless.backends.arguments import check_at_least, check_seconds
from gapless.errors import ConfigurationError
from gapless.hub import Channels
from gapless.integrations.starlette.endpoints import EventStream, Options, refuse_websocket, serve_websocket
from gapless.transports import websocket as sockets

logger = logging.getLogger("gapless")

Authorize = Callable[[HTTPConnection, Sequence[str]], bool | Awaitable[bool]]

# A request names so many channels at most.
MAX_CHANNELS = 100


def routes(
    hub: Channels,
    *,
    authorize: Authorize,
    events_path: str | None = "/events",
    websocket_path: str | None = "/ws",
    max_channels: int = MAX_CHANNELS,
    envelope: bool | None = None,
    base64: bool = False,
    heartbeat: float = 15.0,
    retry: float = 2.0,
    mode: sockets.Mode = "text",
    first_message_timeout: float = 10.0,
    **options: Unpack[Options],
) -> list[BaseRoute]:
    """Return routes where a client names the channels: ``/events?channel=a&channel=b``, and ``/ws`` likewise.

    Args:
        hub: Open when requests come.
        authorize: Called with the connection and the channels; may be a coroutine function. Only True lets
            the client in: what is false, or raises, is 403 (an `HTTPException` is its own answer), or a close
            with 4503. `allow_all` lets everybody watch everything.
        events_path: Of the server-sent events; None for no such route.
        websocket_path: Of the WebSocket; None for no such route.
        max_channels: That one client may name.
        envelope, base64, heartbeat, retry: As `EventStream` has them.
        mode, first_message_timeout: As `serve_websocket()` has them.
        history, policy, max_backlog, max_backlog_bytes: As `Channels.subscribe()` has them, for each client;
            they are looked at when one comes.

    Raises:
        ConfigurationError: An argument is out of range or of the wrong kind.
    """
    if not callable(authorize):
        raise ConfigurationError(f"authorize: expected a function, or allow_all, got {authorize!r}")
    check_at_least(1, max_channels=max_channels)
    check_seconds(heartbeat=heartbeat, retry=retry, first_message_timeout=first_message_timeout)
    sockets.check_mode(mode=mode)

    async def events(request: Request) -> Response:
        names = request.query_params.getlist("channel")
        if not 0 < len(names) <= max_channels:
            raise HTTPException(400, f"name 1 to {max_channels} channels: ?channel=a&channel=b")
        await _check(authorize, request, names)
        return EventStream(
            request, hub, names, envelope=envelope, base64=base64, heartbeat=heartbeat, retry=retry, **options
        )

    async def websocket(socket: WebSocket) -> None:
        names = socket.query_params.getlist("channel")
        refusal: tuple[int, str] | None = None
        if not 0 < len(names) <= max_channels:
            refusal = sockets.BAD_REQUEST, f"name 1 to {max_channels} channels: ?channel=a&channel=b"
        else:
            try:
                await _check(authorize, socket, names)
            except HTTPException as error:
                refusal = sockets.FORBIDDEN, str(error.detail)
        if refusal is None:
            await serve_websocket(
                socket, hub, names, mode=mode, first_message_timeout=first_message_timeout, **options
            )
        else:
            await refuse_websocket(socket, *refusal)

    found: list[BaseRoute] = []
    if events_path is not None:
        found.append(Route(events_path, events, methods=["GET"]))
    if websocket_path is not None:
        found.append(WebSocketRoute(websocket_path, websocket))
    return found


def allow_all(connection: HTTPConnection, channels: Sequence[str]) -> bool:  # noqa: ARG001
    """Let everybody watch every channel."""
    return True


async def _check(authorize: Authorize, connection: HTTPConnection, names: Sequence[str]) -> None:
    try:
        allowed = authorize(connection, names)
        if isawaitable(allowed):
            allowed = await allowed
    except HTTPException:
        raise
    except Exception as error:
        logger.exception("authorize has failed: access is denied")
        raise HTTPException(403, "not allowed") from error
    if allowed is not True:
        raise HTTPException(403, "not allowed")
