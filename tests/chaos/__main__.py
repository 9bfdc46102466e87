"""python -m tests.chaos: run rounds until one fails; Ctrl-C ends it and everything it started."""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import sys

from tests.chaos import report, schedule
from tests.chaos.bugs import BUGS
from tests.chaos.runner import Result, run_round
from tests.chaos.schedule import KINDS, TOPOLOGIES, Schedule
from tests.chaos.shrink import shrink


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description="Disturbs a running system at random, and judges what its consumers have seen.",
        epilog=f"Faults: {', '.join(KINDS)}.",
    )
    add = parser.add_argument
    add("--seed", type=int, help="of the first round; later rounds count on (default: any)")
    add("--rounds", type=int, default=1, help="default: 1")
    add("--topology", choices=TOPOLOGIES, default="single", help="default: single")
    add("--seconds", type=float, default=60, help="for which is published, in a round (default: 60)")
    add("--producers", type=int, default=4, help="processes (default: 4)")
    add("--consumers", type=int, default=4, help="processes (default: 4)")
    add("--faults", nargs="+", choices=list(KINDS), metavar="FAULT", help="only these (default: all)")
    add("--long", action="store_true", help="also pauses of 10 and 60 s")
    add("--bug", choices=BUGS, help="plant it in every consumer, to see it found")
    add("--tries", type=int, default=12, help="rounds to find a smaller schedule that fails (default: 12)")
    add("--keep-going", action="store_true", help="run all rounds, and look for no smaller schedule")
    return parser.parse_args()


def options_of(options: argparse.Namespace) -> str:
    """Return those options of a command line that are not part of a schedule."""
    words = [f"--faults {' '.join(options.faults)}"] if options.faults else []
    words += ["--long"] if options.long else []
    words += [f"--bug {options.bug}"] if options.bug else []
    return " ".join(words)


async def minimal(result: Result, options: argparse.Namespace) -> None:
    """Print the smallest schedule that fails in the same way."""
    kinds = result.verdict.kinds
    count = 0

    async def fails(candidate: Schedule) -> bool:
        nonlocal count
        count += 1
        again = await run_round(candidate, bug=options.bug)
        same = again.verdict.kinds & kinds
        print(f"  try {count}: {len(candidate.faults)} faults: {', '.join(sorted(same)) or 'ok'}", flush=True)
        return bool(same)

    print("looking for a smaller schedule", flush=True)
    smallest, trust = await shrink(result.schedule, fails, options.tries)
    print(f"minimal schedule ({trust}):")
    print("\n".join(f"  {fault}" for fault in smallest.faults) or "  no faults at all")


async def main(options: argparse.Namespace) -> int:
    seed = random.randrange(10**6) if options.seed is None else options.seed
    failed: list[int] = []
    for number in range(options.rounds):
        plan = schedule.make(
            seed + number,
            topology=options.topology,
            seconds=options.seconds,
            producers=options.producers,
            consumers=options.consumers,
            kinds=options.faults,
            long=options.long,
        )
        print(f"round {number + 1} of {options.rounds}: {report.heading(plan)}", flush=True)
        result = await run_round(plan, bug=options.bug, say=lambda line: print(f"  {line}", flush=True))
        print("\n".join(report.summary(result)), flush=True)
        if result.verdict.violations:
            failed.append(plan.seed)
            print(f"again: {report.command(plan, options_of(options))}", flush=True)
            if not options.keep_going:
                await minimal(result, options)
                break
    if failed:
        print(f"failed seeds: {', '.join(map(str, failed))}")
    return int(bool(failed))


if __name__ == "__main__":
    chosen = parse()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.exit(asyncio.run(main(chosen)))
    except KeyboardInterrupt:
        sys.exit(130)
