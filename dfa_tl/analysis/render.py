"""`Table`: a data frame under a title, as Markdown, CSV, LaTeX and HTML.

Every format but CSV shows the same text: lower and upper limits are one column of intervals,
differences have a sign, p-values two significant digits, and a missing value is `-`. CSV keeps the
numbers as they are, six significant digits each.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from dfa_tl import display
from dfa_tl.io.atomic import write_file

CSV_FORMAT = "%.6g"  # further digits differ between machines
NOTEBOOK_ROWS = 40
MISSING = "-"
P_VALUES = ("p", "p (Holm)")
SIGNED = ("difference", "low", "CMD difference", "CMD low")
"""Columns of differences, and of their limits where a table has a difference."""
INTERVALS = {
    ("low", "high"): "interval",
    ("CMD low", "CMD high"): "CMD interval",
    ("average low", "average high"): "average: interval over tasks",
    ("recovery low", "recovery high"): "recovery: interval over tasks",
    ("above floor low", "above floor high"): "above floor: interval over tasks",
}
"""Columns that are shown as one: lower and upper limit, and its heading."""
LATEX = {
    "->": r"$\to$",
    "<=": r"$\leq$",
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "--": "-{}-{}",  # no dash
    "[": "{[}",  # at the start of a row LaTeX reads it as an option of the line break
    "*": "{*}",  # likewise
    **{character: "\\" + character for character in "&%$#_{}"},
}
"""How to write a text that LaTeX would read as a command, or print as another character."""


class Cell(NamedTuple):
    """A cell of a table.

    Attributes:
        text: What it shows.
        sort: The number or text to sort by; empty where the value is missing.
        is_number: Whether it is a number, an interval, or missing.
    """

    text: str
    sort: str
    is_number: bool


class Column(NamedTuple):
    """A column as it is shown."""

    heading: str
    cells: tuple[Cell, ...]

    @property
    def is_numeric(self) -> bool:
        """Whether all cells are numbers, intervals or missing."""
        return all(cell.is_number for cell in self.cells)


@dataclass(frozen=True, eq=False)
class Table:
    """A data frame under a title.

    Attributes:
        frame: One column per heading, numbers unrounded.
        title: What it shows.
        upper_bounds: For each column of p-values, whether each row's value is only an upper bound:
            no permutation that was tried was as extreme. These are shown with `<=`.
    """

    frame: pd.DataFrame
    title: str = ""
    upper_bounds: Mapping[str, Sequence[bool]] = field(default_factory=dict)

    def columns(self, decimals: int = 2) -> list[Column]:
        """The columns as they are shown, with this many decimals."""
        frame = self.frame
        upper_of = {low: high for low, high in INTERVALS if low in frame and high in frame}
        signed = SIGNED if "difference" in frame else ()
        shown = []
        for name in frame:
            values = frame[name].tolist()
            if name in upper_of.values():
                continue
            if name in upper_of:
                heading = INTERVALS[name, upper_of[name]]
                limits = zip(values, frame[upper_of[name]].tolist(), strict=True)
                cells = (_interval(*each, decimals, signed=name in signed) for each in limits)
            elif name in P_VALUES:
                heading, bounds = name, self.upper_bounds.get(name, [False] * len(values))
                cells = (_p_value(*each) for each in zip(values, bounds, strict=True))
            else:
                heading = str(name)
                cells = (_cell(value, decimals, signed=name in signed) for value in values)
            shown.append(Column(heading, tuple(cells)))
        return shown

    def texts(self, decimals: int = 2) -> pd.DataFrame:
        """The text of every cell, each on one line."""
        columns = self.columns(decimals)
        rows = zip(*(column.cells for column in columns), strict=True)
        return pd.DataFrame(
            [[cell.text for cell in row] for row in rows],
            columns=[column.heading for column in columns],
        )

    def to_markdown(self, decimals: int = 2) -> str:
        """A Markdown table under its title."""
        texts = self.texts(decimals)
        rows = [list(texts), ["---"] * len(texts.columns), *texts.to_numpy().tolist()]
        lines = ["| " + " | ".join(cell.replace("|", "/") for cell in row) + " |" for row in rows]
        return "\n".join([*([f"**{self.title}**", ""] if self.title else []), *lines]) + "\n"

    def to_csv(self) -> str:
        """CSV, six significant digits."""
        return _csv(self.frame)

    def to_latex(self, decimals: int = 2) -> str:
        """A LaTeX `tabular` with `booktabs` rules, in a `table` with a caption; texts escaped."""
        texts = self.texts(decimals).map(escaped)
        texts = texts.set_axis([escaped(name) for name in texts], axis=1)
        alignment = "".join("r" if column.is_numeric else "l" for column in self.columns())
        return texts.style.hide(axis="index").to_latex(
            column_format=alignment,
            position_float="centering",
            hrules=True,
            caption=escaped(self.title),
        )

    def _repr_html_(self) -> str:
        texts = self.texts()
        more = [f"{len(texts) - NOTEBOOK_ROWS} more rows"] if len(texts) > NOTEBOOK_ROWS else []
        return display.block(self.title, more, display.table(texts.head(NOTEBOOK_ROWS)))

    def write(self, folder: Path, name: str) -> list[Path]:
        """Write `name`.csv, .md and .tex."""
        texts = {"csv": self.to_csv(), "md": self.to_markdown(), "tex": self.to_latex()}
        return [
            write_file(folder / f"{name}.{suffix}", text.encode()) for suffix, text in texts.items()
        ]


def _cell(value: Any, decimals: int, *, signed: bool) -> Cell:
    if pd.isna(value):
        return Cell(MISSING, "", True)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return Cell(" ".join(str(value).split()), str(value), False)
    if isinstance(value, int):
        return Cell(str(value), str(value), True)
    return Cell(number(value, decimals, signed=signed), repr(value), True)


def _interval(low: float | None, high: float | None, decimals: int, *, signed: bool) -> Cell:
    if low is None or high is None or pd.isna(low) or pd.isna(high):
        return Cell(MISSING, "", True)
    limits = (number(limit, decimals, signed=signed) for limit in (low, high))
    return Cell(f"[{', '.join(limits)}]", repr(low), True)


def _p_value(value: float | None, is_upper_bound: bool) -> Cell:
    if value is None or pd.isna(value):
        return Cell(MISSING, "", True)
    if is_upper_bound:
        return Cell(f"<={value:.2g}", repr(value), True)
    return Cell("<0.001" if value < 0.001 else f"{value:#.2g}", repr(value), True)


def number(value: float, decimals: int = 2, *, signed: bool = False) -> str:
    """A rounded number; with `signed`, positive ones have a plus, and what rounds to zero has none.

    >>> number(0.104, signed=True), number(-0.001, signed=True)
    ('+0.10', '0.00')
    """
    text = f"{value:.{decimals}f}"
    if not signed:
        return text
    return text.lstrip("-") if float(text) == 0 else f"{value:+.{decimals}f}"


def escaped(text: str) -> str:
    """A text that LaTeX prints unchanged, except that `->` and `<=` become symbols."""
    special = "|".join(map(re.escape, LATEX))
    return re.sub(special, lambda found: LATEX[found[0]], text)


def write_frame(frame: pd.DataFrame, path: Path) -> Path:
    """Write a tidy table as CSV."""
    return write_file(path, _csv(frame).encode())


def _csv(frame: pd.DataFrame) -> str:
    return frame.to_csv(index=False, float_format=CSV_FORMAT, lineterminator="\n")
