"""What is saved where the positions that the prompts of each pair share are run once.

python benchmarks/shared_prefix.py --models FOLDER --model smollm2-135m

For each task, processor seconds of one curve and of some training steps, with whole runs and with
runs that start after the shared prefix. `positions` is the ratio of the positions of a run, before
to after: the most that can be gained. `error` is the largest difference of a pair's value, relative
to the largest value.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from dfa_tl import (
    LINEAR_KS,
    AlignmentConfig,
    NodeModel,
    NodeScores,
    PairDataset,
    align,
    evaluate,
    load_model,
    load_task,
)
from dfa_tl.io.atomic import write_file
from dfa_tl.models.shared_prefix import prefix_length

OUT = Path(__file__).parent / "results" / "shared_prefix.csv"
KS = LINEAR_KS[::2]
BATCH = 16
TASKS = ("gender_pronoun", "ioi_english", "antonyms", "sva_simple")


def seconds(job: Callable[..., Any], *arguments: Any, **options: Any) -> tuple[Any, float]:
    """What a job returns, and the seconds of the processor that it took."""
    began = time.process_time()
    result = job(*arguments, **options, progress=False)
    return result, time.process_time() - began


def measured(model: NodeModel, scores: NodeScores, data: PairDataset, steps: int) -> dict[str, Any]:
    """A row of one task."""
    config = AlignmentConfig(steps=steps)
    row: dict[str, Any] = {}
    values = []
    for shared in (False, True):
        model.partial_run.prefix_support.works = shared
        when = "shared" if shared else "whole"
        curve, row[f"evaluate_{when}"] = seconds(evaluate, model, data, scores, ks=KS)
        _, row[f"train_{when}"] = seconds(align, {"t": scores}, model, {"t": data}, config)
        values.append(curve.pair_values)
    assert model.partial_run.prefix_support.works, "this model cannot start after a prefix"
    return row | {
        "evaluate": row["evaluate_whole"] / row["evaluate_shared"],
        "train": row["train_whole"] / row["train_shared"],
        "error": abs(values[1] - values[0]).max() / abs(values[0]).max(),
    }


def ratio_of_positions(model: NodeModel, data: PairDataset) -> float:
    """Positions of a run over all pairs, before and after."""
    pairs = data.tokenize(model)
    batches = [pairs.select(rows, "cpu") for rows in pairs.row_batches(BATCH)]
    whole = sum(batch.clean.numel() for batch in batches)
    return whole / (whole - sum(len(batch) * prefix_length(batch) for batch in batches))


def main() -> None:
    """Measure one task after the other, and write a row for each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", type=Path, required=True, help="folder of model folders")
    parser.add_argument("--model", nargs="+", required=True, help="which of them")
    parser.add_argument("--task", nargs="+", default=TASKS)
    parser.add_argument("--pairs", type=int, default=16)
    parser.add_argument("--steps", type=int, default=5)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # so few steps train nothing
    rows = pd.read_csv(OUT).to_dict("records") if OUT.exists() else []
    for name in arguments.model:
        model = load_model(arguments.models / name)
        drawn = torch.Generator().manual_seed(0)
        scores = NodeScores(model.nodes, torch.randn(len(model.nodes), generator=drawn))
        for task in arguments.task:
            data = load_task(task, split="test", n=arguments.pairs)
            row = {
                "model": name,
                "task": task,
                "pairs": arguments.pairs,
                "steps": arguments.steps,
                "positions": ratio_of_positions(model, data),
                **measured(model, scores, data, arguments.steps),
            }
            print(row, flush=True)
            rows = [r for r in rows if (r["model"], r["task"]) != (name, task)] + [row]
            text = pd.DataFrame(rows).to_csv(index=False, float_format="%.3g", lineterminator="\n")
            write_file(OUT, text.encode())


if __name__ == "__main__":
    main()
