"""`FaithfulnessCurve`: what circuits recover at each kept proportion, and the areas under it.

    f(C) = (m(C) - m(empty)) / (m(clean) - m(empty))        m averaged over pairs first
    CPR = area under f(k), CMD = area under |1 - f(k)|, trapezoids over the grid
    floor = CPR of a circuit that recovers nothing before k = 1 (f = 0, then 1)

m(empty) is the metric of a circuit that recovers nothing: of the corrupt run under counterfactual
ablation; under another, of the run in which everything that the protocol ranks is ablated. The
floor is 0.25 on the published grid: the last trapezoid, from k = 0.5 to 1.
"""

# scipy and pandas have no types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import integrate

from dfa_tl import display
from dfa_tl.arguments import checked_arguments
from dfa_tl.display import shown
from dfa_tl.errors import ConfigError, DataError, NumericsError

MIB_KS: tuple[float, ...] = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""The grid of the Mechanistic Interpretability Benchmark."""

LINEAR_KS: tuple[float, ...] = tuple(step / 20 for step in range(21))
"""0, 0.05, .., 1: small and large circuits count alike."""


def check_grid(ks: Sequence[float]) -> tuple[float, ...]:
    """The grid as a tuple; `ConfigError` unless it rises within [0, 1] and has two points."""
    problem = f"ks must be at least two rising proportions in [0, 1], got {shown(ks)}"
    try:
        grid = tuple(float(k) for k in ks)
    except (TypeError, ValueError) as error:
        raise ConfigError(problem) from error
    rises = all(low < high for low, high in pairwise(grid))
    if len(grid) < 2 or not rises or grid[0] < 0 or grid[-1] > 1:
        raise ConfigError(problem)
    return grid


def area(ks: Sequence[float], values: np.ndarray, axis: int = -1) -> Any:
    """Area under `values` at `ks`, which lie along `axis`: a number if there is no other axis."""
    return integrate.trapezoid(values, ks, axis=axis)


def cpr(ks: Sequence[float], faithfulness: np.ndarray) -> float:
    """Area under the faithfulness curve."""
    return float(area(ks, faithfulness))


def cmd(ks: Sequence[float], faithfulness: np.ndarray) -> float:
    """Area between the faithfulness curve and 1."""
    return float(area(ks, np.abs(1 - np.asarray(faithfulness))))


def floor(ks: Sequence[float]) -> float:
    """CPR of a circuit that recovers nothing before the last point and all there."""
    return cpr(ks, np.array([0.0] * (len(ks) - 1) + [1.0]))


@checked_arguments
@dataclass(frozen=True, eq=False)
class FaithfulnessCurve:
    """Faithfulness of the circuits of one score vector.

    Attributes:
        ks: Proportions of nodes kept.
        n_kept: Nodes kept at each k (under `mib`, without the input).
        pair_values: Metric of each pair in each circuit.
        clean: Metric of each pair in the clean run.
        corrupt: Metric of each pair in the corrupt run.
        empty: Metric of each pair in a circuit that recovers nothing, f = 0; None where that is
            the corrupt run.
        protocol: `nodes` or `mib`.
        metric: Name of the metric.
        provenance: Where scores and pairs came from.

    Raises:
        ConfigError: a grid that does not rise within [0, 1], or arrays of shapes that do not fit
            together.
        NumericsError: a value is not finite; or m(clean) equals m(empty), so that f is undefined.
    """

    ks: tuple[float, ...]
    n_kept: tuple[int, ...]
    pair_values: Float[np.ndarray, "k pair"]
    clean: Float[np.ndarray, " pair"]
    corrupt: Float[np.ndarray, " pair"]
    protocol: str = "nodes"
    metric: str = "logit_diff"
    provenance: Mapping[str, Any] = field(default_factory=dict[str, Any])
    empty: Float[np.ndarray, " pair"] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "ks", check_grid(self.ks))
        self._check_values()
        clean, baseline = self.clean.mean(), self.baseline.mean()
        # One part in a million of the metric's own size is rounding, not a difference.
        if not abs(clean - baseline) > 1e-6 * (abs(self.clean).mean() + abs(self.baseline).mean()):
            run = "corrupt" if self.empty is None else "empty circuit"
            raise NumericsError(
                f"m(clean) = {clean:.6g} and m({run}) = {baseline:.6g} are equal on average, so "
                "faithfulness is undefined: the model does not distinguish the prompts of these "
                "pairs. Use other pairs, another metric, or a model that solves the task"
            )

    @property
    def baseline(self) -> Float[np.ndarray, " pair"]:
        """Metric of each pair where f = 0: `empty`, or else `corrupt`."""
        return self.corrupt if self.empty is None else self.empty

    def _check_values(self) -> None:
        k, n = len(self.ks), self.clean.size
        shapes = {"n_kept": (len(self.n_kept),)}
        runs = ("clean", "corrupt") if self.empty is None else ("clean", "corrupt", "empty")
        shapes |= {name: getattr(self, name).shape for name in ("pair_values", *runs)}
        expected = {"n_kept": (k,), "pair_values": (k, n), **dict.fromkeys(runs, (n,))}
        if n == 0 or shapes != expected:
            raise ConfigError(
                f"a curve of {k} proportions needs {k} sizes, {k} values of each pair, and one "
                "value of each pair in the clean and corrupt run, for at least one pair; got "
                f"shapes {shapes}"
            )
        for name in ("pair_values", *runs):
            if not np.isfinite(getattr(self, name)).all():
                raise NumericsError(f"{name} of a curve must be finite")

    @property
    def faithfulness(self) -> Float[np.ndarray, " k"]:
        """Faithfulness f at each k."""
        clean, baseline = self.clean.mean(), self.baseline.mean()
        return (self.pair_values.mean(axis=1) - baseline) / (clean - baseline)

    @property
    def cpr(self) -> float:
        """Area under f."""
        return cpr(self.ks, self.faithfulness)

    @property
    def cmd(self) -> float:
        """Area under |1 - f|."""
        return cmd(self.ks, self.faithfulness)

    @property
    def floor(self) -> float:
        """CPR on this grid of a circuit that recovers nothing before k = 1."""
        return floor(self.ks)

    def to_frame(self) -> pd.DataFrame:
        """One row per proportion: `k`, `n_kept`, `faithfulness`."""
        return pd.DataFrame(
            {"k": self.ks, "n_kept": self.n_kept, "faithfulness": self.faithfulness}
        )

    @property
    def _where(self) -> str:
        return display.provenance_line(self.provenance, "model", "task")

    def _repr_html_(self) -> str:
        logarithmic = " (log)" if self.ks[0] > 0 else ""
        return display.block(
            f"FaithfulnessCurve {self._where}",
            [
                f"CPR {self.cpr:.3f} (floor {self.floor:.3f})",
                f"CMD {self.cmd:.3f}",
                f"protocol {self.protocol}",
                display.shortened(self.metric),
                f"{len(self.clean)} pairs",
            ],
            display.sparkline(
                display.log_where_positive(self.ks),
                self.faithfulness.tolist(),
                "faithfulness against the proportion of nodes kept",
                guides=(0.0, 1.0),
            ),
            display.line(
                f"faithfulness, lines at 0 and 1, against k from {self.ks[0]:g} to "
                f"{self.ks[-1]:g}{logarithmic}"
            ),
        )

    def __repr__(self) -> str:
        where = f"{self._where}: " if self._where else ""
        return (
            f"FaithfulnessCurve({where}CPR {self.cpr:.3f} "
            f"(floor {self.floor:.3f}), CMD {self.cmd:.3f}, protocol {self.protocol}, "
            f"{len(self.clean)} pairs)"
        )


def check_same_pairs(first: FaithfulnessCurve, second: FaithfulnessCurve) -> None:
    """Refuse curves of different pairs (`DataError`) or grids (`ConfigError`)."""
    if first.ks != second.ks:
        raise ConfigError(
            f"CPR is compared on one grid, got {first.ks} and {second.ks}: evaluate both on the "
            "same ks"
        )
    if len(first.clean) != len(second.clean):
        raise DataError(
            f"a paired comparison needs the same pairs, got {len(first.clean)} and "
            f"{len(second.clean)}: evaluate both circuits on one PairDataset"
        )
    # Curves of the same pairs differ by rounding (batch size, half precision), others by far more.
    scale = 0.05 * (abs(first.clean).mean() + abs(first.corrupt).mean())
    for run in ("clean", "corrupt", "baseline"):
        apart = abs(getattr(first, run) - getattr(second, run)) > scale
        if apart.any():
            raise DataError(
                f"a paired comparison needs the same pairs under the same metric, but the {run} "
                f"values differ in pairs {apart.nonzero()[0][:5].tolist()}: evaluate both circuits "
                "on one PairDataset with one model"
            )
