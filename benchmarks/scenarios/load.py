"""Load side of `receive`: writes prepared commands to a raw socket.

Without a pace all of them leave in one write, as fast as the server takes them. With one, `rate`
events per second leave in bursts, and each burst waits for its replies.
"""

from __future__ import annotations

import time

from benchmarks.peers import PAYLOAD_BYTES, publisher
from benchmarks.protocol import Job, Parent
from benchmarks.raw import RawConnection, pack
from benchmarks.scenarios.receive import CHANNEL

PAYLOAD = b"x" * PAYLOAD_BYTES


def run(
    job: Job,
    parent: Parent,
    *,
    events: int,
    warm_events: int,
    burst: int | None,
    rate: int | None,
) -> None:
    commands = publisher(job)
    packed = pack(commands.publish(CHANNEL, PAYLOAD))
    with RawConnection(job.port) as connection:
        connection.send(commands.prepare())
        parent.say("ready")
        for count in (warm_events, events):
            whole = packed * count  # made while nobody measures
            parent.wait()
            started = time.perf_counter()
            if burst and rate:
                send_paced(connection, packed, count, burst=burst, rate=rate)
            else:
                connection.send_packed(whole, count)
            elapsed = time.perf_counter() - started
    parent.say("result", send_rate=events / elapsed)


def send_paced(connection: RawConnection, packed: bytes, count: int, *, burst: int, rate: int) -> None:
    """Send a packed command `count` times."""
    due = time.perf_counter()
    while count:
        size = min(burst, count)
        time.sleep(max(0.0, due - time.perf_counter()))
        connection.send_packed(packed * size, size)
        due += size / rate
        count -= size
