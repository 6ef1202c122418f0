"""What bfloat16 changes: scores and CPR of pretrained models, next to float32.

python benchmarks/precision.py --models FOLDER --model smollm2-135m qwen2.5-coder-0.5b

For each task, gold scores are attributed and their circuits measured in both precisions, each with
its own scores. `spearman` is the rank correlation of the two score vectors; `top_10_percent` the
share of the best tenth of the nodes that both have.

On a CPU without matrix units for bfloat16, its products are computed as such units do: from rounded
factors, summed in float32, and rounded. That is as fast as float32, and the same arithmetic.
"""

from __future__ import annotations

import argparse
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from dfa_tl import LINEAR_KS, attribute, evaluate, load_model, load_task
from dfa_tl.evaluation.structure import score_correlation, top_overlap
from dfa_tl.io.atomic import write_file
from dfa_tl.models.placement import computes_in_bfloat16

OUT = Path(__file__).parent / "results" / "precision.csv"
DTYPES = ("float32", "bfloat16")
KS = LINEAR_KS[::2]
aten: Any = torch.ops.aten
PRODUCTS = {
    getattr(aten, name).default for name in ("mm", "addmm", "bmm", "baddbmm", "linear", "matmul")
}


class Float32Products(TorchDispatchMode):
    """Products of bfloat16 matrices as matrix units compute them."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Widen the factors, and round the product."""
        given = kwargs or {}
        if func not in PRODUCTS or args[0].dtype is not torch.bfloat16:
            return func(*args, **given)
        wide = (each.float() if isinstance(each, Tensor) else each for each in args)
        return func(*wide, **given).bfloat16()


def in_software(dtype: str) -> AbstractContextManager[Any]:
    """What makes up for missing matrix units."""
    missing = dtype == "bfloat16" and not computes_in_bfloat16(torch.device("cpu"))
    return Float32Products() if missing else nullcontext()


def main() -> None:
    """Measure one model after the other, and write a row for each task."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", type=Path, required=True, help="folder of model folders")
    parser.add_argument("--model", nargs="+", required=True, help="which of them")
    parser.add_argument("--task", nargs="+", default=["ioi_english", "sva_simple", "antonyms"])
    parser.add_argument("--pairs", type=int, default=16)
    arguments = parser.parse_args()
    rows = []
    for name in arguments.model:
        models = [load_model(arguments.models / name, dtype=dtype) for dtype in DTYPES]
        for task in arguments.task:
            began = time.monotonic()
            data = load_task(task, n=arguments.pairs)
            test = load_task(task, split="test", n=arguments.pairs)
            scores, curves = [], []
            for model, dtype in zip(models, DTYPES, strict=True):
                with in_software(dtype):
                    scores.append(attribute(model, data, progress=False))
                    curves.append(evaluate(model, test, scores[-1], ks=KS, progress=False))
            exact, rounded = scores
            row = {
                "model": name,
                "precision": "4-bit, dequantised",
                "task": task,
                "pairs": arguments.pairs,
                "spearman": score_correlation(exact, rounded).spearman,
                "top_10_percent": top_overlap(exact, rounded, 0.1),
                "cpr_float32": curves[0].cpr,
                "cpr_bfloat16": curves[1].cpr,
                "cmd_float32": curves[0].cmd,
                "cmd_bfloat16": curves[1].cmd,
            }
            print(f"{row} {time.monotonic() - began:.0f} s", flush=True)
            rows.append(row)
            text = pd.DataFrame(rows).to_csv(index=False, float_format="%.4f", lineterminator="\n")
            write_file(OUT, text.encode())


if __name__ == "__main__":
    main()
