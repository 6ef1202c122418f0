"""What a circuit costs: CPR against passes through the target.

    cost = forward + backward passes of one pair through the target, once per pair of models and
           per task together (the source's are in the hover text)

The frontier joins the circuits that none beats at their cost or less.
"""

from __future__ import annotations

from itertools import pairwise
from math import floor, log10
from typing import Any, NamedTuple

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dfa_tl.analysis.select import (
    Results,
    circuit_rows,
    main_rows,
    measured_with,
    one,
    pairs_of,
    some,
)
from dfa_tl.arguments import checked_arguments
from dfa_tl.controls.regimes import COMPARED, FEW_PAIRS, GOLD
from dfa_tl.errors import ConfigError
from dfa_tl.viz.theme import INK, QUIET, Style, circuit_label, circuit_style, finished

COLUMNS = 3
PASSES = ("_forward", "_backward")  # ends of the columns that count them
GOLD_STYLES = (
    Style("#000000", "solid", "circle"),
    Style("#000000", "dot", "circle-open"),
    Style("#000000", "dash", "square-open"),
    Style("#000000", "dashdot", "diamond-open"),
)


class _Point(NamedTuple):
    """A circuit: mean CPR over seeds and draws, and what it cost."""

    series: str
    text: str
    target: int
    per_task: int
    source: int
    cpr: float


@checked_arguments
def cost_frontier(
    results: Results,
    *,
    pair: str | None = None,
    method: str | None = None,
    task: str | None = None,
) -> go.Figure:
    """CPR against target passes, with the frontier, and gold from 1, 2, 4, .. pairs: by task.

    Args:
        results: A study's results.
        pair: Name of a pair of models; the study's first by default.
        method: Attribution method of DFA and its controls; the study's first by default. Gold from
            few pairs is drawn for every method that the study tried. Circuits whose passes are
            not known are left out.
        task: A test task; all by default, one panel each.

    Raises:
        ConfigError: an unknown pair, method or task, or nothing measured.
    """
    config, rows = results.config, main_rows(results)
    pair = one("pair", pair, pairs_of(results))
    method = one("method", method, config.methods)
    panels = {
        name: points
        for name in some("task", task, config.tasks)
        if (points := _points(results, rows, pair, method, name))
    }
    if not panels:
        raise ConfigError(f"nothing to draw: no circuits of {pair}, {method} are measured yet")
    columns = min(COLUMNS, len(panels))
    lines = -(-len(panels) // columns)
    paid = [point.target for points in panels.values() for point in points if point.target]
    zero = 10.0 ** (floor(log10(min(paid))) - 0.5) if paid else 1.0
    figure = make_subplots(
        rows=lines,
        cols=columns,
        subplot_titles=list(panels),
        shared_yaxes=True,
        horizontal_spacing=0.03,
        vertical_spacing=0.17 if lines > 1 else 0.0,
    )
    series = sorted(
        {point.series for points in panels.values() for point in points},
        key=[*_gold(config, method), *map(circuit_label, (*COMPARED, *config.controls))].index,
    )
    looks = _looks(series)
    shown: set[str] = set()
    for place, points in enumerate(panels.values()):
        where: Any = {"row": place // columns + 1, "col": place % columns + 1}
        _draw_frontier(figure, points, zero, shown, where)
        for name in series:
            chosen = [point for point in points if point.series == name]
            if chosen:
                rank = series.index(name)
                _draw_series(figure, name, chosen, looks[name], zero, rank, shown, where)
        _axes(figure, paid, zero, where)
    figure.update_yaxes(matches="y")
    figure.update_annotations(font={"size": 13})
    return finished(
        figure,
        alt=_alt(panels),
        title=f"{pair}, {method}: CPR and cost ({measured_with(results)})",
        width=310 * columns + 300 if len(panels) > 1 else 820,
        height=(300 * lines if len(panels) > 1 else 430) + 150,
        margin={"t": 84, "r": 230},
    )


def _points(results: Results, rows: Any, pair: str, method: str, task: str) -> list[_Point]:
    config = results.config
    rows = rows.dropna(subset=[name for name in rows.columns if name.endswith(PASSES)])
    found = []
    for series, direct in _gold(config, method).items():
        few = rows[(rows["pair"] == pair) & (rows["method"] == direct)]
        few = few[(few["test_task"] == task) & few["regime"].isin([FEW_PAIRS, GOLD])]
        for size, chosen in few.groupby("pairs"):
            found.append(_point(series, f"{size}", chosen))
    for name in (*COMPARED, *config.controls):
        chosen = circuit_rows(rows, pair, method, task, name)
        if len(chosen):
            found.append(_point(circuit_label(name), "", chosen))
    return found


def _gold(config: Any, method: str) -> dict[str, str]:
    """Methods of direct attribution by the name of their series."""
    methods = dict.fromkeys((*config.few_pairs_methods, method))
    return {f"gold, {direct}": direct for direct in methods}


def _point(series: str, text: str, rows: Any) -> _Point:
    def passes(when: str, side: str) -> int:
        columns = [f"{when}_{side}_{direction}" for direction in ("forward", "backward")]
        return round(rows[columns].sum(axis=1).mean())

    per_task = passes("task", "target")
    return _Point(
        series,
        text,
        target=per_task + passes("pair", "target"),
        per_task=per_task,
        source=passes("task", "source") + passes("pair", "source"),
        cpr=float(rows["cpr"].mean()),
    )


def frontier(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that none beats at their cost or less, by rising cost."""
    best: list[tuple[float, float]] = []
    for cost, value in sorted(points, key=lambda point: (point[0], -point[1])):
        if not best or value > best[-1][1]:
            best.append((cost, value))
    return best


def _looks(series: list[str]) -> dict[str, Style]:
    gold = [name for name in series if name.startswith("gold, ")]
    looks = {name: GOLD_STYLES[place % len(GOLD_STYLES)] for place, name in enumerate(gold)}
    regimes = {circuit_label(name): circuit_style(name) for name in COMPARED}
    return {name: looks.get(name) or regimes.get(name) or circuit_style(name) for name in series}


def _draw_frontier(
    figure: go.Figure, points: list[_Point], zero: float, shown: set[str], where: Any
) -> None:
    best = frontier([(float(point.target), point.cpr) for point in points])
    steps = [best[0]]
    for (_, before), (cost, value) in pairwise(best):
        steps += [(cost, before), (cost, value)]
    steps.append((float(max(point.target for point in points)), best[-1][1]))
    figure.add_trace(
        go.Scatter(
            x=[cost or zero for cost, _ in steps],
            y=[value for _, value in steps],
            mode="lines",
            name="frontier",
            legendgroup="frontier",
            legendrank=999,
            showlegend="frontier" not in shown,
            line={"color": "#C9C9C9", "width": 6},
            hoverinfo="skip",
        ),
        **where,
    )
    shown.add("frontier")


def _draw_series(
    figure: go.Figure,
    name: str,
    points: list[_Point],
    look: Style,
    zero: float,
    rank: int,
    shown: set[str],
    where: Any,
) -> None:
    line = len(points) > 1 or name.startswith("gold, ")
    figure.add_trace(
        go.Scatter(
            x=[point.target or zero for point in points],
            y=[point.cpr for point in points],
            text=[point.text for point in points],
            customdata=[[point.target, point.per_task, point.source] for point in points],
            mode="lines+markers+text" if line else "markers",
            textposition="bottom center" if rank % 2 else "top center",
            textfont={"size": 9, "color": QUIET},
            name=f"{name}, n pairs" if line else name,
            legendgroup=name,
            legendrank=1000 + rank,
            showlegend=name not in shown,
            line={"color": look.color, "dash": look.dash, "width": 1.2},
            marker={
                "symbol": look.marker,
                "size": 6 if line else 10,
                "color": look.color,
                "line": {"width": 1.5, "color": look.color},
            },
            hovertemplate=("%{text} pairs: " if line else "")
            + "CPR %{y:.3f}, %{customdata[0]} target passes, of which %{customdata[1]} per task; "
            "%{customdata[2]} source passes",
        ),
        **where,
    )
    shown.add(name)


def _axes(figure: go.Figure, paid: list[int], zero: float, where: Any) -> None:
    decades = range(floor(log10(min(paid))), floor(log10(max(paid))) + 2) if paid else []
    figure.update_xaxes(
        type="log",
        tickvals=[zero, *(10.0**power for power in decades)],
        ticktext=["0", *(f"{10**power:,}" for power in decades)],
        range=[log10(zero) - 0.25, log10(max(paid, default=1)) + 0.3],
        title="passes of one pair through the target",
        **where,
    )
    figure.add_vline(
        x=zero * 10**0.3, line={"color": INK, "dash": "dot", "width": 0.7}, opacity=0.5, **where
    )
    if where["col"] == 1:
        figure.update_yaxes(title="CPR", **where)


def _alt(panels: dict[str, list[_Point]]) -> str:
    parts = []
    for task, points in panels.items():
        best = max(points, key=lambda point: (point.cpr, -point.target))
        name = f"{best.series} from {best.text} pairs" if best.text else best.series
        parts.append(f"{task} {name} (CPR {best.cpr:.2f} at {best.target} passes)")
    return f"CPR against passes through the target; highest: {', '.join(parts)}."
