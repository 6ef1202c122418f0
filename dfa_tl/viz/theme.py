"""One quiet theme for every figure: a plotly template object, never plotly's global default.

Colours are Okabe and Ito's, which colour-blind readers can distinguish; every series also has its
own dash and marker, for print in grey. The background is opaque and light, so that figures look the
same in dark notebooks. Diverging colours are centred on zero and differ in lightness too (positive
is the darker end); sequential ones get darker.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor, log10
from typing import Any, NamedTuple

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dfa_tl.controls.regimes import GOLD, GOLD_STYLE, PLAIN, Regime, Style
from dfa_tl.controls.registry import CONTROLS

COLORS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
COLUMNS = 3  # panels side by side
FEW_DECADES = 1.5  # a logarithmic axis of fewer has ticks at 1, 2 and 5 of each
DASHES = ("solid", "solid", "dash", "dashdot", "dot", "longdash", "longdashdot")
MARKERS = ("circle", "square", "diamond", "triangle-up", "x", "cross", "star")
GRID = "#E3E3E3"
QUIET = "#6B6B6B"
INK = "#222222"
POSITIVE, NEGATIVE = "#08519C", "#D9690F"
DIVERGING = (
    (0.0, NEGATIVE),
    (0.25, "#F2B27A"),
    (0.5, "#FFFFFF"),
    (0.75, "#7FB0D9"),
    (1.0, POSITIVE),
)
SEQUENTIAL = (
    (0.0, "#F7FBFF"),
    (0.4, "#C3DAEE"),
    (0.6, "#8DBADD"),
    (0.8, "#3F86BD"),
    (1.0, "#08306B"),
)

AXIS = {
    "gridcolor": GRID,
    "linecolor": QUIET,
    "ticks": "outside",
    "ticklen": 4,
    "tickfont": {"size": 11},
    "title": {"font": {"size": 12}, "standoff": 6},
    "zeroline": False,
    "automargin": False,
}
COLOR_BAR = {
    "thickness": 14,
    "outlinewidth": 0,
    "tickfont": {"size": 11},
    "title": {"font": {"size": 12}},
}


def color_bar(title: str, **settings: Any) -> dict[str, Any]:
    """A colour bar with a title; `settings` are plotly's."""
    return {**COLOR_BAR, "title": {"text": title, "font": {"size": 12}}, **settings}


BUTTONS_LEFT_OUT = (
    "zoom", "pan", "select", "lasso", "zoomin", "zoomout", "autoscale", "resetscale",
)  # fmt: skip
"""Buttons that would cover a title. Dragging zooms, and a double click shows everything again."""

TEMPLATE = go.layout.Template(
    layout={
        "font": {"family": "Helvetica, Arial, sans-serif", "size": 13, "color": INK},
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "colorway": list(COLORS),
        "xaxis": AXIS,
        "yaxis": AXIS,
        "legend": {"bgcolor": "rgba(255,255,255,0.8)", "font": {"size": 12}},
        "annotationdefaults": {"font": {"color": INK}},
        "coloraxis": {"colorbar": COLOR_BAR},
        "modebar": {"remove": list(BUTTONS_LEFT_OUT)},
        "hoverlabel": {"bgcolor": "white", "font": {"color": INK}},
    }
)


class PanelLayout(NamedTuple):
    """The rows and columns of a figure's panels, which fill one row after the other."""

    rows: int
    columns: int

    def cell(self, index: int) -> dict[str, Any]:
        """Row and column of a panel, as plotly's arguments."""
        return {"row": index // self.columns + 1, "col": index % self.columns + 1}


def panel_figure(
    layout: PanelLayout,
    titles: Sequence[str],
    *,
    horizontal: float,
    vertical: float,
    shared_y: bool = True,
) -> go.Figure:
    """An empty figure of titled panels.

    Args:
        layout: Rows and columns.
        titles: One for each panel.
        horizontal: Space between columns, as a fraction of the width.
        vertical: Space between rows, as a fraction of the height.
        shared_y: Whether only the first column labels its y axis.
    """
    figure = make_subplots(
        rows=layout.rows,
        cols=layout.columns,
        subplot_titles=list(titles),
        shared_yaxes=shared_y,
        horizontal_spacing=horizontal if layout.columns > 1 else 0.0,
        vertical_spacing=vertical if layout.rows > 1 else 0.0,
    )
    return figure.update_annotations(font={"size": 13})


def panel_layout(n: int, most_columns: int = COLUMNS) -> PanelLayout:
    """The layout of `n` panels."""
    columns = min(n, most_columns)
    return PanelLayout(-(-n // columns), columns)


def style(index: int) -> Style:
    """The style of a series by its position among the series."""
    number = index % len(COLORS)
    return Style(COLORS[number], DASHES[number], MARKERS[number])


def points(look: Style, size: int) -> dict[str, Any]:
    """Markers of a style, as plotly's argument."""
    line = {"width": 1.5, "color": look.color}
    return {"symbol": look.marker, "size": size, "color": look.color, "line": line}


def circuit_style(name: str) -> Style:
    """The style of a circuit of a study: the same in every figure."""
    if name in tuple(Regime):
        return Regime(name).style
    if name in CONTROLS:
        return CONTROLS[name].style
    return GOLD_STYLE if name == GOLD else PLAIN


def circuit_label(name: str) -> str:
    """The label of a circuit of a study, the same in every figure.

    `DFA (zero-shot)` for a regime and `random W` for a control; `no source (all)` for a control's
    circuit that belongs to another regime than zero-shot, whose name is `uniform_s (all)`.
    """
    if name in tuple(Regime):
        return Regime(name).label
    control, space, regime = name.partition(" ")
    label = CONTROLS[control].label if control in CONTROLS else control
    return f"{label}{space}{regime}"


def log_ticks(values: Sequence[float]) -> dict[str, Any]:
    """Ticks of a logarithmic axis as plotly's arguments: powers of ten, or 1, 2 and 5 of each.

    Args:
        values: What the axis shows; values that are not above 0 are ignored.
    """
    known = [value for value in values if value > 0]
    if not known:
        return {}
    low, high = log10(min(known)), log10(max(known))
    decades = range(floor(low + 1e-9), ceil(high - 1e-9) + 1)
    steps = (1, 2, 5) if high - low < FEW_DECADES else (1,)
    ticks = [step * 10.0**power for power in decades for step in steps]
    return {"tickvals": ticks, "ticktext": [f"{tick:,.10g}" for tick in ticks]}


def broken(name: str) -> str:
    """A name with a line break at each underscore."""
    return name.replace("_", "<br>")


def quiet(text: str) -> str:
    """The text, small and grey."""
    return f"<span style='color:{QUIET};font-size:11px'>{text}</span>"


def span(values: Sequence[float]) -> str:
    """The range of some values, as a text."""
    low, high = min(values), max(values)
    return f"{low:.2f}" if f"{low:.2f}" == f"{high:.2f}" else f"{low:.2f} to {high:.2f}"


def name_once_in_legend(figure: go.Figure) -> None:
    """Keep one entry per legend group: that of its first trace that may have one."""
    shown: set[str] = set()
    traces: Any = figure.data
    for trace in traces:
        if trace.showlegend is False:
            continue
        trace.showlegend = trace.legendgroup not in shown
        shown.add(trace.legendgroup)


def finished(
    figure: go.Figure,
    *,
    alt: str,
    title: str,
    width: int,
    height: int,
    margin: dict[str, int] | None = None,
) -> go.Figure:
    """A figure with theme, title, size, and the sentence that screen readers read.

    Args:
        figure: The figure; changed and returned.
        alt: One sentence with the numbers that matter, kept as `figure.layout.meta["alt"]`.
        title: Title of the whole figure; may be empty.
        width: Pixels.
        height: Pixels.
        margin: Pixels by side (`l`, `r`, `t`, `b`), where they differ from the default.
    """
    figure.update_layout(
        template=TEMPLATE,
        title={
            "text": title,
            "x": 0.01,
            "xanchor": "left",
            "y": 1 - 16 / height,
            "yanchor": "top",
            "font": {"size": 15},
        },
        width=width,
        height=height,
        margin={"l": 64, "r": 24, "t": 84 if title else 48, "b": 56, **(margin or {})},
        meta={"alt": " ".join(alt.split())},
    )
    return figure
