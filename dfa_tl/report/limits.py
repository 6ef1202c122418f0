"""What limits a study's headline: its size, what was chosen on it, and what another choice says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import pandas as pd

from dfa_tl.controls.registry import NO_SOURCE
from dfa_tl.report.contrasts import Contrast, contrasts
from dfa_tl.report.phrases import counted, listed, signed
from dfa_tl.study.config import StudyConfig
from dfa_tl.study.results import StudyResults


@dataclass(frozen=True)
class Statement:
    """A sentence of the first screen: a label, what is set in bold, and the rest."""

    label: str
    lead: str
    text: str = ""


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
        tables: As `headline` of `dfa_tl.report.findings` takes them.
        ways: Rows of `effect_by_way` of the first pair and method, the headline's first.
    """
    config = results.config
    scope = (
        f"{counted(len(config.pairs), 'pair')} of models, {counted(len(config.tasks), 'task')}, "
        f"{counted(len(config.seeds), 'seed')}, {counted(config.test_pairs, 'test pair')} per task."
    )
    parts = (_bearing(found), _chosen_on(config), _others(config, tables), _otherwise(ways))
    return Statement("Limits", scope, " ".join(part for part in parts if part))


def _otherwise(rows: Sequence[Mapping[str, Any]]) -> str:
    """Whether the difference from uniform s changes its sign when measured in another way."""
    if len(rows) < 2:
        return ""
    first = rows[0]
    turned = [row for row in rows[1:] if row["difference"] * first["difference"] < 0]
    if not turned:
        ways = counted(len(rows) - 1, "other way")
        return f"The difference from uniform s has the same sign in {ways} of measuring."
    said = "; ".join(f"{signed(row['difference'])} with {_different(row, first)}" for row in turned)
    return f"The difference from uniform s turns with the way of measuring: {said}."


def _different(row: Mapping[str, Any], first: Mapping[str, Any]) -> str:
    kinds = {
        "protocol": "protocol {}",
        "ranking": "{} ranking",
        "metric": "metric {}",
        "grid": "the {} grid",
    }
    return ", ".join(
        words.format(row[kind]) for kind, words in kinds.items() if row[kind] != first[kind]
    )


def _chosen_on(config: StudyConfig) -> str:
    """On what the default settings of W were chosen, where that is what they are measured on."""
    pair, settings = config.pairs[0], config.variants[config.default_variant]
    is_bundled = {pair.source, pair.target} <= {"toy-small", "toy-large"}
    if not is_bundled or settings != type(settings)():
        return ""
    return (
        "The settings of W were chosen for zero-shot CPR on validation pairs of these tasks and "
        "models, those of uniform s were not."
    )


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
        found = contrasts(tables, config, *combination).get(NO_SOURCE.name)
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
