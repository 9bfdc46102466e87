from __future__ import annotations

import pytest

from gapless._core.absence import Findings, doubt


def findings(
    *, complete: bool = True, oldest: str | None = None, last: str | None = None,
    length: int = 0, added: int | None = None,
) -> Findings:  # fmt: skip
    return Findings(complete, oldest, last, length, added)


@pytest.mark.parametrize(
    "found",
    [
        # An entry that is older than the event, so the stream reaches back, whatever was trimmed.
        findings(oldest="999-5", last="2000-0", length=100, added=5000),
        findings(oldest="999-5", last="2000-0", length=100),
        # Every entry that the stream ever got is still there.
        findings(oldest="1000-0", last="2000-0", length=7, added=7),
        findings(oldest="1000-0", last="2000-0", length=99),
        # Nothing was published since, or ever.
        findings(last="999-0"),
        findings(),
    ],
)
def test_it_was_never_stored(found: Findings) -> None:
    assert doubt(found, since_ms=1000, history=100, expired=False) is None


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (findings(complete=False, oldest="999-5", last="2000-0", length=3, added=3), "too many"),
        (findings(oldest="1000-0", last="2000-0", length=7, added=8), "reach back"),
        (findings(oldest="1000-0", last="2000-0", length=100), "reach back"),
        (findings(last="1000-0"), "deleted or has expired"),
    ],
)
def test_it_may_have_been_stored(found: Findings, reason: str) -> None:
    assert reason in str(doubt(found, since_ms=1000, history=100, expired=False))


@pytest.mark.parametrize("found", [findings(), findings(oldest="1000-0", length=1, added=1)])
def test_what_may_have_expired_can_not_tell(found: Findings) -> None:
    assert "expired" in str(doubt(found, since_ms=1000, history=100, expired=True))


@pytest.mark.parametrize("since_ms", [0, -100])
def test_an_unknown_time_proves_nothing_by_age(since_ms: int) -> None:
    found = findings(oldest="0-1", last="5-0", length=100, added=200)
    assert doubt(found, since_ms=since_ms, history=100, expired=False) is not None
