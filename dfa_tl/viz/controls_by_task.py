"""CPR of the controls next to DFA and gold, task by task: does the source matter?"""

from __future__ import annotations

from math import isfinite
from typing import Any, NamedTuple

import plotly.graph_objects as go

from dfa_tl.analysis.select import (
    Results,
    bootstrap_of,
    choose_pair_and_method,
    circuit_rows,
    counted,
    main_rows,
    mean_curve,
    measured_with,
    nothing_measured,
    pair_label,
)
from dfa_tl.arguments import checked_arguments
from dfa_tl.controls.regimes import GOLD, Regime
from dfa_tl.evaluation.intervals import Interval, cpr_interval
from dfa_tl.viz.theme import (
    QUIET,
    circuit_label,
    circuit_style,
    finished,
    panel_figure,
    panel_layout,
    points,
    span,
)

FIRST = (GOLD, Regime.IN_DISTRIBUTION, Regime.ZERO_SHOT)
ROW, GAP = 24, 88  # pixels: of a circuit, and between rows of panels


class _Point(NamedTuple):
    """CPR of a circuit on a task: the interval over pairs, and the CPR of each seed."""

    interval: Interval
    seeds: list[float]


@checked_arguments
def controls_by_task(
    results: Results, *, pair: str | None = None, method: str | None = None
) -> go.Figure:
    """CPR of every control next to gold, in-distribution and zero-shot DFA: one panel per task.

    Points are means over seeds and draws with bootstrap intervals over test pairs; small ticks are
    single seeds. The solid vertical line is gold, the dotted one the floor; the legend says so. A
    control that exists in every regime is the zero-shot one, fitted to tasks of other families.

    Args:
        results: A study's results.
        pair: Name of a pair of models; the study's first by default.
        method: Attribution method; the study's first by default.

    Raises:
        ConfigError: an unknown pair or method, or nothing measured.
    """
    config, rows = results.config, main_rows(results)
    pair, method = choose_pair_and_method(results, pair, method)
    bootstrap = bootstrap_of(results)
    names = (*FIRST, *config.controls)
    panels: dict[str, dict[str, _Point]] = {}
    for task in config.tasks:
        by_name = {}
        for name in names:
            chosen = circuit_rows(rows, pair, method, task, name)
            if len(chosen):
                by_seed = chosen.groupby("seed")["cpr"].mean().tolist()
                interval = cpr_interval(mean_curve(results, chosen), bootstrap)
                by_name[name] = _Point(interval, by_seed)
        if by_name:
            panels[task] = by_name
    if not panels:
        raise nothing_measured(pair, method)
    names = tuple(name for name in names if any(name in each for each in panels.values()))
    floor = float(rows["floor"].iloc[0])
    layout = panel_layout(len(panels))
    height = layout.rows * ROW * len(names) + (layout.rows - 1) * GAP
    figure = panel_figure(layout, list(panels), horizontal=0.03, vertical=GAP / height)
    for index, each in enumerate(panels.values()):
        where = layout.cell(index)
        _draw(figure, each, names, where)
        if GOLD in each:
            look = {"color": circuit_style(GOLD).color, "width": 1}
            figure.add_vline(x=each[GOLD].interval.estimate, line=look, **where)
        figure.add_vline(x=floor, line=_FLOOR, **where)
        figure.update_xaxes(title="CPR (area under faithfulness)", rangemode="tozero", **where)
        figure.update_yaxes(
            tickvals=list(range(len(names))),
            ticktext=[circuit_label(name) for name in names],
            range=[len(names) - 0.5, -0.5],
            **where,
        )
    below = _draw_legend(figure, f"{config.level:.0%}", layout.columns)
    figure.update_layout(
        legend={"orientation": "h", "x": 0, "y": -50 / height, "yanchor": "top", "xanchor": "left"}
    )
    return finished(
        figure,
        alt=_alt(panels, names, floor),
        title=f"{pair_label(results, pair)}, {method}: CPR of controls ({measured_with(results)})",
        width=300 * layout.columns + 190,
        height=height + 130 + below,
        margin={"l": 160, "t": 76, "b": 54 + below},
    )


def _draw_legend(figure: go.Figure, level: str, columns: int) -> int:
    """Entries that say what points, ticks and lines are; returns their height in pixels."""
    gold = {"color": circuit_style(GOLD).color, "width": 1}
    entries: tuple[tuple[str, dict[str, Any]], ...] = (
        (f"mean over seeds, {level} interval over pairs", {"marker": _KEY, "error_x": _KEY_BAR}),
        ("one seed", {"marker": _tick(QUIET)}),
        ("gold", {"line": gold}),
        ("floor: nothing recovered before all nodes are kept", {"line": _FLOOR}),
    )
    for name, look in entries:
        mode = "lines" if "line" in look else "markers"
        figure.add_trace(go.Scatter(x=[None], y=[None], mode=mode, name=name, **look))
    return 20 * (1 if columns > 2 else 4 - columns + 1)


_FLOOR = {"color": QUIET, "dash": "dot", "width": 1}
_KEY = {"color": QUIET, "size": 9}
_KEY_BAR = {"array": [0], "color": QUIET, "thickness": 1.5, "width": 0}


def _tick(color: str) -> dict[str, Any]:
    """The marker of a single seed."""
    return {"symbol": "line-ns", "size": 9, "line": {"color": color, "width": 1.5}}


def _draw(figure: go.Figure, panel: dict[str, _Point], names: tuple[str, ...], where: Any) -> None:
    for name, point in panel.items():
        look, interval = circuit_style(name), point.interval
        known = isfinite(interval.low) and isfinite(interval.high)
        row = names.index(name)
        figure.add_trace(
            go.Scatter(
                x=point.seeds,
                y=[row] * len(point.seeds),
                mode="markers",
                marker=_tick(look.faint(0.7)),
                showlegend=False,
                hovertemplate="one seed: CPR %{x:.3f}<extra>" + circuit_label(name) + "</extra>",
            ),
            **where,
        )
        figure.add_trace(
            go.Scatter(
                x=[interval.estimate],
                y=[row],
                name=circuit_label(name),
                mode="markers",
                showlegend=False,
                marker=points(look, 9),
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": [max(0.0, interval.high - interval.estimate) if known else None],
                    "arrayminus": [max(0.0, interval.estimate - interval.low) if known else None],
                    "color": look.color,
                    "thickness": 1.5,
                    "width": 0,
                },
                customdata=[[interval.low, interval.high]],
                hovertemplate="CPR %{x:.3f} [%{customdata[0]:.3f}, %{customdata[1]:.3f}]",
            ),
            **where,
        )


def _alt(panels: dict[str, dict[str, _Point]], names: tuple[str, ...], floor: float) -> str:
    def over_tasks(name: str) -> str:
        return span([each[name].interval.estimate for each in panels.values() if name in each])

    parts = [f"{circuit_label(name)} {over_tasks(name)}" for name in names]
    tasks = counted(len(panels), "task")
    return f"CPR by circuit over {tasks}: {', '.join(parts)}; floor {floor:.2f}."
