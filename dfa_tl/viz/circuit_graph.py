"""The circuits of both models side by side: kept nodes, and the strongest links of W."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, pairwise
from typing import Any

import numpy as np
import plotly.graph_objects as go

from dfa_tl.alignment.alignment import Alignment
from dfa_tl.arguments import checked_arguments
from dfa_tl.errors import ConfigError, ScoresError
from dfa_tl.evaluation.circuits import circuits_of
from dfa_tl.evaluation.curve import FaithfulnessCurve
from dfa_tl.scores import NodeScores, check_nodes
from dfa_tl.viz.theme import finished
from dfa_tl.viz.transfer_flow import contributions
from dfa_tl.viz.two_models import (
    Side,
    all_nodes,
    kept_nodes,
    link_traces,
    side_by_side,
    strongest_links,
)

KS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)


@checked_arguments
def circuit_graph(
    source_scores: NodeScores,
    target_scores: NodeScores,
    alignment: Alignment | None = None,
    *,
    curve: FaithfulnessCurve | None = None,
    k: float = 0.1,
    ks: Sequence[float] | None = None,
    n_links: int = 20,
) -> go.Figure:
    """The best nodes of both models as a layered graph, with a slider for how many are kept.

    Coloured nodes are kept (blue scores are positive, orange ones negative), grey ones are not.
    Links are the largest contributions s'_i W_ij from a kept source node to a kept target node:
    blue ones raise its predicted score, orange dotted ones lower it. Hover texts give the score and
    rank of a node, and the contribution at the middle of a link.

    Args:
        source_scores: Scores of the source's nodes.
        target_scores: Scores of the target's nodes: aligned ones, or gold.
        alignment: One W, for the links; without it there are none.
        curve: The target circuit's curve: the slider then also shows f(k), interpolated between
            its proportions.
        k: Proportion of nodes kept at first, in both models.
        ks: Proportions of the slider; by default those of the curve, or from 0.01 to 1 without
            one. `k` is added where it is missing.
        n_links: How many links at most, at each k.

    Raises:
        ConfigError: proportions outside (0, 1], `n_links` below 0, or a chain of alignments.
        ScoresError: scores that are not of the alignment's models.
    """
    steps = _steps(k, ks, curve)
    if n_links < 0:
        raise ConfigError(f"n_links={n_links}: expected 0 or more")
    flow = None
    if alignment is not None:
        flow = contributions(alignment, source_scores).double().numpy()
        check_nodes(target_scores, alignment.target, "the alignment's target model")
    if curve is not None and max(curve.n_kept) > len(target_scores):
        raise ScoresError(
            f"the curve keeps up to {max(curve.n_kept)} nodes and the target scores are of "
            f"{target_scores.nodes}: give the curve of this target"
        )
    left, right = side_by_side(source_scores, target_scores)
    titles, traces = [], []
    for step in steps:
        senders, receivers = (
            np.flatnonzero(circuits_of(scores, [step], "nodes").kept[0].numpy())
            for scores in (source_scores, target_scores)
        )
        links = [] if flow is None else strongest_links(flow, senders, receivers, n_links)
        drawn = [
            *link_traces(left, right, links),
            kept_nodes(left, senders),
            kept_nodes(right, receivers),
        ]
        for trace in drawn:
            trace.visible = step == k
        traces.append(drawn)
        titles.append(_title(step, left, right, len(senders), len(receivers), curve))
    active = steps.index(k)
    shown = [[True, True, *(other == one for other in steps for _ in traces[0])] for one in steps]
    figure = go.Figure([all_nodes(left), all_nodes(right), *chain.from_iterable(traces)])
    figure.update_layout(
        sliders=[_slider(steps, titles, shown, active)], legend={"x": 1.01, "y": 1}
    )
    _axes(figure, left, right)
    return finished(
        figure,
        alt=f"Circuits side by side: {titles[active]}; best source nodes "
        f"{_best(source_scores)}, best target nodes {_best(target_scores)}; a slider keeps "
        f"{steps[0]:g} to {steps[-1]:g} of the nodes.",
        title=titles[active],
        width=1080,
        height=max(480, min(820, 150 + 40 * target_scores.nodes.n_layers)) + 120,
        margin={"t": 90, "l": 60, "r": 190, "b": 150},
    )


def _steps(k: float, ks: Sequence[float] | None, curve: FaithfulnessCurve | None) -> list[float]:
    known = ks if ks is not None else [one for one in curve.ks if one > 0] if curve else KS
    steps = sorted({*map(float, known), float(k)})
    if not 0 < steps[0] <= steps[-1] <= 1:
        raise ConfigError(f"k and ks are proportions of nodes in (0, 1], got {steps}")
    return steps


def _slider(
    steps: list[float], titles: list[str], shown: list[list[bool]], active: int
) -> dict[str, Any]:
    return {
        "active": active,
        "currentvalue": {"prefix": "proportion of nodes kept, k = ", "font": {"size": 13}},
        "pad": {"t": 46},
        "steps": [
            {
                "label": f"{step:g}",
                "method": "update",
                "args": [{"visible": visible}, {"title.text": title}],
            }
            for step, visible, title in zip(steps, shown, titles, strict=True)
        ],
    }


def _title(
    k: float,
    left: Side,
    right: Side,
    senders: int,
    receivers: int,
    curve: FaithfulnessCurve | None,
) -> str:
    text = (
        f"k = {k:g}: {senders} of {len(left.scores)} source nodes, {receivers} of "
        f"{len(right.scores)} target nodes"
    )
    f = faithfulness_at(curve, k) if curve else None
    if curve is None or f is None:
        return text
    return f"{text}, faithfulness {'=' if k in curve.ks else '≈'} {f:.2f}"


def faithfulness_at(curve: FaithfulnessCurve, k: float) -> float | None:
    """Faithfulness at a proportion, interpolated on the grid; None outside the grid."""
    values = curve.faithfulness
    for (low, start), (high, end) in pairwise(zip(curve.ks, values, strict=True)):
        if low <= k <= high:
            return float(start + (end - start) * (k - low) / (high - low))
    return None


def _axes(figure: go.Figure, left: Side, right: Side) -> None:
    figure.update_xaxes(
        tickvals=[(side.x.min() + side.x.max()) / 2 for side in (left, right)]
        + [float(side.x.max()) for side in (left, right)],
        ticktext=["heads", "heads", "MLP", "MLP"],
        showgrid=False,
        ticks="",
        range=[-1, float(right.x.max()) + 1],
    )
    figure.update_yaxes(visible=False, range=[-0.02, 1.02])
    for side in (left, right):
        nodes = side.scores.nodes
        step = 1 + nodes.n_layers // 17
        for layer in range(0, nodes.n_layers, step):
            figure.add_annotation(
                x=float(side.x.min()),
                xshift=-14,
                xanchor="right",
                y=(layer + 0.5) / nodes.n_layers,
                text=str(layer),
                showarrow=False,
                font={"size": 11},
            )
        figure.add_annotation(
            x=float((side.x.min() + side.x.max()) / 2),
            y=1.0,
            yshift=16,
            yref="paper",
            text=": ".join([side.name, *_model(side.scores)]),
            showarrow=False,
            font={"size": 13},
        )
    figure.add_annotation(
        x=0, xref="paper", xshift=-44, y=0.5, yref="paper", text="layer", textangle=-90,
        showarrow=False, font={"size": 12},
    )  # fmt: skip


def _model(scores: NodeScores) -> list[str]:
    name = str(scores.provenance.get("model", ""))
    return [name] if name not in ("", "target") else []


def _best(scores: NodeScores) -> str:
    return ", ".join(node.name for node in scores.top(3))
