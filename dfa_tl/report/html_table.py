"""`Grid`: a data frame as the cells of an HTML table, with what they are sorted by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from dfa_tl.report.phrases import arrow, signed

LIMITS = (
    ("low", "high", "interval over pairs"),
    ("tasks low", "tasks high", "interval over tasks"),
    ("average low", "average high", "average: interval over tasks"),
    ("recovery low", "recovery high", "recovery: interval over tasks"),
    ("above floor low", "above floor high", "above floor: interval over tasks"),
)
"""Columns that are shown as one: lower limit, upper limit, heading."""

SIGNED = ("difference", "low", "tasks low")
PROBABILITIES = ("p", "p (Holm)")
LONG = 40
"""Longer texts may be broken into lines."""


@dataclass(frozen=True)
class Cell:
    """A cell.

    Attributes:
        text: What it shows.
        sort: Number or text that its column is sorted by; empty where nothing is there.
        kind: `number`, `long` (a text that may be broken), or empty.
    """

    text: str
    sort: str
    kind: str = ""


@dataclass(frozen=True)
class Column:
    """A heading, and whether numbers stand below it."""

    name: str
    numeric: bool


@dataclass(frozen=True)
class Grid:
    """A table of a report.

    Attributes:
        id: Its anchor.
        caption: What it shows.
        columns: Headings.
        rows: Cells, as many as there are headings.
        note: How to read it.
    """

    id: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""


def grid(
    identifier: str,
    frame: pd.DataFrame,
    caption: str,
    *,
    note: str = "",
    leave_out: Iterable[str] = (),
) -> Grid:
    """A data frame as a grid.

    Columns of limits are joined into one; columns without any value, and those of `leave_out`,
    are left out.
    """
    dropped = {*leave_out, *(name for name in frame if frame[name].isna().all())}
    upper = {high: low for low, high, _ in LIMITS}
    cells: dict[str, list[Cell]] = {}
    for name in frame:
        values = frame[name].tolist()
        pair = next((one for one in LIMITS if one[0] == name and one[1] in frame), None)
        if name in dropped or upper.get(str(name)) in frame:
            continue
        if pair is None:
            cells[str(name)] = [_cell(str(name), value) for value in values]
        else:
            highs = frame[pair[1]].tolist()
            cells[pair[2]] = [
                _interval(low, high, name in SIGNED)
                for low, high in zip(values, highs, strict=True)
            ]
    columns = tuple(
        Column(arrow(name), all(cell.kind == "number" or not cell.sort for cell in column))
        for name, column in cells.items()
    )
    return Grid(identifier, arrow(caption), columns, tuple(zip(*cells.values(), strict=True)), note)


def facts(identifier: str, caption: str, values: Mapping[str, Any], *, note: str = "") -> Grid:
    """Names and values as a grid of two columns."""
    frame = pd.DataFrame({"name": list(values), "value": [_plain(one) for one in values.values()]})
    return grid(identifier, frame, caption, note=note)


def constant(frame: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """Those of the columns that say the same in every row, so that a note can say it once."""
    return [name for name in names if name in frame and frame[name].nunique(dropna=False) == 1]


def _cell(name: str, value: Any) -> Cell:
    if value is None or value is pd.NA or value != value:
        return Cell("–", "", "number")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        text = arrow(str(value))
        return Cell(text, str(value), "long" if len(text) > LONG else "")
    if isinstance(value, int):
        return Cell(str(value), str(value), "number")
    if name in SIGNED:
        text = signed(value)
    elif name in PROBABILITIES:
        text = "< 0.001" if value < 0.001 else f"{value:.3f}"
    else:
        text = _two_decimals(value)
    return Cell(text, repr(value), "number")


def _interval(low: float, high: float, has_sign: bool) -> Cell:
    if pd.isna(low) or pd.isna(high):
        return Cell("–", "", "number")
    shown = [signed(one) if has_sign else _two_decimals(one) for one in (low, high)]
    return Cell(f"[{shown[0]}, {shown[1]}]", repr(low), "number")


def _two_decimals(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def _plain(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_plain, value)) or "none"
    if isinstance(value, Mapping):
        return "; ".join(f"{name}: {_plain(one)}" for name, one in value.items()) or "none"
    return "default" if value is None else str(value)
