"""`FaithfulnessCurve`: what a circuit recovers at each kept proportion.

    f(C) = (m(C) - m(empty)) / (m(clean) - m(empty))        m averaged over pairs first

m(empty) is what a circuit that recovers nothing scores: m of the corrupt run under counterfactual
ablation; under another, m of the run in which all that the protocol ranks is ablated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from dfa_tl import display
from dfa_tl.arguments import checked_arguments
from dfa_tl.errors import ConfigError, NumericsError
from dfa_tl.evaluation.grids import check_grid, cmd, cpr, floor


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
        empty: Metric of each pair in a circuit that recovers nothing, f = 0; None where that is the
            corrupt run.
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
    provenance: Mapping[str, Any] = field(default_factory=dict)
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
                "faithfulness is undefined: the model does not tell the prompts of these pairs "
                "apart. Use other pairs, another metric, or a model that solves the task"
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
                f"a curve of {k} proportions needs {k} sizes, {k} values of each pair, and one of "
                f"each pair in the clean and corrupt run, of one pair at least; got shapes {shapes}"
            )
        for name in ("pair_values", *runs):
            if not np.isfinite(getattr(self, name)).all():
                raise NumericsError(f"{name} of a curve must be finite")

    @property
    def faithfulness(self) -> Float[np.ndarray, " k"]:
        """F at each k."""
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
        known = [self.provenance.get(key) for key in ("model", "task")]
        return display.shortened(" ".join(str(value) for value in known if value))

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
