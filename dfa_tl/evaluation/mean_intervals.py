"""Intervals of a mean over tasks, and of a difference, over families, seeds and test pairs.

    level      = mean over tasks of (mean over seeds of (mean over draws of CPR, or CMD))
    difference = level of the first circuit minus level of the second

A resample draws families with replacement, each with all its tasks; seeds, the same for all tasks;
and the test pairs of each task, the same for all seeds and for both circuits. So the interval
applies to further families of tasks, to further seeds and to further pairs at once. With a single
family, or a single seed, that source of variation is held fixed, and the interval says nothing
about it.

The limits are expanded percentiles (`dfa_tl.evaluation.intervals`) for as many values as there are
families, or test pairs where there is one family. With three families they are the extremes of the
resamples. Source: Efron and Tibshirani, *An Introduction to the Bootstrap*, 1993, chapter 8.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Literal

import numpy as np
from jaxtyping import Float

from dfa_tl.errors import DataError
from dfa_tl.evaluation.curve import FaithfulnessCurve, check_same_pairs
from dfa_tl.evaluation.intervals import Bootstrap, Interval, limits_of, resampled_area

Measure = Literal["cpr", "cmd"]
Draws = Sequence[FaithfulnessCurve]
"""Curves of one circuit in one seed, one for each draw."""


@dataclass(frozen=True, eq=False)
class Compared:
    """Two circuits on one test task, or a single one.

    Attributes:
        family: Of the task.
        seeds: For each seed, the curves of the first circuit and those of the second; those of the
            second may be empty, and then its level counts as 0.

    Raises:
        DataError: no seeds, a seed without curves, or curves that are not of the same pairs.
    """

    family: str
    seeds: Sequence[tuple[Draws, Draws]]

    def __post_init__(self) -> None:
        if not self.seeds or not all(ours for ours, _ in self.seeds):
            raise DataError("circuits are compared by at least one curve in each seed")
        if len({bool(theirs) for _, theirs in self.seeds}) > 1:
            raise DataError("the second circuit has curves in some seeds only")
        first = self.seeds[0][0][0]
        for ours, theirs in self.seeds:
            for curve in (*ours, *theirs):
                check_same_pairs(first, curve)

    @property
    def n_pairs(self) -> int:
        """Number of test pairs."""
        return len(self.seeds[0][0][0].clean)

    def by_seed(self, measure: Measure = "cpr") -> list[float]:
        """The difference in each seed."""

        def level(draws: Draws) -> float:
            return float(np.mean([getattr(curve, measure) for curve in draws])) if draws else 0.0

        return [level(ours) - level(theirs) for ours, theirs in self.seeds]


def mean_interval(
    tasks: Sequence[Compared], measure: Measure = "cpr", bootstrap: Bootstrap | None = None
) -> Interval:
    """Interval of the mean level, or difference, over tasks, seeds and draws.

    Args:
        tasks: One comparison for each test task.
        measure: `cpr` or `cmd`.
        bootstrap: Level, resamples and seed; `Bootstrap()` by default.

    Returns:
        The interval; infinite limits where a task has a single test pair.

    Raises:
        DataError: no tasks.
    """
    if not tasks:
        raise DataError("a mean over tasks needs at least one task")
    settings = bootstrap or Bootstrap()
    estimate = float(np.mean([np.mean(task.by_seed(measure)) for task in tasks]))
    fewest = min(task.n_pairs for task in tasks)
    if fewest < 2:
        return Interval(estimate, -inf, inf, settings.level)
    rng = np.random.default_rng(settings.seed)
    n_seeds = max(len(task.seeds) for task in tasks)
    drawn_seeds = rng.random((settings.resamples, n_seeds))
    values = np.stack(
        [
            _resampled_task(task, measure, settings, settings.seed + number, drawn_seeds)
            for number, task in enumerate(tasks)
        ]
    )
    families = list(dict.fromkeys(task.family for task in tasks))
    if len(families) < 2:
        return limits_of(estimate, values.mean(axis=0), fewest, settings.level)
    members = [[n for n, task in enumerate(tasks) if task.family == name] for name in families]
    sizes = np.array([len(each) for each in members], dtype=float)
    sums = np.stack([values[each].sum(axis=0) for each in members])
    drawn = rng.integers(len(families), size=(settings.resamples, len(families)))
    # A family that is drawn twice is drawn with other pairs and seeds the second time.
    n = settings.resamples
    total = np.zeros(n)
    for slot in range(len(families)):
        total += sums[drawn[:, slot], (np.arange(n) + slot * (n // len(families))) % n]
    means = total / sizes[drawn].sum(axis=1)
    return limits_of(estimate, means, len(families), settings.level)


def _resampled_task(
    task: Compared,
    measure: Measure,
    bootstrap: Bootstrap,
    seed: int,
    drawn_seeds: Float[np.ndarray, "sample seed"],
) -> Float[np.ndarray, " sample"]:
    """The task's difference in each resample of its pairs and of the seeds."""

    def mean_of(draws: Draws) -> Float[np.ndarray, " sample"]:
        if not draws:
            return np.zeros(bootstrap.resamples)
        return np.mean([resampled_area(curve, measure, bootstrap, seed) for curve in draws], axis=0)

    by_seed = np.stack([mean_of(ours) - mean_of(theirs) for ours, theirs in task.seeds])
    n = len(by_seed)
    chosen = (drawn_seeds[:, :n] * n).astype(int)
    return by_seed[chosen, np.arange(len(chosen))[:, None]].mean(axis=1)
