"""Single decisions of a chain; `test_recovery_model.py` has the interleavings."""

from __future__ import annotations

from gapless._core.chain import Chain
from gapless._core.entries import Entries, Entry, Kept
from gapless._core.event import Gap


def test_the_first_doubt_counts_also_if_that_server_is_unknown() -> None:
    chain = Chain("room")
    chain.begin(b"1-0", 0)
    chain.interrupt(b"")
    chain.interrupt(b"second")
    # The second server's entry: the first one may have lost others before it.
    entries = [Entry(b"1-0", b"", None), Entry(b"2-0", b"data", b"second")]
    output = chain.read(Entries(entries, b"1-0", b"2-0", False, 2, b"second"), Kept(100, None), b"second")
    assert output == [(None, Gap("room", "1-0", "restart")), (b"data", b"g2-0")]
