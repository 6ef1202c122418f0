"""The nodes of two models side by side, and the links between them.

Layers go upwards by relative depth, so that models of different depth face each other; heads go
across, and the MLP has its own column.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float, Int

from dfa_tl.nodes import NodeSet
from dfa_tl.scores import NodeScores
from dfa_tl.viz.score_map import colour_limit, column_positions
from dfa_tl.viz.theme import DIVERGING, GRID, INK, NEGATIVE, POSITIVE, QUIET, color_bar

GAP = 0.35  # between the models, as a fraction of the wider one
WIDTHS = {"strong": 3.0, "weak": 1.2}  # the stronger half of the links is thicker


class Side(NamedTuple):
    """One model in the figure, and the coordinates of its nodes."""

    name: str
    scores: NodeScores
    x: Float[np.ndarray, " node"]
    y: Float[np.ndarray, " node"]


def side_by_side(source: NodeScores, target: NodeScores) -> tuple[Side, Side]:
    """Both models in one plane: the source from x = 0, the target to its right."""

    def across(nodes: NodeSet) -> Float[np.ndarray, " node"]:
        return np.tile(column_positions(nodes), nodes.n_layers)

    def upward(nodes: NodeSet) -> Float[np.ndarray, " node"]:
        return np.repeat((np.arange(nodes.n_layers) + 0.5) / nodes.n_layers, nodes.n_heads + 1)

    first, second = across(source.nodes), across(target.nodes)
    # Both are equally wide: heads are farther apart in the model with fewer heads.
    wide = max(first.max(), second.max())
    first, second = first * wide / first.max(), second * wide / second.max()
    shift = wide * (1 + GAP) + 1
    return (
        Side("source", source, first, upward(source.nodes)),
        Side("target", target, second + shift, upward(target.nodes)),
    )


def all_nodes(side: Side) -> go.Scatter:
    """All nodes of a model, in grey."""
    return go.Scatter(
        x=side.x,
        y=side.y,
        mode="markers",
        marker={"color": GRID, "size": _size(side) * 0.6, "symbol": _symbols(side)},
        text=_texts(side, np.arange(len(side.scores))),
        hovertemplate="%{text}, not kept<extra></extra>",
        name=f"not kept ({side.name})",
        showlegend=False,
    )


def kept_nodes(side: Side, kept: Int[np.ndarray, " kept"]) -> go.Scatter:
    """The kept nodes of a model, coloured by score."""
    values = side.scores.values.double().numpy()
    limit = colour_limit(values)
    return go.Scatter(
        x=side.x[kept],
        y=side.y[kept],
        mode="markers",
        marker={
            "color": values[kept],
            "colorscale": DIVERGING,
            "cmin": -limit,
            "cmax": limit,
            "size": _size(side),
            "symbol": _symbols(side, kept),
            "line": {"color": INK, "width": 1},
            "showscale": side.name == "target",
            "colorbar": color_bar(
                "score", tickvals=[-limit, 0, limit], ticktext=["−", "0", "+"], len=0.5, y=0.3
            ),
        },
        text=_texts(side, kept),
        hovertemplate="%{text}<extra></extra>",
        name=f"kept ({side.name})",
        showlegend=False,
    )


class Link(NamedTuple):
    """The contribution of a source node to a target node's predicted score; both by index."""

    sender: int
    receiver: int
    value: float


def strongest_links(
    flow: Float[np.ndarray, "source target"],
    senders: Int[np.ndarray, " sender"],
    receivers: Int[np.ndarray, " receiver"],
    n: int,
) -> list[Link]:
    """The `n` largest contributions between kept nodes, whatever their sign, largest first."""
    part = flow[np.ix_(senders, receivers)]
    order = np.argsort(-abs(part), axis=None, kind="stable")[:n]
    pairs = [divmod(int(index), len(receivers)) for index in order]
    return [Link(int(senders[i]), int(receivers[j]), float(part[i, j])) for i, j in pairs]


def link_traces(left: Side, right: Side, links: Sequence[Link]) -> list[go.Scatter]:
    """Four traces of lines (by sign and strength) and one of their middles; each may be empty.

    A trace of many lines has no hover text for each of them: the middles have it.
    """
    half = -(-len(links) // 2)
    traces = []
    for raises, color, dash in ((True, POSITIVE, "solid"), (False, NEGATIVE, "dot")):
        for strength, chosen in (("strong", links[:half]), ("weak", links[half:])):
            xs: list[float | None] = []
            ys: list[float | None] = []
            for i, j, value in chosen:
                if (value > 0) == raises:
                    xs += [float(left.x[i]), float(right.x[j]), None]
                    ys += [float(left.y[i]), float(right.y[j]), None]
            lines = go.Scatter(
                x=xs,
                y=ys,
                mode="lines",
                line={"color": color, "width": WIDTHS[strength], "dash": dash},
                opacity=0.7,
                hoverinfo="skip",
                name=f"{'raises' if raises else 'lowers'} ({strength})",
                showlegend=bool(xs),
            )
            traces.append(lines)
    middles = go.Scatter(
        x=[(left.x[i] + right.x[j]) / 2 for i, j, _ in links],
        y=[(left.y[i] + right.y[j]) / 2 for i, j, _ in links],
        text=[
            f"{left.scores.nodes[i]} to {right.scores.nodes[j]}: {value:+.3g}"
            for i, j, value in links
        ],
        mode="markers",
        marker={"size": 5, "color": "white", "line": {"color": QUIET, "width": 0.8}},
        hovertemplate="%{text}<extra></extra>",
        name="links",
        showlegend=False,
    )
    return [*traces, middles]


def _size(side: Side) -> float:
    return 13 if len(side.scores) <= 150 else 8 if len(side.scores) <= 700 else 6


def _symbols(side: Side, chosen: Int[np.ndarray, " chosen"] | None = None) -> list[str]:
    nodes = side.scores.nodes
    indices = np.arange(len(nodes)) if chosen is None else chosen
    return ["circle" if nodes[int(index)].is_head else "square" for index in indices]


def _texts(side: Side, chosen: Int[np.ndarray, " chosen"]) -> list[str]:
    table = side.scores.to_frame().iloc[chosen]
    return [
        f"{node}: {score:.4g}, rank {rank}"
        for node, score, rank in zip(table["node"], table["score"], table["rank"], strict=True)
    ]
