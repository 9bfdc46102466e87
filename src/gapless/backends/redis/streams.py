"""The Streams backend: live events, history, and ids to resume from."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Unpack

from gapless._core.entries import UNREADABLE, Kept, readable
from gapless._core.event import Event, Gap
from gapless._core.history import BEGINNING, cursor, resume, split_cursor, with_restarts
from gapless._core.names import check_channels
from gapless._redis import scripts
from gapless._redis.commands import Command
from gapless._redis.identity import previous_id_of, server_of
from gapless._redis.lost_publishes import FIND, Trace
from gapless._redis.publisher import Publish, Publisher
from gapless._redis.repairs import READ
from gapless._redis.session import Streams
from gapless.backends import arguments
from gapless.backends.redis.base import RedisChannelsBackend
from gapless.backends.redis.in_loop import Bounds
from gapless.errors import ConfigurationError

if TYPE_CHECKING:
    from gapless._redis.client import Redis, Valkey

_PUBLISH = scripts.load("publish_stream.lua")

# Keys looked at per SCAN in flush_all: a few hundred microseconds of the server's time.
FLUSH_BATCH = 500


class RedisChannelsStreamBackend(RedisChannelsBackend):
    """Redis channels backend, streams.

    Every event is appended to the stream ``{key_prefix}_{channel}`` (entry fields ``data``, ``channel``,
    ``by``, the unique id of the publish, ``server``, who appended it, and ``previous``, the id before it)
    and pushed to subscribers in one atomic script.

    Args:
        history: Amount of messages to keep, at least 0. This will set a MAXLEN to the streams. 0 keeps none.
        redis: An asyncio client of redis-py or valkey-py.
        stream_sleep_no_subscriptions: Milliseconds, at least 0: what `stream_events()` would pause, should no
            subscribers exist. Nothing is polled, so it has no effect on latency or CPU.
        cap_streams_approximate: Set the streams MAXLEN using the ~ approximation operator for improved
            performance. The server then keeps somewhat more than `history` (up to a whole node, 100
            entries by default); `get_history()` returns at most `history` of them all the same.
        stream_ttl: TTL of a stream in milliseconds or as a timedelta, 1 ms to 100 years. A stream's TTL is
            set on each publishing operation using PEXPIRE. None: streams never expire.
        key_prefix: Stands before the name of every key and push channel, joined by ``_``.
        resume_ttl: TTL of the key that remembers the id of a channel's last event, in milliseconds or
            as a timedelta, 1 ms to 100 years. It outlives the stream, so that a reader which comes back can
            be told whether it has missed anything: a shorter time than `stream_ttl` is made as long.
        sweep_interval: Seconds, within 20 %, between two comparisons of what was published with what was
            pushed. It finds pushes that don't arrive although the connection is up.
        durable: Whether a restart of the server, or the server that takes over from it, is known to have
            every event that was acknowledged. If not, a restart is a Gap of reason ``restart`` on each
            channel. None: the server is asked; a primary without replicas that has ``appendonly yes``
            and ``appendfsync always`` counts as durable. Say False where backups may be restored.
        max_push_bytes: Larger payloads are pushed by reference, at least 1: subscribers read them from the
            stream, so that they don't fill the buffer that the server keeps for each subscriber. Without a
            history everything is pushed whole.

    The other keywords, the bounds of every wait and queue, are those of `RedisChannelsBackend`.

    Raises:
        ConfigurationError: An argument is out of range or of the wrong kind.
    """

    _scripts = (_PUBLISH, READ, FIND)

    def __init__(
        self,
        history: int,
        *,
        redis: Redis | Valkey,
        stream_sleep_no_subscriptions: int = 1,
        cap_streams_approximate: bool = True,
        stream_ttl: int | timedelta | None = timedelta(seconds=60),
        key_prefix: str = "LITESTAR_CHANNELS",
        resume_ttl: int | timedelta = timedelta(hours=24),
        sweep_interval: float = 5.0,
        durable: bool | None = None,
        max_push_bytes: int = 64 * 1024,
        **bounds: Unpack[Bounds],
    ) -> None:
        super().__init__(
            redis=redis,
            key_prefix=key_prefix,
            stream_sleep_no_subscriptions=stream_sleep_no_subscriptions,
            **bounds,
        )
        arguments.check_at_least(0, history=history)
        arguments.check_at_least(1, max_push_bytes=max_push_bytes)
        self._history = history
        # MAXLEN ~ 0 would keep the entries of a whole node.
        operator = "~" if cap_streams_approximate and history else "="
        ttl = None if stream_ttl is None else arguments.parse_ttl_ms("stream_ttl", stream_ttl)
        # It has to outlive the stream.
        stream_ms = arguments.MAX_TTL_MS if ttl is None else ttl
        resume_ttl_ms = max(arguments.parse_ttl_ms("resume_ttl", resume_ttl), stream_ms)
        arguments.check_seconds(sweep_interval=sweep_interval)
        if durable is not None and not isinstance(durable, bool):
            raise ConfigurationError(f"durable: expected True, False or None, got {durable!r}")
        # Without a history there is nothing to read, so everything has to be pushed.
        pushed = max_push_bytes if history else arguments.MAX_PAYLOAD_BYTES
        self._script_options = (operator, history, "" if ttl is None else ttl, resume_ttl_ms, pushed)
        self._durable = durable
        streams = Streams(self._keys, Kept(history, ttl), resume_ttl_ms, sweep_interval, durable)
        self._settings = self._settings._replace(streams=streams)

    async def get_history(self, channel: str, limit: int | None = None) -> list[bytes]:
        """Return the history of a channel, returning at most limit messages, oldest first.

        Args:
            channel: The channel; it need not be subscribed.
            limit: The newest `limit` messages; None for all, which is at most `history`. 0 for none.

        Raises:
            ValueError: `limit` is negative.
            BackendUnavailable: No reply within `publish_timeout`.
            BackendError: The server refused.
        """
        return [event.data for event in await self.recent(channel, limit)]

    async def recent(self, channel: str, limit: int | None = None) -> list[Event]:
        """Return the same as `get_history()`, as events."""
        check_channels([channel])
        arguments.check_limit(limit)
        count = self._history if limit is None else min(limit, self._history)
        if count == 0:
            return []
        stream = self._keys.stream(channel)
        entries = await self._request("XREVRANGE", stream, "+", "-", "COUNT", count)
        return _events(channel, reversed(entries))

    async def position(self, channel: str) -> str:
        """Return where `channel` stands, for `read(after=)`.

        It is the newest event's id (``0-0``: none is known) and the server that has it: ``"<id>@<server>"``.

        Raises:
            BackendUnavailable, BackendError: As `get_history()`.
        """
        check_channels([channel])
        last_id = readable(await self._request("GET", self._keys.last(self._keys.stream(channel))))
        known = BEGINNING if last_id is None or last_id == UNREADABLE else last_id.decode()
        return cursor(known, self._enter().session.server)

    async def read(
        self,
        channel: str,
        *,
        after: str | None = None,
        limit: int | None = None,
        max_bytes: int | None = None,
    ) -> list[Event | Gap]:
        """Return the kept events of `channel` after the event `after`, oldest first.

        Args:
            channel: The channel; it need not be subscribed.
            after: Where the caller stands: the id of an event that it has, a `position()`, or the `after`
                of a Gap. None reads from the oldest kept.
            limit: At most so many events; None for all.
            max_bytes: With `after`: stop after so many bytes of payloads, and after one event at least.

        Returns:
            Events; before them a Gap if events after `after` are missing, or may be; and a Gap of reason
            ``restart`` wherever another server goes on that may have lost acknowledged events, as after a
            restart (with `durable=None`: unless this process has seen that nothing was lost). The `after`
            of such a Gap at the end is a position without it. After any other Gap at the end, go on from a
            `position()` taken before the read, or the Gap comes again.

        Raises:
            ValueError: `after` is not an id, or `limit` is negative.
            BackendUnavailable, BackendError: As `get_history()`.
        """
        check_channels([channel])
        arguments.check_limit(limit)
        stream = self._keys.stream(channel)
        if after is None:
            if limit == 0:
                return []
            since = None
            count = () if limit is None else ("COUNT", limit)
            entries = await self._request("XRANGE", stream, "-", "+", *count)
            found: list[Event | Gap] = [*_events(channel, entries)]
            more = len(entries) == limit
        else:
            after, since = split_cursor(after)
            # One more than asked for: the event `after` itself, which shows that nothing is missing.
            most = ("" if limit is None else limit + 1, "" if max_bytes is None else max_bytes)
            entries, oldest, last_id, more, _ = await self._enter().session.read(
                READ, [stream, self._keys.last(stream)], after, *most
            )
            last_id = readable(last_id)
            found = resume(
                channel,
                after=after,
                entries=_events(channel, entries),
                oldest_id=oldest[0][0].decode() if oldest else None,
                last_id=last_id.decode() if last_id else None,
                before_first=previous_id_of(entries[0][1]) if entries else None,
            )
            if limit is not None and len(found) > limit:
                more, found = True, found[: limit + isinstance(found[0], Gap)]
        if self._durable:
            return found
        session = self._enter().session
        name = session.known_as
        return with_restarts(
            found,
            after=Gap(channel, after, "restart"),
            servers={id_.decode(): name(server) for id_, fields in entries if (server := server_of(fields))},
            since=name(since) if since else None,
            now=None if more else name(session.server),
        )

    async def flush_all(self) -> int:
        """Delete all streams with the key_prefix, and return how many.

        Only streams with events of this prefix: no other key, and no stream of a longer prefix that begins
        like it. It scans the database in batches, so it does not block the server; events published meanwhile
        may survive. What was deleted is no loss to those who have it: the last ids stay until `resume_ttl`.

        Important:
            This method is incompatible with redis clusters.

        Raises:
            BackendUnavailable, BackendError: As `get_history()`; what was deleted until then stays so.
        """
        deleted, cursor = 0, b"0"
        while True:
            cursor, streams = await self._request(
                "SCAN", cursor, "MATCH", self._keys.pattern(), "COUNT", FLUSH_BATCH, "TYPE", "stream"
            )
            ours = await self._ours(streams)
            if ours:
                deleted += await self._request("UNLINK", *ours)
            if cursor == b"0":
                return deleted

    async def _ours(self, streams: list[bytes]) -> list[bytes]:
        """Return those streams that belong to this prefix."""
        newest = await asyncio.gather(
            *(self._request("XREVRANGE", stream, "+", "-", "COUNT", 1) for stream in streams)
        )
        kept = await asyncio.gather(
            *(self._request("EXISTS", self._keys.last(stream.decode(errors="replace"))) for stream in streams)
        )
        return [
            stream
            for stream, entries, has_last_id in zip(streams, newest, kept, strict=True)
            if self._keys.owns(stream, entries[0][1] if entries else None, has_last_id=bool(has_last_id))
        ]

    async def _request(self, *command: str | bytes | int) -> Any:
        return await self._enter().session.request(*command)

    def _publish_command(self, data: bytes, names: list[str], publisher: Publisher) -> Command:
        keys = self._keys
        by = f"{publisher.nonce}{next(publisher.serials):x}"
        server = publisher.commands.peer.tag
        if len(names) == 1:
            stream = keys.stem + names[0]
            return (
                "EVALSHA", _PUBLISH.sha, 2, stream, keys.last(stream),
                data, *self._script_options, by, server, names[0],
            )  # fmt: skip
        pairs: list[str] = []
        for stream in map(keys.stream, names):
            pairs += (stream, keys.last(stream))
        return ("EVALSHA", _PUBLISH.sha, len(pairs), *pairs, data, *self._script_options, by, server, *names)

    def _slow_publish(self, command: Command, names: list[str], sent_at: float = 0.0) -> Publish:
        trace = None
        if self._history:
            first, last = (self._keys.stream(name) for name in (names[0], names[-1]))
            trace = Trace(
                by=str(command[-2 - len(names)]),
                first=(first, self._keys.last(first)),
                last=(last, self._keys.last(last)),
            )
        return Publish(command, names, _PUBLISH, trace, sent_at, server_at=-1 - len(names))


def _events(channel: str, entries: Iterable[Any]) -> list[Event]:
    """Return stream entries, as XRANGE gives them, as events; entries that are not ours are left out."""
    events: list[Event] = []
    for entry_id, fields in entries:
        if fields and fields[0] == b"data":
            events.append(Event(channel, fields[1], entry_id.decode()))
    return events
