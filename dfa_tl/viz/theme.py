"""One quiet theme for every figure: a plotly template object, never plotly's global default.

Colours are Okabe and Ito's, told apart by colour-blind readers and in print; every series also has
its own dash and marker.
"""

from __future__ import annotations

import plotly.graph_objects as go

COLORS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
DASHES = ("solid", "solid", "dash", "dashdot", "dot", "longdash", "longdashdot")
MARKERS = ("circle", "square", "diamond", "triangle-up", "x", "cross", "star")
GRID = "#E3E3E3"
QUIET = "#7A7A7A"

TEMPLATE = go.layout.Template(
    layout={
        "font": {"family": "Helvetica, Arial, sans-serif", "size": 13, "color": "#222222"},
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "colorway": list(COLORS),
        "xaxis": {"gridcolor": GRID, "linecolor": QUIET, "ticks": "outside", "zeroline": False},
        "yaxis": {"gridcolor": GRID, "linecolor": QUIET, "ticks": "outside", "zeroline": False},
        "legend": {"bgcolor": "rgba(255,255,255,0.8)"},
        "margin": {"l": 60, "r": 20, "t": 60, "b": 50},
    }
)
