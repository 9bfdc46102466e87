"""Starlette and FastAPI: endpoints from which clients watch channels, and resume.

In a FastAPI route, where the application knows who asks:

    @app.get("/orders/{customer}/events")
    async def events(request: Request, customer: str) -> EventStream:
        return EventStream(request, hub, f"orders:{customer}")

Or `routes()`, where the client names the channels and a function of yours says whether it may.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from inspect import isawaitable
from typing import Any, TypedDict, Unpack

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from gapless._core.reader import Policy
from gapless.backends.arguments import check_seconds
from gapless.errors import ConfigurationError, UnknownChannel
from gapless.hub import Channels, Subscriber
from gapless.transports import websocket as sockets
from gapless.transports.pump import Send as SendMessage
from gapless.transports.shutdown import ending_with_the_server
from gapless.transports.sse import EventStream as Stream
from gapless.transports.sse import Frames, last_event_id, open_or_refuse

__all__ = ["EventStream", "allow_all", "lifespan", "routes", "serve_websocket"]

logger = logging.getLogger("gapless")

Authorize = Callable[[HTTPConnection, Sequence[str]], bool | Awaitable[bool]]

# A request names so many channels at most.
MAX_CHANNELS = 100


class Options(TypedDict, total=False):
    """What `Channels.subscribe()` takes, for each client."""

    history: int | None
    policy: Policy | None
    max_backlog: int | None
    max_backlog_bytes: int | None


class EventStream(Response):
    """Answers a request with server-sent events.

    The client goes on where it was: after the cursor in the header `Last-Event-ID`, which browsers send, or
    in the query parameter `last_event_id`.

    Args:
        request: The request.
        hub: Open when the answer is sent.
        channels: A name, or names. Whether the client may watch them is the caller's business.
        envelope: Send JSON objects with `channel` and `data`; None: if there are several channels.
        base64: Send payloads in base64, whatever they are.
        heartbeat: Seconds without an event after which a comment is sent.
        retry: Seconds after which a client comes back.
        headers: More headers.
        history, policy, max_backlog, max_backlog_bytes: As `Channels.subscribe()` has them.

    Raises:
        HTTPException: 400: the cursor is none, or there is no channel. 404: a channel was not declared.
        ConfigurationError: An argument is out of range.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        request: HTTPConnection,
        hub: Channels,
        channels: str | Iterable[str],
        *,
        envelope: bool | None = None,
        base64: bool = False,
        heartbeat: float = 15.0,
        retry: float = 2.0,
        headers: Mapping[str, str] | None = None,
        **options: Unpack[Options],
    ) -> None:
        check_seconds(heartbeat=heartbeat, retry=retry)
        names = [channels] if isinstance(channels, str) else list(channels)
        if not names:
            raise HTTPException(400, "no channel was named")
        after = last_event_id(request.headers, request.query_params)
        self._resumes = after is not None
        try:
            self._subscriber = hub.subscribe(names, after=after, **options)
        except UnknownChannel as error:
            raise HTTPException(404, str(error)) from error
        except ConfigurationError:
            # Of the application's arguments, not of the client's.
            raise
        except ValueError as error:
            raise HTTPException(400, str(error)) from error
        several = len(self._subscriber.channels) > 1
        self._frames = Frames(envelope=several if envelope is None else envelope, base64=base64)
        self._heartbeat = heartbeat
        self._retry = retry
        super().__init__(headers=headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        subscriber = self._subscriber
        # Also what was set later, as a cookie; the length is that of an answer that ends.
        headers = [header for header in self.raw_headers if header[0] != b"content-length"]
        stream = Stream(
            subscriber, self._frames, heartbeat=self._heartbeat, retry=self._retry, headers=headers
        )
        if scope["method"] == "HEAD":
            await stream.serve_headers(send)
            return
        refusal = await open_or_refuse(subscriber, resumes=self._resumes)
        if refusal is not None:
            answer = JSONResponse({"detail": refusal.detail}, refusal.status, refusal.headers)
            await answer(scope, receive, send)
            return
        await stream.serve(receive, send)
        if self.background is not None:
            await self.background()


async def serve_websocket(
    websocket: WebSocket,
    hub: Channels,
    channels: str | Iterable[str],
    *,
    mode: sockets.Mode = "text",
    first_message_timeout: float = 10.0,
    **options: Unpack[Options],
) -> None:
    """Accept a WebSocket, and send it the events of channels, as `gapless.transports.websocket` says.

    Args:
        websocket: Not accepted yet.
        hub: Open.
        channels: A name, or names. Whether the client may watch them is the caller's business.
        mode: Plain payloads as text or binary frames.
        first_message_timeout: Seconds in which a client of `gapless.v1` has to say where it was.
        history, policy, max_backlog, max_backlog_bytes: As `Channels.subscribe()` has them.

    Raises:
        ConfigurationError: The WebSocket was accepted already, or an argument is out of range.
    """
    if websocket.application_state is not WebSocketState.CONNECTING:
        raise ConfigurationError("websocket: it was accepted or closed already; pass it as the route gets it")
    names = [channels] if isinstance(channels, str) else list(channels)

    def subscribe(after: Mapping[str, str] | None) -> Subscriber:
        if not names:
            raise ValueError("no channel was named")
        return hub.subscribe(names, after=after, **options)

    await websocket.receive()  # websocket.connect
    socket = sockets.Socket(
        subscribe,
        websocket.receive,
        _sender(websocket),
        offered=_offered(websocket),
        mode=mode,
        first_message_timeout=first_message_timeout,
    )
    await socket.serve()


def routes(
    hub: Channels,
    *,
    authorize: Authorize,
    events_path: str | None = "/events",
    websocket_path: str | None = "/ws",
    max_channels: int = MAX_CHANNELS,
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
        history, policy, max_backlog, max_backlog_bytes: As `Channels.subscribe()` has them, for each client.

    Raises:
        ConfigurationError: `authorize` is no function. Other arguments are looked at when a client comes.
    """
    if not callable(authorize):
        raise ConfigurationError(f"authorize: expected a function, or allow_all, got {authorize!r}")

    async def events(request: Request) -> Response:
        names = request.query_params.getlist("channel")
        if not 0 < len(names) <= max_channels:
            raise HTTPException(400, f"name 1 to {max_channels} channels: ?channel=a&channel=b")
        await _check(authorize, request, names)
        return EventStream(request, hub, names, **options)

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
            await serve_websocket(socket, hub, names, **options)
        else:
            # Accepted first: a browser sees no code of a handshake that fails.
            protocol = sockets.PROTOCOL if sockets.PROTOCOL in _offered(socket) else None
            await socket.accept(protocol)
            await sockets.close(_sender(socket), *refusal)

    found: list[BaseRoute] = []
    if events_path is not None:
        found.append(Route(events_path, events, methods=["GET"]))
    if websocket_path is not None:
        found.append(WebSocketRoute(websocket_path, websocket))
    return found


def _sender(websocket: WebSocket) -> SendMessage:
    """Return what sends, and raises what ASGI says if the client has left."""

    async def send(message: Any) -> None:
        try:
            await websocket.send(message)
        except WebSocketDisconnect as error:
            raise ConnectionError(str(error)) from error

    return send


def _offered(websocket: WebSocket) -> tuple[str, ...]:
    return tuple(websocket.scope.get("subprotocols") or ())


def allow_all(connection: HTTPConnection, channels: Sequence[str]) -> bool:  # noqa: ARG001
    """Let everybody watch every channel."""
    return True


def lifespan(hub: Channels) -> Callable[[Any], AbstractAsyncContextManager[None]]:
    """Return a lifespan that opens `hub`: `FastAPI(lifespan=lifespan(hub))`.

    It ends the event streams as soon as the process is told to stop. Web servers wait for open responses
    before they end the lifespan, and an event stream has no end of its own.
    """

    @asynccontextmanager
    async def run(app: Any) -> AsyncIterator[None]:  # noqa: ARG001
        async with hub:
            with ending_with_the_server(hub):
                yield

    return run


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
