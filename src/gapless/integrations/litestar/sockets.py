"""The WebSocket handlers that the plugin makes, as `gapless.transports.websocket` serves them.

What is Litestar's own: a client may also say where it was in the query parameter `last_event_id`, a cursor or
an id of the channel, whichever frames it wants.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, cast

from litestar.connection import WebSocket
from litestar.exceptions import WebSocketDisconnect

from gapless.integrations.litestar.subscriber import Subscriber
from gapless.transports.pump import Receive, Send
from gapless.transports.websocket import Mode, Socket


class Prepare(Protocol):
    """Makes a subscriber."""

    def __call__(
        self, history: int | None = None, *, after: str | Mapping[str, str] | None = None
    ) -> Subscriber: ...


@dataclass(frozen=True, slots=True)
class Settings:
    """How a plugin's handlers send.

    Attributes:
        history: How many events of the history they send first.
        mode: Frames of plain payloads.
        resumes: Whether the backend can go on from an id.
    """

    history: int
    mode: Mode
    resumes: bool


async def serve(socket: WebSocket[Any, Any, Any], channel: str, prepare: Prepare, settings: Settings) -> None:
    """Send the events of a channel until the client leaves, is too slow, or the hub closes."""
    last_id = socket.query_params.get("last_event_id")

    def subscribe(after: Mapping[str, str] | None) -> Subscriber:
        position: str | Mapping[str, str] | None = after or None
        if position is None and last_id:
            position = last_id if "~" in last_id else {channel: last_id}
        return prepare(settings.history or None, after=position if settings.resumes else None)

    await socket.receive()  # websocket.connect
    serving = Socket(
        subscribe,
        # Litestar's messages are typed dictionaries.
        cast("Receive", socket.receive),
        cast("Send", socket.send),
        offered=tuple(socket.scope["subprotocols"]),
        mode=settings.mode,
    )
    # What Litestar raises for who sends to a client that has left.
    with suppress(WebSocketDisconnect):
        await serving.serve()
