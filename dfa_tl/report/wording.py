"""Numbers and lists as a report writes them, in sentences and in tables alike."""

from __future__ import annotations

from collections.abc import Iterable

from dfa_tl.analysis.render import MISSING, Cell, number
from dfa_tl.evaluation.intervals import Interval


def signed(value: float) -> str:
    """Two decimals and a sign; zero has none."""
    return number(value, signed=True).replace("-", "−")


def with_limits(interval: Interval, *, sign: bool = False) -> str:
    """`0.71 [0.60, 0.80]`, or `+0.21 [−0.03, +0.45]` for a difference."""
    write = signed if sign else number
    estimate, low, high = map(write, (interval.estimate, interval.low, interval.high))
    return f"{estimate} [{low}, {high}]".replace("-", "−")


def typeset(cell: Cell) -> str:
    """A cell's text with arrows and minus signs."""
    if cell.is_number and cell.text != MISSING:
        return cell.text.replace("-", "−")
    return arrow(cell.text)


def listed(names: Iterable[str]) -> str:
    """`a, b and c`."""
    *first, last = list(names)
    return f"{', '.join(first)} and {last}" if first else last


def capitalized(text: str) -> str:
    """The text with a capital."""
    return f"{text[:1].upper()}{text[1:]}"


def arrow(text: str) -> str:
    """The text with `→` instead of `->`."""
    return text.replace("->", "→")
