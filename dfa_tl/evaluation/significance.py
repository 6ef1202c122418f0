"""Whether circuits differ on the same pairs: a paired permutation test, and Holm's correction.

Sources: Phipson and Smyth 2010 (the +1 of the permutation test); Holm 1979.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from dfa_tl.errors import ConfigError, NumericsError
from dfa_tl.evaluation.curve import FaithfulnessCurve, area, check_same_pairs
from dfa_tl.evaluation.intervals import blocks


def cpr_difference_p_value(
    first: FaithfulnessCurve,
    second: FaithfulnessCurve,
    *,
    resamples: int = 9999,
    seed: int = 0,
) -> float:
    """Two-sided paired permutation test of CPR(first) = CPR(second).

    Under the null hypothesis a pair's values under the two circuits are exchangeable, so they are
    swapped in random pairs. Swapping does not change m(clean) and m(empty): the test flips the
    signs of the pairs' differences in area. If `resamples` allows all 2^n swaps, the p-value is
    exact; else it is (1 + extreme) / (1 + resamples), and never below 1 / (1 + resamples).

    Raises:
        DataError: the curves are not of the same pairs.
        ConfigError: their grids differ, or no resamples.
    """
    check_same_pairs(first, second)
    if resamples < 1:
        raise ConfigError(f"a permutation test needs at least one resample, got {resamples}")
    difference = area(first.ks, first.pair_values - second.pair_values, axis=0)
    n = len(difference)
    # Sums that are equal but for rounding count as equally extreme.
    threshold = abs(difference.sum()) - 1e-10 * abs(difference).sum()
    exact = n < 60 and 2**n <= resamples
    rng = np.random.default_rng(seed)
    extreme = 0
    for block in blocks(2**n if exact else resamples, n):
        if exact:
            swapped = np.arange(block.start, block.stop)[:, None] >> np.arange(n) & 1
        else:
            swapped = rng.integers(2, size=(len(block), n))
        extreme += int((abs((1 - 2 * swapped) @ difference) >= threshold).sum())
    return extreme / 2**n if exact else (1 + extreme) / (1 + resamples)


def holm(p_values: Sequence[float] | Float[np.ndarray, " test"]) -> Float[np.ndarray, " test"]:
    """Holm's adjusted p-values of a family of tests, in the order given.

    Rejecting where the adjusted value is at most alpha keeps the chance of any false rejection
    among them at most alpha, whatever their dependence.

    Raises:
        NumericsError: a p-value is nan or outside [0, 1].
    """
    p = np.asarray(p_values, dtype=float)
    if not ((p >= 0) & (p <= 1)).all():
        raise NumericsError(f"p-values must lie in [0, 1], got {p.tolist()}")
    order = p.argsort(kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    return adjusted.clip(max=1)
