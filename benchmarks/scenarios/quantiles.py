"""From delays to the figures that are shown."""

from __future__ import annotations

from collections.abc import Iterable


def quantile(ordered: list[float], share: float) -> float:
    """Return the smallest value that at least `share` of all do not exceed (nearest rank)."""
    rank = -int(-share * len(ordered) // 1)  # rounded up
    return ordered[max(rank, 1) - 1]


def quantiles(load: str, delays_ms: Iterable[float]) -> dict[str, float]:
    """Return p50, p99 and p99.9 by the names of their metrics; the last one only if it is not the maximum."""
    ordered = sorted(delays_ms)
    shares = {"p50": 0.5, "p99": 0.99, "p999": 0.999}
    if len(ordered) < 1000:
        del shares["p999"]
    return {f"{name}_{load}_ms": quantile(ordered, share) for name, share in shares.items()}
