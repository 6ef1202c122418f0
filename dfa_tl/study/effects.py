"""What the source accounts for: the difference between a regime and a control on the same pairs.

Curves are averaged over seeds and draws (CPR is linear in a pair's values), then compared pair by
pair: bootstrap interval of the difference, permutation test, p-values adjusted by Holm within the
table. An interval above zero says that the source helped with these score vectors on these tasks;
`sd over seeds` says how far the difference moves with the seed.

`overall` averages the differences over tasks and gives two intervals of the mean. `low`, `high`:
tasks as they are, their pairs resampled. `tasks low`, `tasks high`: Student's t over the tasks'
differences, which is what bears on a task that was not tried, and far wider.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dfa_tl.evaluation.curve import FaithfulnessCurve
from dfa_tl.evaluation.significance import cpr_difference_p_value, holm
from dfa_tl.evaluation.spread import seed_spread
from dfa_tl.evaluation.statistics import (
    Bootstrap,
    cpr_difference_interval,
    mean_cpr_difference_interval,
)
from dfa_tl.study.plan import WITHOUT_SOURCE
from dfa_tl.study.table import Table

if TYPE_CHECKING:
    from dfa_tl.study.results import StudyResults

PERMUTATIONS = 1999


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


def effects(results: StudyResults, against: str, regime: str) -> Table:
    """CPR of `regime` minus CPR of the control `against`, per pair, method, variant and task."""
    config, rows = results.config, []
    bootstrap = Bootstrap(config.level, config.resamples)
    for key in _settings(results):
        for found in _comparisons(results, *key, against=against, regime=regime):
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
                    "p": cpr_difference_p_value(found.ours, found.theirs, resamples=PERMUTATIONS),
                    "sd over seeds": seed_spread(found.by_seed.to_numpy()).sd,
                }
            )
    table: Any = pd.DataFrame(rows)
    if rows:
        table.insert(table.columns.get_loc("p") + 1, "p (Holm)", holm(table["p"].to_numpy()))
    return Table(table, f"CPR: {regime} minus {against}")


def overall(results: StudyResults, regime: str) -> Table:
    """Mean over tasks of `regime` minus gold and every control; `better` counts tasks above 0."""
    config, rows = results.config, []
    bootstrap = Bootstrap(config.level, config.resamples)
    for key in _settings(results):
        for against in ("gold", *config.controls):
            found = list(_comparisons(results, *key, against=against, regime=regime))
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
                }
            )
    return Table(pd.DataFrame(rows), f"CPR: {regime} minus each control, mean over tasks")


def _settings(results: StudyResults) -> Iterator[tuple[str, str, str]]:
    config = results.config
    for pair in config.pairs:
        for method in config.methods:
            for variant in config.variants:
                yield pair.name, method, variant


def _comparisons(
    results: StudyResults, pair: str, method: str, variant: str, *, against: str, regime: str
) -> Iterator[_Comparison]:
    """One comparison per task that both were measured on."""
    frame: Any = results.headline()
    group = "none" if against in WITHOUT_SOURCE else method
    of_pair = frame[(frame["pair"] == pair) & frame["seed"].isin(results.config.seeds)]
    regimes = of_pair[(of_pair["regime"] == regime) & (of_pair["method"] == method)]
    controls = of_pair[(of_pair["regime"] == against) & (of_pair["method"] == group)]
    if (controls["variant"] == variant).any():
        controls = controls[controls["variant"] == variant]
    for task in results.config.tasks:
        ours = regimes[(regimes["variant"] == variant) & (regimes["test_task"] == task)]
        theirs = controls[controls["test_task"] == task]
        if ours.empty or theirs.empty:
            continue
        by_seed = ours.groupby("seed")["cpr"].mean() - theirs.groupby("seed")["cpr"].mean()
        yield _Comparison(task, _mean(results, ours), _mean(results, theirs), by_seed.dropna())


def _mean(results: StudyResults, rows: Any) -> FaithfulnessCurve:
    """The curve whose pair values are the mean of these circuits'."""
    curves = []
    columns = "pair test_task method seed regime variant train_tasks pairs draw".split()
    for values in rows[columns].itertuples(index=False):
        row = dict(zip(columns, values, strict=True))
        saved = results.curves(row["pair"], row["test_task"], row["method"], int(row["seed"]))
        label = "|".join(str(row[name]) for name in columns[4:])
        curves.append(saved[label])
    return _average(curves)


def _average(curves: Sequence[FaithfulnessCurve]) -> FaithfulnessCurve:
    return replace(curves[0], pair_values=np.mean([curve.pair_values for curve in curves], axis=0))
