"""What a study found, in words: the claim, its interval, its controls and its limits.

Every sentence is made from the study's tables. A statement about a difference is based on an
interval that resamples families of tasks, seeds and test pairs together, because only such an
interval says something about tasks and seeds that were not tried; with one seed there is no
verdict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from dfa_tl import analysis
from dfa_tl.analysis.select import counted, main_rows
from dfa_tl.controls.regimes import GOLD, Regime
from dfa_tl.controls.registry import CONTROLS, FREE_MASK, NO_SOURCE, RANDOM
from dfa_tl.report.contrasts import Contrast, contrasts, rows_of
from dfa_tl.report.limitations import Statement, limits
from dfa_tl.report.wording import capitalized, listed
from dfa_tl.study.config import PairSpec, StudyConfig
from dfa_tl.study.results import StudyResults

REGIMES = (Regime.ZERO_SHOT, Regime.NEAR_DISTRIBUTION, Regime.IN_DISTRIBUTION, Regime.ALL)
"""A report is about the first of these that its study has."""


@dataclass(frozen=True)
class Headline:
    """The first screen.

    Attributes:
        pair: The pair of models.
        method: Attribution method.
        regime: What the statements are about.
        statements: Claim, interval, controls and limits.
        contrasts: Regime minus gold and the main controls.
    """

    pair: PairSpec
    method: str
    regime: Regime
    statements: tuple[Statement, ...]
    contrasts: tuple[Contrast, ...] = ()


def headline(results: StudyResults, tables: Mapping[str, pd.DataFrame]) -> Headline:
    """The first screen of a study's first pair and first method.

    Args:
        results: The study.
        tables: Its tables by name; `effect:NAME` has the differences by task from control NAME.
            Tables that a partial study lacks may be left out.
    """
    config = results.config
    pair, method = config.pairs[0], config.methods[0]
    regime = regime_of(config)
    found = contrasts(tables, config, pair.name, method)
    ways = rows_of(tables.get("effect_by_choice"), config, pair.name, method)
    rows: Any = pd.DataFrame(columns=["regime", "test_task"])
    unbounded: set[str] = set()
    if results.evaluations:
        rows = main_rows(results)
        rows = rows[(rows["pair"] == pair.name) & rows["method"].isin([method, "none"])]
        unbounded = analysis.unbounded_tasks(results, pair.name)
    bounded = rows[~rows["test_task"].isin(unbounded)]
    if regime not in set(bounded["regime"]):
        measured = rows["regime"].unique().tolist() or ["nothing"]
        why = (
            f"On {listed(sorted(unbounded))} the clean and the corrupt metric cannot be "
            "distinguished."
            if unbounded
            else f"Measured so far: {listed(measured)}; not {regime}."
        )
        nothing = Statement("Claim", "Nothing can be claimed yet.", why)
        return Headline(pair, method, regime, (nothing, limits(results, found, tables)))
    # Gold first, then the main controls, from the end of the registry, whose controls know more.
    main = [name for name in reversed(list(CONTROLS)) if CONTROLS[name].is_main]
    return Headline(
        pair,
        method,
        regime,
        (
            _claim(bounded, regime, pair, unbounded, config),
            _interval(found.get(NO_SOURCE.name), regime, config),
            _controls(found, tables, regime, config, method),
            limits(results, found, tables, ways),
        ),
        tuple(found[name] for name in (GOLD, *main) if name in found),
    )


def regime_of(config: StudyConfig) -> Regime:
    """The regime that a report is about: the first that the study's tasks allow."""
    possible = [name for name in REGIMES if name in config.regimes and config.is_possible(name)]
    return possible[0] if possible else Regime(config.regimes[0])


def _claim(
    rows: Any, regime: Regime, pair: PairSpec, unbounded: set[str], config: StudyConfig
) -> Statement:
    # Only tasks that the regime was measured on: a partial study may have fewer than it plans.
    tasks = rows[rows["regime"] == regime]["test_task"].unique()
    chosen = rows[rows["test_task"].isin(tasks)]
    by_task = chosen.groupby(["regime", "test_task"])[["cpr", "cmd"]].mean()
    found = by_task.groupby("regime").mean()
    means, cmd = found["cpr"], found["cmd"]
    gold = f", gold circuits {means[GOLD]:.2f} (CMD {cmd[GOLD]:.2f})" if GOLD in means else ""
    others = []
    if RANDOM.name in means:
        others.append(f"{RANDOM.label} {means[RANDOM.name]:.2f} (CMD {cmd[RANDOM.name]:.2f})")
    others.append(f"floor {rows['floor'].iloc[0]:.2f}")
    if unbounded:
        others.append(
            f"left out: {listed(sorted(unbounded))}, where the clean and the corrupt metric cannot "
            "be distinguished"
        )
    return Statement(
        "Claim",
        f"{capitalized(regime)} circuits reach CPR {means[regime]:.2f} (CMD {cmd[regime]:.2f})"
        f"{gold}.",
        f"Mean of {counted(len(tasks), 'task')}, carried over from {pair.source} to "
        f"{pair.target} from {config.methods[0]} scores; W was trained on {regime.trained_on}. "
        f"{capitalized(', '.join(others))}. Measured with protocol {config.protocols[0]}, "
        f"{config.rankings[0]} ranking, the {config.grids[0]} grid and metric {config.metrics[0]}; "
        f"settings of W: {config.default_variant}.",
    )


def _interval(contrast: Contrast | None, regime: Regime, config: StudyConfig) -> Statement:
    if contrast is None:
        return Statement(
            "Interval",
            "Whether the source matters was not tested.",
            "The study did not measure the control without a source.",
        )
    saw = "" if regime is Regime.ZERO_SHOT else " (trained on the same tasks)"
    so = {
        "above": "lies above zero: the source helps",
        "below": "lies below zero: the source harms",
        "includes zero": "includes zero: the study does not show that the source helps on further "
        "tasks",
        "one seed": "rests on one seed, so there is no verdict: run the study with several",
    }[contrast.verdict]
    return Statement(
        "Interval",
        f"{capitalized(regime)} minus {NO_SOURCE.label}{saw}: {contrast.text}.",
        f"The {100 * config.level:g}% interval, from resampling {contrast.resampled}, {so}. "
        f"CMD: {contrast.cmd_text}. {_by_task(contrast)}".strip(),
    )


def _by_task(contrast: Contrast) -> str:
    parts = [
        f"{what} on {listed(tasks)}"
        for what, tasks in (
            ("above", contrast.better),
            ("below", contrast.worse),
            ("no clear difference", contrast.unclear),
        )
        if tasks
    ]
    return f"{capitalized('; '.join(parts))}." if parts else ""


def _controls(
    found: Mapping[str, Contrast],
    tables: Mapping[str, pd.DataFrame],
    regime: str,
    config: StudyConfig,
    method: str,
) -> Statement:
    direct = _direct(
        rows_of(tables.get("break_even"), config, config.pairs[0].name, method), regime
    )
    free_mask = found.get(FREE_MASK.name)
    if free_mask is None:
        return Statement("Controls", f'The control "{FREE_MASK.label}" was not measured.', direct)
    so = {
        "above": "The interval lies above zero.",
        "below": "The interval lies below zero: the control does better without a source.",
        "includes zero": "The interval includes zero.",
        "one seed": "There is one seed, so no verdict.",
    }[free_mask.verdict]
    return Statement(
        "Controls",
        f"{capitalized(regime)} minus {FREE_MASK.label} (no source, trained on the test task): "
        f"{free_mask.text}.",
        " ".join(part for part in (so, _by_task(free_mask), direct) if part),
    )


def _direct(rows: Sequence[Mapping[str, Any]], regime: str) -> str:
    """How many target pairs direct attribution needs, with the method that needs fewest."""
    if not rows:
        return ""
    needed: dict[str, int | None] = {}
    for row in rows:
        known = needed.get(row["task"])
        own = None if pd.isna(row["pairs needed"]) else int(row["pairs needed"])
        needed[row["task"]] = min((n for n in (known, own) if n is not None), default=None)
    sizes = sorted({n for n in needed.values() if n is not None})
    parts = [f"{n} on {listed(task for task in needed if needed[task] == n)}" for n in sizes]
    if never := [task for task, own in needed.items() if own is None]:
        parts.append(f"more than were tried on {listed(never)}")
    return f"To match {regime}, direct attribution needs target pairs: {'; '.join(parts)}."
