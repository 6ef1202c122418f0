"""Grids of kept proportions, and areas over them.

    CPR = area under f(k), CMD = area under |1 - f(k)|, trapezoids over the grid
    floor = CPR of a circuit that recovers nothing before k = 1 (f = 0, then 1)

The floor is 0.25 on the published grid: the last trapezoid, from k = 0.5 to 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from scipy.integrate import trapezoid

from dfa_tl.display import shown
from dfa_tl.errors import ConfigError

MIB_KS: tuple[float, ...] = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""The grid of the Mechanistic Interpretability Benchmark."""

LINEAR_KS: tuple[float, ...] = tuple(step / 20 for step in range(21))
"""0, 0.05, .., 1: small and large circuits count alike."""


def check_grid(ks: Sequence[float]) -> tuple[float, ...]:
    """The grid as a tuple; `ConfigError` unless it rises within [0, 1] and has two points."""
    try:
        grid = tuple(float(k) for k in ks)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"ks must be at least two rising proportions in [0, 1], got {shown(ks)}"
        ) from error
    rises = all(low < high for low, high in pairwise(grid))
    if len(grid) < 2 or not rises or grid[0] < 0 or grid[-1] > 1:
        raise ConfigError(f"ks must be at least two rising proportions in [0, 1], got {grid}")
    return grid


def cpr(ks: Sequence[float], faithfulness: np.ndarray) -> float:
    """Area under the faithfulness curve."""
    return float(trapezoid(faithfulness, ks))


def cmd(ks: Sequence[float], faithfulness: np.ndarray) -> float:
    """Area between the faithfulness curve and 1."""
    return float(trapezoid(np.abs(1 - np.asarray(faithfulness)), ks))


def floor(ks: Sequence[float]) -> float:
    """CPR of a circuit that recovers nothing before the last point and all there."""
    return cpr(ks, np.array([0.0] * (len(ks) - 1) + [1.0]))
