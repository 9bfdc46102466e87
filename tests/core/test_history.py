"""gapless._core.history: reading on from a known event."""

from __future__ import annotations

import pytest

from gapless._core.event import Event, Gap
from gapless._core.history import check_id, id_key, resume


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
