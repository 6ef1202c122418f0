"""Node scores as colours: layers upwards, heads across, and the MLP in its own column."""

from __future__ import annotations

from collections.abc import Mapping
from math import log10
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float
from plotly.subplots import make_subplots

from dfa_tl.arguments import checked_arguments
from dfa_tl.errors import ConfigError
from dfa_tl.nodes import NodeSet
from dfa_tl.scores import NodeScores
from dfa_tl.viz.theme import DIVERGING, GRID, INK, SEQUENTIAL, color_bar, finished, quiet

MARKED = 0.2  # cells more negative than this fraction of full colour have a minus sign
MOST_MARKS = 700
ORDER_ONLY = ("aligned", "target_only", "mean of", "uniform_s")  # how their methods begin
OUTLIER = 5  # full colour is at least the largest absolute score divided by this


@checked_arguments
def score_map(scores: NodeScores | Mapping[str, NodeScores], *, title: str = "") -> go.Figure:
    """Node scores as layer by head, with the MLP as its own column: source, gold, aligned, ..

    In attributed scores blue supports the clean behaviour and orange opposes it; clearly negative
    cells have a minus sign. Each panel has its own scale, because scores of different models and
    methods have different units: its heading says which absolute score has full colour.
    Transferred scores are logits of a mask: only their order has a meaning, and colours show
    ranks, the best node darkest.

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
    kinds = [node_shades(each).signed for each in panels.values()]
    both = len(set(kinds)) == 2
    for number, each in enumerate(panels.values(), start=1):
        signed = kinds[number - 1]
        bar = None if signed in kinds[: number - 1] else _color_bar(each, both)
        _draw(figure, each, bar, where={"row": 1, "col": number})
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


class Shades(NamedTuple):
    """What the colours of a model's nodes show.

    Attributes:
        values: One per node.
        low: The value at the lower end of the colour scale.
        high: The value at its upper end.
        scale: The colours.
        signed: Whether the values are scores, whose sign has a meaning; else they are
            -log10(rank), so that the best nodes stand out.
    """

    values: Float[np.ndarray, " node"]
    low: float
    high: float
    scale: tuple[tuple[float, str], ...]
    signed: bool

    @property
    def key(self) -> str:
        """What the colours mean, in a few words."""
        return "blue supports, orange opposes" if self.signed else "the darker, the better its rank"


def node_shades(scores: NodeScores) -> Shades:
    """Colours by score, centred on zero, or by rank where only the order has a meaning."""
    if not only_order_matters(scores):
        values = scores.values.double().numpy()
        limit = colour_limit(values)
        return Shades(values, -limit, limit, DIVERGING, True)
    ranks = scores.to_frame()["rank"].to_numpy(dtype=float)
    return Shades(-np.log10(ranks), -max(log10(len(ranks)), 0.1), 0.0, SEQUENTIAL, False)


def only_order_matters(scores: NodeScores) -> bool:
    """Whether the scores are logits of a mask or standardised means, by their provenance."""
    method = str(scores.provenance.get("method", ""))
    return method.startswith(ORDER_ONLY)


def _color_bar(scores: NodeScores, both: bool) -> dict[str, Any]:
    """The colour bar of a panel; two kinds of them share the height."""
    shades = node_shades(scores)
    place = {"len": 0.48, "yanchor": "top", "y": 1 if shades.signed else 0.46} if both else {}
    if shades.signed:
        ticks = {"tickvals": [shades.low, 0, shades.high], "ticktext": ["−full", "0", "+full"]}
        return color_bar("score", **ticks, **place)
    ranks = [rank for rank in (1, 3, 10, 30, 100, 300, 1000) if rank <= len(scores)]
    ticks = {"tickvals": [-log10(rank) for rank in ranks], "ticktext": list(map(str, ranks))}
    return color_bar("rank", **ticks, **place)


def _draw(figure: go.Figure, scores: NodeScores, bar: dict[str, Any] | None, where: Any) -> None:
    nodes = scores.nodes
    table = scores.to_frame()
    shades = node_shades(scores)
    values = shades.values.reshape(nodes.n_layers, -1)
    known = list(
        zip(nodes.names, table["rank"].tolist(), scores.values.double().tolist(), strict=True)
    )
    layers = [known[at : at + nodes.n_heads + 1] for at in range(0, len(nodes), nodes.n_heads + 1)]
    xs = column_positions(nodes)
    for columns in (slice(0, nodes.n_heads), slice(nodes.n_heads, None)):
        figure.add_trace(
            go.Heatmap(
                x=xs[columns],
                y=list(range(nodes.n_layers)),
                z=values[:, columns],
                zmin=shades.low,
                zmax=shades.high,
                dx=1,
                colorscale=shades.scale,
                xgap=1,
                ygap=1,
                customdata=[layer[columns] for layer in layers],
                hovertemplate="%{customdata[0]}: %{customdata[2]:.4g}, rank %{customdata[1]} of "
                f"{len(nodes)}<extra></extra>",
                showscale=bar is not None and columns.start == 0,
                colorbar=bar,
            ),
            **where,
        )
    marked = [
        (xs[column], layer)
        for layer, column in zip(*np.nonzero(values < -MARKED * shades.high), strict=True)
    ]
    if shades.signed and len(nodes) <= MOST_MARKS and marked:
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
    if only_order_matters(scores):
        return f"{label}<br>{quiet('ranks: the best node is darkest')}".removeprefix("<br>")
    largest = float(scores.values.abs().max())
    full = colour_limit(scores.values.double().numpy())
    text = f"full colour at {full:.3g}"
    if full < 0.99 * largest:
        text += f", largest {largest:.3g}"
    return f"{label}<br>{quiet(text)}".removeprefix("<br>")


def _alt(panels: Mapping[str, NodeScores]) -> str:
    parts = []
    for label, scores in panels.items():
        best = ", ".join(f"{node} {scores[node]:+.3g}" for node in scores.top(3))
        negative = int((scores.values < 0).sum())
        ranks = only_order_matters(scores)
        parts.append(
            f"{label + ': ' if label else ''}{scores.nodes}, highest {best}, "
            + ("shown by rank" if ranks else f"{negative} negative")
        )
    return f"Node scores by layer and head; {'; '.join(parts)}."
