"""What a process has used so far, as the operating system counts it."""

from __future__ import annotations

import os
import resource
from pathlib import Path


def cpu_seconds() -> float:
    """CPU time of this process, user and system, all threads."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def cpu_seconds_of_children() -> float:
    """CPU time of the processes that this one has started and that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def resident_bytes() -> int | None:
    """Resident memory of this process, or None where the system does not tell (no /proc)."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return None
    return pages * os.sysconf("SC_PAGESIZE")


def pin(pid: int, cores: set[int]) -> bool:
    """Let every thread of a process run on `cores` only. False where the system can't (not Linux)."""
    if not hasattr(os, "sched_setaffinity"):
        return False
    tasks = Path(f"/proc/{pid}/task")
    for thread in [int(p.name) for p in tasks.iterdir()] if tasks.is_dir() else [pid]:
        os.sched_setaffinity(thread, cores)
    return True


def allow_connections() -> None:
    """Let this process open as many files as it may: some libraries need a connection per concurrent publish."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def usable_cores() -> set[int]:
    """The cores that this process may run on; empty where the system does not tell."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
