"""Maps of W: one of blocks of layers, and one of all entries.

A block is one source layer's heads (or MLP) by one target layer's heads (or MLP); its value is the
mean absolute entry. With source scores the entries are contributions s'_i W_ij, otherwise W_ij.
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
from dfa_tl.viz.theme import DIVERGING, SEQUENTIAL, color_bar, finished, quiet
from dfa_tl.viz.transfer_flow import contributions

BAR_SIZE = {"x": 1.01, "len": 0.42}
KINDS: tuple[str, ...] = ("heads", "MLP")
FULL_COLOR = 0.99  # quantile of the absolute entries from which on colours are full
LEVELS = 127  # colours on each side of zero: one byte per entry, where numbers would take eight


class _Block(NamedTuple):
    """One block: its mean absolute entry, and its hover text."""

    mean_size: float
    text: str


@checked_arguments
def alignment_map(alignment: Alignment, *, source_scores: NodeScores | None = None) -> go.Figure:
    """W by blocks of layers, separately for heads and MLPs, and all entries of W.

    Source layers go upwards, target layers to the right. The blocks show the mean absolute entry,
    each panel on its own scale. The last panel shows every entry with its sign, blue above zero and
    orange below; its hover text describes the block. With a W of 528 by 1,056 nodes the figure
    takes about 1 MB.

    Args:
        alignment: One W.
        source_scores: Scores of the source's nodes. With them, the entries are the contributions
            s'_i W_ij to the predicted scores.

    Raises:
        ConfigError: a chain of alignments.
        ScoresError: the scores are not of the source model's nodes.
    """
    weighted = source_scores is not None
    matrix = contributions(alignment, source_scores) if weighted else alignment.W
    entries = matrix.double().numpy()
    source, target = alignment.source, alignment.target
    symbol = "s'<sub>i</sub>W<sub>ij</sub>" if weighted else "W<sub>ij</sub>"
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
    for index, (kinds, table) in enumerate(blocks.items()):
        where: Any = {"row": index // 2 + 1, "col": index % 2 + 1}
        figure.add_trace(
            go.Heatmap(
                z=[[block.mean_size for block in row] for row in table],
                text=[[block.text for block in row] for row in table],
                name=f"{kinds[0]} to {kinds[1]}",
                hovertemplate="%{text}<extra></extra>",
                zmin=0,
                zmax=largest[index],
                colorscale=SEQUENTIAL,
                showscale=index == 0,
                colorbar=color_bar(
                    f"mean |{symbol}|<br>of a block",
                    tickvals=[0, largest[0]],
                    ticktext=["0", "full"],
                    **BAR_SIZE,
                    y=0.78,
                ),
            ),
            **where,
        )
        figure.update_xaxes(title="target layer" if index > 1 else None, **where)
        figure.update_yaxes(title="source layer" if index % 2 == 0 else None, **where)
        figure.update_xaxes(tickformat="d", showgrid=False, ticks="", **where)
        figure.update_yaxes(tickformat="d", showgrid=False, ticks="", **where)
    full = float(np.quantile(abs(entries), FULL_COLOR)) or float(abs(entries).max()) or 1.0
    _draw_entries(figure, entries, full, symbol)
    _draw_hover_texts(figure, blocks, source, target)
    figure.update_annotations(font={"size": 13})
    what = "contributions of the source scores" if weighted else "W"
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
                f"source layer {layer} {from_kind} to target layer {other} {to_kind}:<br>mean "
                f"absolute entry {mean_size:.3g}, mean {mean:+.3g},<br>strongest {sender} to "
                f"{receiver} {part[i, j]:+.3g}"
            )
            line.append(_Block(mean_size, text))
        table.append(line)
    return table


def _edges(nodes: NodeSet) -> list[float]:
    """The borders of blocks on an axis of nodes: heads, MLP, heads, .."""
    starts = [layer * (nodes.n_heads + 1) for layer in range(nodes.n_layers)]
    return [
        *(edge - 0.5 for start in starts for edge in (start, start + nodes.n_heads)),
        len(nodes) - 0.5,
    ]


def _draw_entries(
    figure: go.Figure, entries: Float[np.ndarray, "source target"], full: float, symbol: str
) -> None:
    figure.add_trace(
        go.Heatmap(
            z=np.rint(np.clip(entries / full, -1, 1) * LEVELS).astype(np.int8),
            name="all entries",
            zmin=-LEVELS,
            zmax=LEVELS,
            colorscale=DIVERGING,
            hoverinfo="skip",
            colorbar=color_bar(
                f"{symbol}<br>of all entries",
                tickvals=[-LEVELS, 0, LEVELS],
                ticktext=[f"−{full:.2g}", "0", f"{full:.2g}"],
                **BAR_SIZE,
                y=0.22,
            ),
        ),
        row=1,
        col=3,
    )


def _draw_hover_texts(
    figure: go.Figure,
    blocks: dict[tuple[str, str], list[list[_Block]]],
    source: NodeSet,
    target: NodeSet,
) -> None:
    """An invisible map of the blocks over all entries, and the axes of both."""
    where: Any = {"row": 1, "col": 3}
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
            name="blocks of all entries",
            opacity=0,
            showscale=False,
            hovertemplate="%{text}<extra></extra>",
        ),
        **where,
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
        layers = product(range(source.n_layers), range(target.n_layers))
        _, i, j = max((table[i][j].mean_size, -i, -j) for i, j in layers)
        parts.append(f"{kind} to {other} source layer {-i} to target layer {-j}")
    return (
        f"Mean absolute entry of {what} by blocks of layers, {source.n_layers} source layers "
        f"against {target.n_layers} target layers; largest for {', '.join(parts)}."
    )
