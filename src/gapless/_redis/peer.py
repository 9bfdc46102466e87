"""Whom a connection leads to, as far as the server tells: its process, our number there, its clock."""

from __future__ import annotations

import re
from dataclasses import dataclass

_RUN_ID = re.compile(rb"\brun_id:(\w+)")
_CLOCK = re.compile(rb"\bserver_time_usec:(\d+)")


def tag_of(run_id: str | None) -> bytes:
    """Return the short name of a server: 12 digits of its run_id; empty if unknown."""
    return (run_id or "")[:12].encode()


@dataclass(frozen=True, slots=True, eq=False)
class Peer:
    """Each connection has its own; None is what the server has not told (the ACL may forbid to ask).

    Attributes:
        run_id: Names the server process: another one after a restart or a failover.
        tag: The same in short, as entries have it; empty if unknown.
        client_id: What this process calls the connection; it gives the number to no other one.
        time_ms: The server's clock when it was asked.
        told_at: When the answer had arrived, on the clock of `time.monotonic`.
    """

    run_id: str | None = None
    client_id: int | None = None
    time_ms: int | None = None
    told_at: float = 0.0
    tag: bytes = b""

    @classmethod
    def told(cls, info: bytes, client_id: int | None, told_at: float) -> Peer:
        """Return what an ``INFO server`` reply and a ``CLIENT ID`` reply say."""
        run_id, clock = _RUN_ID.search(info), _CLOCK.search(info)
        name = run_id.group(1).decode() if run_id else None
        return cls(
            name,
            client_id,
            int(clock.group(1)) // 1000 if clock else None,
            told_at,
            tag_of(name),
        )

    def is_process_of(self, other: Peer) -> bool:
        """Whether both connections certainly lead to one process."""
        return self.run_id is not None and self.run_id == other.run_id

    def earliest_ms(self, moment: float) -> int:
        """Return what the server's clock showed at `moment`, or less; 0 if unknown.

        The answer was on its way for a while, so the clock showed more than `time_ms` at `told_at`.
        """
        if self.time_ms is None:
            return 0
        return max(0, self.time_ms + int((moment - self.told_at) * 1000) - 1)
