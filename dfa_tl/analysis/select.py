"""Choosing circuits from a study's results, for tables and figures.

Any object with the members of `Results` will do, such as a `StudyResults`. Rows are those of the
headline (first protocol, ranking, metric and grid) and of the first alignment settings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd

from dfa_tl.controls.regimes import COMPARED, GOLD, Regime
from dfa_tl.controls.registry import RANDOM
from dfa_tl.errors import ConfigError
from dfa_tl.evaluation.curve import FaithfulnessCurve
from dfa_tl.evaluation.intervals import Bootstrap
from dfa_tl.evaluation.recovery import Recovery, recovery
from dfa_tl.study.keys import CircuitKey, of_row


@runtime_checkable
class Results(Protocol):
    """A study's results, such as `dfa_tl.study.StudyResults`."""

    @property
    def config(self) -> Any:
        """The study's `StudyConfig`."""
        ...

    def headline(self, view: Any = None) -> pd.DataFrame:
        """One row per measured circuit."""
        ...

    def curves(
        self,
        pair: str,
        task: str,
        method: str,
        seed: int = 0,
        *,
        grid: str | None = None,
        view: Any = None,
    ) -> Mapping[CircuitKey, FaithfulnessCurve]:
        """Curves of a test task by circuit."""
        ...


def choose(kind: str, given: str | None, known: Sequence[str]) -> str:
    """The name given, or the first one known; `ConfigError` lists those known."""
    if given is None:
        return known[0]
    if given not in known:
        raise ConfigError(f"no {kind} {given!r} in this study; it has {', '.join(known)}")
    return given


def choose_some(kind: str, given: str | None, known: Sequence[str]) -> list[str]:
    """The name given, or all that are known."""
    return list(known) if given is None else [choose(kind, given, known)]


def pair_names(results: Results) -> list[str]:
    """Names of the study's pairs of models."""
    return [pair.name for pair in results.config.pairs]


def pair_label(results: Results, name: str) -> str:
    """The pair of models of this name as figures name it: without the path of a folder."""
    labels = {pair.name: getattr(pair, "label", pair.name) for pair in results.config.pairs}
    return labels.get(name, name)


def choose_pair_and_method(
    results: Results, pair: str | None, method: str | None
) -> tuple[str, str]:
    """The pair of models and the method given, or the study's first."""
    return (
        choose("pair", pair, pair_names(results)),
        choose("method", method, results.config.methods),
    )


def nothing_measured(pair: str, method: str) -> ConfigError:
    """The error for a pair and method without any measured circuit."""
    return ConfigError(f"nothing to draw: no circuits of {pair}, {method} are measured yet")


def main_rows(results: Results) -> Any:
    """Rows of the headline under the first alignment settings, with their costs and intervals."""
    rows = results.headline()
    return rows[rows["variant"].isin(["", results.config.default_variant])]


def circuit_rows(rows: Any, pair: str, method: str, task: str, name: str) -> Any:
    """Rows of one circuit: every seed and draw. A circuit without a source suits any method."""
    return rows[
        (rows["pair"] == pair)
        & rows["method"].isin([method, "none"])
        & (rows["test_task"] == task)
        & (rows["regime"] == name)
    ]


def curves_of(
    results: Results, rows: Any, *, grid: str | None = None, view: Any = None
) -> list[FaithfulnessCurve]:
    """The curve of each row."""
    options = {key: value for key, value in (("grid", grid), ("view", view)) if value is not None}
    return [
        of_row(
            row,
            results.curves(
                row["pair"], row["test_task"], row["method"], int(row["seed"]), **options
            ),
        )
        for row in rows.to_dict("records")
    ]


def mean_curve(
    results: Results, rows: Any, *, grid: str | None = None, view: Any = None
) -> FaithfulnessCurve:
    """The curve whose pair values are the mean over the seeds and draws of these rows.

    CPR is linear in a pair's values, so its CPR is the mean of theirs.
    """
    curves = curves_of(results, rows, grid=grid, view=view)
    values = np.mean([curve.pair_values for curve in curves], axis=0)
    return replace(curves[0], pair_values=values)


def recovery_by_task(rows: Any, tasks: Sequence[str]) -> dict[Regime, dict[str, Recovery]]:
    """Recovery of gold CPR by regime and task, where both gold and the regime were measured.

    Args:
        rows: Rows of one pair and method; CPR is averaged over their seeds and draws.
        tasks: The tasks to look for.
    """
    cpr = rows.groupby(["regime", "test_task"])["cpr"].mean().to_dict()
    floor = float(rows["floor"].iloc[0]) if len(rows) else 0.0
    found: dict[Regime, dict[str, Recovery]] = {}
    for regime, task in product(COMPARED, tasks):
        if (regime, task) in cpr and (GOLD, task) in cpr:
            random = cpr.get((RANDOM.name, task), floor)
            each = recovery(cpr[regime, task], cpr[GOLD, task], random, floor=floor)
            found.setdefault(regime, {})[task] = each
    return found


def bootstrap_of(results: Results) -> Bootstrap:
    """The bootstrap with the study's level and number of resamples."""
    return Bootstrap(results.config.level, results.config.resamples)


def measured_with(results: Results) -> str:
    """How CPR was measured, for titles: grid, pairs and seeds."""
    config = results.config
    seeds = counted(len(config.seeds), "seed")
    return f"{config.grids[0]} grid, {config.test_pairs} test pairs, {seeds}"


def counted(n: int, what: str) -> str:
    """`1 task`, `6 tasks`."""
    return f"{n} {what}" if n == 1 else f"{n} {what}s"
