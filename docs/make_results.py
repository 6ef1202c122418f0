"""Write the measured tables of a study, and what they say, into docs/results.

python examples/study_bundled.py --out out/study
python docs/make_results.py out/study
"""

from __future__ import annotations

import argparse
from pathlib import Path

from dfa_tl import StudyResults, analysis
from dfa_tl.io.atomic import write_file
from dfa_tl.report.findings import headline

OUT = Path(__file__).parent / "results"


def main() -> None:
    """Write every table of the study as Markdown, and the statements of its report."""
    parser = argparse.ArgumentParser(description="Tables of a study for the documentation.")
    parser.add_argument("study", type=Path, help="folder of the study")
    results = StudyResults.load(parser.parse_args().study)
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


if __name__ == "__main__":
    main()
