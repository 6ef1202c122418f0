"""The limits of a study's headline: its size, its settings, and what other choices give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import pandas as pd

from dfa_tl.analysis.select import counted
from dfa_tl.controls.registry import NO_SOURCE
from dfa_tl.report.contrasts import VERDICTS, Contrast, contrasts
from dfa_tl.report.wording import signed
from dfa_tl.study.config import StudyConfig
from dfa_tl.study.results import StudyResults

FEW_FAMILIES = 6
"""With fewer families, an interval over them is rough."""

MOST_LISTED = 4
"""Of more choices than these, only the verdicts are counted."""


@dataclass(frozen=True)
class Statement:
    """A part of the first screen: its label, a sentence in bold, the rest, and folded details."""

    label: str
    lead: str
    text: str = ""
    details: str = ""


def limits(
    results: StudyResults,
    found: Mapping[str, Contrast],
    tables: Mapping[str, pd.DataFrame],
    ways: Sequence[Mapping[str, Any]] = (),
) -> Statement:
    """The limits of the headline.

    Args:
        results: The study.
        found: Regime minus gold and controls, for the first pair, method and settings.
        tables: The tables of `dfa_tl.report.findings.headline`.
        ways: Rows of `effect_by_choice` of the first pair and method, the headline's first.
    """
    config = results.config
    scope = (
        f"{counted(len(config.pairs), 'pair')} of models, {counted(len(config.tasks), 'task')}, "
        f"{counted(len(config.seeds), 'seed')}, {counted(config.test_pairs, 'test pair')} per task."
    )
    parts = (
        _scope_of_intervals(found),
        _other_choices(config, tables),
        _other_ways(ways),
    )
    return Statement("Limits", scope, " ".join(part for part in parts if part))


def _other_ways(rows: Sequence[Mapping[str, Any]]) -> str:
    """Whether the difference from no source changes its sign under other evaluation settings."""
    if len(rows) < 2:
        return ""
    first = rows[0]
    reversed_rows = [row for row in rows[1:] if row["difference"] * first["difference"] < 0]
    if not reversed_rows:
        ways = counted(len(rows) - 1, "other evaluation setting")
        return f"The difference from {NO_SOURCE.label} has the same sign in {ways}."
    differences = "; ".join(
        f"{signed(row['difference'])} with {_different(row, first)}" for row in reversed_rows
    )
    depends = f"The sign of the difference from {NO_SOURCE.label} depends on the evaluation"
    return f"{depends}: {differences}."


def _different(row: Mapping[str, Any], first: Mapping[str, Any]) -> str:
    kinds = {
        "protocol": "protocol {}",
        "ranking": "{} ranking",
        "metric": "metric {}",
        "grid": "the {} grid",
    }
    return ", ".join(
        text.format(row[kind]) for kind, text in kinds.items() if row[kind] != first[kind]
    )


def how_settings_were_chosen(config: StudyConfig) -> str:
    """How the default settings of W were chosen, if that was on these tasks and models."""
    pair, settings = config.pairs[0], config.variants[config.default_variant]
    is_bundled = {pair.source, pair.target} <= {"toy-small", "toy-large"}
    if not is_bundled or settings != type(settings)():
        return ""
    return (
        "The settings of W were chosen for zero-shot CPR on validation pairs of these tasks and "
        f'models; the control "{NO_SOURCE.label}" was not tuned.'
    )


def _scope_of_intervals(found: Mapping[str, Contrast]) -> str:
    if not found:
        return "There are no intervals yet."
    first = next(iter(found.values()))
    if first.n_families < 2:
        return "One family of tasks says nothing about other families or other models."
    rough = (
        f" With {first.n_families} families, the limits are close to the lowest and the highest "
        "family; their level is only nominal."
        if first.n_families < FEW_FAMILIES
        else ""
    )
    return (
        f"Intervals resample {first.resampled}; they apply to tasks like these, not to other "
        f"models.{rough}"
    )


def _other_choices(config: StudyConfig, tables: Mapping[str, pd.DataFrame]) -> str:
    """What the study's other pairs, methods and settings give for the effect of the source."""
    first, *others = product(config.pairs, config.methods, config.variants)
    labels = [pair.label for pair in config.pairs]
    found: list[tuple[str, Contrast]] = []
    for choice in others:
        pair, method, settings = choice
        contrast = contrasts(tables, config, pair.name, method, settings).get(NO_SOURCE.name)
        if contrast is not None:
            of_pair = pair.label if labels.count(pair.label) == 1 else pair.name
            names = (of_pair, f"method {method}", f'the settings "{settings}"')
            differs = [
                name for name, own, its in zip(names, choice, first, strict=True) if own != its
            ]
            found.append((", ".join(differs), contrast))
    if not found:
        return ""
    if len(found) <= MOST_LISTED:
        differences = "; ".join(f"{one.by} ({name})" for name, one in found)
        return f"Transferred minus {NO_SOURCE.label} elsewhere in the study: {differences}."
    verdicts = [one.verdict for _, one in found]
    counts = "; ".join(
        f"{verdict} in {verdicts.count(verdict)}" for verdict in VERDICTS if verdict in verdicts
    )
    return (
        f"Verdict against {NO_SOURCE.label} for {len(found)} other choices of pair, method or "
        f"settings: {counts}."
    )
