"""When to try again: exponential backoff with full jitter."""

from __future__ import annotations


class Backoff:
    """Delays between attempts, drawn uniformly below a ceiling that doubles up to a cap.

    It begins nearly at once: what is published while a cut connection is not back is lost where there is no
    history. Full jitter spreads the processes that lost the same server at the same moment (Amazon Builders'
    Library, "Timeouts, retries and backoff with jitter").
    """

    __slots__ = ("_cap_seconds", "_ceiling_seconds", "_floor_seconds")

    def __init__(self, *, floor_seconds: float = 0.001, cap_seconds: float = 2.0) -> None:
        self._floor_seconds = floor_seconds
        self._cap_seconds = cap_seconds
        self._ceiling_seconds = floor_seconds

    def next_delay_seconds(self, fraction: float) -> float:
        """Return the next delay. `fraction` is the caller's random number in [0, 1)."""
        self._ceiling_seconds = min(self._ceiling_seconds * 2, self._cap_seconds)
        return self._floor_seconds + fraction * (self._ceiling_seconds - self._floor_seconds)

    def reset(self) -> None:
        """Start over: the connection was good."""
        self._ceiling_seconds = self._floor_seconds
