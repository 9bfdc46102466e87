"""An event is not in its stream: was it never stored, or has it gone since?"""

from __future__ import annotations

from typing import NamedTuple

from gapless._core.history import id_key


class Findings(NamedTuple):
    """What a look at a stream found, beside the events that were looked for.

    Attributes:
        complete: Whether every entry was looked at that can be one of them.
        oldest_id: Id of the oldest entry, None if there is none.
        last_id: Id of the last event ever published, as far as is known; it outlives the entries.
    """

    complete: bool
    oldest_id: str | None
    last_id: str | None


def doubt(findings: Findings, *, since_ms: int) -> str | None:
    """Return why an event that is not in its stream may have been stored, or None: it never was.

    Args:
        findings: What the look at the stream found.
        since_ms: The event was stored at this time of the server or later, if it was.

    Only what is older than the event proves anything: a stream is trimmed from its old end, and ids grow.
    What is younger, or nothing, can also be what a deletion or an eviction has left.
    """
    if not findings.complete:
        return "too many entries to look at were added since"
    if findings.oldest_id is not None:
        if id_key(findings.oldest_id)[0] < since_ms:
            return None
        return "the stream doesn't reach back to it"
    if findings.last_id is not None and id_key(findings.last_id)[0] < since_ms:
        # The stream is gone, but what remembers its last event is older than this one.
        return None
    return "nothing is left that is older: the stream may have been deleted, or have expired, since"
