"""Write the measured tables of a study, and what they say, into docs/results.

python examples/study_bundled.py --out out/study
python docs/make_results.py out/study

Without a study, only the table of `benchmarks/leave_family_out.py` is written.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pandas as pd

from dfa_tl import StudyResults, analysis
from dfa_tl.analysis.render import Table
from dfa_tl.io.atomic import write_file
from dfa_tl.report.findings import headline

ROOT = Path(__file__).parents[1]
OUT = ROOT / "docs" / "results"


def main() -> None:
    """Write every table of the study as Markdown, and the statements of its report."""
    parser = argparse.ArgumentParser(description="Tables of a study for the documentation.")
    parser.add_argument("study", type=Path, nargs="?", help="folder of the study")
    write_file(OUT / "leave_family_out.md", leave_family_out().encode())
    study = parser.parse_args().study
    if study is None:
        return
    results = StudyResults.load(study)
    tables = analysis.all_tables(results) | {
        "target_only_effect": analysis.source_effect(results, "target_only")
    }
    for name, table in tables.items():
        write_file(OUT / f"{name}.md", table.to_markdown().encode())
    frames = {name: table.frame for name, table in tables.items()}
    frames["effect:uniform_s"] = frames["source_effect"]
    frames["effect:target_only"] = frames["target_only_effect"]
    head = headline(results, frames)
    said = [f"**{one.label}.** {one.lead} {one.text}".strip() for one in head.statements]
    write_file(OUT / "summary.md", ("\n\n".join(said) + "\n").encode())


def leave_family_out() -> str:
    """Mean CPR and CMD over families of each way to predict a circuit, best first."""
    rows: Any = pd.read_csv(ROOT / "benchmarks" / "results" / "leave_family_out.csv")
    rows = rows[rows["settings"] == "default"]
    pair = rows["source"] + " -> " + rows["target"]
    by_family = rows.assign(pair=pair).groupby(["pair", "way", "family"])[["cpr", "cmd"]].mean()
    means = by_family.groupby(["pair", "way"]).mean().reset_index()
    means = means.sort_values(["pair", "cpr"], ascending=[True, False])
    means = means.rename(columns={"cpr": "CPR", "cmd": "CMD"})
    return Table(means).to_markdown()


if __name__ == "__main__":
    main()
