"""Mean and spread of one number over seeds, draws or tasks.

interval = mean ± t_{n-1}((1 + level) / 2) sd / sqrt(n)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from jaxtyping import Float
from scipy import stats

from dfa_tl.errors import NumericsError
from dfa_tl.evaluation.intervals import Interval, check_level


@dataclass(frozen=True)
class Spread:
    """Spread of one number over seeds or draws.

    Attributes:
        mean: Mean.
        sd: Standard deviation of the sample (n - 1 in the denominator); None for a single value.
        n: Number of values.
        interval: Student's t interval of the mean; None for a single value.
    """

    mean: float
    sd: float | None
    n: int
    interval: Interval | None


def seed_spread(
    values: Sequence[float] | Float[np.ndarray, " seed"], *, level: float = 0.95
) -> Spread:
    """Mean, standard deviation and t interval of a number over seeds or draws.

    Equal values give a standard deviation of 0 and an interval of no width.

    Raises:
        NumericsError: no values, or values that are not finite.
        ConfigError: the level is not within (0, 1).
    """
    check_level(level)
    sample = np.asarray(values, dtype=float)
    if not len(sample) or not np.isfinite(sample).all():
        raise NumericsError(f"a spread needs at least one value, all finite; got {sample.tolist()}")
    mean, n = float(sample.mean()), len(sample)
    if n == 1:
        return Spread(mean, None, 1, None)
    sd = float(sample.std(ddof=1)) if np.ptp(sample) else 0.0
    half = float(stats.t.ppf((1 + level) / 2, n - 1)) * sd / sqrt(n)
    return Spread(mean, sd, n, Interval(mean, mean - half, mean + half, level))
