"""A study's faithfulness curves by task and by pair of models."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from dfa_tl.analysis.select import (
    Results,
    bootstrap_of,
    choose,
    choose_some,
    circuit_rows,
    curves_of,
    main_rows,
    mean_curve,
    pair_label,
    pair_names,
)
from dfa_tl.arguments import checked_arguments
from dfa_tl.controls.regimes import FEW_PAIRS, GOLD, Regime
from dfa_tl.controls.registry import CONTROLS, NO_SOURCE, RANDOM
from dfa_tl.errors import ConfigError
from dfa_tl.evaluation.curve import FaithfulnessCurve
from dfa_tl.viz.faithfulness_curves import Curves, Draws, draw_panels
from dfa_tl.viz.theme import COLUMNS, circuit_label, circuit_style

MOST_COLUMNS = 4  # tasks of a pair stay in one row up to this many
CIRCUITS = (
    GOLD,
    Regime.IN_DISTRIBUTION,
    Regime.NEAR_DISTRIBUTION,
    Regime.ZERO_SHOT,
    NO_SOURCE.name,
    RANDOM.name,
)


@checked_arguments
def study_curves(
    results: Results,
    *,
    pair: str | None = None,
    method: str | None = None,
    seed: int | None = None,
    regimes: Sequence[str] = CIRCUITS,
    bands: bool = True,
    grid: str | None = None,
    log_k: bool | None = None,
) -> go.Figure:
    """Faithfulness of gold, aligned and control circuits: one panel per task (Figures 2, 5 to 10).

    Args:
        results: A study's results.
        pair: Name of a pair of models; all by default, one after the other.
        method: Attribution method; the study's first by default.
        seed: One seed; by default pair values are averaged over seeds. A random control is the
            band over all its draws.
        regimes: Circuits to draw: `gold`, regimes and controls of the study. Those that a task or
            the study lacks are left out.
        bands: Whether to draw bootstrap bands over test pairs, at the study's level.
        grid: Name of a grid of the study; the headline's by default.
        log_k: Logarithmic k, which cannot show k = 0; by default where the smallest k is above 0.

    Raises:
        ConfigError: an unknown pair, method, seed, circuit or grid, or nothing measured.
    """
    config, rows = results.config, main_rows(results)
    names = choose_some("pair", pair, pair_names(results))
    method = choose("method", method, config.methods)
    if grid is not None:
        grid = choose("grid", grid, config.grids)
    if seed is not None:
        if seed not in config.seeds:
            raise ConfigError(f"no seed {seed} in this study; it has {list(config.seeds)}")
        rows = rows[rows["seed"] == seed]
    _check(regimes)
    panels: dict[str, Curves] = {}
    for name in names:
        for task in config.tasks:
            curves: dict[str, FaithfulnessCurve | Draws] = {}
            for regime in regimes:
                found = circuit_rows(rows, name, method, task, regime)
                if len(found):
                    drawn = regime in CONTROLS and CONTROLS[regime].is_drawn and len(found) > 1
                    curves[circuit_label(regime)] = (
                        curves_of(results, found, grid=grid)
                        if drawn
                        else mean_curve(results, found, grid=grid)
                    )
            if curves:
                panels[task if len(names) == 1 else f"{task}<br>{name}"] = curves
    if not panels:
        raise ConfigError(
            f"nothing to draw: this study has no measured circuits of {', '.join(regimes)} for "
            f"{method}; it has {', '.join(sorted(set(rows['regime'])))}"
        )
    shown = pair_label(results, names[0]) if len(names) == 1 else "All pairs"
    return draw_panels(
        panels,
        {circuit_label(regime): circuit_style(regime) for regime in regimes},
        bands=bootstrap_of(results) if bands else None,
        log_k=log_k,
        title=f"{shown}, {method}: faithfulness by task",
        columns=len(config.tasks) if len(config.tasks) <= MOST_COLUMNS else COLUMNS,
    )


def _check(regimes: Sequence[str]) -> None:
    if isinstance(regimes, str):
        raise ConfigError(f"regimes: give a list of circuits, [{regimes!r}]")
    several = {Regime.CROSS_TASK: "cross_task_heatmap", FEW_PAIRS: "cost_frontier"}
    for regime in regimes:
        if regime in several:
            raise ConfigError(f"{regime} is several circuits per task: see {several[regime]}")
