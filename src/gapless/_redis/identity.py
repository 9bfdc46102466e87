"""Who the server is: whether a connection leads to the same data as the one before it.

A server that restarts, or a replica that is promoted, may have lost acknowledged events, and nothing in
the streams shows that they ever were. So each subscriber connection asks for the identity first. Where
INFO is forbidden, every connection counts as another server, and entries don't say who appended them:
after a reconnect, each of those that were missed may be the last before a loss.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from gapless._core.entries import NOTHING, id_of
from gapless._core.history import BEGINNING
from gapless._redis.peer import tag_of

COMMANDS: tuple[tuple[str, ...], ...] = (
    ("INFO", "server"),
    ("INFO", "replication"),
    ("CONFIG", "GET", "append*"),
)

NO_REPLICATION = "0" * 40


class Identity(NamedTuple):
    """run_id: changes with every start of a server; None if unknown.

    durable: The server writes to disk before it answers, has no replica, and was never one, so that its
    restart loses nothing.
    """

    run_id: str | None
    durable: bool

    @staticmethod
    def read(replies: list[Any]) -> Identity:
        """Return the identity that the replies to COMMANDS tell; errors among them count as unknown."""
        server, replication, settings = replies
        fields = _fields(server) | _fields(replication)
        config = dict(zip(settings[::2], settings[1::2], strict=True)) if isinstance(settings, list) else {}
        return Identity(
            run_id=fields.get("run_id"),
            durable=config.get(b"appendonly") == b"yes"
            and config.get(b"appendfsync") == b"always"
            and fields.get("role") == "master"
            and fields.get("connected_slaves") == "0"
            and fields.get("master_replid2") == NO_REPLICATION,
        )

    @property
    def tag(self) -> bytes:
        """The server's short name, as entries carry it; empty if unknown."""
        return tag_of(self.run_id)

    def may_have_lost(self, now: Identity, *, durable: bool | None) -> bool:
        """Return whether acknowledged events may be missing on the server that is there `now`.

        durable: What the user says of the server, None to go by what it says of itself.
        """
        if self.run_id is not None and self.run_id == now.run_id:
            return False
        return not (self.durable and now.durable if durable is None else durable)


def server_of(fields: list[bytes]) -> bytes | None:
    """Return which server appended an entry, from its fields; None if it does not say.

    The publisher says it, whose connection knows whom it leads to.
    """
    return fields[7] or None if len(fields) > 7 and fields[6] == b"server" else None


def previous_of(fields: list[bytes]) -> bytes | None:
    """Return the mark of the entry before this one, from its fields; None if it does not say."""
    return b"g" + fields[9] if len(fields) > 9 and fields[8] == b"previous" else None


def previous_id_of(fields: list[bytes]) -> str | None:
    """Return its id, BEGINNING if there was none; None if it does not say."""
    mark = previous_of(fields)
    return BEGINNING if mark == NOTHING else id_of(mark)


def _fields(info: Any) -> dict[str, str]:
    if not isinstance(info, bytes):
        return {}
    return dict(re.findall(r"^(\w+):(.*?)\r?$", info.decode("ascii", "replace"), re.MULTILINE))
