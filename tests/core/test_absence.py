from __future__ import annotations

import pytest

from gapless._core.absence import Findings, doubt


@pytest.mark.parametrize("found", [Findings(True, "999-5", "2000-0"), Findings(True, None, "999-0")])
def test_what_is_older_proves_that_it_was_never_stored(found: Findings) -> None:
    assert doubt(found, since_ms=1000) is None


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (Findings(False, "999-5", "2000-0"), "too many"),
        (Findings(True, "1000-0", "2000-0"), "reach back"),
        (Findings(True, None, "1000-0"), "nothing is left that is older"),
        # Also what an eviction leaves.
        (Findings(True, None, None), "nothing is left that is older"),
    ],
)
def test_it_may_have_been_stored(found: Findings, reason: str) -> None:
    assert reason in str(doubt(found, since_ms=1000))


@pytest.mark.parametrize("since_ms", [0, -100])
def test_an_unknown_time_proves_nothing_by_age(since_ms: int) -> None:
    assert doubt(Findings(True, "0-1", "5-0"), since_ms=since_ms) is not None
