"""Masks trained on pretrained targets alone, next to gold: the optimiser without a source.

python benchmarks/free_masks.py --models DIR --model smollm2-135m --task ioi_english sva_simple

Each mask is trained by `controls.target_only` with one setting for all tasks and models, and its
circuits are measured on test pairs, on a grid of eleven points. A task that the model cannot do is
left out. Rows of other models and tasks stay in the results.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import pandas as pd

from dfa_tl import (
    LINEAR_KS,
    AlignmentConfig,
    attribute,
    controls,
    evaluate_many,
    load_model,
    load_task,
)
from dfa_tl.evaluation.doable import doable_tasks
from dfa_tl.io.atomic import write_file

OUT = Path(__file__).parent / "results" / "free_masks.csv"


def main() -> None:
    """Measure one model after the other, and write a row for each circuit."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", type=Path, required=True, help="folder of model folders")
    parser.add_argument("--model", nargs="+", required=True, help="which of them")
    parser.add_argument("--task", nargs="+", default=["ioi_english", "sva_simple", "days"])
    parser.add_argument("--pairs", type=int, default=32)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--objective", nargs="+", default=["removal"])
    arguments = parser.parse_args()
    quiet: Any = {"progress": False}
    rows: list[dict[str, Any]] = []
    for name in arguments.model:
        model = load_model(arguments.models / name)
        data = {task: load_task(task, n=arguments.pairs) for task in arguments.task}
        data, left_out = doable_tasks(data, [model])
        for task, reason in left_out.items():
            print(f"{task} is left out: {reason}")
        for task, pairs in data.items():
            began = time.monotonic()
            scores = {"gold": attribute(model, pairs, **quiet)}
            for objective in arguments.objective:
                settings = AlignmentConfig(steps=arguments.steps, objective=objective)
                scores[objective] = controls.target_only(model, pairs, settings, **quiet)
            test = load_task(task, split="test", n=arguments.pairs)
            curves = evaluate_many(model, test, scores, ks=LINEAR_KS[::2], **quiet)
            for circuit, by_metric in curves.items():
                curve = by_metric["logit_diff"]
                rows.append(
                    {"model": name, "precision": "4-bit, dequantised", "task": task}
                    | {"circuit": circuit, "steps": arguments.steps, "pairs": len(pairs)}
                    | {"cpr": curve.cpr, "cmd": curve.cmd}
                )
                print(f"{rows[-1]} {time.monotonic() - began:.0f} s", flush=True)
            text = merged(rows).to_csv(index=False, float_format="%.4f", lineterminator="\n")
            write_file(OUT, text.encode())


def merged(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """The rows, after those of other models and tasks that were measured before."""
    measured: Any = pd.DataFrame(rows)
    if not OUT.exists():
        return measured
    before: Any = pd.read_csv(OUT)
    again = set(zip(measured["model"], measured["task"], strict=True))
    others = [key not in again for key in zip(before["model"], before["task"], strict=True)]
    return pd.concat([before[others], measured])


if __name__ == "__main__":
    main()
