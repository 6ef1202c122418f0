"""The schematic of the method: from a source model's node scores to a circuit of the target model.

The numbers behind the colours are made up: the picture explains, it shows no result.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float
from plotly.colors import sample_colorscale

from dfa_tl.viz.theme import GRID, INK, POSITIVE, QUIET, SEQUENTIAL, finished

WIDTH, HEIGHT = 1120, 500
KEPT = 0.62  # nodes above it are in the circuit
ORANGE = "#D55E00"
RNG = np.random.default_rng(4)


class Box(NamedTuple):
    """A rectangle in pixels, with y upwards."""

    left: float
    bottom: float
    right: float
    top: float

    @property
    def middle(self) -> tuple[float, float]:
        """Its centre."""
        return (self.left + self.right) / 2, (self.bottom + self.top) / 2


def method() -> go.Figure:
    """Source model, W, target model and evaluation from left to right, and training below."""
    figure = go.Figure()
    source = RNG.uniform(0, 0.75, (3, 5))
    source[2, [2, 4]], source[1, 1] = 1, 0.85
    target = RNG.uniform(0, 0.55, (6, 7))
    for layer, head in ((5, 6), (4, 2), (4, 6), (3, 1), (3, 3), (1, 2), (2, 4)):
        target[layer, head] = RNG.uniform(0.7, 1)
    boxes = {
        "source": Box(30, 220, 190, 370),
        "W": Box(330, 200, 530, 390),
        "target": Box(660, 200, 860, 390),
        "curve": Box(965, 220, 1095, 370),
        "training": Box(330, 20, 860, 130),
    }
    _model(figure, boxes["source"], source, np.zeros_like(source, dtype=bool))
    _model(figure, boxes["target"], target, target > KEPT)
    _matrix(figure, boxes["W"])
    _curve(figure, boxes["curve"])
    _box(figure, boxes["training"])
    for name, title, note in (
        ("source", "source model", "its circuit is known:<br>one score per node, s"),
        ("W", "W", "one weight for each pair of<br>a source and a target node"),
        ("target", "target model", "predicted scores s W;<br>the best nodes are the circuit"),
        ("curve", "evaluation", "how much of the<br>behaviour is left"),
    ):
        box = boxes[name]
        _text(figure, box.middle[0], 466, f"<b>{title}</b>", size=16)
        _text(figure, box.middle[0], 426, note, color=QUIET)
    for first, second, label in (
        ("source", "W", "scores s"),
        ("W", "target", "s W"),
        ("target", "curve", "keep a<br>share k"),
    ):
        start, end = boxes[first].right + 14, boxes[second].left - 14
        _arrow(figure, (start, 295), (end, 295), POSITIVE)
        _text(figure, (start + end) / 2, 295 + (12 if "<br>" not in label else 20), label)
    source_box = boxes["source"]
    legend = "○ attention head   □ MLP"
    _text(figure, source_box.middle[0], source_box.bottom - 14, legend, color=QUIET, size=11)
    middle = boxes["training"].middle
    _text(figure, middle[0], middle[1] + 32, "<b>training, on other tasks</b>", size=15)
    _text(
        figure,
        middle[0],
        middle[1] - 14,
        "activation = mask · own value + (1 − mask) · value on the corrupt prompt<br>"
        "loss: KL(full model || masked model) + λ · mean mask<br>"
        "only W is trained; the models stay as they are",
        color=QUIET,
    )
    _arrow(figure, (760, 192), (760, 136), ORANGE)
    _arrow(figure, (430, 134), (430, 190), ORANGE)
    _text(figure, 806, 164, "soft mask", color=ORANGE)
    _text(figure, 384, 164, "gradient", color=ORANGE)
    for axis, size in (("xaxis", WIDTH), ("yaxis", HEIGHT)):
        figure.update_layout({axis: {"visible": False, "range": [0, size], "fixedrange": True}})
    return finished(
        figure,
        alt="The method: scores of a source model's nodes are multiplied by W and predict scores "
        "of the target model's nodes; the best of these are the circuit, which is evaluated by how "
        "much of the behaviour it keeps. Only W is trained, on other tasks.",
        title="",
        width=WIDTH,
        height=HEIGHT,
        margin={"l": 0, "r": 0, "t": 0, "b": 0},
    ).update_layout(showlegend=False)


def _model(
    figure: go.Figure,
    box: Box,
    values: Float[np.ndarray, "layer node"],
    kept: Float[np.ndarray, "layer node"],
) -> None:
    """A model as rows of layers: heads are circles, and the MLP at the right is a square."""
    _box(figure, box)
    layers, width = values.shape
    xs = np.linspace(box.left + 18, box.right - 18, width)
    ys = np.linspace(box.bottom + 20, box.top - 20, layers)
    colors = sample_colorscale([list(stop) for stop in SEQUENTIAL], values.flatten().tolist())
    figure.add_scatter(
        x=np.tile(xs, layers),
        y=np.repeat(ys, width),
        mode="markers",
        marker={
            "size": 17,
            "color": colors,
            "symbol": ["square" if node == width - 1 else "circle" for node in range(width)]
            * layers,
            "line": {
                "color": [ORANGE if one else QUIET for one in kept.flatten()],
                "width": [3.0 if one else 0.7 for one in kept.flatten()],
            },
        },
        hoverinfo="skip",
    )


def _matrix(figure: go.Figure, box: Box) -> None:
    """W, as coloured cells."""
    rows, columns = 15, 42  # a node of each model above
    values = RNG.uniform(0, 0.45, (rows, columns)) ** 1.3
    values[RNG.integers(0, rows, 40), RNG.integers(0, columns, 40)] = RNG.uniform(0.6, 1, 40)
    figure.add_heatmap(
        x=np.linspace(box.left + 3, box.right - 3, columns),
        y=np.linspace(box.bottom + 7, box.top - 7, rows),
        z=values,
        colorscale=[list(stop) for stop in SEQUENTIAL],
        showscale=False,
        xgap=0.5,
        ygap=1,
        hoverinfo="skip",
    )


def _curve(figure: go.Figure, box: Box) -> None:
    """A faithfulness curve."""
    _box(figure, box)
    k = np.linspace(0, 1, 40)
    f = 1 - np.exp(-((k / 0.3) ** 2))
    figure.add_scatter(
        x=box.left + 22 + k * (box.right - box.left - 34),
        y=box.bottom + 26 + f * (box.top - box.bottom - 44),
        mode="lines",
        line={"color": ORANGE, "width": 3},
        hoverinfo="skip",
    )
    _text(figure, box.middle[0] + 6, box.bottom + 11, "share kept, k", color=QUIET, size=11)
    figure.add_annotation(
        x=box.left + 10, y=box.middle[1], text="faithfulness, f", textangle=-90, showarrow=False,
        font={"size": 11, "color": QUIET},
    )  # fmt: skip


def _box(figure: go.Figure, box: Box) -> None:
    figure.add_shape(
        type="rect", x0=box.left, y0=box.bottom, x1=box.right, y1=box.top, layer="below",
        line={"color": GRID, "width": 1.5}, fillcolor="#FAFAFA",
    )  # fmt: skip


def _text(
    figure: go.Figure, x: float, y: float, text: str, *, color: str = INK, size: int = 13
) -> None:
    figure.add_annotation(x=x, y=y, text=text, showarrow=False, font={"size": size, "color": color})


def _arrow(
    figure: go.Figure, start: tuple[float, float], end: tuple[float, float], color: str
) -> None:
    figure.add_annotation(
        x=end[0], y=end[1], ax=start[0], ay=start[1], xref="x", yref="y", axref="x", ayref="y",
        text="", showarrow=True, arrowhead=2, arrowwidth=2.5, arrowcolor=color,
    )  # fmt: skip
