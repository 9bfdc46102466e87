"""The Pub/Sub backend: live events, no history."""

from __future__ import annotations

from asyncio import get_running_loop
from collections.abc import Iterable
from typing import TYPE_CHECKING, Unpack

from gapless._core.names import check_encodable
from gapless._redis import scripts
from gapless._redis.commands import Command, ConnectionLost
from gapless._redis.errors import ReplyError
from gapless._redis.publisher import Publish, Publisher
from gapless.backends.arguments import MAX_PAYLOAD_BYTES
from gapless.backends.redis.base import RedisChannelsBackend
from gapless.backends.redis.in_loop import Bounds

if TYPE_CHECKING:
    from gapless._redis.client import Redis, Valkey

_PUBLISH = scripts.load("publish_pubsub.lua")

# What the length of a payload is on the wire, of those that are shorter than so many bytes.
_SHORT = 1024
_LENGTHS = tuple(b"%d\r\n" % length for length in range(_SHORT))

# What is kept of channels that were published to: so many, with keys of at most so many bytes.
MAX_HEADS = 4096
MAX_HEAD_KEY_BYTES = 128


class RedisChannelsPubSubBackend(RedisChannelsBackend):
    """Redis channels backend, Pub/Sub.

    This backend provides low overhead and resource usage but no support for history. What is published
    while the connection is down is missed; a `Gap` of reason ``disconnected`` says so on each channel.
    A message is the bare payload on the push channel ``{key_prefix}_{channel}``, so anything can
    publish: ``redis-cli PUBLISH LITESTAR_CHANNELS_room hello``.

    Args:
        redis: An asyncio client of redis-py or valkey-py.
        key_prefix: Stands before the name of every push channel, joined by ``_``; ``""``: bare names.
        stream_sleep_no_subscriptions: Milliseconds, at least 0: what `stream_events()` would pause, should no
            subscribers exist. Nothing is polled, so it has no effect on latency or CPU.

    The other keywords, the bounds of every wait and queue, are those of `RedisChannelsBackend`.

    Raises:
        ConfigurationError: An argument is out of range or of the wrong kind.
    """

    _scripts = (_PUBLISH,)

    def __init__(
        self,
        *,
        redis: Redis | Valkey,
        stream_sleep_no_subscriptions: int = 1,
        key_prefix: str = "LITESTAR_CHANNELS",
        **bounds: Unpack[Bounds],
    ) -> None:
        super().__init__(
            redis=redis,
            key_prefix=key_prefix,
            stream_sleep_no_subscriptions=stream_sleep_no_subscriptions,
            **bounds,
        )
        self._heads: dict[str, bytes] = {}

    async def publish(self, data: bytes, channels: Iterable[str]) -> None:
        current = self._current
        if not (
            type(channels) is list
            and len(channels) == 1
            and type(channel := channels[0]) is str
            and type(data) is bytes
            and (length := len(data)) <= MAX_PAYLOAD_BYTES
            and current is not None
            and current.loop is get_running_loop()
            and (commands := current.session.commands).link.ready
        ):
            return await super().publish(data, channels)
        # Nearly every publish. Of Pub/Sub it is the client that is the limit, and not the server, so what
        # `super().publish()` does is done here in as few calls as can be.
        try:
            head = self._heads.get(channel) or self._head(channel)
            size = _LENGTHS[length] if length < _SHORT else b"%d\r\n" % length
            try:
                await commands.post(b"".join((head, size, data, b"\r\n")))
            except (ReplyError, ConnectionLost) as error:
                command = self._publish_command(data, [channel], current.session.publisher)
                await current.session.publisher.publish(self._slow_publish(command, [channel]), error)
            current.published += 1
        except Exception as error:
            if self._is_raised(error):
                raise

    def _head(self, channel: str) -> bytes:
        """Return what a PUBLISH to a channel begins with, up to the length of the payload."""
        check_encodable(channel, "channels")
        key = self._keys.stream(channel).encode()
        head = b"*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%b\r\n$" % (len(key), key)
        if len(key) <= MAX_HEAD_KEY_BYTES:
            if len(self._heads) >= MAX_HEADS:
                self._heads.clear()
            self._heads[channel] = head
        return head

    async def get_history(self, channel: str, limit: int | None = None) -> list[bytes]:
        """Not implemented: Pub/Sub keeps no history.

        Raises:
            NotImplementedError: Always; `RedisChannelsStreamBackend` keeps history.
        """
        raise NotImplementedError(
            "Pub/Sub keeps no history; use RedisChannelsStreamBackend for get_history()"
        )

    def _publish_command(self, data: bytes, names: list[str], publisher: Publisher) -> Command:  # noqa: ARG002
        if len(names) == 1:
            return ("PUBLISH", self._keys.stem + names[0], data)
        return ("EVALSHA", _PUBLISH.sha, 0, data, *map(self._keys.stream, names))

    def _slow_publish(self, command: Command, names: list[str], sent_at: float = 0.0) -> Publish:
        return Publish(command, names, _PUBLISH, None, sent_at)
