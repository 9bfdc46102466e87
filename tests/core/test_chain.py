"""Single decisions of a chain; `test_recovery_model.py` has the interleavings."""

from __future__ import annotations

from gapless._core.chain import Chain
from gapless._core.entries import UNREADABLE, Entries, Entry, Kept, Push
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


def test_a_rollback_is_told_once_though_the_next_push_overtakes_the_read() -> None:
    chain = Chain("room")
    chain.begin(b"2-0", 0)
    chain.interrupt(b"first")
    chain.cover()
    # Read before this was published; but the push comes on another connection.
    chain.push(Push(b"g3-0", b"g1-0", b"three"), Kept(100, None))
    output = chain.read(Entries([], b"1-0", b"1-0", False, 1, b"second"), Kept(100, None), b"second")
    assert output == [(None, Gap("room", "2-0", "rollback")), (b"three", b"g3-0")]
    assert chain.tip == b"g3-0"


def test_what_the_old_server_pushed_stands_before_the_gap_that_tells_of_the_new_one() -> None:
    chain = Chain("room")
    chain.begin(b"2-0", 0)
    chain.interrupt()
    # The subscriber connection still leads to the old server, which has pushed this; the read got to the new one.
    chain.push(Push(b"g4-0", b"g3-0", b"four"), Kept(100, None))
    output = chain.read(Entries([], b"1-0", b"1-0", False, 1, b"second"), Kept(100, None), b"first")
    assert output == [
        (None, Gap("room", "2-0", "rollback")),
        (b"four", b"g4-0"),
        (None, Gap("room", "4-0", "restart")),
    ]


def test_each_entry_that_does_not_say_who_appended_it_may_be_the_last_of_its_server() -> None:
    chain = Chain("room")
    chain.begin(b"1-0", 0)
    chain.interrupt(b"")
    # A restart between the two lost 3-0, and with it the last id: the link shows nothing.
    entries = [Entry(b"2-0", b"two", None, b"g1-0"), Entry(b"4-0", b"four", None, b"g2-0")]
    output = chain.read(Entries(entries, b"2-0", b"4-0", False, 2, None), Kept(100, None), None)
    assert output == [
        (None, Gap("room", "1-0", "restart")),
        (b"two", b"g2-0"),
        (None, Gap("room", "2-0", "restart")),
        (b"four", b"g4-0"),
        (None, Gap("room", "4-0", "restart")),
    ]


def test_a_restart_is_told_of_also_where_a_page_ends_at_it() -> None:
    chain = Chain("room")
    chain.begin(b"1-0", 0)
    chain.interrupt(b"first")
    chain.cover()
    # The second server's first event links to the last one that it has of the first server.
    chain.push(Push(b"g4-0", b"g2-0", b"four"), Kept(100, None))
    page = [Entry(b"1-0", b"", b"first"), Entry(b"2-0", b"two", b"first", b"g1-0")]
    output = chain.read(Entries(page, b"1-0", b"2-0", True, 2, b"second"), Kept(100, None), b"second")
    assert output == [(b"two", b"g2-0")]
    page = [Entry(b"2-0", b"", b"first", b"g1-0"), Entry(b"4-0", b"four", b"second", b"g2-0")]
    output = chain.read(Entries(page, b"1-0", b"4-0", False, 3, b"second"), Kept(100, None), b"second")
    assert output == [(None, Gap("room", "2-0", "restart")), (b"four", b"g4-0")]
    assert chain.tip == b"g4-0"


def test_a_position_that_was_seen_with_the_first_gap_counts_until_an_event_comes() -> None:
    chain = Chain("room")
    chain.interrupt()
    assert chain.looked(b"2-0", 0, 1000) == [(None, Gap("room", None, "disconnected"))]
    # What was published before that look may still be on its way, and is the beginning if it comes.
    assert chain.push(Push(b"g2-0", b"g1-0", b"two"), Kept(100, None))
    chain.tip = b"g2-0"
    assert not chain.push(Push(b"g4-0", b"g3-0", b"four"), Kept(100, None))
    assert chain.position == b"g2-0"


def test_what_does_not_follow_a_position_that_was_seen_is_not_the_beginning() -> None:
    chain = Chain("room")
    chain.interrupt()
    chain.looked(b"2-0", 0, 1000)
    assert not chain.push(Push(b"g4-0", b"g3-0", b"four"), Kept(100, None))
    assert chain.syncing
    assert chain.position == b"g2-0"


def test_what_follows_a_position_that_was_seen_needs_no_read() -> None:
    chain = Chain("room")
    chain.interrupt()
    chain.looked(b"2-0", 0, 1000)
    assert chain.push(Push(b"g3-0", b"g2-0", b"three"), Kept(100, None))


def test_a_read_from_before_a_channel_was_given_up_is_void() -> None:
    chain = Chain("room")
    chain.interrupt()
    before = chain.round
    chain.give_up()
    assert chain.round > before


def test_entries_from_before_the_subscribe_show_that_only_the_last_id_was_gone() -> None:
    found = Entries([Entry(b"5-0", b"five", None, b"g-")], b"5-0", b"5-0", False, 1, None)
    assert found.is_whole(Kept(100, None), 5)
    assert not found.is_whole(Kept(100, None), 6)


def test_a_position_that_was_seen_is_void_once_nothing_can_be_read() -> None:
    chain = Chain("room")
    chain.interrupt()
    chain.looked(b"2-0", 0, 1000)
    chain.give_up()
    chain.interrupt()
    assert chain.position is None


def test_a_channel_that_could_not_be_read_begins_where_it_stood() -> None:
    chain = Chain("room")
    chain.begin(b"5-0", 0)
    chain.interrupt()
    chain.give_up()
    chain.begin(b"5-0", 0)
    assert chain.position == b"g5-0"


def test_a_last_id_that_can_not_be_read_is_no_position() -> None:
    chain = Chain("room")
    chain.begin(UNREADABLE, 0)
    assert chain.position is None
    chain.begin(b"5-0", 0)
    chain.interrupt()
    assert chain.looked(UNREADABLE, 0, 1000) is None  # it is to be read


def test_a_position_before_what_was_delivered_is_none() -> None:
    chain = Chain("room")
    chain.begin(b"9-0", 0)
    chain.give_up()
    chain.interrupt()
    # A stream that went back: what was delivered of the old one could come once more.
    chain.looked(b"2-0", 0, 1000)
    chain.interrupt()
    assert chain.position is None
