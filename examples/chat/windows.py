"""One browser window in one room: where it begins, what it is sent, and what it says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from litestar import WebSocket
from litestar.exceptions import WebSocketDisconnect
from redis.exceptions import RedisError

from examples.chat.connections import BackendConnections
from examples.chat.messages import (
    Hello,
    Message,
    Missing,
    Posted,
    Problem,
    RedisStatus,
    RefusedError,
    Work,
    encode,
    now_ms,
    placed,
    read_draft,
)
from examples.chat.rooms import Rooms
from examples.chat.store import HISTORY, Store
from gapless import BackendError, ChannelsError, Event, HubClosed, PublishUncertain
from gapless.integrations.litestar import ChannelsPlugin, Subscriber

Socket: TypeAlias = WebSocket[Any, Any, Any]
Place: TypeAlias = Literal["newest", "resumed", "unknown"]

# "Service restart": the page tries again.
CLOSE_RESTART = 1012
# Close codes of the application's own range: the page does not try again after the first.
CLOSE_UNKNOWN_ROOM = 4404
CLOSE_REDIS_AWAY = 4413

# Close reasons, of 123 bytes at most.
GOING_AWAY = "The web server stops."
REDIS_AWAY = "Redis is away: what was said can't be read now."


@dataclass(frozen=True, slots=True)
class Chat:
    """What the handlers share.

    Attributes:
        restart: Has the web server stopped, and started again when the work is done. False if it stops
            already.
    """

    store: Store
    connections: BackendConnections
    rooms: Rooms
    restart: Callable[[Work], bool]
    cutting: asyncio.Lock = field(default_factory=asyncio.Lock)


async def serve(socket: Socket, room: str, after: str | None, channels: ChannelsPlugin, chat: Chat) -> None:
    """Serve a window that was accepted, until it leaves or the server stops.

    Args:
        after: The cursor that it came with.

    Raises:
        OSError: It is gone; perhaps in a group.
    """
    try:
        await chat.rooms.load()
        if room not in chat.rooms:
            await close(socket, CLOSE_UNKNOWN_ROOM, "There is no such room.")
            return
        async with prepare(room, after, channels) as subscriber:
            place: Place = "newest"
            if after is not None:
                # Right after it was opened, a subscriber that goes on from a cursor stands there.
                place = "resumed" if subscriber.cursor == after else "unknown"
            await look_into(socket, subscriber, place, channels, chat)
    except HubClosed:
        await close(socket, CLOSE_RESTART, GOING_AWAY)
    except (RedisError, BackendError):
        await close(socket, CLOSE_REDIS_AWAY, REDIS_AWAY)


def prepare(room: str, after: str | None, channels: ChannelsPlugin) -> Subscriber:
    """Return a subscriber that goes on after the cursor, or begins with the history if that says nothing."""
    try:
        return channels.prepare_subscriber(room, HISTORY, after=after)
    except ValueError:
        # Anybody may have written it.
        return channels.prepare_subscriber(room, HISTORY)


async def look_into(
    socket: Socket, subscriber: Subscriber, place: Place, channels: ChannelsPlugin, chat: Chat
) -> None:
    [room] = subscriber.channels
    items = take_what_waits(subscriber)
    # From here on it gets what concerns all windows, too: behind hello, and before what comes live.
    with chat.rooms.entered(room, subscriber):
        hello = Hello(
            room=room,
            rooms=chat.rooms.overview(),
            place=place,
            items=items,
            cursor=subscriber.cursor,
            redis=await redis_status(chat),
            keeps=HISTORY,
            can_hold=chat.store.embedded,
        )
        await send(socket, encode(hello))
        async with asyncio.TaskGroup() as tasks:
            writing = tasks.create_task(write(socket, subscriber))
            async for data in socket.iter_data("text"):
                problem = await publish(channels, room, data)
                if problem is not None:
                    subscriber.put_nowait(encode(problem))
            writing.cancel()


def take_what_waits(subscriber: Subscriber) -> list[Posted | Missing]:
    """Return the history, or what was missed, each item with the cursor after it."""
    items = []
    for entry in subscriber.entries_nowait():
        subscriber.advance()
        items.append(placed(entry.item, subscriber.cursor))
    return items


async def write(socket: Socket, subscriber: Subscriber) -> None:
    """Send what comes; nobody else sends to this window meanwhile."""
    [room] = subscriber.channels
    async for item in subscriber:
        if isinstance(item, Event) and item.channel != room:
            # It was put: an event for this window, and ready to be sent.
            await send(socket, item.data)
        else:
            await send(socket, encode(placed(item, subscriber.cursor)))
    await close(socket, CLOSE_RESTART, GOING_AWAY)


async def send(socket: Socket, data: bytes) -> None:
    """Send to a window.

    Raises:
        OSError: It is gone.
    """
    try:
        await socket.send_text(data)
    except (RuntimeError, WebSocketDisconnect) as error:
        # RuntimeError is what uvicorn raises when it has closed the connection itself: after a frame that
        # is too large, for example.
        raise ConnectionAbortedError("the WebSocket is closed") from error


async def close(socket: Socket, code: int, reason: str) -> None:
    """Close a window's connection. If uvicorn was faster, because the server stops, that is as good."""
    with suppress(RuntimeError, WebSocketDisconnect):
        await socket.close(code, reason)


async def redis_status(chat: Chat) -> RedisStatus:
    try:
        return await chat.connections.status()
    except RedisError:
        return RedisStatus("down")


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
