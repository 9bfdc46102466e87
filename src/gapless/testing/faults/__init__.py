"""Faults, caused and not simulated: a TCP proxy that misbehaves, and a server to kill, stop and roll back.

For asyncio tests on real servers; no pytest is needed. See `Proxy` and `Server`.
"""

from gapless.testing.faults.binaries import find_binary
from gapless.testing.faults.connection import Connection, Flow
from gapless.testing.faults.proxy import Proxy
from gapless.testing.faults.server import Persistence, Server, ServerError, free_port

__all__ = ["Connection", "Flow", "Persistence", "Proxy", "Server", "ServerError", "find_binary", "free_port"]
