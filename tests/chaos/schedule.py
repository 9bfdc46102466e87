"""Which faults come when. Pure: a seed gives the same schedule on every machine."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

CHANNELS = ("busy", "steady", "slow", "quiet")
PERSISTENCE = ("always", "everysec", "none")
TOPOLOGIES = ("single", "replica")


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault.

    Attributes:
        track: Where it happens; faults of one track do not overlap.
        reasons: Of the gaps that it may be the cause of; none where only connections are lost, since the history
            tells what was missed. With one of them, a Gap without a loss is honest.
        lasts: Whether it has a length.
        choices: What it is chosen from: channels, or the connections that it applies to.
        topologies: Where it can happen.
        weight: How often it comes, compared with others.
    """

    track: str
    reasons: frozenset[str] = frozenset()
    lasts: bool = False
    choices: tuple[str, ...] = ()
    topologies: tuple[str, ...] = TOPOLOGIES
    weight: int = 1

    @property
    def doubt(self) -> bool:
        """Whether the server's data may be lost by it."""
        return bool(self.reasons)


CONNECTIONS = ("commands", "subscriber", "both")
# A queue that was full is refilled from the history: what that has lost, it is without.
DELETED = frozenset({"trimmed", "backlog"})
EMPTIED = DELETED | {"reset"}
REPLACED = EMPTIED | {"restart", "rollback"}
KINDS = {
    "kill-clients": Kind("server", choices=("normal", "pubsub")),
    "crash": Kind("server", REPLACED, lasts=True),
    "rollback": Kind("server", REPLACED, lasts=True),
    "flushall": Kind("server", EMPTIED),
    "script-flush": Kind("server"),
    "delete-stream": Kind("server", DELETED, choices=CHANNELS),
    "expire-stream": Kind("server", DELETED, choices=CHANNELS),
    "trim-stream": Kind("server", DELETED, choices=CHANNELS),
    "output-buffer": Kind("server", choices=CHANNELS),
    "client-pause": Kind("server", lasts=True),
    "server-stop": Kind("server", lasts=True),
    "maxmemory": Kind("server", lasts=True),
    # It may take the last id and not the stream.
    "evict": Kind("server", EMPTIED | {"rollback"}, lasts=True),
    # Nothing can be read meanwhile.
    "wrong-type": Kind("server", DELETED | {"disconnected"}, lasts=True, choices=CHANNELS),
    # Without it, the topology would be of no use.
    "promote": Kind("server", REPLACED, lasts=True, topologies=("replica",), weight=4),
    "cut": Kind("network", choices=CONNECTIONS),
    "refuse": Kind("network", lasts=True),
    "half-open": Kind("network", lasts=True),
    "stall-to-server": Kind("network", lasts=True),
    "stall-to-client": Kind("network", lasts=True),
    "drop-reply": Kind("network"),
    "drop-push": Kind("network"),
    "delay": Kind("network", lasts=True),
    "throttle": Kind("network", lasts=True),
    "stop-process": Kind("process", lasts=True),
    "block-loop": Kind("process", lasts=True),
    "slow-consumer": Kind("process", lasts=True, weight=2),
}
# A producer subscribes to nothing, and its event loop does not have to keep up.
CONSUMERS_ONLY = {"drop-push", "throttle", "block-loop", "slow-consumer"}
TRACKS = ("server", "network", "process")
SECONDS = (0.3, 1.0, 2.5)
LONG_SECONDS = (1.0, 10.0, 60.0)
# The loop of a consumer may be blocked so long; a longer stop is the business of stop-process.
MAX_BLOCK_SECONDS = 10.0
# From the end of a fault to the beginning of the next one of its track.
PAUSE_SECONDS = (0.3, 2.0)


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: when, what, to whom ("server", or a worker's name), which of its `choices`, how long."""

    at: float
    kind: str
    target: str
    choice: str = ""
    seconds: float = 0.0

    def __str__(self) -> str:
        length = f" for {self.seconds:g} s" if self.seconds else ""
        return f"{self.at:6.2f} s  {self.kind} {self.choice}".rstrip() + f" at {self.target}{length}"


@dataclass(frozen=True, slots=True)
class Schedule:
    """Everything that a round does to a system. Producers publish for `seconds`."""

    seed: int
    topology: str
    seconds: float
    producers: int
    consumers: int
    persistence: str
    faults: tuple[Fault, ...]

    @property
    def producer_names(self) -> list[str]:
        return [f"producer-{number}" for number in range(1, self.producers + 1)]

    @property
    def consumer_names(self) -> list[str]:
        return [f"consumer-{number}" for number in range(1, self.consumers + 1)]

    def without(self, faults: Iterable[Fault]) -> Schedule:
        gone = set(faults)
        return replace(self, faults=tuple(fault for fault in self.faults if fault not in gone))

    def allowed_needless_gaps(self) -> dict[str, int]:
        """Return by consumer how often faults can leave it in doubt about a channel, at most.

        Twice if another server takes over: the two connections get there one after the other, and what
        the old server has acknowledged in between, nobody can know.
        """
        doubts = sum(
            2 if "restart" in KINDS[fault.kind].reasons else KINDS[fault.kind].doubt for fault in self.faults
        )
        return dict.fromkeys(self.consumer_names, doubts)

    def reasons(self) -> frozenset[str]:
        """Return which reasons a Gap may have."""
        return frozenset().union(*(KINDS[fault.kind].reasons for fault in self.faults))


def make(
    seed: int,
    *,
    topology: str = "single",
    seconds: float = 60.0,
    producers: int = 4,
    consumers: int = 4,
    kinds: Iterable[str] | None = None,
    long: bool = False,
) -> Schedule:
    """Return the schedule of a seed.

    Args:
        seed: Any number.
        topology: One of TOPOLOGIES.
        seconds: How long producers publish.
        producers: Processes that publish.
        consumers: Processes that receive.
        kinds: Only these kinds of faults; default: all.
        long: Also pauses of 10 and 60 s.
    """
    chance = random.Random(f"{seed} {topology} {seconds:g} {producers} {consumers} {long}")
    wanted = [
        name
        for name, kind in KINDS.items()
        for _ in range(kind.weight)
        if topology in kind.topologies and (kinds is None or name in set(kinds))
    ]
    empty = Schedule(seed, topology, seconds, producers, consumers, chance.choice(PERSISTENCE), ())
    faults = [
        fault
        for track in TRACKS
        for fault in _track(
            chance,
            [name for name in wanted if KINDS[name].track == track],
            empty,
            LONG_SECONDS if long else SECONDS,
        )
    ]
    return replace(empty, faults=tuple(sorted(faults, key=lambda fault: fault.at)))


def _track(
    chance: random.Random, names: list[str], schedule: Schedule, lengths: tuple[float, ...]
) -> Iterator[Fault]:
    """Yield the faults of a track, one after the other."""
    at = chance.uniform(*PAUSE_SECONDS) / 2
    while names and at < schedule.seconds:
        name = chance.choice(names)
        kind = KINDS[name]
        length = chance.choice(lengths) if kind.lasts else 0.0
        if name in {"block-loop", "slow-consumer"}:
            length = min(length, MAX_BLOCK_SECONDS)
        workers = schedule.consumer_names
        if name not in CONSUMERS_ONLY:
            workers = [*workers, *schedule.producer_names]
        target = "server" if kind.track == "server" else chance.choice(workers)
        yield Fault(round(at, 2), name, target, chance.choice(kind.choices) if kind.choices else "", length)
        at += length + chance.uniform(*PAUSE_SECONDS)
