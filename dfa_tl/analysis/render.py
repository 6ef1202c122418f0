"""`Table`: numbers under headings, to Markdown, CSV and LaTeX."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from dfa_tl import display
from dfa_tl.io.atomic import write_file

CSV_FORMAT = "%.6g"  # beyond it, results differ between machines
SHOWN_ROWS = 40  # in a notebook
PROBABILITIES = ("p", "p (Holm)")  # columns whose small values matter
LATEX = {
    "->": r"$\to$",
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "--": "-{}-{}",  # no dash
    "[": "{[}",  # at the start of a row it would be an option of the line break, and so would *
    "*": "{*}",
    **{character: "\\" + character for character in "&%$#_{}"},
}
"""What stands for texts that mean something else to LaTeX, or are other glyphs there."""


@dataclass(frozen=True, eq=False)
class Table:
    """A table.

    Attributes:
        frame: One column per heading, numbers unrounded; missing where there is no value.
        title: What it shows.
    """

    frame: pd.DataFrame
    title: str = ""

    def _texts(self, decimals: int) -> list[list[str]]:
        def text(column: str, value: object) -> str:
            if value is None or value is pd.NA or value != value:
                return "-"
            if not isinstance(value, float):
                return " ".join(str(value).split())  # a row stays in its line
            return probability(value) if column in PROBABILITIES else f"{value:.{decimals}f}"

        names = [str(column) for column in self.frame.columns]
        return [
            [text(name, value) for name, value in zip(names, row, strict=True)]
            for row in self.frame.itertuples(index=False)
        ]

    def to_markdown(self, decimals: int = 2) -> str:
        """A Markdown table under its title; p-values as `probability` writes them."""
        heading = [str(column) for column in self.frame.columns]
        rows = [heading, ["---"] * len(heading), *self._texts(decimals)]
        lines = ["| " + " | ".join(cell.replace("|", "/") for cell in row) + " |" for row in rows]
        return "\n".join([*([f"**{self.title}**", ""] if self.title else []), *lines]) + "\n"

    def to_csv(self) -> str:
        """CSV, six significant digits."""
        return self.frame.to_csv(index=False, float_format=CSV_FORMAT, lineterminator="\n")

    def to_latex(self, decimals: int = 2) -> str:
        """A LaTeX `tabular` with `booktabs` rules, in a `table` with a caption; texts escaped."""

        def cells(row: Sequence[str]) -> str:
            return " & ".join(map(escaped, row)) + r" \\"

        numeric = [pd.api.types.is_numeric_dtype(kind) for kind in self.frame.dtypes]
        columns = "".join("r" if is_number else "l" for is_number in numeric)
        heading = cells([str(column) for column in self.frame.columns])
        body = [cells(row) for row in self._texts(decimals)]
        return "\n".join(
            [
                r"\begin{table}",
                r"\centering",
                rf"\caption{{{escaped(self.title)}}}",
                rf"\begin{{tabular}}{{{columns}}}",
                r"\toprule",
                heading,
                r"\midrule",
                *body,
                r"\bottomrule",
                r"\end{tabular}",
                r"\end{table}",
                "",
            ]
        )

    def _repr_html_(self) -> str:
        heading = [str(column) for column in self.frame.columns]
        rows = self._texts(2)
        more = [f"{len(rows) - SHOWN_ROWS} more rows"] if len(rows) > SHOWN_ROWS else []
        return display.block(self.title, more, display.table(heading, rows[:SHOWN_ROWS]))

    def write(self, folder: Path, name: str) -> list[Path]:
        """Write `name`.csv, .md and .tex."""
        texts = {"csv": self.to_csv(), "md": self.to_markdown(), "tex": self.to_latex()}
        paths = [folder / f"{name}.{suffix}" for suffix in texts]
        for path, text in zip(paths, texts.values(), strict=True):
            write_file(path, text.encode())
        return paths


def probability(value: float) -> str:
    """A p-value with two significant digits, or that it is below 0.001."""
    return "<0.001" if value < 0.001 else f"{value:#.2g}"


def escaped(text: str) -> str:
    """Text that LaTeX prints as it stands, but for `->`, which becomes an arrow."""
    special = "|".join(map(re.escape, LATEX))
    return re.sub(special, lambda found: LATEX[found[0]], text)


def write_frame(frame: pd.DataFrame, path: Path) -> Path:
    """Write a tidy table as CSV."""
    text = frame.to_csv(index=False, float_format=CSV_FORMAT, lineterminator="\n")
    write_file(path, text.encode())
    return path
