"""The entry of every process of a run: `python -m benchmarks.worker '<job as JSON>'`."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys
from collections.abc import Callable
from typing import Any

from benchmarks import clock
from benchmarks.protocol import Job, Parent


def loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    if name == "uvloop":
        new_event_loop: Callable[[], asyncio.AbstractEventLoop] = importlib.import_module(
            "uvloop"
        ).new_event_loop
        return new_event_loop
    return asyncio.new_event_loop


def main() -> None:
    job = Job(**json.loads(sys.argv[1]))
    clock.allow_connections()
    if job.cores:
        clock.pin(os.getpid(), set(job.cores))
    parent = Parent()
    scenario: Any = importlib.import_module(f"benchmarks.scenarios.{job.scenario}").run
    try:
        if asyncio.iscoroutinefunction(scenario):
            with asyncio.Runner(loop_factory=loop_factory(job.loop)) as runner:
                runner.run(scenario(job, parent, **job.options))
        else:
            scenario(job, parent, **job.options)
    except Exception as error:
        parent.say("failed", reason=repr(error))
        raise


if __name__ == "__main__":
    main()
