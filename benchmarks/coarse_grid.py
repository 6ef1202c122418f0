"""How far is CPR on the coarse grid of circuit sizes from CPR on the fine one?

    python benchmarks/coarse_grid.py --model DIR/smollm2-135m

Circuits are gold and a random ranking, on the same test pairs. The coarse grid is every other point
of the linear one (0, .05, .., 1), so a single curve gives both areas:

    error = CPR(k = 0, .1, .., 1) - CPR(k = 0, .05, .., 1), and the same for CMD
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
import torch
from real_settings import TASKS

from dfa_tl import LINEAR_KS, NodeScores, attribute, evaluate_many, load_model, load_task
from dfa_tl.io.atomic import write_file
from dfa_tl.study.config import GRIDS
from dfa_tl.study.curves_file import cut

OUT = Path(__file__).parent / "results" / "coarse_grid.csv"


def main() -> None:
    """Measure both areas for each task, and write a row for each circuit."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="folder of a model")
    parser.add_argument("--task", nargs="+", default=list(TASKS["first"]))
    parser.add_argument("--pairs", type=int, default=12)
    arguments = parser.parse_args()
    model = load_model(arguments.model)
    generator = torch.Generator().manual_seed(0)
    rows = []
    for task in arguments.task:
        circuits = {
            "gold": attribute(model, load_task(task, n=arguments.pairs), progress=False),
            "random": NodeScores(model.nodes, torch.randn(len(model.nodes), generator=generator)),
        }
        test = load_task(task, split="test", n=arguments.pairs)
        curves = evaluate_many(model, test, circuits, ks=LINEAR_KS, progress=False)
        for name, by_metric in curves.items():
            fine = by_metric["logit_diff"]
            coarse = cut(fine, GRIDS["coarse"])
            rows.append(
                {"model": model.name, "task": task, "circuit": name}
                | {"cpr": fine.cpr, "cpr_coarse": coarse.cpr}
                | {"cmd": fine.cmd, "cmd_coarse": coarse.cmd}
            )
            print(rows[-1], flush=True)
    table = pd.DataFrame(rows)
    for measure in ("cpr", "cmd"):
        error = table[f"{measure}_coarse"] - table[measure]
        print(f"{measure}: mean error {error.mean():+.3f}, largest {error.abs().max():.3f}")
    text = table.to_csv(index=False, float_format="%.4f", lineterminator="\n")
    write_file(OUT, text.encode())


if __name__ == "__main__":
    main()
