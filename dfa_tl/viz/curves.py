"""Faithfulness curves: gold, aligned circuits and controls against the kept proportion of nodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dfa_tl.errors import ConfigError
from dfa_tl.evaluation.curve import FaithfulnessCurve
from dfa_tl.viz.theme import COLORS, DASHES, MARKERS, QUIET, TEMPLATE

PANEL_WIDTH, PANEL_HEIGHT, COLUMNS = 560, 440, 3


def faithfulness_curves(
    panels: Mapping[str, Mapping[str, FaithfulnessCurve]],
    *,
    log_k: bool | None = None,
    title: str = "",
) -> go.Figure:
    """One panel per task: faithfulness of each circuit against the proportion of nodes kept.

    Args:
        panels: `panels[task][label]` is a curve; a label looks the same in every panel.
        log_k: Logarithmic k; by default where the smallest k is above 0.
        title: Of the whole figure.

    Returns:
        The figure (not shown). CPR stands in the legend. A dotted line at f = 1 marks parity with
        the clean model; another marks the floor, the curve that recovers nothing before k = 1,
        whose CPR is in the panel's subtitle.

    Raises:
        ConfigError: nothing to draw.
    """
    if not panels or not all(panels.values()):
        raise ConfigError("nothing to draw: give at least one task with at least one curve")
    columns = min(len(panels), COLUMNS)
    rows = -(-len(panels) // columns)
    labels = list(dict.fromkeys(label for curves in panels.values() for label in curves))
    figure = make_subplots(
        rows=rows,
        cols=columns,
        subplot_titles=[_heading(task, curves) for task, curves in panels.items()],
        horizontal_spacing=0.08,
        vertical_spacing=0.16,
    )
    for place, curves in enumerate(panels.values()):
        where: Any = {"row": place // columns + 1, "col": place % columns + 1}
        legend = "legend" if place == 0 else f"legend{place + 1}"
        first = next(iter(curves.values()))
        logarithmic = first.ks[0] > 0 if log_k is None else log_k
        for label, curve in curves.items():
            style = labels.index(label)
            figure.add_trace(
                go.Scatter(
                    x=curve.ks,
                    y=curve.faithfulness,
                    name=f"{label} (CPR {curve.cpr:.2f})",
                    legend=legend,
                    mode="lines+markers",
                    line={
                        "color": COLORS[style % len(COLORS)],
                        "dash": DASHES[style % len(DASHES)],
                        "width": 2,
                    },
                    marker={"symbol": MARKERS[style % len(MARKERS)], "size": 7},
                    customdata=curve.n_kept,
                    hovertemplate="k %{x}, %{customdata} nodes: f %{y:.3f}",
                ),
                **where,
            )
        figure.add_trace(
            go.Scatter(
                x=first.ks[-2:],
                y=[0, 1],
                mode="lines",
                line={"color": QUIET, "dash": "dot", "width": 1},
                showlegend=False,
                hovertemplate="floor",
            ),
            **where,
        )
        figure.add_hline(y=1, line={"color": QUIET, "dash": "dot", "width": 1}, **where)
        figure.add_hline(y=0, line={"color": QUIET, "width": 1}, **where)
        figure.update_xaxes(
            type="log" if logarithmic else "linear", title="proportion of nodes kept, k", **where
        )
        figure.update_yaxes(title="faithfulness, f", **where)
        x_domain, y_domain = _domains(figure, place)
        # A legend in the panel's own corner: upper left, where curves rarely are.
        figure.update_layout(
            {
                legend: {
                    "x": x_domain[0] + 0.01,
                    "y": y_domain[1] - 0.01,
                    "xanchor": "left",
                    "yanchor": "top",
                    "font": {"size": 11},
                }
            }
        )
    figure.update_layout(
        template=TEMPLATE,
        title={"text": title, "x": 0.01, "xanchor": "left"},
        width=PANEL_WIDTH * columns,
        height=PANEL_HEIGHT * rows + (40 if title else 0),
        margin={"t": 90 if title else 60},
    )
    return figure


def _heading(task: str, curves: Mapping[str, FaithfulnessCurve]) -> str:
    first = next(iter(curves.values()))
    return f"{task} <span style='color:{QUIET};font-size:12px'>(floor {first.floor:.2f})</span>"


def _domains(figure: go.Figure, place: int) -> tuple[tuple[float, float], tuple[float, float]]:
    suffix = "" if place == 0 else str(place + 1)
    layout: Any = figure.layout
    return layout[f"xaxis{suffix}"].domain, layout[f"yaxis{suffix}"].domain
