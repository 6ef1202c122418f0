"""What the source contributes: the difference between a regime and a control on the same pairs.

Curves are averaged over seeds and draws (CPR is linear in a pair's values), then compared pair by
pair: bootstrap interval of the difference, permutation test, p-values adjusted by Holm within the
table. An interval above zero says that the source helped with these score vectors on these tasks;
`sd over seeds` says how far the difference moves with the seed.

A regime is compared only with controls that apply to it. For `uniform_s` that is the one trained on
the same tasks as the regime's W: otherwise the source would get the credit for having seen the test
task. Scrambled, permuted and random source scores, the regression and mean gold belong to zero-shot
alone. A control that depends on the settings of W is compared only under the same settings.

`overall` averages the differences over tasks and gives two intervals of the mean. For `low` and
`high` the tasks are fixed and their pairs resampled; `tasks low` and `tasks high` are Student's t
over the tasks' differences, which applies to tasks that were not tried and is far wider. A task
whose clean and corrupt metric cannot be distinguished on its test pairs has no bounded CPR: it is
counted under `left out`, and no mean includes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
import pandas as pd

from dfa_tl.analysis.render import Table
from dfa_tl.analysis.select import Results, mean_curve
from dfa_tl.arguments import checked_arguments
from dfa_tl.controls.regimes import GOLD, Regime
from dfa_tl.controls.registry import CONTROLS, NO_SOURCE
from dfa_tl.errors import ConfigError
from dfa_tl.evaluation.curve import FaithfulnessCurve
from dfa_tl.evaluation.intervals import (
    Bootstrap,
    cpr_difference_interval,
    mean_cpr_difference_interval,
    seed_spread,
)
from dfa_tl.evaluation.significance import cpr_difference_p_value, holm
from dfa_tl.study.keys import View
from dfa_tl.study.results import StudyResults

PERMUTATIONS = 1999
"""The least number; a large table takes more, because Holm's correction needs smaller p-values."""


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
    results: Results,
    against: str = NO_SOURCE.name,
    regime: str = Regime.ZERO_SHOT,
    *,
    view: View | None = None,
) -> Table:
    """What the source contributes: CPR of a regime minus that of a control, per task.

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
    title = f"CPR: {regime} minus {against}"
    if not rows:
        return Table(table, title)
    adjusted = holm(table["p"].to_numpy())
    table.insert(table.columns.get_loc("p") + 1, "p (Holm)", adjusted)
    # No permutation was as extreme: the true p-values, and their adjusted ones, may be smaller.
    is_bound = np.isclose(table["p"], 1 / (1 + resamples), rtol=1e-9, atol=0)
    largest = min(adjusted[is_bound].max(initial=0.0), 1 - 1e-9)
    bounds = {"p": is_bound.tolist(), "p (Holm)": (adjusted <= largest).tolist()}
    return Table(table, title, bounds)


@checked_arguments
def overall(results: Results, regime: str = Regime.ZERO_SHOT, *, view: View | None = None) -> Table:
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
            curves = [(one.ours, one.theirs) for one in found]
            each = [ours.cpr - theirs.cpr for ours, theirs in curves]
            interval = mean_cpr_difference_interval(curves, bootstrap)
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
def effect_by_choice(results: StudyResults, regime: str = Regime.ZERO_SHOT) -> Table:
    """CPR of `regime` minus the control without a source, in every way of measuring.

    Means over tasks; the headline's comes first.

    Raises:
        ConfigError: an unknown regime.
    """
    check_regime(regime)
    rows: Any = results.frame()
    rows = rows[rows["variant"] == results.config.default_variant]
    control = NO_SOURCE.name
    way = ["protocol", "ranking", "metric", "grid"]
    ours, theirs = (
        rows[rows["regime"] == name]
        .groupby(["pair", *keys, *way, "test_task"], sort=False)["cpr"]
        .mean()
        .rename(column)
        .reset_index()
        for name, column, keys in (
            (regime, regime, ["method"]),
            (NO_SOURCE.name_in(regime), control, []),
        )
    )
    both = ours.merge(theirs, on=["pair", *way, "test_task"])
    for pair in results.config.pairs:
        left_out = both["test_task"].isin(unbounded_tasks(results, pair.name))
        both = both[(both["pair"] != pair.name) | ~left_out]
    means = both.groupby(["pair", "method", *way], sort=False)[[regime, control]].mean()
    table = means.assign(difference=means[regime] - means[control]).reset_index()
    config = results.config
    orders = {
        "pair": [pair.name for pair in config.pairs],
        "method": config.methods,
        "protocol": config.protocols,
        "ranking": config.rankings,
        "metric": config.metrics,
        "grid": config.grids,
    }
    ranks = {name: {value: n for n, value in enumerate(order)} for name, order in orders.items()}
    table = table.sort_values(
        list(orders), key=lambda column: column.map(ranks[column.name]), ignore_index=True
    )
    return Table(table, f"CPR: {regime} minus {control} by way of measuring, mean over tasks")


@checked_arguments
def unbounded_tasks(results: Results, pair: str, *, view: View | None = None) -> set[str]:
    """Tasks whose clean and corrupt metric cannot be distinguished on their test pairs.

    Every circuit of such a task has an infinite interval of CPR. So has a task with a single test
    pair, but that is not counted against it.
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


def _settings(results: Results) -> Iterator[tuple[str, str, str]]:
    config = results.config
    for pair in config.pairs:
        for method in config.methods:
            for variant in config.variants:
                yield pair.name, method, variant


def _comparisons(
    results: Results,
    pair: str,
    method: str,
    variant: str,
    *,
    against: str,
    regime: str,
    view: View | None,
) -> Iterator[_Comparison]:
    """One comparison per task on which both were measured."""
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
        both = (mean_curve(results, each, view=view) for each in (ours, theirs))
        yield _Comparison(task, *both, by_seed=by_seed.dropna())
