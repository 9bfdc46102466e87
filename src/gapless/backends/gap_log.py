"""Counts the gaps of one event loop, tells the application of each, and the log of all, without a flood."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence

from gapless._core.event import Gap, GapReason
from gapless._core.throttle import Throttle

logger = logging.getLogger("gapless")

# One line says what came in so many seconds.
LOG_SECONDS = 1.0

OnGap = Callable[[Gap], object]


class GapLog:
    """Hears of each Gap once, when it is found; consumers come to it later.

    What a consumer has lost because it was slow, each consumer finds for itself.

    Attributes:
        by_reason: How many, by reason.
        lost: Events in them, as far as known.
    """

    def __init__(self, on_gap: OnGap | None) -> None:
        self._on_gap = on_gap
        self.by_reason: Counter[GapReason] = Counter()
        self.lost = 0
        self._unlogged: Counter[GapReason] = Counter()
        self._unlogged_lost = 0
        self._last: Gap | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False
        self._failures = Throttle()
        self._late = Throttle()

    def note(self, gaps: Sequence[Gap]) -> None:
        """Gaps were found."""
        for gap in gaps:
            self.by_reason[gap.reason] += 1
            self._unlogged[gap.reason] += 1
            self.lost += gap.lost or 0
            self._unlogged_lost += gap.lost or 0
            self._last = gap
            if self._on_gap is not None:
                try:
                    self._on_gap(gap)
                except (KeyboardInterrupt, SystemExit):
                    raise
                except BaseException:
                    # Nor may it end the stream of events with the CancelledError of some future of its own.
                    if self._failures.picks():
                        logger.exception("on_gap failed, %d times so far", self._failures.count)
        if self._timer is None and (not self._stopped or self._late.picks()):
            self._log()

    def stop(self) -> None:
        """Log what is not logged yet. What consumers find while they end is logged ever more rarely."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
        self._log()

    def _log(self) -> None:
        self._timer = None
        last = self._last
        if last is None or not self._unlogged:
            return
        logger.warning(
            "%d gaps (%s), %d events in them are known to be lost; the last: channel %r after %s",
            self._unlogged.total(),
            ", ".join(f"{reason} {count}" for reason, count in self._unlogged.items()),
            self._unlogged_lost,
            last.channel,
            last.after,
        )
        self._unlogged.clear()
        self._unlogged_lost = 0
        if not self._stopped:
            self._timer = asyncio.get_running_loop().call_later(LOG_SECONDS, self._log)
