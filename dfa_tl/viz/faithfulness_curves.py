"""Faithfulness curves: gold, aligned circuits and controls against the kept proportion of nodes.

A band around a curve is the bootstrap interval of f over test pairs, at each k separately. f at one
k is the CPR of a constant curve f(k), so `cpr_interval` computes the bands, and its limits apply to
them. The band of a random circuit is the range of f over its draws.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
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
    log_ticks,
    name_once_in_legend,
    panel_figure,
    panel_layout,
    quiet,
    span,
    style,
)

Draws = Sequence[FaithfulnessCurve]
"""Curves of several random circuits, which a figure shows as one band."""
Curves = Mapping[str, FaithfulnessCurve | Draws]

PLOT_HEIGHT, LEGEND_LINE, BELOW, ABOVE = 250, 20, 52, 44  # pixels
PANEL_WIDTH, SINGLE_WIDTH, SINGLE_HEIGHT = 380, 820, 480
ENTRY_WIDTH = 290  # pixels of a legend's entry: a panel of a report is at least as wide
BAND_OPACITY, DRAWS_OPACITY = 0.15, 0.22


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
        panels: `panels[task][label]` is a curve, or a list of the curves of several draws of a
            random circuit, whose range over the draws is a band. A label looks the same in every
            panel. Also one task's `curves[label]`, or a single curve.
        bands: Bands over test pairs around the curves: a `Bootstrap`, or just its level (0.95).
            None for no bands.
        log_k: Logarithmic k; by default where the smallest k is above 0.
        title: Of the whole figure.

    Returns:
        The figure (not shown). The legend gives CPR, averaged over the panels. A dotted line at
        f = 1 marks parity with the clean model; another marks the floor, the curve that recovers
        nothing before k = 1.

    Raises:
        ConfigError: nothing to draw, a mixture of curves and mappings, or draws that were measured
            at different proportions.

    Example:
        >>> draws = [evaluate(target, data, one, ks=LINEAR_KS) for one in random_scores]
        >>> faithfulness_curves({"gold": curve, "random W": draws})
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
    tasks = given if all(isinstance(value, Mapping) for value in given.values()) else {"": given}
    for label, curves in chain.from_iterable(each.items() for each in tasks.values()):
        if not isinstance(curves, FaithfulnessCurve) and len({curve.ks for curve in curves}) != 1:
            raise ConfigError(
                f"panels: the draws of {label!r} are no curves at the same proportions of nodes: "
                "measure all of them at the same ks"
            )
    return {task: dict(each) for task, each in tasks.items()}


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
    """One figure of several panels with one legend: below them, or beside a single one."""
    single = len(panels) == 1
    layout = panel_layout(len(panels), columns)
    rows, columns = layout
    drawn = {label for curves in panels.values() for label in curves}
    labels = [label for label in styles if label in drawn]
    extra = LEGEND_LINE * max(task.count("<br>") for task in panels)
    gap = BELOW + ABOVE + extra
    height = SINGLE_HEIGHT if single else rows * PLOT_HEIGHT + (rows - 1) * gap
    headings = [_heading(task, curves) for task, curves in panels.items()]
    figure = panel_figure(
        layout, headings, horizontal=0.2 / columns, vertical=gap / height, shared_y=False
    )
    entries = {label: _entry(label, panels) for label in labels}
    for index, (task, curves) in enumerate(panels.items()):
        where = layout.cell(index)
        # Bands of draws are drawn first, so that they cover no curve.
        for label, given in sorted(curves.items(), key=lambda item: _is_curve(item[1])):
            rank = 1 + labels.index(label)
            if isinstance(given, FaithfulnessCurve):
                if bands is not None:
                    _draw_band(figure, label, given, styles[label], bands, where)
                _draw_curve(figure, task, label, entries[label], given, styles[label], rank, where)
            else:
                _draw_draws(figure, label, entries[label], given, styles[label], rank, where)
        first = _first(curves)
        _draw_guides(figure, first, where)
        _draw_axes(figure, first.ks, first.ks[0] > 0 if log_k is None else log_k, where)
    name_once_in_legend(figure)
    lines = -(-(len(labels) + 1) // columns)
    below = 0 if single else lines * LEGEND_LINE + 8
    heading = (76 if title else 44) + extra
    figure.update_layout(
        legend={
            "x": 1.02 if single else 0,
            "y": 1 if single else -BELOW / height,
            "orientation": "v" if single else "h",
            "xanchor": "left",
            "yanchor": "top",
            "tracegroupgap": 0,
            **({} if single else {"entrywidth": ENTRY_WIDTH - 40, "font": {"size": 11}}),
        }
    )
    return finished(
        figure,
        alt=_alt(panels),
        title=title,
        width=SINGLE_WIDTH if single else PANEL_WIDTH * columns + 40,
        height=height if single else height + heading + BELOW + below,
        margin={"t": heading, "b": BELOW + below},
    )


def _is_curve(given: FaithfulnessCurve | Draws) -> bool:
    return isinstance(given, FaithfulnessCurve)


def _first(curves: Curves) -> FaithfulnessCurve:
    """Any curve of a panel: all have the same data and proportions."""
    given = next(iter(curves.values()))
    return given if isinstance(given, FaithfulnessCurve) else given[0]


def _cprs(given: FaithfulnessCurve | Draws) -> list[float]:
    return [one.cpr for one in ([given] if isinstance(given, FaithfulnessCurve) else given)]


def _entry(label: str, panels: Mapping[str, Curves]) -> str:
    """A legend's entry: the label, and CPR averaged over the panels that have this circuit."""
    found = [_cprs(curves[label]) for curves in panels.values() if label in curves]
    mean = sum(sum(cprs) / len(cprs) for cprs in found) / len(found)
    part = f", {len(found)} of {len(panels)}" if len(found) < len(panels) else ""
    draws = max(map(len, found))
    several = f", {draws} draws" if draws > 1 else ""
    return f"{label}{several} ({'mean ' if len(found) > 1 else ''}CPR {mean:.2f}{part})"


def _draw_axes(figure: go.Figure, ks: Sequence[float], logarithmic: bool, where: Any) -> None:
    kind: dict[str, Any] = {"type": "linear"}
    if logarithmic:
        kind = {"type": "log", **log_ticks(ks)}
    figure.update_xaxes(title="proportion of nodes kept, k", **kind, **where)
    figure.update_yaxes(title="faithfulness, f" if where["col"] == 1 else None, **where)


def _draw_band(
    figure: go.Figure,
    label: str,
    curve: FaithfulnessCurve,
    look: Style,
    bands: Bootstrap,
    where: Any,
) -> None:
    low, high = band(curve, bands)
    known = np.isfinite(low) & np.isfinite(high)
    figure.add_trace(
        _filled(
            np.array(curve.ks)[known],
            low[known],
            high[known],
            name=f"{label}, {bands.level:.0%} over pairs",
            fillcolor=look.faint(BAND_OPACITY),
            hoverinfo="skip",
            showlegend=False,
            legendgroup=label,
        ),
        **where,
    )


def _filled(
    ks: Float[np.ndarray, " k"],
    low: Float[np.ndarray, " k"],
    high: Float[np.ndarray, " k"],
    **options: Any,
) -> go.Scatter:
    """The area between two curves."""
    return go.Scatter(
        x=[*ks, *ks[::-1]],
        y=[*low, *high[::-1]],
        fill="toself",
        line={"width": 0},
        mode="lines",
        **options,
    )


def _draw_draws(
    figure: go.Figure, label: str, entry: str, draws: Draws, look: Style, rank: int, where: Any
) -> None:
    """The range of f over the draws, at each k."""
    f = np.array([curve.faithfulness for curve in draws])
    cprs = sorted(_cprs(draws))
    figure.add_trace(
        _filled(
            np.array(draws[0].ks),
            f.min(axis=0),
            f.max(axis=0),
            name=entry,
            legendgroup=label,
            legendrank=rank,
            fillcolor=look.faint(DRAWS_OPACITY),
            hoveron="fills",
            text=f"{label}: range of {len(draws)} draws, CPR {span(cprs)}",
            hoverinfo="text",
        ),
        **where,
    )


def _draw_curve(
    figure: go.Figure,
    task: str,
    label: str,
    entry: str,
    curve: FaithfulnessCurve,
    look: Style,
    rank: int,
    where: Any,
) -> None:
    figure.add_trace(
        go.Scatter(
            x=curve.ks,
            y=curve.faithfulness,
            name=entry,
            legendgroup=label,
            legendrank=rank,
            mode="lines+markers",
            line={"color": look.color, "dash": look.dash, "width": 2},
            marker={"symbol": look.marker, "size": 6, "line": {"width": 1, "color": look.color}},
            customdata=curve.n_kept,
            hovertemplate=f"{label}: faithfulness %{{y:.3f}} with %{{x}} of the nodes kept "
            f"(%{{customdata}}); CPR {curve.cpr:.3f}<extra>{task}</extra>",
        ),
        **where,
    )


def _draw_guides(figure: go.Figure, curve: FaithfulnessCurve, where: Any) -> None:
    figure.add_trace(
        go.Scatter(
            x=curve.ks[-2:],
            y=[0, 1],
            mode="lines",
            line={"color": QUIET, "dash": "dot", "width": 1.5},
            name=f"floor (CPR {curve.floor:.2f})",
            legendgroup="floor",
            legendrank=999,
            hovertemplate="recovers nothing before all nodes are kept<extra>floor</extra>",
        ),
        **where,
    )
    figure.add_hline(y=1, line={"color": QUIET, "dash": "dot", "width": 1}, **where)
    figure.add_hline(y=0, line={"color": QUIET, "width": 1}, **where)


def _heading(task: str, curves: Curves) -> str:
    return f"{task} {quiet(f'{len(_first(curves).clean)} pairs')}".strip()


def _alt(panels: Mapping[str, Curves]) -> str:
    labels = dict.fromkeys(label for curves in panels.values() for label in curves)
    parts = []
    for label in labels:
        found = [_cprs(curves[label]) for curves in panels.values() if label in curves]
        parts.append(f"{label} {span(list(chain.from_iterable(found)))}")
    first = _first(next(iter(panels.values())))
    where = f" in {len(panels)} panels ({', '.join(panels)})" if len(panels) > 1 else ""
    return (
        f"Faithfulness against the proportion of nodes kept{where}; CPR of {', '.join(parts)}; "
        f"floor {first.floor:.2f}."
    )
