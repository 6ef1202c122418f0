"""What the source contributes: the difference between a regime and a control on the same pairs.

A regime is compared only with controls that apply to it. For `uniform_s` that is the one trained on
the same tasks as the regime's W: otherwise the source would get the credit for having seen the test
task. Scrambled, permuted and random source scores, the regression and mean gold belong to zero-shot
alone. A control that depends on the settings of W is compared only under the same settings.

`source_effect` compares task by task. Its interval resamples seeds and test pairs; its p-value is
that of a permutation test over pairs, with curves averaged over seeds and draws, adjusted by Holm
within the table.

`overall` averages over tasks. Its intervals, of CPR and of CMD, resample families of tasks, seeds
and test pairs together (`dfa_tl.evaluation.mean_intervals`), so they apply to tasks that were not
tried. A task whose clean and corrupt metric cannot be distinguished on its test pairs has no
bounded CPR: it is counted under `left out`, and no mean includes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
import pandas as pd

from dfa_tl.analysis.render import Table
from dfa_tl.analysis.select import Results, curves_of, mean_curve
from dfa_tl.arguments import checked_arguments
from dfa_tl.controls.regimes import GOLD, Regime
from dfa_tl.controls.registry import CONTROLS, NO_SOURCE
from dfa_tl.errors import ConfigError
from dfa_tl.evaluation.curve import FaithfulnessCurve
from dfa_tl.evaluation.intervals import Bootstrap, seed_spread
from dfa_tl.evaluation.mean_intervals import Compared, mean_interval
from dfa_tl.evaluation.significance import cpr_difference_p_value, holm
from dfa_tl.study.keys import View
from dfa_tl.study.results import StudyResults
from dfa_tl.tasks.registry import family_of

PERMUTATIONS = 1999
"""The least number; a large table takes more, because Holm's correction needs smaller p-values."""


@dataclass(frozen=True, eq=False)
class _Comparison:
    """A regime and a control on one test task: by seed, and averaged over seeds and draws."""

    task: str
    ours: FaithfulnessCurve
    theirs: FaithfulnessCurve
    compared: Compared


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
        interval = mean_interval([found.compared], "cpr", bootstrap)
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
                "sd over seeds": seed_spread(found.compared.by_seed()).sd,
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
            tasks = [one.compared for one in found]
            cpr, cmd = (mean_interval(tasks, measure, bootstrap) for measure in ("cpr", "cmd"))
            seeds = min(len(task.seeds) for task in tasks)
            by_seed = np.mean([task.by_seed()[:seeds] for task in tasks], axis=0)
            rows.append(
                {
                    **dict(zip(("pair", "method", "variant"), key, strict=True)),
                    "against": against,
                    "difference": cpr.estimate,
                    "low": cpr.low,
                    "high": cpr.high,
                    "CMD difference": cmd.estimate,
                    "CMD low": cmd.low,
                    "CMD high": cmd.high,
                    "sd over seeds": seed_spread(by_seed).sd,
                    "better": sum(np.mean(task.by_seed()) > 0 for task in tasks),
                    "tasks": len(tasks),
                    "families": len({task.family for task in tasks}),
                    "seeds": seeds,
                    "left out": len(every) - len(tasks),
                }
            )
    return Table(pd.DataFrame(rows), f"CPR: {regime} minus each control, mean over tasks")


@checked_arguments
def levels(results: Results, regime: str = Regime.ZERO_SHOT, *, view: View | None = None) -> Table:
    """Mean CPR and CMD over tasks of gold, `regime` and every control, with intervals.

    Tasks are those on which the regime was measured.

    Raises:
        ConfigError: an unknown regime.
    """
    check_regime(regime)
    config, rows = results.config, []
    bootstrap = Bootstrap(config.level, config.resamples)
    controls = [name for name in config.controls if CONTROLS[name].applies_to(regime)]
    circuits = {GOLD: GOLD, regime: regime} | {
        name: CONTROLS[name].name_in(regime) for name in controls
    }
    for key in _settings(results):
        unbounded = unbounded_tasks(results, key[0], view=view)
        ours = _rows_of(results, *key, regime, view)
        tasks = [task for task in config.tasks if (ours["test_task"] == task).any()]
        for circuit, name in circuits.items():
            of_circuit = _rows_of(results, *key, name, view)
            found = []
            for task in tasks:
                of_task = of_circuit[of_circuit["test_task"] == task]
                if task not in unbounded and len(of_task):
                    seeds = _by_seed(results, of_task, view).values()
                    found.append(Compared(family_of(task), [(curves, []) for curves in seeds]))
            if not found:
                continue
            cpr, cmd = (mean_interval(found, measure, bootstrap) for measure in ("cpr", "cmd"))
            rows.append(
                {
                    **dict(zip(("pair", "method", "variant"), key, strict=True)),
                    "circuit": circuit,
                    "CPR": cpr.estimate,
                    "low": cpr.low,
                    "high": cpr.high,
                    "CMD": cmd.estimate,
                    "CMD low": cmd.low,
                    "CMD high": cmd.high,
                    "floor": float(of_circuit["floor"].iloc[0]),
                    "tasks": len(found),
                    "families": len({one.family for one in found}),
                    "seeds": min(len(one.seeds) for one in found),
                }
            )
    return Table(pd.DataFrame(rows), f"{regime}, gold and every control, mean over tasks")


@checked_arguments
def effect_by_choice(results: StudyResults, regime: str = Regime.ZERO_SHOT) -> Table:
    """CPR of `regime` minus the control without a source, under every evaluation setting.

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
    return Table(table, f"CPR: {regime} minus {control} by evaluation setting, mean over tasks")


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
    control = GOLD if against == GOLD else CONTROLS[against].name_in(regime)
    ours, theirs = (
        _rows_of(results, pair, method, variant, name, view) for name in (regime, control)
    )
    for task in results.config.tasks:
        of_task = ours[ours["test_task"] == task], theirs[theirs["test_task"] == task]
        if of_task[0].empty or of_task[1].empty:
            continue
        first, second = (_by_seed(results, rows, view) for rows in of_task)
        shared = [(first[seed], second[seed]) for seed in first if seed in second]
        if not shared:  # of a partial study
            continue
        yield _Comparison(
            task,
            mean_curve(results, of_task[0], view=view),
            mean_curve(results, of_task[1], view=view),
            Compared(family_of(task), shared),
        )


def _rows_of(
    results: Results, pair: str, method: str, variant: str, name: str, view: View | None
) -> Any:
    """Rows of a circuit in the study's seeds; one that knows no method or settings fits any."""
    rows: Any = results.headline(view)
    return rows[
        (rows["pair"] == pair)
        & (rows["regime"] == name)
        & rows["method"].isin([method, "none"])
        & rows["variant"].isin([variant, ""])
        & rows["seed"].isin(results.config.seeds)
    ]


def _by_seed(results: Results, rows: Any, view: View | None) -> dict[int, list[FaithfulnessCurve]]:
    return {
        int(seed): curves_of(results, rows[rows["seed"] == seed], view=view)
        for seed in sorted(rows["seed"].unique())
    }
