"""What happened in a round, as producers and consumers have recorded it. Times: seconds of the machine's clock."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

Outcome = Literal["acknowledged", "failed", "uncertain"]


@dataclass(frozen=True, slots=True)
class Publish:
    """One call of publish: it began and ended, and the server executed it in between, or not at all.

    An uncertain one may also have been executed some time later.
    """

    producer: str
    channel: str
    seq: int
    began: float
    ended: float
    outcome: Outcome
    error: str = ""

    @property
    def payload(self) -> str:
        return f"{self.producer}:{self.channel}:{self.seq}"


@dataclass(frozen=True, slots=True)
class Item:
    """What a consumer's stream yielded: an event, or a gap if it has a reason."""

    channel: str
    at: float
    payload: str = ""
    id: str | None = None
    reason: str = ""
    after: str | None = None
    lost: int | None = None


@dataclass(slots=True)
class Consumer:
    """Everything that one consumer's stream yielded, in order, after it had subscribed."""

    name: str
    subscribed: float
    items: list[Item] = field(default_factory=list)


@dataclass(slots=True)
class History:
    publishes: list[Publish] = field(default_factory=list)
    consumers: list[Consumer] = field(default_factory=list)


class Record:
    """Writes one worker's records, line by line: a worker that is killed leaves what it has written."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", buffering=1)

    def add(self, entry: Publish | Item) -> None:
        self._file.write(json.dumps(asdict(entry)) + "\n")


class Reader:
    """Reads a worker's records while they are written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0

    def new(self) -> list[dict[str, Any]]:
        """Return what was added since the last call."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._position)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._position += len(whole)
        return [json.loads(line) for line in whole.splitlines()]
