"""python -m examples.chat: run the demo until Ctrl-C."""

import signal
import sys
from typing import Any


def interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


signal.signal(signal.SIGTERM, interrupt)
try:
    # Imported here: it takes longer than an impatient person, whose Ctrl-C deserves no traceback.
    from examples.chat.program import main

    sys.exit(main())
except KeyboardInterrupt:
    sys.exit(0)
