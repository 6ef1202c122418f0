"""What is left of the source's effect when settings are chosen without the test task.

    python benchmarks/nested_choice.py

The default settings of W were chosen by mean zero-shot CPR over the six generated tasks, so their
effect on these tasks is too high; and a uniform s is usually trained with the settings that were
chosen for W. Here, for each task, W's settings and uniform s's are both chosen by their mean on the
other five. Read from results/alignment_settings.csv (validation pairs); takes no time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from dfa_tl.evaluation.intervals import seed_spread
from dfa_tl.io.atomic import write_file

RESULTS = Path(__file__).parent / "results"


def best(table: pd.DataFrame) -> str:
    """The row with the highest mean."""
    return str(table.mean(axis=1).idxmax())


def chosen_without(table: pd.DataFrame) -> pd.Series:
    """Each task's CPR under the settings that are best on the other tasks."""
    values = [table[task].loc[best(table.drop(columns=task))] for task in table.columns]
    return pd.Series(values, index=table.columns)


def main() -> None:
    """Write one row per comparison."""
    table: Any = pd.read_csv(RESULTS / "alignment_settings.csv").set_index("setting")
    table = table.drop(columns=["mean", "sd", "over uniform s", "low", "high"])
    ours = table[table.index.str.startswith("DFA, ")]
    uniform = table[table.index.str.startswith("uniform s, ")]
    differences = {
        "default, and uniform s with its settings": (
            ours.loc["DFA, default"] - uniform.loc["uniform s, default"]
        ),
        "default, and the best of all uniform s": (
            ours.loc["DFA, default"] - uniform.loc[best(uniform)]
        ),
        "both chosen on the other tasks": chosen_without(ours) - chosen_without(uniform),
    }
    rows = []
    for name, difference in differences.items():
        spread = seed_spread(difference.to_numpy())
        assert spread.interval is not None
        low, high = spread.interval.low, spread.interval.high
        rows.append({"compared": name, "difference": spread.mean, "low": low, "high": high})
    written = pd.DataFrame(rows)
    content = written.to_csv(index=False, float_format="%.3f", lineterminator="\n")
    write_file(RESULTS / "nested_choice.csv", content.encode())
    print(written.to_string(index=False, float_format="{:.3f}".format))


if __name__ == "__main__":
    main()
