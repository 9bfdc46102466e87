"""The WebSocket handlers that the plugin makes.

Frames are bare payloads, as Litestar's handlers send them, or, for a client that offers the subprotocol
``gapless.v1``, JSON text with what it needs to come back::

    {"type": "event", "id": "<cursor>", "channel": "news", "data": "payload"}
    {"type": "gap", "id": "<cursor>", "channel": "news", "reason": "trimmed", "lost": null}

A payload that is no UTF-8 has ``"base64": true``. A client comes back with ``?last_event_id=<cursor>`` (or an
id of the channel), and gets what it has missed.

Close codes: 1012 the server shuts down, 4408 the client was too slow, 4450 the broker is away (come back,
with the last id); 4500 the request is wrong, 4501 the broker refuses (don't).
"""

from __future__ import annotations

import asyncio
import logging
from base64 import b64encode
from collections.abc import Awaitable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import msgspec
from litestar.channels.plugin import ChannelsException
from litestar.connection import WebSocket

from gapless._core.event import Event, Gap
from gapless.errors import BackendError, BackendUnavailable, ChannelsError, HubClosed
from gapless.hub.ending import end_tasks
from gapless.integrations.litestar.subscriber import Subscriber

logger = logging.getLogger("gapless")

SUBPROTOCOL = "gapless.v1"

NORMAL = 1000
RESTARTS = 1012
TOO_SLOW = 4408
UNAVAILABLE = 4450
BAD_REQUEST = 4500
REFUSED = 4501

REASONS = {
    NORMAL: "",
    RESTARTS: "the server shuts down",
    TOO_SLOW: "too slow",
    UNAVAILABLE: "the broker is away",
    REFUSED: "the broker refuses",
}

# Clients wait for the end of a handshake for some seconds only.
ACCEPT_SECONDS = 1.0

# How long a client may take for a closing frame, and for what waits when the hub closes.
CLOSE_SECONDS = 2.0

# The rest of a control frame of 125 bytes (RFC 6455, 5.5).
MAX_REASON_BYTES = 123

Socket = WebSocket[Any, Any, Any]


class Plugin(Protocol):
    """What a handler asks of its plugin."""

    async def subscribe(
        self, channels: str, history: int | None = None, *, after: str | dict[str, str] | None = None
    ) -> Subscriber: ...

    async def unsubscribe(self, subscriber: Subscriber) -> None: ...


@dataclass(frozen=True, slots=True)
class Settings:
    """How a plugin's handlers send.

    Attributes:
        history: How many events of the history they send first.
        text: Whether payloads go in text frames.
        resumes: Whether the backend can go on from an id.
    """

    history: int
    text: bool
    resumes: bool


class Gone(Exception):
    """The client is not there any more."""


async def serve(plugin: Plugin, socket: Socket, channel: str, settings: Settings) -> None:
    """Send the events of a channel until the client leaves, is too slow, or the hub closes."""
    subprotocol = SUBPROTOCOL if SUBPROTOCOL in socket.scope["subprotocols"] else None
    subscribed = asyncio.Event()
    accepting = asyncio.create_task(_accept(socket, subprotocol, subscribed), name="gapless websocket accept")
    try:
        after = _after(socket, channel) if settings.resumes else None
        subscriber = await plugin.subscribe(channel, settings.history or None, after=after)
    except (ChannelsError, ChannelsException, ValueError) as error:
        # Accepted all the same: a browser does not tell a page why it was not.
        subscribed.set()
        await accepting
        await _close(socket, *_refusal(error, channel))
        return
    except BaseException:
        await end_tasks({accepting})
        raise
    try:
        subscribed.set()
        await accepting
        if subprotocol is None:
            send = _send_payloads(socket, subscriber, text=settings.text)
        else:
            send = _send_envelopes(socket, subscriber)
        gone = await _run(socket, subscriber, send)
    finally:
        await plugin.unsubscribe(subscriber)
    if not gone:
        code = {"hub": RESTARTS, "backlog": TOO_SLOW}.get(subscriber.ended_by or "", NORMAL)
        await _close(socket, code, REASONS[code])


async def _accept(socket: Socket, subprotocol: str | None, subscribed: asyncio.Event) -> None:
    """Accept when it is subscribed, so that who is connected gets what is published, or soon anyhow."""
    try:
        async with asyncio.timeout(ACCEPT_SECONDS):
            await subscribed.wait()
    except TimeoutError:
        logger.debug("a WebSocket is accepted before it is subscribed")
    await socket.accept(subprotocol)


def _refusal(error: Exception, channel: str) -> tuple[int, str]:
    match error:
        case HubClosed():
            return RESTARTS, REASONS[RESTARTS]
        case BackendUnavailable():
            return UNAVAILABLE, REASONS[UNAVAILABLE]
        case BackendError():
            logger.warning("a WebSocket to %r was closed: %s", channel, error)
            return REFUSED, REASONS[REFUSED]
        case _:
            return BAD_REQUEST, str(error)


async def _run(socket: Socket, subscriber: Subscriber, sending: Coroutine[Any, Any, None]) -> bool:
    """Return whether the client has left; if not, the subscriber has ended."""
    ended = asyncio.get_running_loop().create_future()
    # Called once.
    subscriber.on_end = partial(ended.set_result, None)
    sender = asyncio.create_task(sending, name="gapless websocket")
    receiver = asyncio.create_task(_disconnected(socket), name="gapless websocket receiver")
    try:
        await asyncio.wait({sender, receiver, ended}, return_when=asyncio.FIRST_COMPLETED)
        if subscriber.ended_by == "hub":
            # What waits is still sent.
            await asyncio.wait({sender, receiver}, timeout=CLOSE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        gone = receiver.done()
    finally:
        subscriber.on_end = None
        await end_tasks({sender, receiver})
    error = sender.exception() if sender.done() and not sender.cancelled() else None
    if error is not None and not isinstance(error, Gone):
        raise error
    return gone or error is not None


async def _disconnected(socket: Socket) -> None:
    try:
        while (await socket.receive())["type"] != "websocket.disconnect":
            pass
    except Exception as error:
        # Each server has its own for a connection that is no more.
        logger.debug("a WebSocket can't be read: %r", error)


async def _send_payloads(socket: Socket, subscriber: Subscriber, *, text: bool) -> None:
    async for data in subscriber.iter_events():
        decoded = _text(data) if text else None
        await _send(socket.send_bytes(data) if decoded is None else socket.send_text(decoded))


async def _send_envelopes(socket: Socket, subscriber: Subscriber) -> None:
    while entries := await subscriber.entries(32):
        for entry in entries:
            subscriber.advance()
            await _send(socket.send_text(envelope(entry.item, subscriber.cursor)))


async def _send(sending: Awaitable[None]) -> None:
    try:
        await sending
    except Exception as error:
        raise Gone from error


def envelope(item: Event | Gap, cursor: str | None) -> str:
    """Return the frame of an event or a gap; `cursor` is where the client is when it has it."""
    frame: dict[str, object]
    if isinstance(item, Gap):
        frame = {"type": "gap", "id": cursor, "channel": item.channel}
        frame |= {"reason": item.reason, "lost": item.lost}
    else:
        text = _text(item.data)
        frame = {"type": "event", "id": cursor, "channel": item.channel}
        frame |= {"data": b64encode(item.data).decode(), "base64": True} if text is None else {"data": text}
    return msgspec.json.encode(frame).decode()


def _text(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def _after(socket: Socket, channel: str) -> str | dict[str, str] | None:
    last_id: str | None = socket.query_params.get("last_event_id")
    if not last_id:
        return None
    return last_id if "~" in last_id else {channel: last_id}


async def _close(socket: Socket, code: int, reason: str) -> None:
    short = reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore")
    closing: asyncio.Task[None] = asyncio.create_task(
        socket.close(code, short), name="gapless websocket close"
    )
    try:
        await asyncio.wait({closing}, timeout=CLOSE_SECONDS)
    finally:
        await end_tasks({closing})
        if closing.done() and not closing.cancelled() and closing.exception() is not None:
            logger.debug("a WebSocket could not be closed: %r", closing.exception())
