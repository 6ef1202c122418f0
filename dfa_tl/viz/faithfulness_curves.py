"""Faithfulness curves: gold, aligned circuits and controls against the kept proportion of nodes.

A band is the bootstrap interval of f over test pairs, at each k separately. f at one k is the CPR
of a constant curve f(k), so `cpr_interval` computes the bands, and its limits apply to them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from dfa_tl.arguments import checked_arguments
from dfa_tl.errors import ConfigError
from dfa_tl.evaluation.curve import FaithfulnessCurve
from dfa_tl.evaluation.intervals import Bootstrap, cpr_interval
from dfa_tl.viz.theme import (
    COLUMNS,
    QUIET,
    Style,
    finished,
    panel_figure,
    panel_layout,
    quiet,
    span,
    style,
)

Curves = Mapping[str, FaithfulnessCurve]

PLOT_HEIGHT, LEGEND_LINE, BELOW, ABOVE = 250, 18, 40, 44  # pixels
PANEL_WIDTH, SINGLE_WIDTH, SINGLE_HEIGHT = 380, 820, 480
BAND_OPACITY = 0.15


@checked_arguments
def faithfulness_curves(
    panels: FaithfulnessCurve | Curves | Mapping[str, Curves],
    *,
    bands: Bootstrap | float | None = None,
    log_k: bool | None = None,
    title: str = "",
) -> go.Figure:
    """One panel per task: faithfulness of each circuit against the proportion of nodes kept.

    Args:
        panels: `panels[task][label]` is a curve; a label looks the same in every panel. Also one
            task's `curves[label]`, or a single curve.
        bands: Bands over test pairs around the curves: a `Bootstrap`, or just its level (0.95).
            None for no bands.
        log_k: Logarithmic k; by default where the smallest k is above 0.
        title: Of the whole figure.

    Returns:
        The figure (not shown). The legend gives CPR. A dotted line at f = 1 marks parity with the
        clean model; another marks the floor, the curve that recovers nothing before k = 1.

    Raises:
        ConfigError: nothing to draw, or a mixture of curves and mappings.
    """
    tasks = _panels(panels)
    labels = list(dict.fromkeys(label for curves in tasks.values() for label in curves))
    styles = {label: style(index) for index, label in enumerate(labels)}
    chosen = Bootstrap(level=bands) if isinstance(bands, (int, float)) else bands
    return draw_panels(tasks, styles, bands=chosen, log_k=log_k, title=title)


def _panels(given: Any) -> dict[str, dict[str, FaithfulnessCurve]]:
    if isinstance(given, FaithfulnessCurve):
        return {"": {"circuit": given}}
    if not given or not all(given.values()):
        raise ConfigError(
            "faithfulness_curves(panels=...) has nothing to draw: give at least one task with at "
            "least one curve"
        )
    if all(isinstance(value, FaithfulnessCurve) for value in given.values()):
        return {"": dict(given)}
    return {task: dict(each) for task, each in given.items()}


def band(
    curve: FaithfulnessCurve, bootstrap: Bootstrap
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """Lower and upper limits of f at each k; infinite where the data give no limit."""
    intervals = [
        cpr_interval(
            replace(curve, ks=(0.0, 1.0), n_kept=(n, n), pair_values=row[[0, 0]]), bootstrap
        )
        for n, row in zip(curve.n_kept, curve.pair_values[:, None], strict=True)
    ]
    return (
        np.array([interval.low for interval in intervals]),
        np.array([interval.high for interval in intervals]),
    )


def draw_panels(
    panels: Mapping[str, Curves],
    styles: Mapping[str, Style],
    *,
    bands: Bootstrap | None,
    log_k: bool | None,
    title: str,
    columns: int = COLUMNS,
) -> go.Figure:
    """One figure of several panels, each with its own legend below, or beside a single one."""
    single = len(panels) == 1
    layout = panel_layout(len(panels), columns)
    rows, columns = layout
    legend_height = LEGEND_LINE * (1 + max(map(len, panels.values()))) + 6
    extra = LEGEND_LINE * max(task.count("<br>") for task in panels)
    gap = BELOW + legend_height + ABOVE + extra
    height = SINGLE_HEIGHT if single else rows * PLOT_HEIGHT + (rows - 1) * gap
    headings = [_heading(task, curves) for task, curves in panels.items()]
    figure = panel_figure(
        layout, headings, horizontal=0.2 / columns, vertical=gap / height, shared_y=False
    )
    for index, curves in enumerate(panels.values()):
        where = layout.cell(index)
        suffix = "" if index == 0 else str(index + 1)
        legend = f"legend{suffix}"
        for label, curve in curves.items():
            _draw_curve(figure, label, curve, styles[label], bands, legend, where)
        first = next(iter(curves.values()))
        _draw_guides(figure, first, legend, where)
        logarithmic = first.ks[0] > 0 if log_k is None else log_k
        figure.update_xaxes(
            type="log" if logarithmic else "linear", title="proportion of nodes kept, k", **where
        )
        figure.update_yaxes(title="faithfulness, f" if where["col"] == 1 else None, **where)
        axes: Any = figure.layout
        beside = {"x": 1.02, "y": 1.0}
        below = {
            "x": axes[f"xaxis{suffix}"].domain[0],
            "y": axes[f"yaxis{suffix}"].domain[0] - BELOW / height,
        }
        figure.update_layout(
            {
                legend: {
                    **(beside if single else below),
                    "xanchor": "left",
                    "yanchor": "top",
                    "tracegroupgap": 0,
                    "font": {"size": 12 if single else 11},
                }
            }
        )
    below_all = 0 if single else legend_height
    heading = (76 if title else 44) + extra
    return finished(
        figure,
        alt=_alt(panels),
        title=title,
        width=SINGLE_WIDTH if single else PANEL_WIDTH * columns + 40,
        height=height if single else height + heading + BELOW + below_all,
        margin={"t": heading, "b": BELOW + below_all},
    )


def _draw_curve(
    figure: go.Figure,
    label: str,
    curve: FaithfulnessCurve,
    look: Style,
    bands: Bootstrap | None,
    legend: str,
    where: Any,
) -> None:
    if bands is not None:
        low, high = band(curve, bands)
        known = np.isfinite(low) & np.isfinite(high)
        ks = np.array(curve.ks)[known]
        figure.add_trace(
            go.Scatter(
                x=[*ks, *ks[::-1]],
                y=[*low[known], *high[known][::-1]],
                fill="toself",
                fillcolor=look.faint(BAND_OPACITY),
                line={"width": 0},
                mode="lines",
                hoverinfo="skip",
                legend=legend,
                legendgroup=label,
                showlegend=False,
                name=f"{label}, {bands.level:.0%} over pairs",
            ),
            **where,
        )
    figure.add_trace(
        go.Scatter(
            x=curve.ks,
            y=curve.faithfulness,
            name=f"{label} (CPR {curve.cpr:.2f})",
            legend=legend,
            legendgroup=label,
            mode="lines+markers",
            line={"color": look.color, "dash": look.dash, "width": 2},
            marker={"symbol": look.marker, "size": 6, "line": {"width": 1, "color": look.color}},
            customdata=curve.n_kept,
            hovertemplate="%{x} of the nodes kept (%{customdata}): faithfulness %{y:.3f}",
        ),
        **where,
    )


def _draw_guides(figure: go.Figure, curve: FaithfulnessCurve, legend: str, where: Any) -> None:
    figure.add_trace(
        go.Scatter(
            x=curve.ks[-2:],
            y=[0, 1],
            mode="lines",
            line={"color": QUIET, "dash": "dot", "width": 1.5},
            name=f"floor (CPR {curve.floor:.2f})",
            legend=legend,
            hovertemplate="recovers nothing before all nodes are kept",
        ),
        **where,
    )
    figure.add_hline(y=1, line={"color": QUIET, "dash": "dot", "width": 1}, **where)
    figure.add_hline(y=0, line={"color": QUIET, "width": 1}, **where)


def _heading(task: str, curves: Curves) -> str:
    return f"{task} {quiet(f'{len(next(iter(curves.values())).clean)} pairs')}".strip()


def _alt(panels: Mapping[str, Curves]) -> str:
    labels = dict.fromkeys(label for curves in panels.values() for label in curves)
    parts = [
        f"{label} {span([curves[label].cpr for curves in panels.values() if label in curves])}"
        for label in labels
    ]
    first = next(iter(next(iter(panels.values())).values()))
    where = f" in {len(panels)} panels ({', '.join(panels)})" if len(panels) > 1 else ""
    return (
        f"Faithfulness against the proportion of nodes kept{where}; CPR of {', '.join(parts)}; "
        f"floor {first.floor:.2f}."
    )
