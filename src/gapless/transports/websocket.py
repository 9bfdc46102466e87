"""WebSockets: plain payloads, or an envelope with which a client can resume; the subprotocol chooses.

Without a subprotocol each frame is a payload, as Litestar's plugin sends them: there is nothing to resume
with, and gaps can't be seen. With `gapless.v1` all messages are JSON:

    client, once, first         {"after": {"room": "1700000000000-0"}}     where it was, by channel; or {}
    server, once, first         {"ready": {"room": "1700000000000-0"}}     where it begins
    server, for each event      {"channel": "room", "id": "1700000000001-0", "data": "..."}
                                with "base64": true if the payload is not UTF-8
    server, for each gap        {"gap": {"channel": "room", "after": ..., "reason": "trimmed", "lost": null}}
                                with "id" if the client is somewhere else after it

A client keeps the last id of each channel and sends them all in `after` when it comes back. Close codes of
44xx ask it to come back, those of 45xx not to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Literal, get_args

import msgspec

from gapless._core.event import Gap
from gapless._core.log import Entry
from gapless.errors import BackendError, ConfigurationError, HubClosed, UnknownChannel
from gapless.hub import Subscriber
from gapless.transports.frames import PROTOCOL, envelope_of, text_of
from gapless.transports.pump import Message, Pump, Receive, Send

# Come back.
TOO_SLOW = 4408
GOING_AWAY = 4410
UNAVAILABLE = 4413
# Don't.
BAD_REQUEST = 4500
FORBIDDEN = 4503
UNKNOWN_CHANNEL = 4504

# A close reason is at most 123 bytes (RFC 6455, 5.5).
MAX_REASON_BYTES = 123

# So many events are taken at once.
BATCH_EVENTS = 128

CLOSE_SECONDS = 2.0

# Clients wait for the end of a handshake for some seconds only, and the broker may be away.
ACCEPT_SECONDS = 1.0

_FIRST_MESSAGE_CHARACTERS = 1024 * 1024

Mode = Literal["text", "binary"]
Subscribe = Callable[[Mapping[str, str] | None], Subscriber]


def check_mode(**named: object) -> None:
    """Check that each value is a `Mode`."""
    for name, value in named.items():
        if value not in get_args(Mode):
            raise ConfigurationError(f"{name}: expected one of {', '.join(get_args(Mode))}, got {value!r}")


class ClosedError(Exception):
    """The connection is to be closed with this code and reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class _First(msgspec.Struct, forbid_unknown_fields=True):
    after: dict[str, str] = {}


class Socket:
    """One connection, from before it is accepted to its end.

    Args:
        subscribe: Makes the subscriber; gets where the client was, None if it did not say.
        receive: The connection's, which has received `websocket.connect` already.
        send: The connection's.
        offered: The subprotocols that the client offers.
        mode: Frames of plain payloads. `text`: those that are not UTF-8 are binary all the same.
        first_message_timeout: Seconds in which a client has to say where it was.
    """

    def __init__(
        self,
        subscribe: Subscribe,
        receive: Receive,
        send: Send,
        *,
        offered: tuple[str, ...] = (),
        mode: Mode = "text",
        first_message_timeout: float = 10.0,
    ) -> None:
        self._subscribe = subscribe
        self._receive = receive
        self._send = send
        self._in_envelope = PROTOCOL in offered
        self._mode: Mode = mode
        self._first_message_timeout = first_message_timeout

    async def serve(self) -> None:
        """Accept, and send until the client leaves, the hub is closed, or the subscriber was too slow."""
        try:
            if self._in_envelope:
                await self._send({"type": "websocket.accept", "subprotocol": PROTOCOL})
                subscriber = await self._open(await self._first_message())
            else:
                subscriber = await self._open_and_accept()
            await self._push_all(subscriber)
            if subscriber.ended_by == "backlog":
                raise ClosedError(TOO_SLOW, "too slow: events were dropped; come back and resume")
            if subscriber.ended_by == "hub":
                raise ClosedError(GOING_AWAY, "the server goes away; come back and resume")
        except ClosedError as end:
            await close(self._send, end.code, end.reason)
        except OSError:
            # The client has left.
            pass

    async def _open_and_accept(self) -> Subscriber:
        """Accept as late as possible: a client that is connected gets what is published from then on."""
        opened = asyncio.Event()

        async def accept() -> None:
            with suppress(TimeoutError):
                async with asyncio.timeout(ACCEPT_SECONDS):
                    await opened.wait()
            await self._send({"type": "websocket.accept", "subprotocol": None})

        accepting = asyncio.create_task(accept(), name="gapless accept")
        try:
            subscriber = await self._open(None)
        except BaseException:
            # Accepted all the same: a browser does not tell a page why a handshake failed.
            opened.set()
            await accepting
            raise
        opened.set()
        try:
            await accepting
        except BaseException:
            subscriber.close()
            raise
        return subscriber

    async def _first_message(self) -> Mapping[str, str]:
        try:
            async with asyncio.timeout(self._first_message_timeout):
                message = await self._receive()
        except TimeoutError:
            raise ClosedError(BAD_REQUEST, 'no first message; expected {"after": {...}} or {}') from None
        if message["type"] == "websocket.disconnect":
            raise ConnectionError
        text = message.get("text") or message.get("bytes") or ""
        try:
            if len(text) > _FIRST_MESSAGE_CHARACTERS:
                raise ValueError("too long")
            return msgspec.json.decode(text, type=_First).after
        except (ValueError, msgspec.DecodeError) as error:
            raise ClosedError(BAD_REQUEST, f'expected {{"after": {{...}}}} or {{}}: {error}') from error

    async def _open(self, after: Mapping[str, str] | None) -> Subscriber:
        try:
            subscriber = self._subscribe(after)
            await subscriber.open()
            return subscriber
        except UnknownChannel as error:
            raise ClosedError(UNKNOWN_CHANNEL, str(error)) from error
        except ConfigurationError as error:
            if not after:
                # Of the application's arguments, not of the client's.
                raise
            raise ClosedError(BAD_REQUEST, str(error)) from error
        except (ValueError, TypeError) as error:
            raise ClosedError(BAD_REQUEST, str(error)) from error
        except HubClosed as error:
            raise ClosedError(GOING_AWAY, "the server goes away; come back and resume") from error
        except BackendError as error:
            # What it says is for the operator, who finds it in the log.
            raise ClosedError(UNAVAILABLE, "events are not available now; come back later") from error

    async def _push_all(self, subscriber: Subscriber) -> None:
        pump = Pump(subscriber, None)
        message_of = _enveloped if self._in_envelope else self._plain
        send = self._send

        async def push() -> None:
            if self._in_envelope:
                ready = msgspec.json.encode({"ready": subscriber.positions}).decode()
                await send({"type": "websocket.send", "text": ready})
            while True:
                entries = subscriber.entries_nowait(BATCH_EVENTS)
                for entry in entries:
                    message = message_of(entry)
                    if message is not None:
                        await send(message)
                    subscriber.advance()
                if subscriber.ended_by is not None and not entries:
                    return
                if not entries:
                    await subscriber

        await pump.run(push, self._receive, "websocket.disconnect")

    def _plain(self, entry: Entry) -> Message | None:
        if isinstance(entry.item, Gap):
            return None
        data = entry.item.data
        text = None if self._mode == "binary" else text_of(entry)
        if text is None:
            return {"type": "websocket.send", "bytes": data}
        return {"type": "websocket.send", "text": text}


def _enveloped(entry: Entry) -> Message:
    return {"type": "websocket.send", "text": envelope_of(entry)}


async def close(send: Send, code: int, reason: str) -> None:
    """Close a connection that was accepted; nothing happens if the client has left."""
    short = reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore")
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(CLOSE_SECONDS):
            # A client that takes nothing does not take this either.
            await send({"type": "websocket.close", "code": code, "reason": short})
