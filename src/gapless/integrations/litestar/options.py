"""What may differ from one subscriber of the plugin to the next."""

from __future__ import annotations

from typing import TypedDict

from gapless._core.reader import Policy


class Options(TypedDict, total=False):
    """Keywords of `ChannelsPlugin.subscribe()`; None: as the plugin has it."""

    policy: Policy | None
    max_backlog: int | None
    max_backlog_bytes: int | None
