"""How the processes of a run answer it."""

from __future__ import annotations

import json
import subprocess
import sys

from benchmarks.libraries import ROOT

PRINTS = """
from benchmarks.protocol import Parent
parent = Parent()
print("a library greets")
import os
os.write(1, b"and so does its C code\\n")
parent.say("ready", figure=1)
"""


def test_what_a_library_prints_is_no_answer() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PRINTS], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30
    )
    assert json.loads(done.stdout) == {"event": "ready", "figure": 1}
    assert "a library greets" in done.stderr
    assert "its C code" in done.stderr
