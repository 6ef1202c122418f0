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
from dfa_tl.controls.control import Need
from dfa_tl.controls.regimes import GOLD, Regime
from dfa_tl.controls.registry import CONTROLS, FREE_MASK, NO_SOURCE, RANDOM
from dfa_tl.report.contrasts import Contrast, Level, contrasts, levels_of, rows_of
from dfa_tl.report.limitations import FEW_FAMILIES, Statement, how_settings_were_chosen, limits
from dfa_tl.report.wording import capitalized, listed, number, with_limits
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
        statements: The result, whether the source helps, what is better, the limits, and what to
            run next.
        levels: CPR and CMD of gold, the regime and every control, the lowest CPR first.
    """

    pair: PairSpec
    method: str
    regime: Regime
    statements: tuple[Statement, ...]
    levels: tuple[Level, ...] = ()


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
    levels = levels_of(tables, config, pair.name, method)
    ways = rows_of(tables.get("effect_by_choice"), config, pair.name, method)
    unbounded: set[str] = set()
    if results.evaluations:
        unbounded = analysis.unbounded_tasks(results, pair.name)
    if regime not in levels:
        measured: list[str] = []
        if results.evaluations:
            measured = main_rows(results)["regime"].unique().tolist()
        why = (
            f"On {listed(sorted(unbounded))} the clean and the corrupt metric cannot be "
            "distinguished."
            if unbounded
            else f"Measured so far: {listed(measured or ['nothing'])}; {regime} is missing."
        )
        nothing = Statement("Result", "Nothing can be claimed yet.", why)
        return Headline(pair, method, regime, (nothing, limits(results, found, tables)))
    first = found.get(NO_SOURCE.name) or found.get(GOLD)
    return Headline(
        pair,
        method,
        regime,
        (
            _result(levels, first, regime, pair, unbounded, config),
            _source(found, regime, config),
            _better(found, tables, regime, config, method),
            limits(results, found, tables, ways),
            _next(found, len(config.pairs)),
        ),
        tuple(levels.values()),
    )


def regime_of(config: StudyConfig) -> Regime:
    """The regime that a report is about: the first that the study's tasks allow."""
    possible = [name for name in REGIMES if name in config.regimes and config.is_possible(name)]
    return possible[0] if possible else Regime(config.regimes[0])


KNOWN_CIRCUITS = {Need.TRAINING_GOLD, Need.TRAINING_MASKS}
SEEN = {
    Regime.ZERO_SHOT: "Without seeing the task or its family",
    Regime.LEAVE_TASK_OUT: "Without seeing the task itself",
    Regime.NEAR_DISTRIBUTION: "With W trained on related tasks",
    Regime.IN_DISTRIBUTION: "With W trained on the task itself",
    Regime.ALL: "With W trained on every task",
    Regime.CROSS_TASK: "With W trained on one task at a time",
}


def _result(
    levels: Mapping[str, Level],
    contrast: Contrast | None,
    regime: Regime,
    pair: PairSpec,
    unbounded: set[str],
    config: StudyConfig,
) -> Statement:
    ours = levels[regime]
    named = [levels[name] for name in (GOLD, RANDOM.name) if name in levels]
    # Beyond 1, f overshoots, and the area is no share of the behaviour.
    is_share = all(0 <= one.cpr.estimate <= 1 for one in (ours, *named))
    beside = _beside(named, "cpr", is_share)
    cmd = f"CMD {with_limits(ours.cmd)}{_beside(named, 'cmd')}."
    if is_share:
        lead = (
            f"recover {ours.cpr.estimate:.0%} of the model's behaviour, averaged over circuit sizes"
        )
        numbers = f"CPR {with_limits(ours.cpr)}, {cmd}"
    else:
        lead = f"reach a CPR of {with_limits(ours.cpr)}"
        numbers = cmd
        if any(one.cpr.estimate > 1 for one in (ours, *named)):
            numbers += (
                " CPR above 1 means that circuits exceed the whole model's metric, which CMD "
                "counts as an error."
            )
    left_out = (
        f"Left out: {listed(sorted(unbounded))}, where the clean and the corrupt metric cannot be "
        "distinguished."
        if unbounded
        else ""
    )
    resampled = f" that resample {contrast.resampled}" if contrast else ""
    variant = config.default_variant
    settings = "" if variant == "default" else f', with the settings "{variant}"'
    return Statement(
        "Result",
        f"{SEEN[regime]}, transferred circuits {lead}{beside}.",
        f"{numbers} Mean of {counted(ours.n_tasks, 'task')}, with {100 * config.level:g}% "
        f"intervals{resampled}. {left_out}".strip(),
        "CPR is the area under the faithfulness curve, CMD the area between the curve and 1. Gold "
        "is attributed directly on the target. A circuit that recovers nothing before all nodes "
        f"are kept has a CPR of {number(ours.floor)} (floor). Compare only numbers from the same "
        f"grid of circuit sizes. Scores: {config.methods[0]}, from {pair.labels[0]} to "
        f"{pair.labels[-1]}. W was trained on {regime.trained_on}{settings}. Measured with "
        f"protocol {config.protocols[0]}, {config.rankings[0]} ranking, the {config.grids[0]} grid "
        f"and metric {config.metrics[0]}.",
    )


def _beside(levels: Sequence[Level], measure: str, is_share: bool = False) -> str:
    """What gold and random W reach, in brackets."""
    values = [(one.label, getattr(one, measure).estimate) for one in levels]
    named = [
        f"{label} {value:.0%}" if is_share else f"{label} {number(value)}"
        for label, value in values
    ]
    return f" ({', '.join(named)})" if named else ""


def _source(found: Mapping[str, Contrast], regime: Regime, config: StudyConfig) -> Statement:
    """Whether the regime beats its twin without a source, and the known tasks' mean circuits."""
    label = "Does the source help?"
    contrast = found.get(NO_SOURCE.name)
    if contrast is None:
        return Statement(label, "Not tested.", f'The control "{NO_SOURCE.label}" was not measured.')
    measure = " and ".join(contrast.ahead or contrast.behind)
    answer, so = {
        "better": ("Yes", "Both intervals exclude zero."),
        "better by one measure": (f"By {measure} only", "The interval of the other includes zero."),
        "not shown": (
            "Not shown",
            "Both intervals include zero: the study does not show that the source helps on other "
            "tasks.",
        ),
        "CPR and CMD disagree": (
            "CPR and CMD disagree",
            "One says that the source helps, the other that it harms: look at the curves.",
        ),
        "worse": ("No, it harms", f"The circuits are clearly worse by {measure}."),
        "no verdict": ("No verdict from one seed", ""),
    }[contrast.verdict]
    means = [one for name, one in found.items() if name in CONTROLS and _is_mean(name)]
    unclear = [one for one in means if one.verdict != "better"]
    lead = f"{answer}: {contrast.by}."
    if contrast.verdict == "better" and unclear:
        names = listed(CONTROLS[one.against].label for one in unclear)
        yes = f"Against the same training without it, yes: {contrast.by}."
        lead = f"{yes} Against {names}, not clearly."
    beside = "; ".join(f"{CONTROLS[one.against].label} {one.by}" for one in means)
    text = (
        f'The difference is transferred minus "{NO_SOURCE.label}", the same training with constant '
        "source scores: a source that helps raises CPR and lowers CMD.",
        so,
        how_settings_were_chosen(config),
    )
    details = (
        _by_task(contrast),
        f"Differences from what the training tasks have in common: {beside}." * bool(means),
    )
    return Statement(label, lead, *(" ".join(filter(None, part)) for part in (text, details)))


def _is_mean(name: str) -> bool:
    """Whether a control is made of what is known of other tasks on the target alone."""
    return bool(CONTROLS[name].needs) and {*CONTROLS[name].needs} <= KNOWN_CIRCUITS


def _by_task(contrast: Contrast) -> str:
    """On which tasks CPR is higher or lower."""
    parts = [
        f"{what} on {listed(tasks)}"
        for what, tasks in (
            ("higher", contrast.better),
            ("lower", contrast.worse),
            ("not clearly different", contrast.unclear),
        )
        if tasks
    ]
    return f"CPR is {'; '.join(parts)}." if parts else ""


def _better(
    found: Mapping[str, Contrast],
    tables: Mapping[str, pd.DataFrame],
    regime: Regime,
    config: StudyConfig,
    method: str,
) -> Statement:
    """The controls with a lower mean CMD, and how many target pairs gold needs.

    CMD decides, because f above 1 raises CPR without being any closer to the model's behaviour.
    """
    label = "Is there something better?"
    controls = [one for name, one in found.items() if name != GOLD]
    direct = _direct(
        rows_of(tables.get("break_even"), config, config.pairs[0].name, method), regime
    )
    if not controls:
        return Statement(label, "Not tested: no controls were measured.", direct)
    closer = sorted(
        (one for one in controls if one.cmd.estimate > 0), key=lambda one: -one.cmd.estimate
    )
    if not closer:
        return Statement(
            label,
            f"No control has a lower mean CMD ({counted(len(controls), 'control')} measured).",
            direct,
        )
    one_seed = closer[0].n_seeds < 2
    clear = [] if one_seed else [one for one in closer if one.cmd.low > 0]
    names = listed(CONTROLS[one.against].label for one in clear or closer)
    lead = f"Yes: {names}."
    if not clear:
        why = "one seed" if one_seed else "no interval excludes zero"
        lead = f"No verdict ({why}), but a lower mean CMD: {names}."
    best = CONTROLS[closer[0].against]
    listing = "; ".join(
        f"{CONTROLS[one.against].label} {with_limits(one.cmd, sign=True)}" for one in closer
    )
    return Statement(
        label,
        lead,
        f"{capitalized(best.label)}: {best.description}. Its CMD is lower by "
        f"{with_limits(closer[0].cmd)}.",
        f"CMD of {regime} minus CMD of the control, where a positive difference means that the "
        f"control is closer to the whole model: {listing}. {direct}".strip(),
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
    return f"Target pairs that direct attribution needs to match {regime}: {'; '.join(parts)}."


def _next(found: Mapping[str, Contrast], n_pairs: int) -> Statement:
    """What to run next: what the verdicts lack most comes first."""
    steps = []
    if any(one.n_seeds < 2 for one in found.values()):
        steps.append('Run the study with more seeds ("How to reproduce"): finished jobs are kept.')
    if any(one.n_families < FEW_FAMILIES for one in found.values()):
        steps.append("Add tasks of other families, so that the intervals say more.")
    free = found.get(FREE_MASK.name)
    if free is not None and free.verdict == "worse":
        steps.append(
            "To find this circuit rather than to test the transfer, use pairs of the task on the "
            "target: a mask trained there is better."
        )
    steps.append(
        "Repeat it on another pair of models: one pair says nothing about others."
        if n_pairs == 1
        else f"Repeat it on other pairs of models: {n_pairs} say little about others."
    )
    return Statement("Next", steps[0], " ".join(steps[1:]))
