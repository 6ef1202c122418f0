"""What the source accounts for: the difference between a regime and a control on the same pairs.

Curves are averaged over seeds and draws (CPR is linear in a pair's values), then compared pair by
pair: bootstrap interval of the difference, permutation test, p-values adjusted by Holm within the
table. An interval above zero says that the source helped with these score vectors on these tasks;
`sd over seeds` says how far the difference moves with the seed.

A control is compared with what it is a control of. `uniform_s` is the one trained on the same tasks
as the regime's W, for else having seen the test task would be credited to the source. Scrambled,
permuted and random source scores, the regression and mean gold are zero-shot's alone; and a control
that depends on the settings of W is compared under the same settings or not at all.

`overall` averages the differences over tasks and gives two intervals of the mean. `low`, `high`:
tasks as they are, their pairs resampled. `tasks low`, `tasks high`: Student's t over the tasks'
differences, which is what bears on a task that was not tried, and far wider. A task whose clean and
corrupt metric cannot be told apart on its test pairs has no bounded CPR: it is counted under `left
out`, and in no mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

import numpy as np
import pandas as pd

from dfa_tl.analysis.render import Table
from dfa_tl.arguments import checked_arguments
from dfa_tl.controls.regimes import GOLD, Regime
from dfa_tl.controls.registry import CONTROLS, NO_SOURCE
from dfa_tl.errors import ConfigError
from dfa_tl.evaluation.curve import FaithfulnessCurve
from dfa_tl.evaluation.intervals import (
    Bootstrap,
    cpr_difference_interval,
    mean_cpr_difference_interval,
)
from dfa_tl.evaluation.spread import seed_spread
from dfa_tl.evaluation.tests import cpr_difference_p_value, holm
from dfa_tl.study.keys import View, of_row
from dfa_tl.study.results import StudyResults

PERMUTATIONS = 1999
"""At least; more for a large table, where Holm's correction asks for smaller p-values."""


@dataclass(frozen=True, eq=False)
class _Comparison:
    """A regime and a control on one test task.

    Attributes:
        by_seed: Difference of CPR in each seed.
    """

    task: str
    ours: FaithfulnessCurve
    theirs: FaithfulnessCurve
    by_seed: pd.Series


@checked_arguments
def source_effect(
    results: StudyResults,
    against: str = NO_SOURCE.name,
    regime: str = Regime.ZERO_SHOT,
    *,
    view: View | None = None,
) -> Table:
    """What the source accounts for: CPR of a regime minus a control's, per task.

    Args:
        results: The study.
        against: The control, or `gold`; `uniform_s` is the one trained on the regime's tasks.
        regime: The regime.
        view: Protocol, ranking and metric; the headline's by default.

    Raises:
        ConfigError: an unknown regime or control, or a control of another regime.
    """
    _check(against, regime)
    config, rows = results.config, []
    bootstrap = Bootstrap(config.level, config.resamples)
    comparisons = [
        (key, found)
        for key in _settings(results)
        for found in _comparisons(results, *key, against=against, regime=regime, view=view)
    ]
    # The smallest p-value that can be found, times the number of tests, stays well below 1 - level.
    resamples = max(PERMUTATIONS, ceil(20 * len(comparisons) / (1 - config.level)))
    for key, found in comparisons:
        interval = cpr_difference_interval(found.ours, found.theirs, bootstrap)
        rows.append(
            {
                **dict(zip(("pair", "method", "variant"), key, strict=True)),
                "task": found.task,
                regime: found.ours.cpr,
                against: found.theirs.cpr,
                "difference": interval.estimate,
                "low": interval.low,
                "high": interval.high,
                "p": cpr_difference_p_value(found.ours, found.theirs, resamples=resamples),
                "sd over seeds": seed_spread(found.by_seed.to_numpy()).sd,
            }
        )
    table: Any = pd.DataFrame(rows)
    if rows:
        table.insert(table.columns.get_loc("p") + 1, "p (Holm)", holm(table["p"].to_numpy()))
    return Table(table, f"CPR: {regime} minus {against}")


@checked_arguments
def overall(
    results: StudyResults, regime: str = Regime.ZERO_SHOT, *, view: View | None = None
) -> Table:
    """Mean over tasks of `regime` minus gold and every control; `better` counts tasks above 0.

    Raises:
        ConfigError: an unknown regime.
    """
    check_regime(regime)
    config, rows = results.config, []
    bootstrap = Bootstrap(config.level, config.resamples)
    for key in _settings(results):
        unbounded = unbounded_tasks(results, key[0], view=view)
        for against in (GOLD, *config.controls):
            if against != GOLD and not CONTROLS[against].applies_to(regime):
                continue
            every = list(_comparisons(results, *key, against=against, regime=regime, view=view))
            found = [one for one in every if one.task not in unbounded]
            if not found:
                continue
            couples = [(one.ours, one.theirs) for one in found]
            each = [ours.cpr - theirs.cpr for ours, theirs in couples]
            interval = mean_cpr_difference_interval(couples, bootstrap)
            tasks = seed_spread(each, level=config.level).interval
            by_seed = pd.concat([one.by_seed for one in found], axis=1).mean(axis=1)
            rows.append(
                {
                    **dict(zip(("pair", "method", "variant"), key, strict=True)),
                    "against": against,
                    "difference": interval.estimate,
                    "low": interval.low,
                    "high": interval.high,
                    "tasks low": tasks.low if tasks else None,
                    "tasks high": tasks.high if tasks else None,
                    "sd over seeds": seed_spread(by_seed.to_numpy()).sd,
                    "better": sum(one > 0 for one in each),
                    "tasks": len(each),
                    "left out": len(every) - len(each),
                }
            )
    return Table(pd.DataFrame(rows), f"CPR: {regime} minus each control, mean over tasks")


@checked_arguments
def effect_by_way(results: StudyResults, regime: str = Regime.ZERO_SHOT) -> Table:
    """CPR of `regime` minus the control without a source, in every way of measuring.

    Means over tasks; the headline's comes first.

    Raises:
        ConfigError: an unknown regime.
    """
    check_regime(regime)
    rows: Any = results.frame()
    rows = rows[rows["variant"] == results.config.default_variant]
    twin = NO_SOURCE.name
    way = ["protocol", "ranking", "metric", "grid"]
    ours, theirs = (
        rows[rows["regime"] == name]
        .groupby(["pair", *keys, *way, "test_task"], sort=False)["cpr"]
        .mean()
        .rename(column)
        .reset_index()
        for name, column, keys in (
            (regime, regime, ["method"]),
            (NO_SOURCE.name_in(regime), twin, []),
        )
    )
    both = ours.merge(theirs, on=["pair", *way, "test_task"])
    for pair in results.config.pairs:
        left_out = both["test_task"].isin(unbounded_tasks(results, pair.name))
        both = both[(both["pair"] != pair.name) | ~left_out]
    means = both.groupby(["pair", "method", *way], sort=False)[[regime, twin]].mean()
    table = means.assign(difference=means[regime] - means[twin]).reset_index()
    config = results.config
    orders = {
        "pair": [pair.name for pair in config.pairs],
        "method": config.methods,
        "protocol": config.protocols,
        "ranking": config.rankings,
        "metric": config.metrics,
        "grid": config.grids,
    }
    places = {name: {value: n for n, value in enumerate(order)} for name, order in orders.items()}
    table = table.sort_values(
        list(orders), key=lambda column: column.map(places[column.name]), ignore_index=True
    )
    return Table(table, f"CPR: {regime} minus {twin} by way of measuring, mean over tasks")


@checked_arguments
def unbounded_tasks(results: StudyResults, pair: str, *, view: View | None = None) -> set[str]:
    """Tasks whose clean and corrupt metric cannot be told apart on their test pairs.

    Every circuit of such a task has an infinite interval of CPR. A single test pair bounds nothing
    either, but says nothing against the task.
    """
    rows: Any = results.headline(view)
    rows = rows[(rows["pair"] == pair) & (rows["n"] > 1)]
    infinite = np.isinf(rows[["cpr_low", "cpr_high"]].to_numpy(dtype=float)).any(axis=1)
    return set(rows[infinite]["test_task"])


def check_regime(regime: str) -> None:
    """Raise `ConfigError` for an unknown regime."""
    if regime not in tuple(Regime):
        raise ConfigError(f"unknown regime {regime!r}: choose one of {', '.join(Regime)}")


def _check(against: str, regime: str) -> None:
    check_regime(regime)
    if against == GOLD:
        return
    if against not in CONTROLS:
        known = ", ".join((GOLD, *CONTROLS))
        raise ConfigError(f"unknown control {against!r}: choose one of {known}")
    if not CONTROLS[against].applies_to(regime):
        others = [name for name, control in CONTROLS.items() if control.applies_to(regime)]
        raise ConfigError(
            f"{against} is a control of {', '.join(CONTROLS[against].regimes)}, fitted to its "
            f"training tasks; it says nothing about {regime}. Compare that with {GOLD} or one of "
            f"{', '.join(others)}"
        )


def _settings(results: StudyResults) -> Iterator[tuple[str, str, str]]:
    config = results.config
    for pair in config.pairs:
        for method in config.methods:
            for variant in config.variants:
                yield pair.name, method, variant


def _comparisons(
    results: StudyResults,
    pair: str,
    method: str,
    variant: str,
    *,
    against: str,
    regime: str,
    view: View | None,
) -> Iterator[_Comparison]:
    """One comparison per task that both were measured on."""
    frame: Any = results.headline(view)
    is_gold = against == GOLD
    control = GOLD if is_gold else CONTROLS[against].name_in(regime)
    group = method if is_gold or CONTROLS[against].depends_on_method else "none"
    of_pair = frame[(frame["pair"] == pair) & frame["seed"].isin(results.config.seeds)]
    regimes = of_pair[(of_pair["regime"] == regime) & (of_pair["method"] == method)]
    controls = of_pair[(of_pair["regime"] == control) & (of_pair["method"] == group)]
    controls = controls[controls["variant"].isin([variant, ""])]
    for task in results.config.tasks:
        ours = regimes[(regimes["variant"] == variant) & (regimes["test_task"] == task)]
        theirs = controls[controls["test_task"] == task]
        if ours.empty or theirs.empty:
            continue
        by_seed = ours.groupby("seed")["cpr"].mean() - theirs.groupby("seed")["cpr"].mean()
        both = (averaged(results, each, view) for each in (ours, theirs))
        yield _Comparison(task, *both, by_seed=by_seed.dropna())


def averaged(results: StudyResults, rows: Any, view: View | None = None) -> FaithfulnessCurve:
    """The curve whose pair values are the mean of these circuits', rows of `headline(view)`."""
    curves = []
    for row in rows.to_dict("records"):
        job = (row["pair"], row["test_task"], row["method"], int(row["seed"]))
        curves.append(of_row(row, results.curves(*job, view=view)))
    values = np.mean([curve.pair_values for curve in curves], axis=0)
    return replace(curves[0], pair_values=values)
