"""Two models side by side: where their nodes stand, and what is drawn of them and between them.

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
from dfa_tl.viz.score_map import colour_limit, unit_places
from dfa_tl.viz.theme import COLOR_BAR, DIVERGING, GRID, INK, NEGATIVE, POSITIVE, QUIET

APART = 0.35  # gap between the models, as a share of the wider one
WIDTHS = {"strong": 3.0, "weak": 1.2}  # the stronger half of the links is thicker


class Side(NamedTuple):
    """One model in the figure: where each of its nodes stands."""

    name: str
    scores: NodeScores
    x: Float[np.ndarray, " node"]
    y: Float[np.ndarray, " node"]


def sides(source: NodeScores, target: NodeScores) -> tuple[Side, Side]:
    """Both models on one plane: the source from 0 on, the target to its right."""

    def across(nodes: NodeSet) -> Float[np.ndarray, " node"]:
        return np.tile(unit_places(nodes), nodes.n_layers)

    def upward(nodes: NodeSet) -> Float[np.ndarray, " node"]:
        return np.repeat((np.arange(nodes.n_layers) + 0.5) / nodes.n_layers, nodes.n_heads + 1)

    first, second = across(source.nodes), across(target.nodes)
    # Both are drawn equally wide: the one with fewer heads has more room for each.
    wide = max(first.max(), second.max())
    first, second = first * wide / first.max(), second * wide / second.max()
    shift = wide * (1 + APART) + 1
    return (
        Side("source", source, first, upward(source.nodes)),
        Side("target", target, second + shift, upward(target.nodes)),
    )


def every_node(side: Side) -> go.Scatter:
    """All nodes of a model, as quiet marks."""
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
    color_bar = {
        **COLOR_BAR,
        "title": {"text": "score", "font": {"size": 12}},
        "tickvals": [-limit, 0, limit],
        "ticktext": ["−", "0", "+"],
        "len": 0.5,
        "y": 0.3,
    }
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
            "colorbar": color_bar,
        },
        text=_texts(side, kept),
        hovertemplate="%{text}<extra></extra>",
        name=f"kept ({side.name})",
        showlegend=False,
    )


class Link(NamedTuple):
    """From a source node to a target node, by position: what it adds to the predicted score."""

    sender: int
    receiver: int
    value: float


def strongest(
    flow: Float[np.ndarray, "source target"],
    senders: Int[np.ndarray, " sender"],
    receivers: Int[np.ndarray, " receiver"],
    n: int,
) -> list[Link]:
    """The `n` largest contributions between kept nodes, whatever their sign, largest first."""
    part = flow[np.ix_(senders, receivers)]
    order = np.argsort(-abs(part), axis=None, kind="stable")[:n]
    places = [divmod(int(place), len(receivers)) for place in order]
    return [Link(int(senders[i]), int(receivers[j]), float(part[i, j])) for i, j in places]


def links_between(left: Side, right: Side, links: Sequence[Link]) -> list[go.Scatter]:
    """Four traces of lines (sign by strength) and one of their middles, also where all are empty.

    Lines of one look are one trace, and cannot be hovered over: their middles can.
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
    places = np.arange(len(nodes)) if chosen is None else chosen
    return ["circle" if nodes[int(place)].is_head else "square" for place in places]


def _texts(side: Side, chosen: Int[np.ndarray, " chosen"]) -> list[str]:
    table = side.scores.to_frame().iloc[chosen]
    return [
        f"{node}: {score:.4g}, rank {rank}"
        for node, score, rank in zip(table["node"], table["score"], table["rank"], strict=True)
    ]
