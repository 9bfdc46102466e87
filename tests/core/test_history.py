"""gapless._core.history: reading on from a known event."""

from __future__ import annotations

import itertools

import pytest

from gapless._core.event import Event, Gap
from gapless._core.history import check_id, cursor, id_key, resume, split_cursor, with_restarts


def events(*ids: str) -> list[Event]:
    return [Event("c", b"", entry_id) for entry_id in ids]


@pytest.mark.parametrize(
    ("entries", "oldest_id", "last_id", "expected"),
    [
        # The event itself is kept: whatever follows is complete.
        (events("5-0", "6-0"), "1-0", "6-0", events("6-0")),
        (events("5-0"), "5-0", "5-0", []),
        # Expired while quiet.
        ([], None, "5-0", []),
        # Trimmed.
        (events("7-0"), "7-0", "7-0", [Gap("c", "5-0", "trimmed"), *events("7-0")]),
        ([], None, "7-0", [Gap("c", "5-0", "trimmed")]),
        # Older ones are kept, this one is not; or the newest is older.
        (events("6-0"), "4-0", "6-0", [Gap("c", "5-0", "rollback"), *events("6-0")]),
        ([], "4-0", "4-0", [Gap("c", "5-0", "rollback")]),
        ([], None, "4-0", [Gap("c", "5-0", "rollback")]),
        # Nothing is known any more.
        ([], None, None, [Gap("c", "5-0", "reset")]),
    ],
)
def test_resume(entries: list[Event], oldest_id: str, last_id: str, expected: list[object]) -> None:
    assert resume("c", after="5-0", entries=entries, oldest_id=oldest_id, last_id=last_id) == expected


@pytest.mark.parametrize("after", ["0-0", "5-0"])
def test_nothing_is_missing_if_the_first_kept_event_follows_directly(after: str) -> None:
    kept = events("7-0", "8-0")
    facts = {"after": after, "entries": kept, "oldest_id": "7-0", "last_id": "8-0"}
    assert resume("c", **facts, before_first=after) == kept
    for before_first in (None, "6-0"):
        assert resume("c", **facts, before_first=before_first) == [Gap("c", after, "trimmed"), *kept]


def test_ids_sort_as_numbers() -> None:
    assert id_key("9-10") > id_key("9-9") > id_key("8-100")


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "1",
        "-",
        "1-",
        "-1",
        "a-b",
        "1-2-3",
        "1 -2",
        "+",
        "\u0661-\u0661",
        "1-x",
        f"{2**64}-0",
        f"0-{2**64}",
    ],
)
def test_what_is_no_id_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="expected an event id"):
        check_id(wrong)


@pytest.mark.parametrize(
    ("servers", "since", "now", "expected"),
    [
        # Appended by, since, answered by, what stands before the first and second event and after the third.
        ("aaaa", None, b"a", ""),
        ("aaab", None, b"b", "3"),
        ("aabb", None, b"b", "2"),
        ("abbc", None, b"d", "134"),
        ("abbb", b"b", b"b", ""),
        ("abbb", b"a", b"b", "1"),
        ("aaaa", b"a", b"b", "4"),
        ("aaaa", b"a", None, ""),
        # Unknown: not told.
        ("    ", None, b"b", ""),
        ("    ", b"a", b"b", "4"),
        ("a  b", None, b"b", "3"),
        ("aaaa", b"a", b"", ""),
    ],
)
def test_restarts(servers: str, since: bytes | None, now: bytes | None, expected: str) -> None:
    found = events("2-0", "3-0", "4-0")
    by: dict[str | None, bytes] = {
        f"{n}-0": server.encode() for n, server in enumerate(servers, 1) if server.strip()
    }
    result = with_restarts(found, after=Gap("c", "1-0", "restart"), servers=by, since=since, now=now)
    gaps = [item.after or "" for item in result if isinstance(item, Gap)]
    assert "".join(after[0] for after in gaps) == expected
    assert [item for item in result if isinstance(item, Event)] == found
    # In its place: before the event that follows.
    for before, gap in itertools.pairwise(result):
        if isinstance(gap, Gap):
            assert isinstance(before, Event)
            assert gap.after is not None
            assert gap.after.partition("@")[0] == before.id
    if "4" in expected:
        assert gaps[-1] == cursor("4-0", now or b"")


def test_a_gap_that_is_there_is_enough() -> None:
    found = [Gap("c", "1-0", "trimmed"), *events("2-0")]
    by: dict[str | None, bytes] = {"2-0": b"b"}
    assert with_restarts(found, after=Gap("c", "1-0", "restart"), servers=by, since=b"a", now=b"b") == found


@pytest.mark.parametrize(
    "wrong", ["", "@", "1-0@", "1-0@a@b", "1-0@a b", "1-0@" + "a" * 41, "1-0@\u0663", "x@a"]
)
def test_what_is_no_cursor(wrong: str) -> None:
    with pytest.raises(ValueError, match="expected an event id"):
        split_cursor(wrong)


def test_a_cursor() -> None:
    assert split_cursor(cursor("1-0", b"abc123")) == ("1-0", b"abc123")
    assert split_cursor(cursor("1-0", b"")) == ("1-0", None)
    assert split_cursor("01-02@x") == ("1-2", b"x")
