"""The circuits of both models side by side, and what contributes most to the target's scores."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np
import plotly.graph_objects as go

from dfa_tl.alignment.alignment import Alignment
from dfa_tl.arguments import checked_arguments
from dfa_tl.errors import ConfigError
from dfa_tl.evaluation.circuits import circuits_of
from dfa_tl.evaluation.curve import FaithfulnessCurve
from dfa_tl.scores import NodeScores, check_nodes
from dfa_tl.viz.kept_slider import (
    check_curve,
    faithfulness_text,
    kept_slider,
    slider_steps,
)
from dfa_tl.viz.theme import finished, quiet
from dfa_tl.viz.transfer_flow import contributions
from dfa_tl.viz.two_models import (
    GAP,
    Side,
    all_nodes,
    draw_axes,
    further_senders,
    kept_nodes,
    link_traces,
    model_name,
    named_nodes,
    side_by_side,
    strongest_links,
)

WIDTH = 1080  # pixels


@checked_arguments
def circuit_graph(
    source_scores: NodeScores,
    target_scores: NodeScores,
    alignment: Alignment | None = None,
    *,
    curve: FaithfulnessCurve | None = None,
    k: float | None = None,
    ks: Sequence[float] | None = None,
    n_links: int = 20,
) -> go.Figure:
    """The best nodes of both models as a layered graph, with a slider for how many are kept.

    Coloured nodes are kept, grey ones are not; the best are named. A link is a contribution to the
    score of a kept target node: s'_i W_ij from source node i to target node j. The largest are
    drawn, wherever they come from: blue ones raise the score, orange dotted ones lower it, and a
    source node that contributes without being kept has a ring. A link says how the score was
    predicted. It does not say that information flows between the models.

    Args:
        source_scores: Scores of the source's nodes.
        target_scores: Scores of the target's nodes: aligned ones, or gold.
        alignment: One W, for the links; without it there are none.
        curve: The target circuit's curve: the slider then also shows f(k), interpolated between
            its proportions.
        k: Proportion of nodes kept at first, in both models; by default the smallest one with
            f >= 0.8 on the curve, or 0.1 without one.
        ks: Proportions of the slider; by default those of the curve, or from 0.01 to 1 without
            one. `k` is added where it is missing.
        n_links: How many links at most, at each k.

    Raises:
        ConfigError: proportions outside (0, 1], `n_links` below 0, or a chain of alignments.
        ScoresError: scores that are not of the alignment's models.
    """
    steps = slider_steps(k, ks, curve)
    if n_links < 0:
        raise ConfigError(f"n_links={n_links}: expected 0 or more")
    flow = None
    if alignment is not None:
        flow = contributions(alignment, source_scores).double().numpy()
        check_nodes(target_scores, alignment.target, "the alignment's target model")
    check_curve(curve, target_scores)
    left, right = side_by_side(source_scores, target_scores)
    every = np.arange(len(source_scores))
    titles, traces = [], []
    for index, step in enumerate(steps.ks):
        kept, receivers = (
            np.flatnonzero(circuits_of(scores, [step], "nodes").kept[0].numpy())
            for scores in (source_scores, target_scores)
        )
        links = [] if flow is None else strongest_links(flow, every, receivers, n_links)
        senders = [link.sender for link in links]
        named = [
            named_nodes(left, kept, senders, WIDTH / (2 + GAP)),
            named_nodes(right, receivers, [link.receiver for link in links], WIDTH / (2 + GAP)),
        ]
        drawn = [
            *link_traces(left, right, links),
            further_senders(left, np.setdiff1d(senders, kept).astype(int), named[0]),
            kept_nodes(left, kept, named[0]),
            kept_nodes(right, receivers, named[1]),
        ]
        for trace in drawn:
            trace.visible = index == steps.active
        traces.append(drawn)
        titles.append(
            f"k = {step:g}: {len(kept)} of {len(left.scores)} source nodes, {len(receivers)} of "
            f"{len(right.scores)} target nodes{faithfulness_text(curve, step)}"
        )
    figure = go.Figure([all_nodes(left), all_nodes(right), *chain.from_iterable(traces)])
    height = max(400, min(820, 110 + 42 * target_scores.nodes.n_layers))
    figure.update_layout(
        sliders=[kept_slider(steps, titles, 2, len(traces[0]))],
        legend={
            "orientation": "h",
            "x": 1,
            "xanchor": "right",
            "y": -34 / height,
            "yanchor": "top",
            "title": {"text": "contribution to the score:  ", "side": "left", "font": {"size": 12}},
        },
    )
    draw_axes(figure, {_heading(side): side for side in (left, right)})
    title = titles[steps.active]
    return finished(
        figure,
        alt=f"Circuits side by side: {title}; best source nodes "
        f"{_best(source_scores)}, best target nodes {_best(target_scores)}; a slider sets "
        f"the proportion of nodes kept, {steps.ks[0]:g} to {steps.ks[-1]:g}.",
        title=title,
        width=WIDTH,
        height=height + 90 + 150,
        margin={"t": 90, "l": 60, "r": 16, "b": 150},
    )


def _heading(side: Side) -> str:
    name = model_name(side.scores)
    return f"{side.name}{': ' if name else ''}{name}<br>{quiet(side.key)}"


def _best(scores: NodeScores) -> str:
    return ", ".join(node.name for node in scores.top(3))
