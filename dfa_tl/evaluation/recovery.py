"""How much of the gold circuit's CPR an aligned circuit recovers.

    ratio = aligned / gold,    above the floor = (aligned - random) / (gold - random)

The first is the paper's. Both are undefined where gold itself is at the floor.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

from dfa_tl.errors import ConfigError, NumericsError
from dfa_tl.evaluation.intervals import Interval


@dataclass(frozen=True)
class Recovery:
    """Both recovery ratios of CPR; None where they are undefined, for a `reason`."""

    ratio: float | None
    above_floor: float | None
    reason: str | None = None


def recovery(
    aligned: float,
    gold: float | Interval,
    random: float,
    *,
    floor: float,
    tolerance: float = 0.01,
) -> Recovery:
    """Both recovery ratios of CPR, or why there are none.

    They are undefined where gold is at the floor or no better than random: within `tolerance`, or,
    for an interval, where its lower limit does not exceed them.

    Args:
        aligned: CPR of the aligned circuit.
        gold: CPR of the gold circuit, or its interval.
        random: CPR under random W, averaged over draws.
        floor: CPR of a circuit that recovers nothing before k = 1 (`FaithfulnessCurve.floor`).
        tolerance: How far gold must be above both, in units of CPR; at least 0.

    Raises:
        NumericsError: a CPR is not finite.
        ConfigError: a negative floor or tolerance.
    """
    best = gold.estimate if isinstance(gold, Interval) else float(gold)
    if not all(map(isfinite, (aligned, best, random, floor))):
        raise NumericsError(
            f"CPR must be finite, got aligned {aligned}, gold {best}, random {random}, "
            f"floor {floor}"
        )
    if floor < 0 or tolerance < 0:
        raise ConfigError(f"floor and tolerance must be at least 0, got {floor} and {tolerance}")
    base, name = (floor, "the floor") if floor >= random else (random, "random W")
    if best <= base + tolerance:
        return Recovery(None, None, f"gold CPR {best:.3f} is not above {name} ({base:.3f})")
    if isinstance(gold, Interval) and gold.low <= base:
        return Recovery(None, None, f"the interval of gold CPR {gold} reaches {name} ({base:.3f})")
    return Recovery(aligned / best, (aligned - random) / (best - random))
