"""Gold and transferred circuit on one diagram of the target model."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np
import plotly.graph_objects as go

from dfa_tl.arguments import checked_arguments
from dfa_tl.evaluation.circuits import circuits_of
from dfa_tl.evaluation.curve import FaithfulnessCurve
from dfa_tl.scores import NodeScores, check_nodes
from dfa_tl.viz.kept_slider import check_curve, faithfulness_text, kept_slider, slider_steps
from dfa_tl.viz.theme import finished
from dfa_tl.viz.two_models import (
    all_nodes,
    draw_axes,
    model_name,
    named_nodes,
    node_points,
    node_size,
    node_symbols,
    one_model,
)

WIDTH = 900  # pixels
LOOKS = {
    "both": {"color": "#0072B2", "line": {"color": "#0072B2", "width": 1.5}},
    "gold only": {"color": "white", "line": {"color": "#000000", "width": 2.2}},
    "transferred only": {"color": "#F2B27A", "line": {"color": "#D55E00", "width": 1.5}},
}


@checked_arguments
def circuit_overlap(
    gold: NodeScores,
    transferred: NodeScores,
    *,
    curve: FaithfulnessCurve | None = None,
    k: float | None = None,
    ks: Sequence[float] | None = None,
) -> go.Figure:
    """Gold and transferred circuit on one diagram of the target, with a slider for their size.

    At each k both circuits keep as many nodes. Those in both are blue, those of the gold circuit
    only are black rings, those of the transferred circuit only are orange, and all others are grey.

    Args:
        gold: Scores attributed on the target.
        transferred: Scores carried over to the same nodes.
        curve: The transferred circuit's curve: the slider then also shows f(k).
        k: Proportion of nodes kept at first; by default the smallest one with f >= 0.8 on the
            curve, or 0.1 without one.
        ks: Proportions of the slider; by default those of the curve, or from 0.01 to 1 without
            one. `k` is added where it is missing.

    Raises:
        ConfigError: proportions outside (0, 1].
        ScoresError: the scores, or the curve, are of different nodes.

    Example:
        >>> circuit_overlap(gold, alignment.transfer(scores), curve=curve)
    """
    check_nodes(transferred, gold.nodes, "the model of the gold scores")
    check_curve(curve, transferred)
    steps = slider_steps(k, ks, curve)
    side = one_model("target", transferred)
    ranks = [scores.to_frame()["rank"].to_numpy() for scores in (gold, transferred)]
    texts = np.array(
        [
            f"{name}: rank {first} in gold, {second} in transferred"
            for name, first, second in zip(gold.nodes.names, *ranks, strict=True)
        ]
    )
    titles, traces = [], []
    for index, step in enumerate(steps.ks):
        ours, theirs = (
            circuits_of(scores, [step], "nodes").kept[0].numpy() for scores in (transferred, gold)
        )
        groups = dict(zip(LOOKS, (ours & theirs, theirs & ~ours, ours & ~theirs), strict=True))
        by_best_rank = np.argsort(np.minimum(*ranks) - len(gold) * groups["both"], kind="stable")
        wanted = [int(node) for node in by_best_rank if ours[node] or theirs[node]]
        named = named_nodes(side, np.flatnonzero(ours | theirs), wanted, WIDTH)
        drawn = []
        for name, chosen in groups.items():
            nodes = np.flatnonzero(chosen)
            trace = go.Scatter(
                **{
                    **node_points(side, nodes, named, "%{hovertext}"),
                    "hovertext": texts[nodes].tolist(),
                    "showlegend": True,
                },
                marker={
                    "size": node_size(side),
                    "symbol": node_symbols(side, nodes),
                    **LOOKS[name],
                },
                name=f"{name} ({len(nodes)})",
                visible=index == steps.active,
            )
            drawn.append(trace)
        traces.append(drawn)
        titles.append(
            f"k = {step:g}: {int(ours.sum())} of {len(gold)} nodes, {int(groups['both'].sum())} in "
            f"both circuits{faithfulness_text(curve, step)}"
        )
    figure = go.Figure([all_nodes(side), *chain.from_iterable(traces)])
    height = max(360, min(820, 110 + 42 * gold.nodes.n_layers))
    figure.update_layout(
        sliders=[kept_slider(steps, titles, 1, len(LOOKS))],
        legend={
            "orientation": "h",
            "x": 1,
            "xanchor": "right",
            "y": -34 / height,
            "yanchor": "top",
        },
    )
    draw_axes(figure, {model_name(transferred) or model_name(gold): side})
    title = titles[steps.active]
    return finished(
        figure,
        alt=f"Gold and transferred circuit on one diagram: {title}; a slider sets "
        f"the proportion of nodes kept, {steps.ks[0]:g} to {steps.ks[-1]:g}.",
        title=title,
        width=WIDTH,
        height=height + 70 + 150,
        margin={"t": 70, "l": 60, "r": 16, "b": 150},
    )
