"""Which way to predict a circuit would have been chosen without looking at the test family?

    python examples/study_bundled.py --zero-shot --seeds 0 1 --out out/study
    python benchmarks/nested_choice.py out/study

For each family f in turn, the way with the lowest mean CMD over the other families' test tasks is
chosen, and measured on the test tasks of f:

    chosen(f) = argmin_way  mean over families g != f  of CMD(way, g)

Ways are those that need no scores of the test task on the target: DFA, and the controls that are
fitted to training tasks. No measurement on f has a part in the choice for f. But the circuits of
another family g were predicted from the tasks of all families except g, so those of f are among
them; to choose among circuits that were made without f as well would take a study for each f.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pandas as pd

from dfa_tl import StudyResults
from dfa_tl.analysis.render import Table
from dfa_tl.analysis.select import main_rows
from dfa_tl.controls.control import Need
from dfa_tl.controls.regimes import Regime
from dfa_tl.controls.registry import CONTROLS
from dfa_tl.io.atomic import write_file
from dfa_tl.study import PairSpec
from dfa_tl.tasks.registry import family_of

OUT = Path(__file__).parent / "results" / "nested_choice.csv"
FITTED = {Need.TRAINING_GOLD, Need.TRAINING_MASKS}


def ways() -> dict[str, str]:
    """Label of each way, by its name in tables."""
    fitted = {
        name: control.label for name, control in CONTROLS.items() if FITTED & {*control.needs}
    }
    return {str(Regime.ZERO_SHOT): "DFA", **fitted}


def by_family(results: StudyResults, pair: str) -> pd.DataFrame:
    """CPR and CMD of each way on each family: means over tasks, seeds and draws."""
    rows = main_rows(results)
    rows = rows[(rows["pair"] == pair) & rows["regime"].isin([*ways(), "gold", "target_only"])]
    rows = rows.assign(family=rows["test_task"].map(family_of))
    by_task = rows.groupby(["family", "test_task", "regime"])[["cpr", "cmd"]].mean()
    return by_task.groupby(["family", "regime"]).mean()


def choices(results: StudyResults, pair: PairSpec) -> list[dict[str, Any]]:
    """A row for each family: what is chosen on the others and how well it does; and the mean."""
    measured: Any = by_family(results, pair.name)
    cmd, cpr = measured["cmd"].unstack("regime"), measured["cpr"].unstack("regime")
    candidates = [name for name in ways() if name in cmd and cmd[name].notna().all()]
    found = []
    for family in cmd.index:
        others = cmd.index != family
        best = cmd.loc[others, candidates].mean().idxmin()
        found.append({"pair": pair.label, "family": family, "chosen": ways()[best]})
        for label, name in (
            ("chosen", best),
            ("DFA", str(Regime.ZERO_SHOT)),
            ("target only", "target_only"),
            ("gold", "gold"),
        ):
            if name in cmd:
                found[-1] |= {f"CPR {label}": cpr[name][family], f"CMD {label}": cmd[name][family]}
    means: Any = pd.DataFrame(found).mean(numeric_only=True)
    return [*found, {"pair": pair.label, "family": "mean", "chosen": "", **means}]


def main() -> None:
    """Choose for every pair of models of every study given."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("studies", type=Path, nargs="+", help="folders of zero-shot studies")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for folder in arguments.studies:
        results = StudyResults.load(folder)
        for pair in results.config.pairs:
            rows += choices(results, pair)
    table = pd.DataFrame(rows)
    text = table.to_csv(index=False, float_format="%.4f", lineterminator="\n")
    write_file(arguments.out, text.encode())
    print(Table(table).to_markdown())


if __name__ == "__main__":
    main()
