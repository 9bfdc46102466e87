"""Server-sent events: what a handler returns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, Unpack, cast

import msgspec
from litestar.channels.plugin import ChannelsException
from litestar.exceptions import ClientException, NotFoundException
from litestar.response import Response
from litestar.response.base import ASGIResponse

from gapless.backends.arguments import check_seconds
from gapless.errors import ConfigurationError
from gapless.integrations.litestar.options import Options
from gapless.integrations.litestar.subscriber import Subscriber
from gapless.transports.frames import Frames
from gapless.transports.pump import Receive, Send
from gapless.transports.sse import Asked, asked
from gapless.transports.sse import EventStream as Stream

if TYPE_CHECKING:
    from litestar import Request
    from litestar.types import HTTPScope


class Plugin(Protocol):
    """Makes subscribers: `ChannelsPlugin`."""

    def prepare_subscriber(
        self,
        channels: str | Iterable[str],
        history: int | None = None,
        *,
        after: str | Mapping[str, str] | None = None,
        **options: Unpack[Options],
    ) -> Subscriber:
        """Return a subscriber that is subscribed by `open()`."""
        ...


class EventStream(Response[None]):
    """Answers a request with server-sent events, as docs/endpoints.md describes them.

    The client goes on where it was: after the cursor in the header `Last-Event-ID`, which browsers send, or
    in the query parameter `last_event_id`.

        @get("/news/events", sync_to_thread=False)
        def events(request: Request, channels: NamedDependency[ChannelsPlugin]) -> EventStream:
            return EventStream(request, channels, "news", history=10)

    Args:
        request: The request.
        plugin: The plugin.
        channels: A name, or names. Whether the client may watch them is the caller's business.
        history: Begin each channel with its newest events, so many at most, if the client is new.
        envelope: Send JSON objects with `channel` and `data`; None: if there are several channels.
        base64: Send payloads in base64, whatever they are.
        heartbeat: Seconds without an event after which a comment is sent.
        retry: Seconds after which a client comes back.
        headers: More headers.
        policy, max_backlog, max_backlog_bytes: Instead of the plugin's.

    Raises:
        ClientException: 400: the cursor is none, or there is no channel.
        NotFoundException: 404: a channel was not declared.
        ConfigurationError: An argument is out of range.
    """

    def __init__(
        self,
        request: Request[Any, Any, Any],
        plugin: Plugin,
        channels: str | Iterable[str],
        *,
        history: int | None = None,
        envelope: bool | None = None,
        base64: bool = False,
        heartbeat: float = 15.0,
        retry: float = 2.0,
        headers: Mapping[str, str] | None = None,
        **options: Unpack[Options],
    ) -> None:
        check_seconds(heartbeat=heartbeat, retry=retry)
        names = (channels,) if isinstance(channels, str) else tuple(channels)
        if not names:
            raise ClientException("no channel was named")
        self._asked = asked(request.headers, request.query_params)
        try:
            self._subscriber = plugin.prepare_subscriber(names, history, after=self._asked.after, **options)
        except ChannelsException as error:
            raise NotFoundException(str(error)) from error
        except ConfigurationError:
            # Of the application's arguments, not of the client's.
            raise
        except ValueError as error:
            raise ClientException(str(error)) from error
        self._frames = Frames(envelope=len(names) > 1 if envelope is None else envelope, base64=base64)
        self._heartbeat = heartbeat
        self._retry = retry
        super().__init__(None, media_type="text/event-stream", headers=headers)

    def to_asgi_response(self, app: Any, request: Any, **options: Any) -> ASGIResponse:  # noqa: ARG002
        """Called by Litestar."""
        headers = {**(options.get("headers") or {}), **self.headers}
        encoded = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        encoded += [cookie.to_encoded_header() for cookie in [*self.cookies, *(options.get("cookies") or ())]]
        stream = Stream(
            self._subscriber, self._frames, heartbeat=self._heartbeat, retry=self._retry, headers=encoded
        )
        return Answer(stream, self._asked)


class Answer(ASGIResponse):
    """The stream, or why there is none."""

    def __init__(self, stream: Stream, asked: Asked) -> None:
        super().__init__()
        self._stream = stream
        self._asked = asked

    async def __call__(self, scope: HTTPScope, receive: Any, send: Any) -> None:  # type: ignore[override]
        """Send until the client leaves, the hub is closed, or the subscriber was too slow."""
        refusal = await self._stream.answer(self._asked, cast("Receive", receive), cast("Send", send))
        if refusal is not None:
            answer = ASGIResponse(
                body=msgspec.json.encode({"detail": refusal.detail}),
                media_type="application/json",
                status_code=refusal.status,
                headers=dict(refusal.headers),
            )
            await answer(scope, receive, send)
