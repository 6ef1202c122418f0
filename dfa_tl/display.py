"""Small pieces of HTML for notebooks: escaped, and readable on light and on dark pages.

Text and lines take the page's own colour, so no background is assumed. In a heat map positive
values are blue, negative ones orange, more opaque the larger they are: zero is the page itself. The
shade goes with the square root, so that one large value does not leave the rest blank.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping, Sequence, Set
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

POSITIVE, NEGATIVE = "#3b8fd4", "#d9772b"
OPACITIES = (0.2, 0.4, 0.6, 0.8, 1.0)
"""Steps of a heat map; a value that rounds to less than the first has no shade."""
QUIET = "0.07"
"""Opacity of a cell without a shade: it shows where cells are."""


def shortened(text: str, limit: int = 80) -> str:
    """The text on one line, cut where it is too long."""
    words = " ".join(text.split())
    return words if len(words) <= limit else f"{words[: limit - 1]}…"


def first_line(error: BaseException) -> str:
    """An exception's kind and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


class _Repr(reprlib.Repr):
    """Short at every level: what a file holds may refer to itself over and over."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 2
        self.maxstring = self.maxother = self.maxlong = 60

    def repr_int(self, x: int, level: int) -> str:
        # Python does not write out numbers of more than some 4,000 digits.
        return f"an integer of {x.bit_length()} bits" if x.bit_length() > 256 else repr(x)

    def repr_instance(self, x: Any, level: int) -> str:
        if isinstance(x, (Mapping, Sequence, Set)):  # of another type than the built-in ones
            return f"a {type(x).__name__} of {len(x)}"
        return super().repr_instance(x, level)


def shown(value: object, limit: int = 60) -> str:
    """A value as an error message shows it: its `repr`, never longer than `limit`.

    Lists within lists that refer to one another have a `repr` that is exponential in their number,
    so it is not made in full and then cut.
    """
    return shortened(_Repr().repr(value), limit)


def provenance_line(provenance: Mapping[str, Any], *keys: str) -> str:
    """What the provenance says under `keys`, on one line."""
    found = (provenance.get(key) for key in keys)
    return shortened(" ".join(str(value) for value in found if value))


def block(title: str, facts: Sequence[str], *parts: str) -> str:
    """An object's HTML: a title, a quiet line of facts, then parts.

    Args:
        title: Plain text.
        facts: Plain texts, shown with dots between them.
        parts: HTML.
    """
    quiet = f'<div style="opacity:.7">{escape(" · ".join(facts))}</div>' if facts else ""
    return (
        '<div style="font-size:13px;line-height:1.5;max-width:640px">'
        f"<div><b>{escape(title)}</b></div>{quiet}{''.join(parts)}</div>"
    )


def line(text: str) -> str:
    """A line of plain text."""
    return f"<div>{escape(text)}</div>"


def table(frame: pd.DataFrame) -> str:
    """A table without its index; a missing value is `-`."""
    import pandas as pd

    with pd.option_context("display.max_colwidth", None):
        html = frame.to_html(index=False, border=0, na_rep="-")
    return f'<div style="overflow-x:auto">{html}</div>'


def heat_map(rows: Sequence[Sequence[float | None]], label: str) -> str:
    """An SVG of finite values, the first row at the bottom; None leaves a gap.

    All cells of one shade are one path, so the map of a thousand nodes is some kilobytes.

    Args:
        rows: Values, of any scale: colours are relative to the largest absolute one.
        label: What it shows, as plain text, for readers that see no image.
    """
    height, width = len(rows), max(len(row) for row in rows)
    largest = max((abs(value) for row in rows for value in row if value is not None), default=0.0)
    shades: dict[tuple[str, float], list[str]] = {}
    for y, row in enumerate(reversed(rows)):
        for x, value in enumerate(row):
            step = round(len(OPACITIES) * math.sqrt(abs(value) / largest)) if value else 0
            if value and step:
                shade = (POSITIVE if value > 0 else NEGATIVE, OPACITIES[step - 1])
                shades.setdefault(shade, []).append(f"M{x} {y}h1v1h-1z")
    empty = "".join(
        f"M{start} {y}h{stop - start}v1h{start - stop}z"
        for y, row in enumerate(reversed(rows))
        for start, stop in _runs(row)
    )
    paths = f'<path fill="currentColor" fill-opacity="{QUIET}" d="{empty}"/>' + "".join(
        f'<path fill="{color}" fill-opacity="{opacity}" d="{"".join(cells)}"/>'
        for (color, opacity), cells in shades.items()
    )
    cell = min(16.0, max(3.0, 360 / width))
    return _svg(f"0 0 {width} {height}", cell * width, cell * height, paths, label, "crispEdges")


def _runs(row: Sequence[float | None]) -> list[tuple[int, int]]:
    """Start and stop of each stretch of cells without a gap."""
    gaps = [-1, *(place for place, value in enumerate(row) if value is None), len(row)]
    return [(one + 1, other) for one, other in pairwise(gaps) if other > one + 1]


def sparkline(
    xs: Sequence[float], ys: Sequence[float], label: str, guides: Sequence[float] = ()
) -> str:
    """An SVG of one curve over rising `xs`, with horizontal lines at `guides`.

    Of more points than it has pixels every so many are drawn, and the last.
    """
    width, height, edge = 240.0, 60.0, 4.0
    every = -(-len(xs) // int(width))
    xs, ys = ([*values[:-1:every], values[-1]] for values in (xs, ys))
    low, high = min([*ys, *guides]), max([*ys, *guides])

    def place(value: float, start: float, stop: float, size: float) -> float:
        share = (value - start) / (stop - start) if stop > start else 0.5
        return edge + share * (size - 2 * edge)

    def up(y: float) -> float:
        return height - place(y, low, high, height)

    points = " ".join(
        f"{place(x, xs[0], xs[-1], width):.1f},{up(y):.1f}" for x, y in zip(xs, ys, strict=True)
    )
    lines = "".join(
        f'<path d="M0 {up(y):.1f}H{width:g}" stroke="currentColor" stroke-opacity=".35" '
        'stroke-dasharray="2 3"/>'
        for y in guides
    )
    curve = f'<polyline points="{points}" fill="none" stroke="{POSITIVE}" stroke-width="2"/>'
    return _svg(f"0 0 {width:g} {height:g}", width, height, lines + curve, label, "auto")


def log_where_positive(ks: Sequence[float]) -> list[float]:
    """Proportions as they are drawn: their logarithms where all are above 0."""
    return [math.log(k) for k in ks] if ks[0] > 0 else list(ks)


def _svg(box: str, width: float, height: float, content: str, label: str, rendering: str) -> str:
    return (
        f'<svg viewBox="{box}" width="{width:.0f}" height="{height:.0f}" role="img" '
        f'aria-label="{escape(label)}" shape-rendering="{rendering}" '
        'style="display:block;margin:4px 0;outline:1px solid rgba(128,128,128,.4)">'
        f"{content}</svg>"
    )
