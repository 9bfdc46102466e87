"""The limit of publishing: a C client, or a blocking socket without client library, with gapless's own commands.

As many commands are in one write as others publish at once. The C client is redis-benchmark, if there is one. It waits
for all replies of a write before the next one, so with several connections, which take turns, it may do more; that is
measured, too.
"""

from __future__ import annotations

import subprocess
import time

from benchmarks.clock import cpu_seconds, cpu_seconds_of_children
from benchmarks.host import c_client as find_c_client
from benchmarks.peers import CHANNEL, Command
from benchmarks.peers.gapless import Publisher
from benchmarks.protocol import BenchmarkError, Job, Parent
from benchmarks.raw import RawConnection, pack

DEADLINE_SECONDS = 30.0

# So many to find out how many take as long as wanted.
TRIAL_ROUNDS = 200

# Among them the same number of commands is divided.
MORE_CONNECTIONS = (2, 4)


def run(
    job: Job,
    parent: Parent,
    *,
    concurrency: int,
    payload_bytes: int,
    seconds: float,
    warm_seconds: float,
) -> None:
    publisher = Publisher(job.kind)
    command = publisher.publish(CHANNEL, b"x" * payload_bytes)
    program = find_c_client()
    with RawConnection(job.port) as connection:
        connection.send(publisher.prepare())
        if program is not None:
            rate, _ = c_client(program, job.port, command, concurrency, TRIAL_ROUNDS * concurrency)
            more = [
                c_client(program, job.port, command, concurrency // count, round(rate * seconds), count)[0]
                for count in MORE_CONNECTIONS
                if concurrency % count == 0
            ]
        else:
            packed = pack(command) * concurrency
            pipeline(connection, packed, concurrency, warm_seconds)
        parent.say("ready")
        parent.wait()
        if program is not None:
            rounds = max(1, round(rate * seconds / concurrency))
            events = rounds * concurrency
            used = cpu_seconds_of_children()
            rate, elapsed = c_client(program, job.port, command, concurrency, events)
            used = cpu_seconds_of_children() - used
        else:
            used, started = cpu_seconds(), time.perf_counter()
            events = pipeline(connection, packed, concurrency, seconds)
            elapsed, used = time.perf_counter() - started, cpu_seconds() - used
            rate = events / elapsed
    figures: dict[str, float] = {"more_rate": max(more)} if program is not None and more else {}
    name = program.rpartition("/")[2] if program is not None else "a blocking socket"
    parent.say(
        "result", events=events, seconds=elapsed, rate=rate, cpu_us=used / events * 1e6, limit=name, **figures
    )  # fmt: skip


def c_client(
    program: str, port: int, command: Command, depth: int, events: int, connections: int = 1
) -> tuple[float, float]:
    """Return events per second, and the seconds that they took. Each connection has `depth` under way."""
    words = [part.decode() if isinstance(part, bytes) else str(part) for part in command]
    options = ["-p", str(port), "-c", str(connections), "-P", str(depth), "-n", str(events), "--csv"]
    done = subprocess.run(
        [program, *options, *words], capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False
    )
    # A line of names, and a line of figures: "PUBLISH ...","142857.14","0.352",...
    figures = done.stdout.strip().rpartition("\n")[2].rpartition(words[-1])[2].split(",")
    try:
        rate = float(figures[1].strip('"'))
    except (IndexError, ValueError):
        raise BenchmarkError(f"{program}: {done.stdout[-200:]} {done.stderr[-200:]}") from None
    return rate, events / rate


def pipeline(connection: RawConnection, packed: bytes, depth: int, seconds: float) -> int:
    end = time.perf_counter() + seconds
    events = 0
    rounds = max(1, 100 // depth)
    while time.perf_counter() < end:
        for _ in range(rounds):
            connection.send_packed(packed, depth)
        events += rounds * depth
    return events
