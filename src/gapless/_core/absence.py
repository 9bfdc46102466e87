"""An event is not in its stream: was it never stored, or has it gone since?"""

from __future__ import annotations

from dataclasses import dataclass

from gapless._core.history import id_key


@dataclass(frozen=True, slots=True)
class Findings:
    """What a look at a stream found, beside the events that were looked for.

    Attributes:
        complete: Whether every entry was looked at that can be one of them.
        oldest_id: Id of the oldest entry, None if there is none.
        last_id: Id of the last event ever published, as far as is known; it outlives the entries.
        length: Number of entries.
        added: Number of entries that this stream ever got, None if the server doesn't count.
    """

    complete: bool
    oldest_id: str | None
    last_id: str | None
    length: int
    added: int | None


def doubt(findings: Findings, *, since_ms: int, history: int, expired: bool) -> str | None:
    """Return why an event that is not in its stream may have been stored, or None: it never was.

    Args:
        findings: What the look at the stream found.
        since_ms: The event was stored at this time of the server or later, if it was.
        history: How many entries publishers keep at least.
        expired: Whether what was stored then can have reached its time to live.
    """
    if not findings.complete:
        return "too many entries to look at were added since"
    oldest, last = findings.oldest_id, findings.last_id
    if oldest is not None:
        # A stream is trimmed from its old end, and ids only grow: what is older than the event shows that
        # the event was not trimmed.
        if id_key(oldest)[0] < since_ms:
            return None
        counted = findings.added is not None
        if findings.length != findings.added if counted else findings.length >= history:
            return "so many events were published since that the stream doesn't reach back to it"
    elif last is not None:
        # The stream is gone, but what remembers its last event is older than this one.
        if id_key(last)[0] < since_ms:
            return None
        return "the stream was deleted or has expired since"
    return "the stream may have expired since" if expired else None
