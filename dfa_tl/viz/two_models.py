"""The nodes of one model, or of two side by side, and the links between them.

Layers go upwards by relative depth, so that models of different depth face each other; heads go
across, and the MLP has its own column.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float, Int

from dfa_tl.scores import NodeScores
from dfa_tl.viz.score_map import Shades, column_positions, node_shades
from dfa_tl.viz.theme import GRID, INK, NEGATIVE, POSITIVE, QUIET

GAP = 0.35  # between the models, as a fraction of the wider one
WIDTHS = {"strong": 3.0, "weak": 1.2}  # of the links in the stronger and in the weaker half
MOST_NAMES = 32
CHARACTER = 6.5  # pixels, in the name of a node


class Side(NamedTuple):
    """One model in the figure, and the coordinates of its nodes."""

    name: str
    scores: NodeScores
    x: Float[np.ndarray, " node"]
    y: Float[np.ndarray, " node"]

    @property
    def key(self) -> str:
        """What the colours of its nodes mean."""
        return node_shades(self.scores).key


def one_model(name: str, scores: NodeScores) -> Side:
    """A model by itself, its heads at x = 0, 1, 2, .. and layers from y = 0 to 1."""
    nodes = scores.nodes
    heights = (np.arange(nodes.n_layers) + 0.5) / nodes.n_layers
    return Side(
        name,
        scores,
        np.tile(column_positions(nodes), nodes.n_layers),
        np.repeat(heights, nodes.n_heads + 1),
    )


def side_by_side(source: NodeScores, target: NodeScores) -> tuple[Side, Side]:
    """Both models in one plane: the source from x = 0, the target to its right."""
    left, right = one_model("source", source), one_model("target", target)
    # Both are equally wide: heads are farther apart in the model with fewer heads.
    wide = max(left.x.max(), right.x.max())
    shift = wide * (1 + GAP) + 1
    return (
        left._replace(x=left.x * wide / left.x.max()),
        right._replace(x=right.x * wide / right.x.max() + shift),
    )


def all_nodes(side: Side) -> go.Scatter:
    """All nodes of a model, in grey."""
    return go.Scatter(
        x=side.x,
        y=side.y,
        mode="markers",
        marker={"color": GRID, "size": node_size(side) * 0.6, "symbol": node_symbols(side)},
        text=_texts(side, np.arange(len(side.scores))),
        hovertemplate="%{text}, not kept<extra></extra>",
        name=f"not kept ({side.name})",
        showlegend=False,
    )


def named_nodes(
    side: Side, kept: Int[np.ndarray, " kept"], linked: Sequence[int], width: float
) -> set[int]:
    """The nodes whose names are drawn: the best of those kept and linked, where there is room.

    Args:
        side: The model.
        kept: Indices of its kept nodes.
        linked: Indices of nodes that links join, the strongest link's first.
        width: Of the model in the figure, in pixels.
    """
    per_pixel = float(side.x.max() - side.x.min()) / width
    ranks = np.argsort(-side.scores.values.numpy(), kind="stable")
    wanted = dict.fromkeys([*linked, *(int(index) for index in ranks if index in set(kept))])
    named: set[int] = set()
    for index in wanted:
        room = CHARACTER * len(side.scores.nodes[index].name) * per_pixel
        free = all(
            side.y[other] != side.y[index] or abs(side.x[other] - side.x[index]) > room
            for other in named
        )
        if free and len(named) < MOST_NAMES:
            named.add(index)
    return named


def kept_nodes(side: Side, kept: Int[np.ndarray, " kept"], named: set[int]) -> go.Scatter:
    """The kept nodes of a model, coloured by score or by rank, with the names of some."""
    shades: Shades = node_shades(side.scores)
    return go.Scatter(
        **node_points(side, kept, named, "%{hovertext}"),
        marker={
            "color": shades.values[kept],
            "colorscale": shades.scale,
            "cmin": shades.low,
            "cmax": shades.high,
            "size": node_size(side),
            "symbol": node_symbols(side, kept),
            "line": {"color": INK, "width": 1},
        },
        name=f"kept ({side.name})",
    )


def further_senders(side: Side, senders: Int[np.ndarray, " sender"], named: set[int]) -> go.Scatter:
    """Nodes that contribute without being kept, as rings."""
    return go.Scatter(
        **node_points(side, senders, named, "%{hovertext}, not kept"),
        marker={
            "color": "white",
            "size": node_size(side) * 0.8,
            "symbol": node_symbols(side, senders),
            "line": {"color": QUIET, "width": 1.5},
        },
        name=f"contributes, not kept ({side.name})",
    )


def node_points(
    side: Side, chosen: Int[np.ndarray, " chosen"], named: set[int], hover: str
) -> dict[str, Any]:
    """Places, names and hover texts of nodes, as arguments of a scatter trace."""
    nodes = side.scores.nodes
    return {
        "x": side.x[chosen],
        "y": side.y[chosen],
        "mode": "markers+text",
        "text": [nodes[index].name if index in named else "" for index in map(int, chosen)],
        "textposition": "top center",
        "textfont": {"size": 11 if len(nodes) <= 150 else 10},
        "hovertext": _texts(side, chosen),
        "hovertemplate": f"{hover}<extra></extra>",
        "showlegend": False,
    }


class Link(NamedTuple):
    """The contribution of a source node to a target node's score; both by index."""

    sender: int
    receiver: int
    value: float


def strongest_links(
    flow: Float[np.ndarray, "source target"],
    senders: Int[np.ndarray, " sender"],
    receivers: Int[np.ndarray, " receiver"],
    n: int,
) -> list[Link]:
    """The `n` largest contributions from and to these nodes, of any sign, largest first."""
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
                name=f"{'raises' if raises else 'lowers'} it ({strength}er half)",
                showlegend=bool(xs),
            )
            traces.append(lines)
    middles = go.Scatter(
        x=[(left.x[i] + right.x[j]) / 2 for i, j, _ in links],
        y=[(left.y[i] + right.y[j]) / 2 for i, j, _ in links],
        text=[
            f"{left.scores.nodes[i]} contributes {value:+.3g} to the score of "
            f"{right.scores.nodes[j]}"
            for i, j, value in links
        ],
        mode="markers",
        marker={"size": 5, "color": "white", "line": {"color": QUIET, "width": 0.8}},
        hovertemplate="%{text}<extra></extra>",
        name="links",
        showlegend=False,
    )
    return [*traces, middles]


def draw_axes(figure: go.Figure, headings: Mapping[str, Side]) -> None:
    """Number the layers of each model, name its columns, and put its heading above it."""
    sides = list(headings.values())
    figure.update_xaxes(
        tickvals=[(side.x.min() + side.x[-2]) / 2 for side in sides]
        + [float(side.x.max()) for side in sides],
        ticktext=["heads"] * len(sides) + ["MLP"] * len(sides),
        showgrid=False,
        ticks="",
        range=[-0.6, float(sides[-1].x.max()) + 0.6],
    )
    figure.update_yaxes(visible=False, range=[0, 1.02])
    for heading, side in headings.items():
        nodes = side.scores.nodes
        step = 1 + nodes.n_layers // 17
        for layer in range(0, nodes.n_layers, step):
            figure.add_annotation(
                x=float(side.x.min()),
                xshift=-22,
                xanchor="right",
                y=(layer + 0.5) / nodes.n_layers,
                text=str(layer),
                showarrow=False,
                font={"size": 11},
            )
        figure.add_annotation(
            x=float((side.x.min() + side.x.max()) / 2),
            y=1.0,
            yanchor="bottom",
            yref="paper",
            text=heading,
            showarrow=False,
            font={"size": 13},
        )
    figure.add_annotation(
        x=0, xref="paper", xshift=-46, y=0.5, yref="paper", text="layer", textangle=-90,
        showarrow=False, font={"size": 12},
    )  # fmt: skip


def model_name(scores: NodeScores) -> str:
    """The name of the model that scores are of; empty where it is unknown."""
    name = str(scores.provenance.get("model", ""))
    return "" if name == "target" else name


def node_size(side: Side) -> float:
    """The size of a node's marker, in pixels."""
    return 13 if len(side.scores) <= 150 else 8 if len(side.scores) <= 700 else 6


def node_symbols(side: Side, chosen: Int[np.ndarray, " chosen"] | None = None) -> list[str]:
    """Circles for heads and squares for MLPs."""
    nodes = side.scores.nodes
    indices = np.arange(len(nodes)) if chosen is None else chosen
    return ["circle" if nodes[int(index)].is_head else "square" for index in indices]


def _texts(side: Side, chosen: Int[np.ndarray, " chosen"]) -> list[str]:
    table = side.scores.to_frame().iloc[chosen]
    return [
        f"{node}: {score:.4g}, rank {rank}"
        for node, score, rank in zip(table["node"], table["score"], table["rank"], strict=True)
    ]
