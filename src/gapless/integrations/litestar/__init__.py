"""Litestar: `litestar.channels` under the same names, on the hub.

Change ``from litestar.channels import ChannelsPlugin`` to
``from gapless.integrations.litestar import ChannelsPlugin``; docs/litestar.md says what differs.
"""

from litestar.channels import ChannelsBackend

from gapless.integrations.litestar.adapters import litestar_backend
from gapless.integrations.litestar.events import EventStream
from gapless.integrations.litestar.plugin import ChannelsException, ChannelsPlugin
from gapless.integrations.litestar.subscriber import Subscriber

__all__ = [
    "ChannelsBackend",
    "ChannelsException",
    "ChannelsPlugin",
    "EventStream",
    "Subscriber",
    "litestar_backend",
]
