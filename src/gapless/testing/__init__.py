"""For the tests of those who use gapless, or write a backend of their own.

`gapless.testing.faults` has a proxy and a server that misbehave on request.
"""

from gapless.testing.contract import BackendContract
from gapless.testing.hub import settled

__all__ = ["BackendContract", "settled"]
