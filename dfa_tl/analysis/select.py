"""What the figures read of a study's results, and how its circuits are picked out of them.

Any object with these members will do; `dfa_tl.study.StudyResults` is one. Rows are those of the
headline (first protocol, ranking, metric and grid) and of the first alignment settings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd

from dfa_tl.errors import ConfigError
from dfa_tl.evaluation.curve import FaithfulnessCurve
from dfa_tl.evaluation.intervals import Bootstrap
from dfa_tl.study.keys import CircuitKey, of_row


@runtime_checkable
class Results(Protocol):
    """A study's results, such as `dfa_tl.study.StudyResults`."""

    @property
    def config(self) -> Any:
        """The study's `StudyConfig`."""
        ...

    def headline(self) -> pd.DataFrame:
        """One row per measured circuit."""
        ...

    def curves(
        self, pair: str, task: str, method: str, seed: int = 0, *, grid: str | None = None
    ) -> Mapping[CircuitKey, FaithfulnessCurve]:
        """Curves of a test task by circuit."""
        ...


def one(kind: str, given: str | None, known: Sequence[str]) -> str:
    """The name given, or the first one known; `ConfigError` names those known."""
    if given is None:
        return known[0]
    if given not in known:
        raise ConfigError(f"no {kind} {given!r} in this study; it has {', '.join(known)}")
    return given


def some(kind: str, given: str | None, known: Sequence[str]) -> list[str]:
    """The name given, or all that are known."""
    return list(known) if given is None else [one(kind, given, known)]


def pairs_of(results: Results) -> list[str]:
    """Names of the study's pairs of models."""
    return [pair.name for pair in results.config.pairs]


def main_rows(results: Results) -> Any:
    """Rows of the headline under the first alignment settings, with their costs and intervals."""
    rows = results.headline()
    return rows[rows["variant"].isin(["", results.config.default_variant])]


def circuit_rows(rows: Any, pair: str, method: str, task: str, name: str) -> Any:
    """Rows of one circuit: every seed and draw. Circuits without a source belong to any method."""
    return rows[
        (rows["pair"] == pair)
        & rows["method"].isin([method, "none"])
        & (rows["test_task"] == task)
        & (rows["regime"] == name)
    ]


def mean_curve(results: Results, rows: Any, grid: str | None = None) -> FaithfulnessCurve:
    """The curve whose pair values are the mean over the rows' seeds and draws.

    CPR is linear in a pair's values, so its CPR is the mean of theirs.
    """
    found = []
    for row in rows.to_dict("records"):
        saved = results.curves(
            row["pair"], row["test_task"], row["method"], int(row["seed"]), grid=grid
        )
        found.append(of_row(row, saved))
    return replace(found[0], pair_values=np.mean([curve.pair_values for curve in found], axis=0))


def bootstrap_of(results: Results) -> Bootstrap:
    """The study's own way of making intervals."""
    return Bootstrap(results.config.level, results.config.resamples)


def measured_with(results: Results) -> str:
    """How CPR was measured, for titles: grid, pairs and seeds."""
    config = results.config
    seeds = f"{len(config.seeds)} seed{'s' if len(config.seeds) > 1 else ''}"
    return f"{config.grids[0]} grid, {config.test_pairs} test pairs, {seeds}"
