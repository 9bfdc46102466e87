"""The limit of latency: two processes with a blocking socket each; one publishes, the other gets the push."""

from __future__ import annotations

import time
from multiprocessing import get_context

from benchmarks.peers import CHANNEL, PAYLOAD_BYTES, PREFIX
from benchmarks.peers.gapless import Publisher
from benchmarks.protocol import Job, Parent
from benchmarks.raw import RawConnection, pack
from benchmarks.scenarios.offer import LOW_RATE, stamp_of, stamped
from benchmarks.scenarios.quantiles import quantiles

WARM_EVENTS = 20


def run(job: Job, parent: Parent, *, seconds: float) -> None:
    count = WARM_EVENTS + round(LOW_RATE * seconds)
    with RawConnection(job.port) as receiver:
        receiver.send([("SUBSCRIBE", f"{PREFIX}_{CHANNEL}")])
        parent.say("ready")
        parent.wait()
        sender = get_context("fork").Process(target=publish, args=(job, count), daemon=True)
        sender.start()
        delays_ms: list[float] = []
        for _ in range(count):
            _, _, data = receiver.read()
            now = time.monotonic_ns()
            # In a frame of a stream, the payload comes last.
            delays_ms.append((now - stamp_of(data[-PAYLOAD_BYTES:])) / 1e6)
        sender.join()
    parent.say("result", **quantiles("low", delays_ms[WARM_EVENTS:]))


def publish(job: Job, count: int) -> None:
    publisher = Publisher(job.kind)
    with RawConnection(job.port) as sender:
        sender.send(publisher.prepare())
        for _ in range(count):
            # Both sides rest before, as long as the others do at a low rate.
            time.sleep(1 / LOW_RATE)
            sender.write(pack(publisher.publish(CHANNEL, stamped(time.monotonic_ns()))))
            sender.read()
