"""What a study found, in words: the claim, its interval, its controls and its limits.

Every sentence is made from the study's tables. What is said of a difference follows its interval
over tasks wherever there is one, since that is what bears on a task that was not tried.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import pandas as pd

from dfa_tl.report.contrasts import Contrast, contrasts, rows_of
from dfa_tl.report.words import counted, listed, sentence

if TYPE_CHECKING:
    from dfa_tl.study.config import PairSpec, StudyConfig
    from dfa_tl.study.results import StudyResults

REGIMES = ("zero-shot", "near-distribution", "in-distribution", "all")
"""Whichever a study has first is the one that its report is about."""

SHOWN = ("gold", "target_only", "uniform_s", "depth_mean", "random_W")
"""The comparisons of the first screen."""


@dataclass(frozen=True)
class Statement:
    """A sentence of the first screen: a label, what is set in bold, and the rest."""

    label: str
    lead: str
    text: str = ""


@dataclass(frozen=True)
class Headline:
    """The first screen.

    Attributes:
        pair: Name of the pair of models.
        method: Attribution method.
        regime: What the statements are about.
        statements: Claim, interval, controls and limits.
        contrasts: Regime minus gold and controls, those of `SHOWN`.
    """

    pair: PairSpec
    method: str
    regime: str
    statements: tuple[Statement, ...]
    contrasts: tuple[Contrast, ...] = ()


def headline(results: StudyResults, tables: Mapping[str, pd.DataFrame]) -> Headline:
    """The first screen of a study's first pair and first method.

    Args:
        results: The study.
        tables: Its tables by name; `effect:uniform_s` and `effect:target_only` are the differences
            by task. Tables that a partial study lacks may be left out.
    """
    config = results.config
    pair, method = config.pairs[0], config.methods[0]
    regime = regime_of(config)
    rows = _main_rows(results, pair.name, method) if results.evaluations else pd.DataFrame()
    found = contrasts(tables, config, pair.name, method)
    measured = rows["regime"].unique().tolist() if len(rows) else []
    if regime not in measured:
        nothing = Statement(
            "Claim",
            "Nothing can be claimed yet.",
            f"Measured so far: {listed(measured or ['nothing'])}; not {regime}.",
        )
        return Headline(pair, method, regime, (nothing, _limits(results, found, tables)))
    return Headline(
        pair,
        method,
        regime,
        (
            _claim(rows, regime, pair),
            _interval(found.get("uniform_s"), regime, config),
            _controls(found, tables, regime, config, method),
            _limits(results, found, tables),
        ),
        tuple(found[name] for name in SHOWN if name in found),
    )


def regime_of(config: StudyConfig) -> str:
    """The regime that a report is about."""
    return next((name for name in REGIMES if name in config.regimes), config.regimes[0])


def _main_rows(results: StudyResults, pair: str, method: str) -> Any:
    """Rows of every regime and control under the first alignment settings."""
    rows: Any = results.headline()
    rows = rows[(rows["pair"] == pair) & rows["method"].isin([method, "none"])]
    return rows[rows["variant"].isin(["", next(iter(results.config.variants))])]


def _claim(rows: Any, regime: str, pair: PairSpec) -> Statement:
    # Of the tasks that the regime was measured on; a partial study may have fewer than it plans.
    tasks = rows[rows["regime"] == regime]["test_task"].unique()
    by_task = rows[rows["test_task"].isin(tasks)].groupby(["regime", "test_task"])["cpr"].mean()
    means = by_task.groupby("regime").mean()
    gold = f", gold circuits {means['gold']:.2f}" if "gold" in means else ""
    others = [f"random W {means['random_W']:.2f}"] if "random_W" in means else []
    others.append(f"floor {rows['floor'].iloc[0]:.2f}")
    trained = {
        "zero-shot": "W never saw the test task",
        "near-distribution": "W was trained on related tasks",
        "in-distribution": "W was trained on the test task",
        "all": "W was trained on all tasks, the test task among them",
    }.get(regime, "W was trained on one task")
    return Statement(
        "Claim",
        f"{regime[0].upper()}{regime[1:]} circuits reach CPR {means[regime]:.2f}{gold}.",
        f"Mean of {counted(len(tasks), 'task')}, carried over from {pair.source} to "
        f"{pair.target}; {trained}. {sentence(', '.join(others))}",
    )


def _interval(contrast: Contrast | None, regime: str, config: StudyConfig) -> Statement:
    if contrast is None:
        return Statement(
            "Interval",
            "Whether the source matters was not tested.",
            "The study has no measured uniform-s control.",
        )
    over = "tasks" if contrast.tasks_low is not None else "the test pairs of one task"
    so = {
        "above": "lies above zero: the source helps",
        "below": "lies below zero: the source does harm",
        "includes zero": "includes zero: that the source helps on further tasks is not shown",
    }[contrast.verdict]
    return Statement(
        "Interval",
        f"{regime[0].upper()}{regime[1:]} minus uniform s (no source): {contrast.text}.",
        f"The {config.level:.0%} interval, over {over}, {so}. {_by_task(contrast)}".strip(),
    )


def _by_task(contrast: Contrast) -> str:
    parts = [
        f"{what} on {listed(tasks)}"
        for what, tasks in (
            ("above", contrast.better),
            ("below", contrast.worse),
            ("not told apart", contrast.unclear),
        )
        if tasks
    ]
    return sentence("; ".join(parts)) if parts else ""


def _controls(
    found: Mapping[str, Contrast],
    tables: Mapping[str, pd.DataFrame],
    regime: str,
    config: StudyConfig,
    method: str,
) -> Statement:
    direct = _direct(rows_of(tables.get("worth"), config, config.pairs[0].name, method), regime)
    target_only = found.get("target_only")
    if target_only is None:
        return Statement("Controls", "No target-only control was measured.", direct)
    so = {
        "above": "The interval lies above zero.",
        "below": "The interval lies below zero: it does better without a source.",
        "includes zero": "The interval includes zero.",
    }[target_only.verdict]
    return Statement(
        "Controls",
        f"{regime[0].upper()}{regime[1:]} minus target-only (no source, trained on the test task): "
        f"{target_only.text}.",
        " ".join(part for part in (so, _by_task(target_only), direct) if part),
    )


def _direct(rows: Sequence[Mapping[str, Any]], regime: str) -> str:
    """How many target pairs direct attribution needs, by the method that needs fewest."""
    if not rows:
        return ""
    needed: dict[str, int | None] = {}
    for row in rows:
        known = needed.get(row["task"])
        own = None if pd.isna(row["pairs needed"]) else int(row["pairs needed"])
        needed[row["task"]] = min((n for n in (known, own) if n is not None), default=None)
    sizes = sorted({n for n in needed.values() if n is not None})
    parts = []
    for n in sizes:
        tasks = [task for task, own in needed.items() if own == n]
        parts.append(f"{n} on {listed(tasks)}")
    if never := [task for task, own in needed.items() if own is None]:
        parts.append(f"more than were tried on {listed(never)}")
    return f"To match {regime}, direct attribution needs target pairs: {'; '.join(parts)}."


def _limits(
    results: StudyResults, found: Mapping[str, Contrast], tables: Mapping[str, pd.DataFrame]
) -> Statement:
    config = results.config
    scope = (
        f"{counted(len(config.pairs), 'pair')} of models, {counted(len(config.tasks), 'task')}, "
        f"{counted(len(config.seeds), 'seed')}, {counted(config.test_pairs, 'test pair')} per task."
    )
    return Statement("Limits", scope, f"{_bearing(found)} {_others(config, tables)}".strip())


def _bearing(found: Mapping[str, Contrast]) -> str:
    if not found:
        return "There are no intervals yet."
    first = next(iter(found.values()))
    if first.tasks_low is None:
        return "With one task nothing is known of others, and nothing of other models."
    return (
        f"An interval over tasks rests on {counted(first.n_tasks, 'number')} and bears on "
        "tasks like these, not on other models."
    )


def _others(config: StudyConfig, tables: Mapping[str, pd.DataFrame]) -> str:
    """Whether the other pairs, methods and settings of the study say the same of uniform s."""
    pairs = [pair.name for pair in config.pairs]
    varied = {"pair": pairs, "method": config.methods, "settings": tuple(config.variants)}
    verdicts = []
    for combination in list(product(*varied.values()))[1:]:
        found = contrasts(tables, config, *combination).get("uniform_s")
        if found is not None:
            verdicts.append(found.verdict)
    if not verdicts:
        return ""
    names = listed(name for name, values in varied.items() if len(values) > 1)
    counts = "; ".join(
        f"{words} in {verdicts.count(verdict)}"
        for verdict, words in (
            ("above", "lies above zero"),
            ("includes zero", "includes zero"),
            ("below", "lies below zero"),
        )
        if verdict in verdicts
    )
    return (
        f"Of {len(verdicts)} further {'choices' if len(verdicts) > 1 else 'choice'} of {names}, "
        f"the interval against uniform s {counts}."
    )
