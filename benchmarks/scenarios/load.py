"""Load side of `receive`: writes prepared commands to a raw socket.

Without a pace all events of a batch leave in one write, as fast as the server takes them. With one, `rate`
events per second leave in bursts, and each burst waits for its replies.
"""

from __future__ import annotations

import time
from asyncio import run as run_loop

from benchmarks.peers import CHANNEL, PAYLOAD_BYTES, Command, adapter, has_publisher, publisher
from benchmarks.protocol import Job, Parent
from benchmarks.raw import RawConnection, pack
from benchmarks.recorded import record

PAYLOAD = b"x" * PAYLOAD_BYTES


def run(
    job: Job,
    parent: Parent,
    *,
    events: int,
    batches: int,
    warm_events: int,
    burst: int | None,
    rate: int | None,
    paced: bool,  # noqa: ARG001 (the measured side is told the same)
    processes: int = 1,  # noqa: ARG001 (the run starts them)
) -> None:
    own = publisher(job) if has_publisher(job) else None
    with RawConnection(job.port) as connection:
        if own is not None:
            connection.send(own.prepare())
        parent.say("ready")
        parent.wait()
        if own is None:
            # Only now: the receiver is there. It is the first of its warm events.
            command = run_loop(record(job, PAYLOAD))
            warm_events -= 1
        else:
            command = own.publish(CHANNEL, PAYLOAD)
        commands = packed(job, command, warm_events + batches * events)  # made while nobody measures
        starts = range(warm_events, len(commands), events)
        in_batches = [commands[start : start + events] for start in starts]
        whole = [b"".join(batch) for batch in in_batches]
        connection.send_packed(b"".join(commands[:warm_events]), warm_events)
        elapsed = 0.0
        for batch, packed_batch in zip(in_batches, whole, strict=True):
            parent.wait()
            started = time.perf_counter()
            if burst and rate:
                send_paced(connection, batch, burst=burst, rate=rate)
            else:
                connection.send_packed(packed_batch, events)
            elapsed += time.perf_counter() - started
    parent.say("result", send_rate=batches * events / elapsed)


def packed(job: Job, command: Command, count: int) -> list[bytes]:
    """Return `count` packed commands, each for an event of its own where the library tells them apart."""
    again = getattr(adapter(job.library), "again", None)
    if again is None:
        return [pack(command)] * count
    return [pack(again(command, number)) for number in range(count)]


def send_paced(connection: RawConnection, commands: list[bytes], *, burst: int, rate: int) -> None:
    due = time.perf_counter()
    for start in range(0, len(commands), burst):
        some = commands[start : start + burst]
        time.sleep(max(0.0, due - time.perf_counter()))
        connection.send_packed(b"".join(some), len(some))
        due += len(some) / rate
