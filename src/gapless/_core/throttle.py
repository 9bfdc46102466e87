"""Which of many equal occasions to log, so that an outage does not flood the log."""

from __future__ import annotations


class Throttle:
    """Picks the 1st, 2nd, 4th, 8th, ... occasion.

    Attributes:
        count: Occasions so far.
    """

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0

    def picks(self) -> bool:
        """Count one more occasion and return whether it is one to log."""
        self.count += 1
        return self.count & (self.count - 1) == 0
