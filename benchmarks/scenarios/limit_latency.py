"""The limit of latency: one socket publishes, another gets the push, in one process that blocks."""

from __future__ import annotations

import time

from benchmarks.peers import CHANNEL, PAYLOAD_BYTES, PREFIX
from benchmarks.peers.gapless import Publisher
from benchmarks.protocol import Job, Parent
from benchmarks.raw import RawConnection, pack
from benchmarks.scenarios.offer import LOW_RATE
from benchmarks.scenarios.quantiles import quantiles

WARM_EVENTS = 20


def run(job: Job, parent: Parent, *, seconds: float) -> None:
    publisher = Publisher(job.kind)
    packed = pack(publisher.publish(CHANNEL, b"x" * PAYLOAD_BYTES))
    with RawConnection(job.port) as sender, RawConnection(job.port) as receiver:
        sender.send(publisher.prepare())
        receiver.send([("SUBSCRIBE", f"{PREFIX}_{CHANNEL}")])
        parent.say("ready")
        parent.wait()
        delays = [
            round_trip(sender, receiver, packed) for _ in range(WARM_EVENTS + round(LOW_RATE * seconds))
        ]
    parent.say("result", **quantiles("low", delays[WARM_EVENTS:]))


def round_trip(sender: RawConnection, receiver: RawConnection, packed: bytes) -> float:
    """Return milliseconds. Before it, both sides rest as long as the others do at a low rate."""
    time.sleep(1 / LOW_RATE)
    started = time.perf_counter()
    sender.write(packed)
    receiver.read()
    elapsed = time.perf_counter() - started
    sender.read()
    return elapsed * 1000
