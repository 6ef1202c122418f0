"""What is saved where the positions that the prompts of each pair share are run once.

python benchmarks/shared_prefix.py --models FOLDER --model smollm2-135m

For each task, processor seconds of an attribution, of a curve and of some training steps, with
whole runs and with runs that start after the shared prefix. Both are repeated in turn, and the
shortest time of each counts, because other work on the machine only adds to it. `first` is a curve
of five points on four pairs with a model that was never checked before. `positions` is the ratio
of the positions of a run, before to after: the most that can be gained. `error` is the largest
difference of a pair's value, relative to the largest value.
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
    attribute,
    evaluate,
    load_model,
    load_task,
)
from dfa_tl.io.atomic import write_file
from dfa_tl.models.prefix import PrefixSupport
from dfa_tl.models.shared_prefix import prefix_length

OUT = Path(__file__).parent / "results" / "shared_prefix.csv"
KS = LINEAR_KS[::2]
BATCH = 16
TASKS = ("ioi_english", "days", "past_tense", "sva_simple", "gender_pronoun")


def seconds(job: Callable[[], object]) -> float:
    """The seconds of the processor that a job takes."""
    began = time.process_time()
    job()
    return time.process_time() - began


def measured(
    model: NodeModel, scores: NodeScores, data: PairDataset, steps: int, repeats: int
) -> dict[str, Any]:
    """A row of one task."""
    config = AlignmentConfig(steps=steps)
    few = data[:4]
    jobs = {
        "attribute": lambda: attribute(model, data, progress=False),
        "evaluate": lambda: evaluate(model, data, scores, ks=KS, progress=False),
        "train": lambda: align({"t": scores}, model, {"t": data}, config, progress=False),
        "first": lambda: evaluate(model, few, scores, ks=LINEAR_KS[::5], progress=False),
    }
    row: dict[str, Any] = {}
    for name, job in jobs.items():
        times: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(repeats):
            for shared, taken in times.items():
                support = PrefixSupport() if name == "first" else model.partial_run.prefix_support
                support.works = shared
                model.partial_run.prefix_support = support
                taken.append(seconds(job))
        row[f"{name}_whole"], row[f"{name}_shared"] = min(times[False]), min(times[True])
        row[name] = row[f"{name}_whole"] / row[f"{name}_shared"]
    values = []
    for shared in (False, True):
        model.partial_run.prefix_support.works = shared
        values.append(evaluate(model, data, scores, ks=KS, progress=False).pair_values)
    assert model.partial_run.prefix_support.works, "this model cannot start after a prefix"
    return row | {"error": abs(values[1] - values[0]).max() / abs(values[0]).max()}


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
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
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
                "repeats": arguments.repeats,
                "positions": ratio_of_positions(model, data),
                **measured(model, scores, data, arguments.steps, arguments.repeats),
            }
            print(row, flush=True)
            rows = [r for r in rows if (r["model"], r["task"]) != (name, task)] + [row]
            text = pd.DataFrame(rows).to_csv(index=False, float_format="%.3g", lineterminator="\n")
            write_file(OUT, text.encode())


if __name__ == "__main__":
    main()
