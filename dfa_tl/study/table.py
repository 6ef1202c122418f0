"""`Table`: numbers under headings, to Markdown, CSV and LaTeX."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from dfa_tl import display
from dfa_tl.study.store import replace_file

CSV_FORMAT = "%.6g"  # beyond it, results differ between machines
SHOWN_ROWS = 40  # in a notebook


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
        def text(value: object) -> str:
            if value is None or value is pd.NA or value != value:
                return "-"
            return f"{value:.{decimals}f}" if isinstance(value, float) else str(value)

        return [[text(value) for value in row] for row in self.frame.itertuples(index=False)]

    def to_markdown(self, decimals: int = 2) -> str:
        """A Markdown table under its title."""
        heading = [str(column) for column in self.frame.columns]
        rows = [heading, ["---"] * len(heading), *self._texts(decimals)]
        lines = ["| " + " | ".join(cell.replace("|", "/") for cell in row) + " |" for row in rows]
        return "\n".join([*([f"**{self.title}**", ""] if self.title else []), *lines]) + "\n"

    def to_csv(self) -> str:
        """CSV, six significant digits."""
        return self.frame.to_csv(index=False, float_format=CSV_FORMAT, lineterminator="\n")

    def to_latex(self, decimals: int = 2) -> str:
        r"""A LaTeX `tabular` with `booktabs` rules, in a `table` with a caption."""
        replaced = {"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "->": r"$\to$"}

        def cells(row: Sequence[str]) -> str:
            texts = list(row)
            for plain, escaped in replaced.items():
                texts = [text.replace(plain, escaped) for text in texts]
            return " & ".join(texts) + r" \\"

        numeric = [pd.api.types.is_numeric_dtype(kind) for kind in self.frame.dtypes]
        columns = "".join("r" if is_number else "l" for is_number in numeric)
        heading = cells([str(column) for column in self.frame.columns])
        body = [cells(row) for row in self._texts(decimals)]
        return "\n".join(
            [
                r"\begin{table}",
                r"\centering",
                rf"\caption{{{cells([self.title])[:-3]}}}",
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
            replace_file(path, text.encode())
        return paths


def write_frame(frame: pd.DataFrame, path: Path) -> Path:
    """Write a tidy table as CSV."""
    text = frame.to_csv(index=False, float_format=CSV_FORMAT, lineterminator="\n")
    replace_file(path, text.encode())
    return path
