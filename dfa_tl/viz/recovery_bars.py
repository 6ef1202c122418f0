"""Recovery: how much of the gold circuits' CPR the transferred circuits reach.

    ratio of a task = CPR(aligned) / CPR(gold), each the mean over seeds
    bar = mean over tasks, dots = tasks, whiskers = standard deviation of the bar over seeds

A task whose gold circuit is itself at the floor has no ratio (`dfa_tl.evaluation.recovery`).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any, NamedTuple

import plotly.graph_objects as go

from dfa_tl.analysis.select import (
    Results,
    main_rows,
    measured_with,
    pair_names,
    recovery_by_task,
)
from dfa_tl.arguments import checked_arguments
from dfa_tl.controls.regimes import COMPARED, GOLD
from dfa_tl.errors import ConfigError
from dfa_tl.evaluation.intervals import Spread, seed_spread
from dfa_tl.evaluation.recovery import Recovery
from dfa_tl.viz.theme import (
    INK,
    QUIET,
    circuit_label,
    circuit_style,
    finished,
    name_once_in_legend,
    panel_figure,
    panel_layout,
)

MOST_WIDTH = 960  # pixels of all panels together


class Bar(NamedTuple):
    """Recovery under one pair, method and regime: ratios by task, out of `tasks` tasks."""

    ratios: dict[str, float]
    tasks: int
    mean: float
    over_seeds: Spread | None


@checked_arguments
def recovery_bars(results: Results) -> go.Figure:
    """Recovery of gold CPR by pair, method and regime, with its spread over tasks (Figures 3, 11).

    The dashed line is parity: the transferred circuits do as well as gold ones. Where some tasks
    have no ratio, a number in the bar says how many do.

    Raises:
        ConfigError: the study has no gold circuits, or none above the floor.
    """
    config, pairs = results.config, pair_names(results)
    bars = recovery_means(results)
    regimes = [name for name in COMPARED if any(name in key for key in bars)]
    layout = panel_layout(len(pairs))
    rows, columns = layout
    figure = panel_figure(layout, pairs, horizontal=0.04, vertical=0.22)
    for index, pair in enumerate(pairs):
        where = layout.cell(index)
        methods = [name for name in config.methods if any(key[:2] == (pair, name) for key in bars)]
        for number, regime in enumerate(regimes):
            found = {
                methods.index(method): bars[pair, method, regime]
                for method in methods
                if (pair, method, regime) in bars
            }
            if found:
                offset = (number - (len(regimes) - 1) / 2) * 0.8 / len(regimes)
                _draw(figure, found, regime, methods, offset, 0.8 / len(regimes), where)
        figure.add_hline(y=1, line={"color": INK, "dash": "dash", "width": 1.5}, **where)
        figure.update_xaxes(
            tickvals=list(range(len(methods))), ticktext=methods, showgrid=False, **where
        )
        if where["col"] == 1:
            figure.update_yaxes(title="recovery: transferred CPR / gold CPR", **where)
    name_once_in_legend(figure)
    ratios = [ratio for bar in bars.values() for ratio in bar.ratios.values()]
    figure.update_yaxes(range=[1.06 * min(0.0, *ratios), 1.06 * max(1.0, *ratios)])
    panel = min(max(300, 60 + 46 * len(regimes) * len(config.methods)), 620, MOST_WIDTH // columns)
    return finished(
        figure,
        alt=_alt(bars),
        title=f"Recovery of gold CPR, mean over tasks ({measured_with(results)})",
        width=panel * columns + 260,
        height=340 * rows + 130,
        margin={"t": 86, "l": 70},
    )


def recovery_means(results: Results) -> dict[tuple[str, str, str], Bar]:
    """Recovery by pair, method and regime, where it is defined.

    Raises:
        ConfigError: the study has no gold circuits, or none above the floor.
    """
    rows = main_rows(results)
    if GOLD not in set(rows["regime"]):
        raise ConfigError("nothing to draw: this study has no measured gold circuits yet")
    tasks, bars = results.config.tasks, {}
    for pair, method in product(pair_names(results), results.config.methods):
        chosen = rows[(rows["pair"] == pair) & (rows["method"] == method)]
        everywhere = recovery_by_task(chosen, tasks)
        by_seed = [recovery_by_task(of_seed, tasks) for _, of_seed in chosen.groupby("seed")]
        for regime, each in everywhere.items():
            defined = _ratios(each)
            if not defined:
                continue
            seeds = [list(_ratios(one[regime]).values()) for one in by_seed if regime in one]
            means = [sum(ratios) / len(ratios) for ratios in seeds if ratios]
            bars[pair, method, regime] = Bar(
                ratios=defined,
                tasks=len(each),
                mean=sum(defined.values()) / len(defined),
                over_seeds=seed_spread(means) if means else None,
            )
    if not bars:
        raise ConfigError(
            "nothing to draw: no task has both a gold circuit above the floor and an aligned one"
        )
    return bars


def _ratios(recoveries: Mapping[str, Recovery]) -> dict[str, float]:
    """The ratios by task that are defined."""
    return {task: one.ratio for task, one in recoveries.items() if one.ratio is not None}


def _draw(
    figure: go.Figure,
    bars: dict[int, Bar],
    regime: str,
    methods: list[str],
    offset: float,
    width: float,
    where: Any,
) -> None:
    look, label = circuit_style(regime), circuit_label(regime)
    figure.add_trace(
        go.Bar(
            x=[position + offset for position in bars],
            y=[bar.mean for bar in bars.values()],
            width=width * 0.9,
            name=label,
            legendgroup=regime,
            marker={
                "color": look.faint(0.45),
                "line": {"color": look.color, "width": 1.5},
                "pattern": {"shape": look.pattern, "fgcolor": look.color, "size": 6},
            },
            error_y={
                "array": [bar.over_seeds.sd if bar.over_seeds else None for bar in bars.values()],
                "color": INK,
                "thickness": 1.2,
                "width": 4,
            },
            customdata=[
                [methods[position], len(bar.ratios), bar.tasks] for position, bar in bars.items()
            ],
            hovertemplate="%{customdata[0]}: %{y:.3f}, mean over %{customdata[1]} of "
            "%{customdata[2]} tasks",
        ),
        **where,
    )
    for position, bar in bars.items():
        if len(bar.ratios) < bar.tasks:
            figure.add_annotation(
                x=position + offset,
                y=0,
                yshift=10,
                text=f"{len(bar.ratios)}/{bar.tasks}",
                showarrow=False,
                font={"size": 10},
                bgcolor="rgba(255,255,255,0.85)",
                borderpad=1,
                **where,
            )
    dots = [
        (position + offset, ratio, task)
        for position, bar in bars.items()
        for task, ratio in bar.ratios.items()
    ]
    figure.add_trace(
        go.Scatter(
            x=[dot[0] for dot in dots],
            y=[dot[1] for dot in dots],
            text=[dot[2] for dot in dots],
            mode="markers",
            name="one task",
            legendgroup="one task",
            legendrank=2000,
            marker={"color": "white", "size": 6, "line": {"color": QUIET, "width": 1.2}},
            hovertemplate="%{text}: %{y:.3f}<extra>" + label + "</extra>",
        ),
        **where,
    )


def _alt(bars: dict[tuple[str, str, str], Bar]) -> str:
    parts = []
    for pair, method in dict.fromkeys(key[:2] for key in bars):
        each = [
            f"{circuit_label(key[2])} {bar.mean:.2f}"
            for key, bar in bars.items()
            if key[:2] == (pair, method)
        ]
        parts.append(f"{', '.join(each)} for {pair} with {method}")
    undefined = sum(bar.tasks - len(bar.ratios) for bar in bars.values())
    note = f" ({undefined} ratios are undefined: gold is at the floor)" if undefined else ""
    return f"Recovery of gold CPR, mean over tasks (1 is parity): {'; '.join(parts)}{note}."
