"""Tables as text: what is rounded, and what names from outside become."""

from __future__ import annotations

import io
import re

import pandas as pd
import pytest

from dfa_tl.analysis.render import Table

HOSTILE = r"C:\models\{x}~1^2_$5 & 50% #3 <b> a|b"
# Every way in which a text may mean something else to LaTeX, and how it is written instead.
WRITTEN = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}", "_": r"\_", "$": r"\$", "&": r"\&", "%": r"\%", "#": r"\#",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "[": "{[}", "*": "{*}",
    "a -> b": r"a $\to$ b", "models--a---b": "models-{}-{}a-{}-{}-b", r"\_": r"\textbackslash{}\_",
}  # fmt: skip


def latex_rows(table: Table) -> list[str]:
    return re.findall(r"^(.*) \\\\$", table.to_latex(), re.M)


@pytest.mark.parametrize(("text", "written"), WRITTEN.items())
def test_latex_prints_a_text_as_it_stands(text, written):
    table = Table(pd.DataFrame({text: [text], "x": [1.0]}), text)
    assert latex_rows(table) == [f"{written} & x", f"{written} & 1.00"]
    assert rf"\caption{{{written}}}" in table.to_latex()


def test_a_hostile_name_leaves_latex_nothing_to_read():
    row = latex_rows(Table(pd.DataFrame({"model": [HOSTILE], "CPR": [0.5]})))[1]
    cells = re.split(r"(?<!\\) & ", row)
    assert len(cells) == 2
    plain = re.sub(r"\\text[a-z]+\{\}|\\[&%$#_{}]", "", cells[0])
    assert not set(plain) & set(r"\{}~^_$&%#<>|")
    assert "models" in plain


def test_a_cell_stays_in_its_row():
    table = Table(pd.DataFrame({"model": ["one\n\ntwo"], "CPR": [0.5]}))
    assert table.to_markdown().splitlines()[-1] == "| one two | 0.50 |"
    assert latex_rows(table)[1] == "one two & 0.50"


def test_small_p_values_are_not_zero():
    values = [0.0, 0.0004, 0.000999, 0.001, 0.0014, 0.0312, 0.25, 1.0, None]
    shown = ["<0.001"] * 3 + ["0.0010", "0.0014", "0.031", "0.25", "1.0", "-"]
    frame = pd.DataFrame({"p": values, "p (Holm)": values, "low": values}, dtype=float)
    table = Table(frame)
    cells = [line.strip("| ").split(" | ") for line in table.to_markdown().splitlines()[2:]]
    assert [row[0] for row in cells] == [row[1] for row in cells] == shown
    assert [row[2] for row in cells][:3] == ["0.00"] * 3
    assert latex_rows(table)[1].startswith(r"\textless{}0.001 & \textless{}0.001 & 0.00")
    assert "&lt;0.001" in table._repr_html_()
    pd.testing.assert_frame_equal(pd.read_csv(io.StringIO(table.to_csv())), frame)


def test_intervals_signs_and_missing_values_look_the_same_in_every_format():
    frame = pd.DataFrame(
        {
            "task": ["ioi", "mcqa"],
            "difference": [0.104, -0.004],
            "low": [0.09, float("-inf")],
            "high": [0.12, float("inf")],
            "pairs needed": pd.array([4, None], dtype="Int64"),
        }
    )
    table = Table(frame)
    assert table.to_markdown().splitlines()[2:] == [
        "| ioi | +0.10 | [+0.09, +0.12] | 4 |", "| mcqa | 0.00 | [-inf, +inf] | - |",
    ]  # fmt: skip
    assert latex_rows(table)[1] == r"ioi & +0.10 & {[}+0.09, +0.12] & 4"
    html = table._repr_html_()
    for text in ("<th>interval</th>", "[+0.09, +0.12]", "[-inf, +inf]", ">-<"):
        assert text in html
    assert table.to_csv().splitlines()[0] == "task,difference,low,high,pairs needed"
    assert [column.is_numeric for column in table.columns()] == [False, True, True, True]
    assert table.columns()[3].cells[1].sort == ""


def test_the_limit_of_a_permutation_test_is_an_upper_bound():
    frame = pd.DataFrame({"p": [0.0005, 0.25], "p (Holm)": [0.001, 0.25]})
    table = Table(frame, upper_bounds={"p": [True, False], "p (Holm)": [True, False]})
    assert table.to_markdown().splitlines()[2:] == ["| <=0.0005 | <=0.001 |", "| 0.25 | 0.25 |"]
    assert latex_rows(table)[1] == r"$\leq$0.0005 & $\leq$0.001"
    assert "&lt;=0.0005" in table._repr_html_()
    assert "0.0005,0.001" in table.to_csv()
