"""Values in error messages, and small pieces of HTML for notebooks.

The HTML is escaped and readable on light and on dark pages: text and lines take the page's own
colour. In a heat map positive values are blue, negative ones orange, and larger ones more opaque;
zero has no colour. Opacity grows with the square root, so that one large value does not hide the
others.
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
"""Steps of a heat map; a value that rounds to less than the first one has no colour."""
QUIET = "0.07"
"""Opacity of a cell without a colour, so that every cell can be seen."""


def shortened(text: str, limit: int = 80) -> str:
    """The text on one line, cut if it is too long."""
    words = " ".join(text.split())
    return words if len(words) <= limit else f"{words[: limit - 1]}…"


def first_line(error: BaseException) -> str:
    """An exception's kind and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


class _Repr(reprlib.Repr):
    """Short at every level, because the content of a file may refer to itself."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 2
        self.maxstring = self.maxother = self.maxlong = 60

    def repr_int(self, x: int, level: int) -> str:
        # Python refuses to print numbers of more than about 4,000 digits.
        return f"an integer of {x.bit_length()} bits" if x.bit_length() > 256 else repr(x)

    def repr_instance(self, x: Any, level: int) -> str:
        if isinstance(x, (Mapping, Sequence, Set)):  # but not one of the built-in types
            return f"a {type(x).__name__} of {len(x)}"
        return super().repr_instance(x, level)


def shown(value: object, limit: int = 60) -> str:
    """A value as an error message shows it: its `repr`, never longer than `limit`.

    The whole `repr` is never made: that of lists which contain one another several times grows
    exponentially.
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

    All cells of one colour are one path, so the map of a thousand nodes takes a few kilobytes.

    Args:
        rows: Values of any scale: colours are relative to the largest absolute value.
        label: A description in plain text, for readers who cannot see the image.
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
    """Start and stop of each run of cells without a gap."""
    gaps = [-1, *(column for column, value in enumerate(row) if value is None), len(row)]
    return [(one + 1, other) for one, other in pairwise(gaps) if other > one + 1]


def sparkline(
    xs: Sequence[float], ys: Sequence[float], label: str, guides: Sequence[float] = ()
) -> str:
    """An SVG of one curve over rising `xs`, with horizontal lines at `guides`.

    If there are more points than pixels, it draws every n-th point and the last.
    """
    width, height, edge = 240.0, 60.0, 4.0
    every = -(-len(xs) // int(width))
    xs, ys = ([*values[:-1:every], values[-1]] for values in (xs, ys))
    low, high = min([*ys, *guides]), max([*ys, *guides])

    def scaled(value: float, start: float, stop: float, size: float) -> float:
        share = (value - start) / (stop - start) if stop > start else 0.5
        return edge + share * (size - 2 * edge)

    def pixel_y(y: float) -> float:
        return height - scaled(y, low, high, height)

    points = " ".join(
        f"{scaled(x, xs[0], xs[-1], width):.1f},{pixel_y(y):.1f}"
        for x, y in zip(xs, ys, strict=True)
    )
    lines = "".join(
        f'<path d="M0 {pixel_y(y):.1f}H{width:g}" stroke="currentColor" stroke-opacity=".35" '
        'stroke-dasharray="2 3"/>'
        for y in guides
    )
    curve = f'<polyline points="{points}" fill="none" stroke="{POSITIVE}" stroke-width="2"/>'
    return _svg(f"0 0 {width:g} {height:g}", width, height, lines + curve, label, "auto")


def log_where_positive(ks: Sequence[float]) -> list[float]:
    """Proportions as figures draw them: their logarithms if all are above 0."""
    return [math.log(k) for k in ks] if ks[0] > 0 else list(ks)


def _svg(box: str, width: float, height: float, content: str, label: str, rendering: str) -> str:
    return (
        f'<svg viewBox="{box}" width="{width:.0f}" height="{height:.0f}" role="img" '
        f'aria-label="{escape(label)}" shape-rendering="{rendering}" '
        'style="display:block;margin:4px 0;outline:1px solid rgba(128,128,128,.4)">'
        f"{content}</svg>"
    )
