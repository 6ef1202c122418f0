"""The paper's tables and further ones, from the tidy table of a study.

Numbers are means over seeds (and draws) of the headline's CPR: first protocol, ranking, metric and
grid of the study. `sd` is the standard deviation over seeds of the average over tasks.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import pandas as pd

from dfa_tl.analysis.render import Table
from dfa_tl.analysis.select import Results, counted, main_rows, recovery_by_task
from dfa_tl.arguments import checked_arguments
from dfa_tl.controls.regimes import COMPARED, FEW_PAIRS, GOLD, Regime
from dfa_tl.controls.registry import RANDOM
from dfa_tl.evaluation.intervals import seed_spread
from dfa_tl.study.results import StudyResults

ROW_LABELS = {GOLD: "Gold", **{regime.value: regime.label for regime in COMPARED}}
"""The label of a row of a table, by regime."""


def _mean_by_task(rows: Any, index: Sequence[str], tasks: Sequence[str]) -> pd.DataFrame:
    """One row per `index`, one column per task, their mean over tasks and its sd over seeds.

    `tasks` is the number of tasks in the mean: do not compare means over different tasks.
    """
    keys = list(index)
    wide = rows.pivot_table(index=keys, columns="test_task", values="cpr", sort=False)
    wide = wide.reindex(columns=list(tasks))
    by_seed = rows.groupby([*keys, "seed", "test_task"])["cpr"].mean()
    averages = by_seed.groupby([*keys, "seed"]).mean()
    n_tasks = wide.notna().sum(axis=1)
    wide = wide.assign(average=wide.mean(axis=1), sd=averages.groupby(keys).std(), tasks=n_tasks)
    return wide.rename_axis(columns=None).reset_index()


def _variant_name(setting: str, variant: str, headline: str) -> str:
    return setting if variant in ("", headline) else f"{setting}, {variant}"


@checked_arguments
def leaderboard(results: Results) -> Table:
    """The random baseline, then gold and every regime under every method."""
    config = results.config
    rows: Any = results.headline()
    main = config.default_variant
    parts = []
    for pair in config.pairs:
        of_pair = rows[rows["pair"] == pair.name]
        random = of_pair[of_pair["regime"] == RANDOM.name].assign(
            method="baseline", setting=RANDOM.label
        )
        parts.append(random)
        for method in config.methods:
            for setting, label in ROW_LABELS.items():
                chosen = of_pair[(of_pair["method"] == method) & (of_pair["regime"] == setting)]
                names = [_variant_name(label, variant, main) for variant in chosen["variant"]]
                parts.append(chosen.assign(setting=names))
    table = _mean_by_task(pd.concat(parts), ["pair", "method", "setting"], config.tasks)
    return Table(table, title("CPR of transferred circuits", results))


@checked_arguments
def control_levels(results: Results) -> Table:
    """Every control next to zero-shot, and to each task's best regime (chosen on test pairs)."""
    config = results.config
    rows: Any = results.headline()
    main = config.default_variant
    parts = []
    for pair in config.pairs:
        of_pair = rows[(rows["pair"] == pair.name) & rows["variant"].isin(["", main])]
        for method in config.methods:
            for control in config.controls:
                chosen = of_pair[
                    of_pair["method"].isin([method, "none"]) & (of_pair["regime"] == control)
                ]
                parts.append(chosen.assign(method=method, setting=control))
            regimes = of_pair[(of_pair["method"] == method) & of_pair["regime"].isin(COMPARED)]
            zero_shot = regimes[regimes["regime"] == Regime.ZERO_SHOT]
            parts.append(zero_shot.assign(setting=Regime.ZERO_SHOT.label))
            means = regimes.groupby(["pair", "method", "test_task", "regime"], as_index=False)[
                "cpr"
            ]
            best = (
                means.mean().groupby(["pair", "method", "test_task"], as_index=False)["cpr"].max()
            )
            if regimes["regime"].nunique() > 1:
                parts.append(best.assign(setting="DFA (best regime, chosen on test)"))
    table = _mean_by_task(pd.concat(parts), ["pair", "method", "setting"], config.tasks)
    return Table(table, title("CPR of controls", results))


@checked_arguments
def recovery(results: Results) -> Table:
    """Mean recovery of gold by pair, method and regime, over tasks where it is defined.

    `low` and `high` are t limits over tasks. Gold and aligned are means over the tasks that the
    regime was measured on. Recovery above the floor needs random W to have been measured.
    """
    config, rows, found = results.config, main_rows(results), []
    for pair, method in product(config.pairs, config.methods):
        chosen = rows[(rows["pair"] == pair.name) & (rows["method"] == method)]
        cpr = chosen.groupby(["regime", "test_task"])["cpr"].mean()
        for regime, each in recovery_by_task(chosen, config.tasks).items():
            tasks = list(each)
            with_random = [each[task] for task in tasks if (RANDOM.name, task) in cpr.index]
            undefined = [task for task in tasks if each[task].ratio is None]
            ratios = [one.ratio for one in each.values()]
            above = [one.above_floor for one in with_random]
            found.append(
                {
                    "pair": pair.name,
                    "method": method,
                    "setting": regime.label,
                    "gold": float(cpr[GOLD][tasks].mean()),
                    "aligned": float(cpr[regime][tasks].mean()),
                    **_summary("recovery", ratios, config.level),
                    **_summary("above floor", above, config.level),
                    "tasks": len(tasks),
                    "undefined": len(undefined),
                    "why": "; ".join(f"{task}: {each[task].reason}" for task in undefined),
                }
            )
    return Table(pd.DataFrame(found), title("Recovery of gold CPR", results))


def _summary(name: str, values: Sequence[float | None], level: float) -> dict[str, float | None]:
    """Mean over tasks, with its t interval over tasks."""
    numbers = [value for value in values if value is not None]
    spread = seed_spread(numbers, level=level) if numbers else None
    interval = spread.interval if spread else None
    return {
        name: spread.mean if spread else None,
        f"{name} low": interval.low if interval else None,
        f"{name} high": interval.high if interval else None,
    }


@checked_arguments
def cross_task(results: Results) -> Table:
    """CPR by training task (rows) and test task (columns)."""
    rows: Any = results.headline()
    chosen = rows[rows["regime"] == Regime.CROSS_TASK].rename(columns={"train_tasks": "trained on"})
    if chosen.empty:
        return Table(pd.DataFrame())
    order = {task: index for index, task in enumerate(results.config.tasks)}
    chosen = chosen.sort_values("trained on", key=lambda names: names.map(order), kind="stable")
    chosen = chosen.sort_values(["pair", "method"], kind="stable")
    table = _mean_by_task(chosen, ["pair", "method", "trained on"], results.config.tasks)
    return Table(table, title("CPR by training and test task", results))


@checked_arguments
def sensitivity(results: StudyResults) -> Table:
    """One row per circuit, one column per evaluation setting; only the first of several draws."""
    rows: Any = results.frame()
    first: Any = results.headline().iloc[:1]
    varied = rows[rows["draw"] == 0]
    views = varied[["protocol", "ranking", "metric"]].drop_duplicates()
    headline = first[["protocol", "ranking", "metric"]].iloc[0]
    other = varied[(varied[["protocol", "ranking", "metric"]] != headline).any(axis=1)]
    keys = ["pair", "method", "regime", "variant"]
    if len(views) > 1:
        varied = varied.merge(other[keys].drop_duplicates(), on=keys)
    else:
        varied = varied[~varied["regime"].isin([FEW_PAIRS, Regime.CROSS_TASK])]
    columns = varied[["protocol", "ranking", "metric", "grid"]].agg(", ".join, axis=1)
    wide = varied.assign(way=columns).pivot_table(
        index=keys, columns="way", values="cpr", sort=False
    )
    return Table(wide.rename_axis(columns=None).reset_index(), "CPR by evaluation setting")


@checked_arguments
def structure(results: Results) -> Table:
    """Correlation and overlap with gold, and correlation with the source's layer profile."""
    rows: Any = results.headline()
    rows = rows[~rows["regime"].isin([FEW_PAIRS, GOLD]) & (rows["method"] != "none")]
    values = [
        name for name in rows if name.startswith(("pearson", "spearman", "overlap", "profile"))
    ]
    numbers = rows.assign(**{name: pd.to_numeric(rows[name]) for name in values})
    means = numbers.groupby(["pair", "method", "regime", "variant"], sort=False)[values].mean()
    return Table(means.reset_index(), "Similarity to the gold circuit")


def title(what: str, results: Results) -> str:
    """What a table shows, and how that was measured."""
    config = results.config
    floors = results.headline()["floor"]
    return (
        f"{what} (protocol {config.protocols[0]}, {config.rankings[0]} ranking, "
        f"{config.grids[0]} grid, {config.test_pairs} test pairs, "
        f"{counted(len(config.seeds), 'seed')}; floor {floors.iloc[0]:.3f})"
    )
