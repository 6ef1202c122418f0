"""Maps of W: by blocks of layers, and all of it as an image.

A block is one source layer's heads (or MLP) by one target layer's heads (or MLP); its value is the
mean absolute entry. With source scores the entries are contributions s'_i W_ij, else W_ij.
"""

from __future__ import annotations

from itertools import product
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float
from plotly.subplots import make_subplots

from dfa_tl.alignment.alignment import Alignment
from dfa_tl.arguments import checked_arguments
from dfa_tl.nodes import NodeSet
from dfa_tl.scores import NodeScores
from dfa_tl.viz.matrix_image import data_uri
from dfa_tl.viz.theme import COLOR_BAR, DIVERGING, SEQUENTIAL, finished, quiet
from dfa_tl.viz.transfer_flow import contributions

KINDS: tuple[str, ...] = ("heads", "MLP")
FULL_COLOR = 0.99  # quantile of the absolute entries that has full colour in the image


class _Block(NamedTuple):
    """What is said of one block."""

    mean_size: float
    mean: float
    text: str


@checked_arguments
def alignment_map(alignment: Alignment, *, source_scores: NodeScores | None = None) -> go.Figure:
    """W by blocks of layers (heads and MLPs apart), and the whole of W as an image.

    Source layers go upwards, target layers to the right. The blocks show the mean absolute entry,
    each panel on a scale of its own; the image shows every entry with its sign, blue above zero and
    orange below, and hovering over it tells of the block. The image has one byte per entry: with a
    W of 528 by 1,056 nodes the whole figure is some 1.1 MB.

    Args:
        alignment: One W.
        source_scores: Scores of the source's nodes; given, entries are the contributions s'_i W_ij
            that they make to the predicted scores.

    Raises:
        ConfigError: a chain of alignments.
        ScoresError: the scores are not of the source model's nodes.
    """
    weighed = source_scores is not None
    matrix = contributions(alignment, source_scores) if weighed else alignment.W
    entries = matrix.double().numpy()
    source, target = alignment.source, alignment.target
    symbol = "s'<sub>i</sub>W<sub>ij</sub>" if weighed else "W<sub>ij</sub>"
    blocks = {
        (kind, other): _blocks(entries, source, target, kind, other)
        for kind in KINDS
        for other in KINDS
    }
    largest = [
        max(block.mean_size for row in table for block in row) or 1.0 for table in blocks.values()
    ]
    headings = [
        f"{kind} to {other} {quiet(f'full colour {limit:.2g}')}"
        for (kind, other), limit in zip(blocks, largest, strict=True)
    ]
    figure = make_subplots(
        rows=2,
        cols=3,
        specs=[[{}, {}, {"rowspan": 2}], [{}, {}, None]],
        column_widths=[0.22, 0.22, 0.56],
        horizontal_spacing=0.06,
        vertical_spacing=0.16,
        subplot_titles=[*headings[:2], f"all {entries.size:,} entries", *headings[2:]],
    )
    for place, (kinds, table) in enumerate(blocks.items()):
        where: Any = {"row": place // 2 + 1, "col": place % 2 + 1}
        figure.add_trace(
            go.Heatmap(
                z=[[block.mean_size for block in row] for row in table],
                text=[[block.text for block in row] for row in table],
                name=f"{kinds[0]} to {kinds[1]}",
                hovertemplate="%{text}<extra></extra>",
                zmin=0,
                zmax=largest[place],
                colorscale=SEQUENTIAL,
                showscale=place == 0,
                colorbar={
                    **COLOR_BAR,
                    "title": {"text": f"mean |{symbol}|<br>of a block", "font": {"size": 12}},
                    "tickvals": [0, largest[0]],
                    "ticktext": ["0", "full"],
                    "x": 1.01,
                    "len": 0.42,
                    "y": 0.78,
                },
            ),
            **where,
        )
        figure.update_xaxes(title="target layer" if place > 1 else None, **where)
        figure.update_yaxes(title="source layer" if place % 2 == 0 else None, **where)
        figure.update_xaxes(tickformat="d", showgrid=False, ticks="", **where)
        figure.update_yaxes(tickformat="d", showgrid=False, ticks="", **where)
    full = float(np.quantile(abs(entries), FULL_COLOR)) or float(abs(entries).max()) or 1.0
    _draw_all(figure, entries, full, blocks, alignment)
    figure.update_annotations(font={"size": 13})
    figure.update_layout(
        coloraxis={
            "colorscale": DIVERGING,
            "cmin": -full,
            "cmax": full,
            "colorbar": {
                **COLOR_BAR,
                "title": {"text": f"{symbol}<br>of the image"},
                "x": 1.01,
                "len": 0.42,
                "y": 0.22,
            },
        },
    )
    what = "contributions of the source scores" if weighed else "W"
    return finished(
        figure,
        alt=_alt(blocks, source, target, what),
        title=f"{what[0].upper()}{what[1:]}: {len(source)} source by {len(target)} target nodes",
        width=1180,
        height=560,
        margin={"t": 90, "r": 130},
    )


def _columns(nodes: NodeSet, kind: str) -> slice:
    return slice(0, nodes.n_heads) if kind == "heads" else slice(nodes.n_heads, None)


def _blocks(
    entries: Float[np.ndarray, "source target"],
    source: NodeSet,
    target: NodeSet,
    from_kind: str,
    to_kind: str,
) -> list[list[_Block]]:
    """One row per source layer, one column per target layer."""
    shape = (source.n_layers, source.n_heads + 1, target.n_layers, target.n_heads + 1)
    rows, columns = _columns(source, from_kind), _columns(target, to_kind)
    parts = entries.reshape(shape)[:, rows, :, columns]
    table = []
    for layer in range(source.n_layers):
        line = []
        for other in range(target.n_layers):
            part = parts[layer, :, other]
            i, j = np.unravel_index(abs(part).argmax(), part.shape)
            sender = source[layer * (source.n_heads + 1) + int(i) + (rows.start or 0)]
            receiver = target[other * (target.n_heads + 1) + int(j) + (columns.start or 0)]
            mean_size, mean = float(abs(part).mean()), float(part.mean())
            text = (
                f"source layer {layer} {from_kind} to target layer {other} {to_kind}:<br>mean size "
                f"{mean_size:.3g}, mean {mean:+.3g},<br>strongest {sender} to {receiver} "
                f"{part[i, j]:+.3g}"
            )
            line.append(_Block(mean_size, mean, text))
        table.append(line)
    return table


def _edges(nodes: NodeSet) -> list[float]:
    """Where blocks begin and end on an axis of nodes: heads, MLP, heads, .."""
    starts = [layer * (nodes.n_heads + 1) for layer in range(nodes.n_layers)]
    return [
        *(edge - 0.5 for start in starts for edge in (start, start + nodes.n_heads)),
        len(nodes) - 0.5,
    ]


def _draw_all(
    figure: go.Figure,
    entries: Float[np.ndarray, "source target"],
    full: float,
    blocks: dict[tuple[str, str], list[list[_Block]]],
    alignment: Alignment,
) -> None:
    source, target = alignment.source, alignment.target
    where: Any = {"row": 1, "col": 3}
    figure.add_layout_image(
        source=data_uri(entries, full),
        x=-0.5,
        y=len(source) - 0.5,
        sizex=len(target),
        sizey=len(source),
        sizing="stretch",
        layer="below",
        **where,
    )
    figure.add_trace(
        go.Heatmap(
            x=_edges(target),
            y=_edges(source),
            z=np.zeros((2 * source.n_layers, 2 * target.n_layers), np.int8),
            text=[
                [
                    blocks[kind, other][layer][column].text
                    for column in range(target.n_layers)
                    for other in KINDS
                ]
                for layer in range(source.n_layers)
                for kind in KINDS
            ],
            name="blocks of the image",
            opacity=0,
            showscale=False,
            hovertemplate="%{text}<extra></extra>",
        ),
        **where,
    )
    # Shows nothing: it carries the image's colour bar.
    marker = {"color": [0], "coloraxis": "coloraxis", "size": 0.1}
    figure.add_trace(
        go.Scatter(x=[None], y=[None], mode="markers", marker=marker, showlegend=False), **where
    )
    for axis, nodes in ((figure.update_xaxes, target), (figure.update_yaxes, source)):
        step = 1 + nodes.n_layers // 12
        layers = list(range(0, nodes.n_layers, step))
        axis(
            tickvals=[layer * (nodes.n_heads + 1) + nodes.n_heads / 2 for layer in layers],
            ticktext=[str(layer) for layer in layers],
            range=[-0.5, len(nodes) - 0.5],
            showgrid=False,
            ticks="",
            **where,
        )
    figure.update_xaxes(title="target nodes, by layer", **where)
    figure.update_yaxes(title="source nodes, by layer", **where)


def _alt(
    blocks: dict[tuple[str, str], list[list[_Block]]], source: NodeSet, target: NodeSet, what: str
) -> str:
    parts = []
    for (kind, other), table in blocks.items():
        places = product(range(source.n_layers), range(target.n_layers))
        i, j = max(places, key=lambda place: table[place[0]][place[1]].mean_size)
        parts.append(f"{kind} to {other} source layer {i} to target layer {j}")
    return (
        f"Mean size of {what} by blocks of layers, {source.n_layers} source layers against "
        f"{target.n_layers} target layers; largest for {', '.join(parts)}."
    )
