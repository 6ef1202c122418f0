"""A study made by hand: random curves of circuits that no model ever ran, without running a study.

Everything that the figures read is there: settings, one row per circuit, curves by label.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
from scipy.integrate import trapezoid

from dfa_tl import FaithfulnessCurve
from dfa_tl.study.keys import CircuitKey

TASKS = ("ioi", "arithmetic_addition", "arithmetic_subtraction")
KS = (0.0, 0.25, 0.5, 0.75, 1.0)
FLOOR = 0.125
PAIRS_OF_DATA = 12
TRAINED_LEVELS = {"in-distribution": 0.7, "near-distribution": 0.6, "zero-shot": 0.5, "all": 0.65}
CONTROL_LEVELS = {"random_W": 0.1, "uniform_s": 0.3, "target_only": 0.75}
WITHOUT_SOURCE = ("uniform_s", "target_only")


class StandIn:
    """What `dfa_tl.viz` reads of results."""

    def __init__(self, pairs=("a -> b",), methods=("nap", "exact"), seeds=(0, 1), tasks=TASKS):
        self.config = SimpleNamespace(
            pairs=tuple(SimpleNamespace(name=name) for name in pairs),
            tasks=tasks,
            methods=methods,
            regimes=(*TRAINED_LEVELS, "cross-task"),
            controls=tuple(CONTROL_LEVELS),
            seeds=seeds,
            variants={"default": None, "paper": None},
            default_variant="default",
            grids=("linear", "mib"),
            few_pairs_methods=("nap",),
            level=0.9,
            resamples=60,
            test_pairs=PAIRS_OF_DATA,
        )
        self._random = np.random.default_rng(0)
        self.rows: list[dict] = []
        self.saved: dict[tuple, dict[CircuitKey, FaithfulnessCurve]] = {}
        for pair in pairs:
            for task in tasks:
                for seed in seeds:
                    self._measure(pair, task, seed)

    def _measure(self, pair: str, task: str, seed: int) -> None:
        others = tuple(other for other in self.config.tasks if other != task)
        for method in self.config.methods:
            where = (pair, method, task, seed)
            # Under `exact`, gold of one task is at the floor: recovery is undefined there.
            dead = method == "exact" and task == "ioi"
            self._add(where, "gold", "", (task,), 0.0 if dead else 0.8, cost=(0, 20))
            for variant in self.config.variants:
                for regime, level in TRAINED_LEVELS.items():
                    if regime == "near-distribution" and task == "ioi":
                        continue
                    near = variant == "default"
                    cost = (0, 60) if regime == "in-distribution" else (300, 0)
                    self._add(where, regime, variant, others, level * (1 if near else 0.5), cost)
            for train in self.config.tasks:
                level = 0.7 if train == task else 0.2
                self._add(where, "cross-task", "default", (train,), level, cost=(60, 0))
            for draw in (0, 1):
                self._add(where, "random_W", "", (), 0.1, cost=(0, 0), draw=draw)
        where = (pair, "none", task, seed)
        for control in WITHOUT_SOURCE:
            cost = (0, 60) if control == "target_only" else (300, 0)
            self._add(where, control, "default", others, CONTROL_LEVELS[control], cost)
        for size, level in ((1, 0.3), (2, 0.5), (4, 0.45)):
            where = (pair, "nap", task, seed)
            self._add(where, "few-pairs", "", (task,), level, cost=(0, 3 * size), size=size)

    def _add(self, where, regime, variant, train, level, cost, draw=0, size=16) -> None:
        pair, method, task, seed = where
        # A whole number of halves per pair, so that means over pairs are exact.
        rise = level * np.linspace(0, 1, len(KS))[:, None] ** 0.5
        noise = self._random.uniform(-0.1, 0.1, (len(KS), PAIRS_OF_DATA)) * (level > 0)
        values = 4 * (rise + noise) + 1
        values[0], values[-1] = 1.0, 5.0
        curve = FaithfulnessCurve(
            KS, tuple(range(0, 17, 4)), values, np.full(PAIRS_OF_DATA, 5.0), np.ones(PAIRS_OF_DATA)
        )
        key = CircuitKey(regime, variant, tuple(train), size, draw)
        self.saved.setdefault((pair, task, method, seed), {})[key] = curve
        self.rows.append(
            {
                "pair": pair,
                "method": method,
                "regime": regime,
                "variant": variant,
                "train_tasks": "+".join(train),
                "test_task": task,
                "seed": seed,
                "draw": draw,
                "pairs": size,
                "cpr": float(trapezoid((values.mean(axis=1) - 1) / 4, KS)),
                "floor": FLOOR,
                "pair_source_forward": 40,
                "pair_source_backward": 20,
                "pair_target_forward": cost[0],
                "pair_target_backward": cost[0] // 2,
                "task_source_forward": 4,
                "task_source_backward": 2,
                "task_target_forward": cost[1],
                "task_target_backward": cost[1] // 2,
            }
        )

    def headline(self) -> pd.DataFrame:
        return pd.DataFrame(self.rows)

    def curves(self, pair, task, method, seed=0, *, grid=None):
        assert grid in (None, *self.config.grids)
        return self.saved[pair, task, method, seed]

    def cpr(self, **wanted) -> float:
        """Mean CPR of the rows with these values, by a plain loop."""
        chosen = [row["cpr"] for row in self.rows if all(row[key] == wanted[key] for key in wanted)]
        assert chosen, wanted
        return sum(chosen) / len(chosen)
