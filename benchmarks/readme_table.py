"""Write README's performance section from the JSON files of `benchmarks/limits.py`.

    python benchmarks/readme_table.py benchmarks/results/limits-*.json

It replaces what stands between the two markers.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from dfa_tl.io.atomic import write_file

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- performance: begin -->", "<!-- performance: end -->"


def section(records: list[dict]) -> str:
    """The section: a column pair (time, memory) for each measured shape."""
    shapes = [
        f"`{record['settings']['shape']}`, {record['settings']['dtype']}, "
        f"{record['settings']['device']}, median of {record['settings']['repeat']}"
        for record in records
    ]
    lines = [
        "| job | " + " | ".join(f"{shape}: time | memory" for shape in shapes) + " |",
        "|---|" + "---|---|" * len(shapes),
    ]
    by_job = [{row["job"]: row for row in record["rows"]} for record in records]
    for job in by_job[0]:
        cells = []
        for rows in by_job:
            row = rows[job]
            cells.append(f"{row['ratio']:.2f} x ({row['limit']}) | {row['memory_ratio']:.2f} x")
        lines.append(f"| `{job}` | " + " | ".join(cells) + " |")
    settings = records[0]["settings"]
    lines += [
        "",
        f"Batches of {settings['batch']} pairs of {settings['tokens']} tokens; PyTorch "
        f"{records[0]['torch']}.",
    ]
    return "\n".join(lines)


def main() -> None:
    """Read the records named on the command line and rewrite the section."""
    records = [json.loads(Path(name).read_text()) for name in sys.argv[1:]]
    text = README.read_text()
    pattern = re.compile(f"{BEGIN}.*{END}", re.S)
    if not records or not pattern.search(text):
        raise SystemExit(f"name at least one JSON file; {README.name} must hold {BEGIN}")
    write_file(README, pattern.sub(f"{BEGIN}\n{section(records)}\n{END}", text).encode())


if __name__ == "__main__":
    main()
