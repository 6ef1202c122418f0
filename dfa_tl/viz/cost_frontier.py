"""What a circuit costs: CPR against the number of passes through the target.

    cost = forward + backward passes of one pair through the target, both those made once per pair
           of models and those made for the task (the hover text has the source's passes)

The frontier joins the circuits that no other circuit beats at the same cost or less. A few series
have colours; all other circuits are small and grey, and their names are in the hover texts.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from math import floor, log10
from typing import Any, NamedTuple

import plotly.graph_objects as go

from dfa_tl.analysis.select import (
    Results,
    choose_pair_and_method,
    choose_some,
    circuit_rows,
    main_rows,
    measured_with,
    nothing_measured,
    pair_label,
)
from dfa_tl.arguments import checked_arguments
from dfa_tl.controls.regimes import COMPARED, FEW_PAIRS, GOLD, PLAIN, Regime
from dfa_tl.controls.registry import FREE_MASK, NO_SOURCE
from dfa_tl.viz.theme import (
    INK,
    QUIET,
    Style,
    circuit_label,
    circuit_style,
    finished,
    name_once_in_legend,
    panel_figure,
    panel_layout,
    points,
)

MAIN = (Regime.IN_DISTRIBUTION, Regime.ZERO_SHOT, NO_SOURCE.name, FREE_MASK.name)
OTHERS = "other circuits"
PASSES = ("_forward", "_backward")  # endings of the columns with numbers of passes
GOLD_STYLES = (
    Style("#000000", "solid", "circle"),
    Style("#000000", "dot", "circle-open"),
    Style("#000000", "dash", "square-open"),
    Style("#000000", "dashdot", "diamond-open"),
)


class _Circuit(NamedTuple):
    """A circuit: its mean CPR over seeds and draws, and its passes."""

    name: str
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
    """CPR against target passes by task, with the frontier and gold from 1, 2, 4, .. pairs.

    Args:
        results: A study's results.
        pair: Name of a pair of models; the study's first by default.
        method: Attribution method of DFA and its controls; the study's first by default. Gold from
            few pairs is drawn for every method that the study tried. Circuits whose number of
            passes is unknown are left out.
        task: A test task; all by default, one panel each.

    Raises:
        ConfigError: an unknown pair, method or task, or nothing measured.
    """
    config, rows = results.config, main_rows(results)
    pair, method = choose_pair_and_method(results, pair, method)
    panels = {
        name: circuits
        for name in choose_some("task", task, config.tasks)
        if (circuits := _circuits(results, rows, pair, method, name))
    }
    if not panels:
        raise nothing_measured(pair, method)
    layout = panel_layout(len(panels))
    every = [circuit for circuits in panels.values() for circuit in circuits]
    paid = [circuit.target for circuit in every if circuit.target]
    zero = 10.0 ** (floor(log10(min(paid))) - 0.5) if paid else 1.0
    figure = panel_figure(layout, list(panels), horizontal=0.03, vertical=0.17)
    looks = _looks(_gold(config, method))
    series = [name for name in looks if any(circuit.series == name for circuit in every)]
    for index, circuits in enumerate(panels.values()):
        where = layout.cell(index)
        _draw_frontier(figure, circuits, zero, where)
        for rank, name in enumerate(series):
            chosen = [circuit for circuit in circuits if circuit.series == name]
            if chosen:
                labelled = len(panels) == 1 and name != OTHERS
                _draw_series(figure, name, chosen, looks[name], zero, rank, labelled, where)
        _axes(figure, paid, zero, where)
    figure.update_yaxes(matches="y")
    figure.update_layout(showlegend=len(panels) > 1)
    name_once_in_legend(figure)
    return finished(
        figure,
        alt=_alt(panels),
        title=f"{pair_label(results, pair)}, {method}: CPR and cost ({measured_with(results)})",
        width=310 * layout.columns + 300 if len(panels) > 1 else 820,
        height=(300 * layout.rows if len(panels) > 1 else 380) + 150,
        margin={"t": 84, "r": 230 if len(panels) > 1 else 24},
    )


def _circuits(results: Results, rows: Any, pair: str, method: str, task: str) -> list[_Circuit]:
    config = results.config
    rows = rows.dropna(subset=[name for name in rows.columns if name.endswith(PASSES)])
    found = []
    for series, direct in _gold(config, method).items():
        few = rows[(rows["pair"] == pair) & (rows["method"] == direct)]
        few = few[(few["test_task"] == task) & few["regime"].isin([FEW_PAIRS, GOLD])]
        for size, chosen in few.groupby("pairs"):
            found.append(_circuit(series, series, f"{size}", chosen))
    for name in (*COMPARED, *config.controls):
        chosen = circuit_rows(rows, pair, method, task, name)
        if len(chosen):
            label = circuit_label(name)
            found.append(_circuit(label, label if name in MAIN else OTHERS, "", chosen))
    return found


def _gold(config: Any, method: str) -> dict[str, str]:
    """The methods of direct attribution, by the name of their series."""
    methods = dict.fromkeys((*config.few_pairs_methods, method))
    return {f"gold, {direct}": direct for direct in methods}


def _circuit(name: str, series: str, text: str, rows: Any) -> _Circuit:
    def passes(when: str, side: str) -> int:
        columns = [f"{when}_{side}_{direction}" for direction in ("forward", "backward")]
        return round(rows[columns].sum(axis=1).mean())

    per_task = passes("task", "target")
    return _Circuit(
        name,
        series,
        text,
        target=per_task + passes("pair", "target"),
        per_task=per_task,
        source=passes("task", "source") + passes("pair", "source"),
        cpr=float(rows["cpr"].mean()),
    )


def frontier(circuits: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that no other beats at the same cost or less, by rising cost."""
    best: list[tuple[float, float]] = []
    for cost, value in sorted(circuits, key=lambda circuit: (circuit[0], -circuit[1])):
        if not best or value > best[-1][1]:
            best.append((cost, value))
    return best


def _looks(gold: Iterable[str]) -> dict[str, Style]:
    """The style of each series, in the order of the legend."""
    return {
        **{name: GOLD_STYLES[index % len(GOLD_STYLES)] for index, name in enumerate(gold)},
        **{circuit_label(name): circuit_style(name) for name in MAIN},
        OTHERS: PLAIN,
    }


def _draw_frontier(figure: go.Figure, circuits: list[_Circuit], zero: float, where: Any) -> None:
    best = frontier([(float(circuit.target), circuit.cpr) for circuit in circuits])
    steps = [best[0]]
    for (_, before), (cost, value) in pairwise(best):
        steps += [(cost, before), (cost, value)]
    steps.append((float(max(circuit.target for circuit in circuits)), best[-1][1]))
    figure.add_trace(
        go.Scatter(
            x=[cost or zero for cost, _ in steps],
            y=[value for _, value in steps],
            mode="lines",
            name="frontier",
            legendgroup="frontier",
            legendrank=999,
            line={"color": "#C9C9C9", "width": 6},
            hoverinfo="skip",
        ),
        **where,
    )


def _draw_series(
    figure: go.Figure,
    name: str,
    circuits: list[_Circuit],
    look: Style,
    zero: float,
    rank: int,
    labelled: bool,
    where: Any,
) -> None:
    line = name.startswith("gold, ")
    texts = [circuit.text for circuit in circuits] if line else [f"{name}  "] * len(circuits)
    if labelled and line:
        texts[-1] = f"{name}: {texts[-1]} pairs"
    others = name == OTHERS
    figure.add_trace(
        go.Scatter(
            x=[circuit.target or zero for circuit in circuits],
            y=[circuit.cpr for circuit in circuits],
            text=texts,
            customdata=[
                [one.target, one.per_task, one.source, f"{one.name} {one.text}".strip()]
                for one in circuits
            ],
            mode="lines+markers+text" if line else "markers+text" if labelled else "markers",
            textposition=_text_position(line, rank, labelled),
            textfont={"size": 11 if labelled else 9, "color": look.color if labelled else QUIET},
            name=f"{name}, n pairs" if line else name,
            legendgroup=name,
            legendrank=1000 + rank,
            line={"color": look.color, "dash": look.dash, "width": 1.2},
            marker={"color": look.faint(0.4), "size": 6}
            if others
            else points(look, 6 if line else 10),
            hovertemplate="%{customdata[3]}"
            + (" pairs" if line else "")
            + ": CPR %{y:.3f}, %{customdata[0]} target passes (%{customdata[1]} for the task), "
            "%{customdata[2]} source passes<extra></extra>",
        ),
        **where,
    )


def _text_position(line: bool, rank: int, labelled: bool) -> str:
    if labelled:
        return "top left" if line else "middle left"
    return "top left" if rank % 2 else "bottom right"


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
        figure.update_yaxes(title="CPR (area under faithfulness)", **where)


def _alt(panels: dict[str, list[_Circuit]]) -> str:
    parts = []
    for task, circuits in panels.items():
        best = max(circuits, key=lambda circuit: (circuit.cpr, -circuit.target))
        name = f"{best.name} from {best.text} pairs" if best.text else best.name
        parts.append(f"{task} {name} (CPR {best.cpr:.2f} at {best.target} passes)")
    return f"CPR against passes through the target; highest: {', '.join(parts)}."
