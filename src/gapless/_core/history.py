"""Reading on from a known event: is everything since then still there?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from gapless._core.event import Event, Gap, GapReason

# A run_id has 40 digits; we use 12 of them.
MAX_SERVER_CHARS = 40

# Where a reader stands who has seen a channel without any event: no entry has this id.
BEGINNING = "0-0"


def resume(
    channel: str,
    *,
    after: str,
    entries: Sequence[Event],
    oldest_id: str | None,
    last_id: str | None,
    before_first: str | None = None,
) -> list[Event | Gap]:
    """Return what a reader that has the event `after` has to see next.

    Args:
        channel: The channel.
        after: Id of the last event that the reader has, or BEGINNING.
        entries: The kept events from `after` on, `after` included if it is kept; oldest first.
        oldest_id: Id of the oldest kept event, None if none is kept.
        last_id: Id of the newest event ever published as far as is known; it outlives the events.
        before_first: Id of the event that was published before the first of `entries`, BEGINNING if none
            was, None if that is unknown.

    Returns:
        The events after `after`; before them a Gap, unless nothing can be missing.
    """
    reason = find_gap(
        after,
        first_id=entries[0].id if entries else None,
        oldest_id=oldest_id,
        last_id=last_id,
        before_first=before_first,
    )
    found: list[Event | Gap] = [] if reason is None else [Gap(channel, after, reason)]
    found += [entry for entry in entries if entry.id != after]
    return found


def find_gap(
    after: str,
    *,
    first_id: str | None,
    oldest_id: str | None,
    last_id: str | None,
    before_first: str | None = None,
) -> GapReason | None:
    """Return why events after `after` may be missing, None if none can be.

    Args:
        after: Id of the last event that the reader has, or BEGINNING.
        first_id: Id of the first kept event from `after` on, `after` included.
        oldest_id: Id of the oldest kept event, None if none is kept.
        last_id: Id of the newest event ever published as far as is known; it outlives the events.
        before_first: Id of the event that was published before the first one, BEGINNING if none was, None if
            that is unknown.
    """
    # The last id alone: expired or trimmed while quiet, and nothing was published since.
    if after in {first_id, last_id, before_first}:
        return None
    if after == BEGINNING:
        return None if oldest_id is None and last_id is None else "trimmed"
    # The last id outlives the events, so a missing stream with another last id was trimmed or has expired
    # after new events; only if both are gone is nothing known any more.
    if last_id is None and oldest_id is None:
        return "reset"
    if oldest_id is not None and id_key(oldest_id) < id_key(after):
        # Older events are kept and this one is not: the server lost it.
        return "rollback"
    if last_id is not None and id_key(last_id) < id_key(after):
        return "rollback"
    return "trimmed"


def with_restarts(
    found: Sequence[Event | Gap],
    *,
    after: Gap,
    servers: Mapping[str | None, bytes],
    since: bytes | None,
    now: bytes | None,
) -> list[Event | Gap]:
    """Return what was found, with a Gap wherever another server goes on: it may lack acknowledged events.

    Args:
        found: What `resume()` returned.
        after: The Gap to put in, with the reader's last event in its `after`.
        servers: Which server appended an entry, by id.
        since: The server under which the reader got its last event, None if unknown.
        now: Who answered, None if that does not matter, since there is more to read.
    """
    result: list[Event | Gap] = []
    server = since or servers.get(after.after)
    gap = after
    for item in found:
        if isinstance(item, Event):
            appended_by = servers.get(item.id, server)
            if appended_by != server and server is not None and not (result and isinstance(result[-1], Gap)):
                result.append(gap)
            server = appended_by
            gap = replace(after, after=item.id)
        result.append(item)
    if now and server and now != server and not (result and isinstance(result[-1], Gap)):
        # Whoever reads on from here has been told.
        result.append(replace(gap, after=cursor(gap.after or "", now)))
    return result


def cursor(entry_id: str, server: bytes) -> str:
    """Return where a reader stands: an id, and the server under which it knows that nothing is missing."""
    return f"{entry_id}@{server.decode()}" if server else entry_id


def split_cursor(text: str) -> tuple[str, bytes | None]:
    """Return id and server of a cursor, which may be an id alone.

    Raises:
        ValueError: It is neither.
    """
    entry_id, at, server = text.partition("@")
    if at and not (server.isascii() and server.isalnum() and len(server) <= MAX_SERVER_CHARS):
        raise ValueError(f"expected an event id like '1700000000000-0', got {text!r:.200}")
    return check_id(entry_id), server.encode() or None


def id_key(entry_id: str) -> tuple[int, int]:
    """Return an entry id as a pair that sorts as the server does: milliseconds, sequence."""
    milliseconds, _, sequence = entry_id.partition("-")
    return int(milliseconds), int(sequence or 0)


def check_id(entry_id: str) -> str:
    """Return `entry_id` without leading zeros, if it is the id of one entry.

    Raises:
        ValueError: It is not of the form ``"<milliseconds>-<sequence>"``.
    """
    milliseconds, dash, sequence = entry_id.partition("-")
    digits = f"{milliseconds}{sequence}"
    if (
        not (dash and milliseconds and sequence and digits.isascii() and digits.isdigit())
        or max(id_key(entry_id)) >= 2**64
    ):
        raise ValueError(f"expected an event id like '1700000000000-0', got {entry_id!r}")
    return "{}-{}".format(*id_key(entry_id))
