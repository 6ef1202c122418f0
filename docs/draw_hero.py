"""The picture at the top of README: how much of a behaviour circuits of each size recover."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go

from dfa_tl.controls.regimes import GOLD, Regime
from dfa_tl.controls.registry import NO_SOURCE, RANDOM
from dfa_tl.evaluation.curve import FaithfulnessCurve
from dfa_tl.viz.theme import QUIET, circuit_style, finished, quiet

WIDTH, HEIGHT = 960, 600


class Circuits(NamedTuple):
    """Curves on one grid."""

    gold: FaithfulnessCurve
    transferred: FaithfulnessCurve
    no_source: FaithfulnessCurve
    draws: Sequence[FaithfulnessCurve]


def hero(circuits: Circuits, *, source: str, target: str, task: str) -> go.Figure:
    """Gold, transferred and no source, on a band of random rankings; labelled where they run."""
    figure = go.Figure()
    f = np.array([curve.faithfulness for curve in circuits.draws])
    ks, low, high = list(circuits.gold.ks), f.min(axis=0), f.max(axis=0)
    look = circuit_style(RANDOM.name)
    figure.add_scatter(
        x=[*ks, *ks[::-1]],
        y=[*low, *high[::-1]],
        fill="toself",
        fillcolor=look.faint(0.2),
        line={"width": 0},
        mode="lines",
        showlegend=False,
    )
    cprs = [curve.cpr for curve in circuits.draws]
    _label(
        figure,
        ks[-6],
        float(low[-6] + high[-6]) * 0.25,
        f"<b>{len(f)} random rankings</b><br>CPR {min(cprs):.2f} to {max(cprs):.2f}",
        QUIET,
    )
    drawn = (
        (
            circuits.no_source,
            NO_SOURCE.name,
            "no source",
            "same training, constant scores",
            0.55,
            (54, 44),
        ),
        (circuits.gold, GOLD, "gold", f"found in {target} itself", 0.66, (-40, -60)),
        (
            circuits.transferred,
            Regime.ZERO_SHOT,
            f"transferred from {source}",
            f"never trained on {task}",
            0.66,
            (70, 26),
        ),
    )
    for curve, name, label, note, level, shift in drawn:
        look = circuit_style(name)
        figure.add_scatter(
            x=ks,
            y=curve.faithfulness,
            mode="lines+markers",
            line={"color": look.color, "width": 3.5},
            marker={"symbol": look.marker, "size": 8},
            showlegend=False,
        )
        k = float(np.interp(level, np.maximum.accumulate(curve.faithfulness), ks))
        text = f"<b>{label}</b><br>{note}<br>CPR {curve.cpr:.2f}"
        _label(figure, k, level, text, look.color, shift)
    figure.add_hline(y=1, line={"color": QUIET, "dash": "dot", "width": 1})
    figure.update_xaxes(title="share of nodes kept, k", range=[0, 1.01], dtick=0.2)
    figure.update_yaxes(
        title="faithfulness, f (1 is the whole model)", range=[-0.03, 1.06], dtick=0.2
    )
    cpr = {name: getattr(circuits, name).cpr for name in ("gold", "transferred", "no_source")}
    finished(
        figure,
        alt=f"Faithfulness of {task} circuits in {target}: CPR {cpr['transferred']:.2f} for the "
        f"circuit transferred from {source}, {cpr['gold']:.2f} for gold, {cpr['no_source']:.2f} "
        f"without a source, {min(cprs):.2f} to {max(cprs):.2f} for random rankings.",
        title=f"The {task} circuit of {source}, transferred to {target}<br>"
        + quiet(
            "how much of the behaviour the highest-scoring nodes recover; one training run, "
            f"{len(circuits.gold.clean)} test pairs; CPR is the area under a curve"
        ),
        width=WIDTH,
        height=HEIGHT,
        margin={"t": 78, "l": 64, "r": 20, "b": 52},
    )
    return figure.update_layout(title_y=1 - 26 / HEIGHT)


def _label(
    figure: go.Figure,
    x: float,
    y: float,
    text: str,
    color: str,
    shift: tuple[int, int] | None = None,
) -> None:
    """A label at a point, or shifted from it by pixels with a thin line to it."""
    ax, ay = shift or (0, 0)
    figure.add_annotation(
        x=x,
        y=y,
        text=text,
        showarrow=shift is not None,
        arrowhead=0,
        arrowwidth=1,
        arrowcolor=color,
        ax=ax,
        ay=ay,
        xanchor="center" if shift is None else "left" if ax > 0 else "right",
        align="center" if shift is None else "left" if ax > 0 else "right",
        font={"size": 14, "color": _darker(color)},
        borderpad=2,
    )


def _darker(color: str) -> str:
    """A colour that can be read as text on grey."""
    parts = [int(int(color[start : start + 2], 16) * 0.7) for start in (1, 3, 5)]
    return f"rgb({parts[0]},{parts[1]},{parts[2]})"
