"""Server-sent events: the stream of one connection.

Each event carries the cursor of its reader as its `id`, so that a browser's `EventSource`, which sends the
last one back in the header `Last-Event-ID`, goes on exactly where it was. The stream begins with an id and no
data, which `EventSource` remembers and does not dispatch: a client that has received nothing can resume, too.

Source: WHATWG HTML, 9.2 Server-sent events.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from gapless._core.log import Entry
from gapless.errors import BackendError, ConfigurationError, HubClosed
from gapless.hub import Subscriber
from gapless.transports.frames import Frames, id_line
from gapless.transports.pump import Message, Pump, Receive, Send

logger = logging.getLogger("gapless")

Header = tuple[bytes, bytes]

HEADERS: tuple[Header, ...] = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    # no-transform: a proxy that compresses would hold events back. The last is for nginx.
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
)

# So many events are sent in one chunk, and one write, at most.
CHUNK_EVENTS = 128

RETRY_AFTER_SECONDS = 2


@dataclass(frozen=True, slots=True)
class Refusal:
    """What is answered instead of a stream."""

    status: int
    detail: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request for a stream says.

    Attributes:
        after: Where the client was; None if it does not say.
        as_event_source: Whether it says that it takes an event stream, as `EventSource` does.
    """

    after: str | None
    as_event_source: bool


def asked(headers: Mapping[str, str], query: Mapping[str, str]) -> Asked:
    """Return what a request says. Where it was is in the header that browsers send, or in the query."""
    return Asked(
        after=headers.get("last-event-id") or query.get("last_event_id") or None,
        as_event_source="text/event-stream" in headers.get("accept", ""),
    )


class EventStream:
    """The answer to one request.

    Args:
        subscriber: Not open yet for `answer()`, open for `serve()`; it is closed when the answer ends.
        frames: Makes the bytes.
        heartbeat: Seconds without an event after which a comment is sent, so that proxies keep the
            connection, and a client that is gone is noticed.
        retry: Seconds after which a client comes back when the connection was lost.
        headers: More headers; those of `HEADERS` may be among them.
    """

    def __init__(
        self,
        subscriber: Subscriber,
        frames: Frames,
        *,
        heartbeat: float,
        retry: float,
        headers: Iterable[Header] = (),
    ) -> None:
        self._subscriber = subscriber
        self._frames = frames
        self._retry = retry
        more = list(headers)
        named = {name for name, _ in more}
        self._headers = [*(header for header in HEADERS if header[0] not in named), *more]
        self._pump = Pump(subscriber, heartbeat)

    async def serve_headers(self, send: Send) -> None:
        """Answer HEAD: the headers, and the end, which a stream has not."""
        await self._send_headers(send)
        await send(_body(b"", more=False))

    async def answer(self, asked: Asked, receive: Receive, send: Send) -> Refusal | None:
        """Open the subscriber and serve; or return what to answer instead.

        `EventSource` gives up for ever when the status is not 200. So who accepts event streams gets one also
        while there are no events to be had: it ends at once, and asks the client to come back.
        """
        try:
            await self._subscriber.open()
        except ConfigurationError as error:
            if asked.after is None:
                # Of the application's arguments, not of the client's.
                raise
            return Refusal(400, str(error))
        except (HubClosed, BackendError) as error:
            logger.warning("no event stream: %s", error)
            if not asked.as_event_source:
                return Refusal(503, "events are not available now", {"Retry-After": str(RETRY_AFTER_SECONDS)})
            await self._send_headers(send)
            await send(_body(self._come_back(), more=False))
            return None
        await self.serve(receive, send)
        return None

    async def serve(self, receive: Receive, send: Send) -> None:
        """Send until the client leaves, the hub is closed, or the subscriber was too slow."""
        cursor = self._subscriber.cursor
        beginning = b"retry: %d\n" % round(self._retry * 1000)
        beginning += b"\n" if cursor is None else b"id: " + cursor.encode() + b"\n\n"

        pump, subscriber = self._pump, self._subscriber
        chunk = self._chunk if len(subscriber.channels) == 1 else self._chunk_of_several

        async def push() -> None:
            # In here, so that the subscriber is closed also if the client has left already.
            await self._send_headers(send)
            await send(_body(beginning))
            # No coroutine of ours between the event and the server: this is where a client's events cost.
            while True:
                # What waits when the hub ends comes at once, however much it is; the rest is given again.
                entries = subscriber.entries_nowait(CHUNK_EVENTS)[:CHUNK_EVENTS]
                if entries:
                    pump.idle = False
                    await send({"type": "http.response.body", "body": chunk(entries), "more_body": True})
                elif subscriber.ended_by is not None:
                    break
                elif pump.due:
                    pump.due = pump.idle = False
                    await send(_body(b":\n\n"))
                else:
                    await subscriber
            await send(_body(self._come_back(), more=False))

        await self._pump.run(push, receive, "http.disconnect")

    async def _send_headers(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self._headers})

    def _come_back(self) -> bytes:
        # Clients that come back all at once would be a stampede.
        again = self._retry * random.uniform(1, 5)  # noqa: S311 (jitter, not a secret)
        return b"retry: %d\n\n" % round(again * 1000)

    def _chunk(self, entries: list[Entry]) -> bytes:
        self._subscriber.advance(len(entries))
        frames = self._frames
        if len(entries) == 1:
            return frames.with_id(entries[0])
        return b"".join([frames.with_id(entry) for entry in entries])

    def _chunk_of_several(self, entries: list[Entry]) -> bytes:
        subscriber, frames = self._subscriber, self._frames
        parts: list[bytes] = []
        for entry in entries:
            subscriber.advance()
            parts.append(frames.without_id(entry) + id_line(subscriber.cursor))
        return b"".join(parts)


def _body(body: bytes, *, more: bool = True) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": more}
