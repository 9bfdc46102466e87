"""What a route returns or awaits: an event stream, or a WebSocket that is served."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypedDict, Unpack

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from gapless._core.reader import Policy
from gapless.backends.arguments import check_seconds
from gapless.errors import ConfigurationError, UnknownChannel
from gapless.hub import Channels, Subscriber
from gapless.transports import websocket as sockets
from gapless.transports.frames import PROTOCOL, Frames
from gapless.transports.pump import Send as SendMessage
from gapless.transports.sse import EventStream as Stream
from gapless.transports.sse import asked


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
        self._asked = asked(request.headers, request.query_params)
        try:
            self._subscriber = hub.subscribe(names, after=self._asked.after, **options)
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
        refusal = await stream.answer(self._asked, receive, send)
        if refusal is not None:
            answer = JSONResponse({"detail": refusal.detail}, refusal.status, refusal.headers)
            await answer(scope, receive, send)
            return
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
    sockets.check_mode(mode=mode)
    check_seconds(first_message_timeout=first_message_timeout)
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


async def refuse_websocket(websocket: WebSocket, code: int, reason: str) -> None:
    """Close a WebSocket that is not accepted yet, with a code that the client gets."""
    # Accepted first: a browser sees no code of a handshake that fails.
    await websocket.accept(PROTOCOL if PROTOCOL in _offered(websocket) else None)
    await sockets.close(_sender(websocket), code, reason)


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
