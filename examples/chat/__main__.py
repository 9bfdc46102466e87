"""python -m examples.chat: run the demo until Ctrl-C."""

import signal
import sys
from types import FrameType


def interrupt(_: int, frame: FrameType | None) -> None:
    """Do what Ctrl-C does now: asyncio's way while it runs, else Python's."""
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler):
        raise KeyboardInterrupt
    handler(signal.SIGINT, frame)


signal.signal(signal.SIGTERM, interrupt)
try:
    # Imported here: it takes longer than an impatient person, whose Ctrl-C deserves no traceback.
    from examples.chat.program import main

    sys.exit(main())
except KeyboardInterrupt:
    sys.exit(0)
