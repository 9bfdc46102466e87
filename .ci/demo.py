"""Does with `make demo` what a person does: start it in a terminal, open the page, press Ctrl-C.

Fails if the page does not come, if a complaint of make's or a traceback is to be seen, or if anything that
the demo started is left.
"""

# ruff: noqa: INP001, T201

from __future__ import annotations

import os
import pty
import re
import select
import signal
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+")
# Ctrl-C kills make itself, as it should; make says so to the shell, not to the person.
GOOD_ENDS = {0, -signal.SIGINT, 128 + signal.SIGINT}


def main() -> None:
    # Also the session: everything that the demo starts belongs to it, unless it leaves on purpose.
    session, terminal = pty.fork()
    if session == 0:
        os.execvp("make", ["make", "demo", "ARGS=--port 0"])  # noqa: S606, S607
    screen = Screen(terminal)
    try:
        screen.read_until(lambda: ADDRESS.search(screen.text) is not None, seconds=300, what="an address")
        page(ADDRESS.findall(screen.text)[0])
        valkeys = [int(pid) for pid in re.findall(r"process (\d+)", screen.text)]
        os.write(terminal, b"\x03")
        screen.read_until(lambda: screen.closed, seconds=30, what="the end of the demo")
        status = os.waitstatus_to_exitcode(os.waitpid(session, 0)[1])
    finally:
        os.close(terminal)
    if status not in GOOD_ENDS:
        sys.exit(f"make demo ended with {status}")
    if re.search(r"\*\*\*|Traceback", screen.text):
        sys.exit("make demo complained about Ctrl-C")
    wait_until_gone([*valkeys, *members(session)])
    print(f"\nThe demo came up, showed its page, ended on Ctrl-C and left nothing (make: {status}).")


class Screen:
    """What stands in the terminal; it is passed on as it comes."""

    def __init__(self, terminal: int) -> None:
        self._terminal = terminal
        self.text = ""
        self.closed = False

    def read_until(self, condition: Callable[[], bool], *, seconds: float, what: str) -> None:
        end = time.monotonic() + seconds
        while not condition():
            if self.closed or time.monotonic() > end:
                sys.exit(f"make demo: waited for {what}, in vain")
            if select.select([self._terminal], [], [], 0.2)[0]:
                self._read()

    def _read(self) -> None:
        try:
            data = os.read(self._terminal, 4096).decode(errors="replace")
        except OSError:
            # Linux says so when the last process has closed the terminal.
            data = ""
        self.closed = not data
        self.text += data
        print(data, end="", flush=True)


def page(address: str) -> None:
    with urllib.request.urlopen(address, timeout=10) as answer:  # noqa: S310
        text = answer.read().decode()
    if answer.status != 200 or "<html" not in text:
        sys.exit(f"{address}: no page, but {answer.status} {text[:200]!r}")


def members(session: int) -> list[int]:
    """Return the processes of a session that live."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            # After the name, which may have spaces: state, parent, group, session.
            state, _, _, its_session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(its_session) == session and state != "Z":
            found.append(int(folder.name))
    return found


def wait_until_gone(processes: list[int], seconds: float = 5) -> None:
    end = time.monotonic() + seconds
    while left := [process for process in processes if Path(f"/proc/{process}").exists()]:
        if time.monotonic() > end:
            sys.exit(f"make demo left processes behind: {left}")
        time.sleep(0.05)


if __name__ == "__main__":
    main()
