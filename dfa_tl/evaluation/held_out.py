"""`HeldOut`: CPR and CMD on held-out pairs while W is trained, and early stopping.

    held_out = HeldOut(target, source_scores, validation, patience=3)
    align(source_scores, target, train, check=held_out)
    held_out.best, held_out.to_frame()

Held-out pairs belong to the training tasks, or to a validation task; never to the test task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd  # pyright: ignore[reportMissingTypeStubs]

from dfa_tl.arguments import checked_arguments
from dfa_tl.errors import ConfigError
from dfa_tl.evaluation.curve import LINEAR_KS, check_grid
from dfa_tl.evaluation.evaluate import evaluate
from dfa_tl.models.node_model import NodeModel
from dfa_tl.scores import NodeScores
from dfa_tl.settings import check_choice, check_whole
from dfa_tl.tasks.pairs import PairDataset


@runtime_checkable
class Transfers(Protocol):
    """What predicts target scores, such as an `Alignment`."""

    def transfer(self, scores: NodeScores) -> NodeScores:
        """Predicted target scores of source scores."""
        ...


class HeldOut:
    """Measures the circuits that W predicts at each check of `align`, which calls it.

    Args:
        target: The target model.
        scores: Source scores, by task.
        data: Held-out pairs of the same tasks.
        by: `cmd` or `cpr`: what decides which W is best, as a mean over tasks. CMD, the default,
            also counts overshoot.
        patience: Training ends after so many checks in a row without a better W; None to let it
            run to its last step.
        ks: Kept proportions of the curves.
        batch_size: Pairs per run.

    Attributes:
        best: The best W so far; None before the first check.
        best_step: Its number of steps.

    Raises:
        ConfigError: no tasks, or scores and pairs of different tasks.
    """

    @checked_arguments
    def __init__(
        self,
        target: NodeModel,
        scores: Mapping[str, NodeScores],
        data: Mapping[str, PairDataset],
        *,
        by: str = "cmd",
        patience: int | None = None,
        ks: Sequence[float] = LINEAR_KS,
        batch_size: int = 16,
    ) -> None:
        if not data or set(scores) != set(data):
            raise ConfigError(
                f"there are scores for the tasks {sorted(scores)} and held-out pairs for "
                f"{sorted(data)}: give both for the same tasks, at least one"
            )
        check_choice("by", by, ("cmd", "cpr"))
        if patience is not None:
            check_whole("patience", patience, 1, ", or None")
        self.target, self.scores, self.data = target, scores, data
        self.by, self.patience, self.ks, self.batch_size = by, patience, check_grid(ks), batch_size
        self.best: Any = None
        self.best_step = 0
        self._rows: list[dict[str, str | int | float]] = []
        self._least = np.inf
        self._since_best = 0

    def __call__(self, step: int, alignment: Transfers) -> bool:
        """Measure W after so many steps; whether training has gone on long enough."""
        values: list[float] = []
        for task, data in self.data.items():
            curve = evaluate(
                self.target,
                data,
                alignment.transfer(self.scores[task]),
                ks=self.ks,
                batch_size=self.batch_size,
                progress=False,
            )
            self._rows.append({"step": step, "task": task, "cpr": curve.cpr, "cmd": curve.cmd})
            values.append(curve.cmd if self.by == "cmd" else -curve.cpr)
        value = float(np.mean(values))
        self._since_best += 1
        if value < self._least:
            self._least, self._since_best = value, 0
            self.best, self.best_step = alignment, step
        return self.patience is not None and self._since_best >= self.patience

    def to_frame(self) -> pd.DataFrame:
        """One row per check and task: `step`, `task`, `cpr`, `cmd`."""
        return pd.DataFrame(self._rows, columns=["step", "task", "cpr", "cmd"])
