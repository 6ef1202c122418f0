"""Node scores as colours: layers upwards, heads across, and the MLP in its own column."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float
from plotly.subplots import make_subplots

from dfa_tl.arguments import checked_arguments
from dfa_tl.errors import ConfigError
from dfa_tl.nodes import NodeSet
from dfa_tl.scores import NodeScores
from dfa_tl.viz.theme import DIVERGING, GRID, INK, color_bar, finished, quiet

MARKED = 0.2  # cells more negative than this fraction of full colour have a minus sign
MOST_MARKS = 700
OUTLIER = 5  # full colour is at least the largest absolute score divided by this


@checked_arguments
def score_map(scores: NodeScores | Mapping[str, NodeScores], *, title: str = "") -> go.Figure:
    """Node scores as layer by head, with the MLP as its own column: source, gold, aligned, ..

    Colours are centred on zero: in attributed scores, blue supports the clean behaviour and orange
    opposes it; carried-over scores are logits of a mask, and only their order matters. Each panel
    has its own scale, because scores of different models and methods have different units: its
    heading says which absolute score has full colour. Clearly negative cells have a minus sign.

    Args:
        scores: Scores of one model, or several by label, one panel each; they may be of different
            models.
        title: Title of the whole figure.

    Raises:
        ConfigError: nothing to draw.
    """
    panels = {"": scores} if isinstance(scores, NodeScores) else dict(scores)
    if not panels:
        raise ConfigError("nothing to draw: give node scores, or a mapping from labels to them")
    wide = [each.nodes.n_heads + 2 for each in panels.values()]
    figure = make_subplots(
        cols=len(panels),
        subplot_titles=[_heading(label, each) for label, each in panels.items()],
        column_widths=[n / sum(wide) for n in wide],
        horizontal_spacing=0.16 / len(panels),
    )
    for number, each in enumerate(panels.values(), start=1):
        _draw(figure, each, showscale=number == len(panels), where={"row": 1, "col": number})
    figure.update_annotations(font={"size": 13})
    figure.update_layout(plot_bgcolor=GRID)  # so that pale cells are visible
    tall = max(each.nodes.n_layers for each in panels.values())
    width = sum(max(170, min(420, 26 * n)) for n in wide)
    return finished(
        figure,
        alt=_alt(panels),
        title=title,
        width=width + 90 * len(panels) + 110,
        height=max(220, min(620, 32 * tall)) + (160 if title else 130),
        margin={"t": 96 if title else 66},
    )


def column_positions(nodes: NodeSet) -> list[float]:
    """The x of a layer's heads and of its MLP, which comes after a gap."""
    return [*map(float, range(nodes.n_heads)), nodes.n_heads + 0.5]


def colour_limit(values: Float[np.ndarray, "..."]) -> float:
    """The value of full colour: close to the largest absolute value, unless that is an outlier."""
    sizes = abs(values)
    return float(max(np.quantile(sizes, 0.98), sizes.max() / OUTLIER)) or 1.0


def _draw(figure: go.Figure, scores: NodeScores, showscale: bool, where: Any) -> None:
    nodes = scores.nodes
    table = scores.to_frame()
    values = scores.values.double().view(nodes.n_layers, -1).numpy()
    largest = colour_limit(values)
    known = list(zip(nodes.names, table["rank"].tolist(), strict=True))
    layers = [known[at : at + nodes.n_heads + 1] for at in range(0, len(nodes), nodes.n_heads + 1)]
    xs = column_positions(nodes)
    for columns in (slice(0, nodes.n_heads), slice(nodes.n_heads, None)):
        figure.add_trace(
            go.Heatmap(
                x=xs[columns],
                y=list(range(nodes.n_layers)),
                z=values[:, columns],
                zmin=-largest,
                zmax=largest,
                dx=1,
                colorscale=DIVERGING,
                xgap=1,
                ygap=1,
                customdata=[layer[columns] for layer in layers],
                hovertemplate="%{customdata[0]}: %{z:.4g}, rank %{customdata[1]} of "
                f"{len(nodes)}<extra></extra>",
                showscale=showscale and columns.start == 0,
                colorbar=color_bar(
                    "score", tickvals=[-largest, 0, largest], ticktext=["−full", "0", "+full"]
                ),
            ),
            **where,
        )
    marked = [
        (xs[column], layer)
        for layer, column in zip(*np.nonzero(values < -MARKED * largest), strict=True)
    ]
    if len(nodes) <= MOST_MARKS and marked:
        figure.add_trace(
            go.Scatter(
                x=[x for x, _ in marked],
                y=[int(y) for _, y in marked],
                text=["−"] * len(marked),
                mode="text",
                textfont={"size": 12, "color": INK},
                hoverinfo="skip",
                showlegend=False,
            ),
            **where,
        )
    step = 1 + nodes.n_heads // 12
    heads = list(range(0, nodes.n_heads, step))
    figure.update_xaxes(
        tickvals=[*heads, xs[-1]],
        ticktext=[*map(str, heads), "MLP"],
        title="head",
        range=[-0.5, xs[-1] + 0.5],
        showgrid=False,
        ticks="",
        **where,
    )
    figure.update_yaxes(
        tickvals=list(range(0, nodes.n_layers, 1 + nodes.n_layers // 17)),
        title="layer" if where["col"] == 1 else None,
        range=[-0.5, nodes.n_layers - 0.5],
        showgrid=False,
        ticks="",
        **where,
    )


def _heading(label: str, scores: NodeScores) -> str:
    largest = float(scores.values.abs().max())
    full = colour_limit(scores.values.double().numpy())
    text = f"full colour {full:.3g}" + (f", largest {largest:.3g}" if full < 0.99 * largest else "")
    return f"{label}<br>{quiet(text)}".removeprefix("<br>")


def _alt(panels: Mapping[str, NodeScores]) -> str:
    parts = []
    for label, scores in panels.items():
        best = ", ".join(f"{node} {scores[node]:+.3g}" for node in scores.top(3))
        negative = int((scores.values < 0).sum())
        parts.append(
            f"{label + ': ' if label else ''}{scores.nodes}, highest {best}, {negative} negative"
        )
    return f"Node scores by layer and head; {'; '.join(parts)}."
