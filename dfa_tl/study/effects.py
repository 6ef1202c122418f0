"""What the source accounts for: the difference between a regime and a control on the same pairs.

Curves are averaged over seeds (CPR is linear in a pair's values), then compared pair by pair:
bootstrap interval of the difference, permutation test, p-values adjusted by Holm within the table.
An interval above zero says that the source helped with these score vectors; how far the difference
moves from seed to seed is in `sd over seeds`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dfa_tl.evaluation.curve import FaithfulnessCurve
from dfa_tl.evaluation.statistics import (
    Bootstrap,
    cpr_difference_interval,
    cpr_difference_p_value,
    holm,
    seed_spread,
)
from dfa_tl.study.plan import WITHOUT_SOURCE
from dfa_tl.study.tables import Table

if TYPE_CHECKING:
    from dfa_tl.study.results import StudyResults


def effects(results: StudyResults, against: str, regime: str) -> Table:
    """CPR of `regime` minus CPR of the control `against`, per pair, method, variant and task."""
    config, rows = results.config, []
    bootstrap = Bootstrap(config.level, config.resamples)
    frame: Any = results.headline()
    for pair in config.pairs:
        for method in config.methods:
            for variant in config.variants:
                for task in config.tasks:
                    chosen = frame[
                        (frame["pair"] == pair.name)
                        & (frame["test_task"] == task)
                        & frame["seed"].isin(config.seeds)
                    ]
                    is_ours = (chosen["regime"] == regime) & (chosen["method"] == method)
                    group = "none" if against in WITHOUT_SOURCE else method
                    is_theirs = (chosen["regime"] == against) & (chosen["method"] == group)
                    ours = chosen[is_ours & (chosen["variant"] == variant)]
                    theirs = chosen[is_theirs]
                    if (theirs["variant"] == variant).any():
                        theirs = theirs[theirs["variant"] == variant]
                    if ours.empty or theirs.empty:
                        continue
                    first, second = (_mean(results, each) for each in (ours, theirs))
                    interval = cpr_difference_interval(first, second, bootstrap)
                    by_seed = (
                        ours.groupby("seed")["cpr"].mean() - theirs.groupby("seed")["cpr"].mean()
                    ).dropna()
                    rows.append(
                        {
                            "pair": pair.name,
                            "method": method,
                            "variant": variant,
                            "task": task,
                            regime: first.cpr,
                            against: second.cpr,
                            "difference": interval.estimate,
                            "low": interval.low,
                            "high": interval.high,
                            "p": cpr_difference_p_value(first, second, resamples=1999),
                            "sd over seeds": seed_spread(by_seed.to_numpy()).sd,
                        }
                    )
    table: Any = pd.DataFrame(rows)
    if rows:
        table.insert(table.columns.get_loc("p") + 1, "p (Holm)", holm(table["p"].to_numpy()))
    return Table(table, f"CPR: {regime} minus {against}")


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
