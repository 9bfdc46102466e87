"""Load side of `delivery`: events at a steady rate, spread over all channels."""

from __future__ import annotations

import random
import time

from benchmarks.peers import publisher
from benchmarks.protocol import Job, Parent
from benchmarks.raw import RawConnection
from benchmarks.scenarios.delivery import stamped
from benchmarks.scenarios.subscribe import channel_names


def run(job: Job, parent: Parent, *, channels: int, rate: int, seconds: float) -> None:
    commands = publisher(job)
    names = channel_names(channels)
    random.Random(1).shuffle(names)  # the same order for every peer
    with RawConnection(job.port) as connection:
        connection.send(commands.prepare())
        parent.say("ready")
        parent.wait()
        due = time.perf_counter()
        for number in range(round(rate * seconds)):
            time.sleep(max(0.0, due - time.perf_counter()))
            connection.send([commands.publish(names[number % channels], stamped())])
            due += 1 / rate
    parent.say("result")
