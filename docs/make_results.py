"""Write the measured tables of a study, and what they say, into docs/results.

python examples/study_bundled.py --zero-shot --seeds 0 1 --out out/study
python docs/make_results.py out/study

Without a study, only the tables of benchmarks are written.
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
BENCHMARKS = {"learning_curve": "training_tasks", "refined_transfer": "pairs"}
"""Whose tables are written, and the column of the size that varies."""
SHOWN = (
    "levels", "overall", "leaderboard", "control_levels", "source_effect", "target_only_effect",
    "recovery", "structure",
)  # fmt: skip
"""The tables of the study that the page includes."""


def main() -> None:
    """Write every table of the study as Markdown, and the statements of its report."""
    parser = argparse.ArgumentParser(description="Tables of a study for the documentation.")
    parser.add_argument("study", type=Path, nargs="?", help="folder of the study")
    for name, column in BENCHMARKS.items():
        if not (ROOT / "benchmarks" / "results" / f"{name}.csv").exists():
            continue
        write_file(OUT / f"{name}.md", benchmark(name, column).encode())
    masks: Any = pd.read_csv(ROOT / "benchmarks" / "results" / "free_masks.csv")
    by_circuit = masks.pivot(index=["model", "task"], columns="circuit", values=["cpr", "cmd"])
    by_circuit.columns = [f"{measure.upper()} {name}" for measure, name in by_circuit.columns]
    write_file(OUT / "free_masks.md", Table(by_circuit.reset_index()).to_markdown().encode())
    rounding: Any = pd.read_csv(ROOT / "benchmarks" / "results" / "precision.csv")
    rounding = rounding.drop(columns=["precision", "pairs"])
    write_file(OUT / "precision.md", Table(rounding).to_markdown(decimals=3).encode())
    saved: Any = pd.read_csv(ROOT / "benchmarks" / "results" / "shared_prefix.csv")
    saved = saved[["model", "task", "positions", "evaluate", "train", "error"]]
    saved["error"] = saved["error"].map("{:.0e}".format)
    write_file(OUT / "shared_prefix.md", Table(saved).to_markdown(decimals=2).encode())
    study = parser.parse_args().study
    if study is None:
        return
    results = StudyResults.load(study)
    tables = analysis.all_tables(results) | {
        "target_only_effect": analysis.source_effect(results, "target_only")
    }
    for name, table in tables.items():
        if name in SHOWN:
            write_file(OUT / f"{name}.md", table.to_markdown().encode())
    frames = {name: table.frame for name, table in tables.items()}
    frames["effect:uniform_s"] = frames["source_effect"]
    frames["effect:target_only"] = frames["target_only_effect"]
    head = headline(results, frames)
    said = [
        f"**{one.label}{'' if one.label.endswith('?') else '.'}** {one.lead} {one.text}".strip()
        for one in head.statements
    ]
    write_file(OUT / "summary.md", ("\n\n".join(said) + "\n").encode())


def benchmark(name: str, column: str) -> str:
    """Mean CPR and CMD over families, by the size in a column: a table for each."""
    rows: Any = pd.read_csv(ROOT / "benchmarks" / "results" / f"{name}.csv")
    parts = []
    for (source, target), of_pair in rows.groupby(["source", "target"], sort=False):
        for measure in ("cpr", "cmd"):
            by_family = of_pair.groupby(["way", column, "family"])[measure].mean()
            # A mean over some of the families only would not compare with the others.
            means = by_family.unstack("family").dropna().mean(axis=1).unstack().sort_index(axis=1)
            means.columns = [f"n = {n}" for n in means.columns]
            title = f"{measure.upper()}, {source} -> {target}"
            parts.append(Table(means.reset_index(), title).to_markdown())
    return "\n".join(parts)


if __name__ == "__main__":
    main()
