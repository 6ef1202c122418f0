"""Whether pretrained models can do the tasks of the battery.

python benchmarks/task_accuracy.py --models FOLDER --model smollm2-135m

Each task's test pairs are tokenised as `load_model` does and run through the plain Hugging Face
model in float32. Accuracy is the share of pairs whose answer has a larger logit than the wrong
answer; `top_1` the share whose answer has the largest logit of all; `m_clean` and `m_corrupt` are
the means of the logit difference on clean and corrupt prompts. Rows that
benchmarks/results/task_accuracy.csv holds already are kept, unless `--again` asks for them.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, DynamicCache

from dfa_tl import load_model, load_task
from dfa_tl.errors import DataError
from dfa_tl.tasks.batches import TokenPairs
from dfa_tl.tasks.generators import BATTERY

OUT = Path(__file__).parent / "results" / "task_accuracy.csv"
PRECISION = "4-bit, dequantised"
BATCH_SIZE = 16


def batches(tokens: TokenPairs) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Clean and corrupt tokens and answers, pairs of equal length together."""
    of_length: dict[int, list[int]] = defaultdict(list)
    for row, length in enumerate(tokens.lengths.tolist()):
        of_length[length].append(row)
    for length, rows in of_length.items():
        for start in range(0, len(rows), BATCH_SIZE):
            some = rows[start : start + BATCH_SIZE]
            yield tokens.clean[some, :length], tokens.corrupt[some, :length], tokens.answers[some]


def last_logits(model: torch.nn.Module, clean: Tensor, corrupt: Tensor) -> list[Tensor]:
    """Logits at the last position of both prompts; what both begin with is run once."""
    differs = (clean != corrupt).any(0).nonzero()
    shared = int(min(differs.min(), clean.shape[1] - 1))
    cache = DynamicCache(config=model.config)
    if shared:
        model(clean[:, :shared], past_key_values=cache, logits_to_keep=1)
    return [
        model(prompt[:, shared:], past_key_values=copy.deepcopy(cache), logits_to_keep=1).logits[
            :, -1
        ]
        for prompt in (clean, corrupt)
    ]


def measure(model: torch.nn.Module, tokens: TokenPairs) -> dict[str, float]:
    """What a model does on the pairs of a task."""
    frames = []
    for clean, corrupt, answers in batches(tokens):
        on_clean, on_corrupt = last_logits(model, clean, corrupt)
        values = [logits.gather(1, answers) for logits in (on_clean, on_corrupt)]
        m_clean, m_corrupt = (value[:, 0] - value[:, 1] for value in values)
        top_1 = on_clean.argmax(1) == answers[:, 0]
        frames.append(torch.stack([m_clean > 0, top_1, m_clean, m_corrupt], 1).double())
    means = torch.cat(frames).mean(0).tolist()
    return dict(zip(("accuracy", "top_1", "m_clean", "m_corrupt"), means, strict=True))


def save(rows: pd.DataFrame) -> None:
    """Write the table, the last row of each model and task."""
    if OUT.exists():
        rows = pd.concat([pd.read_csv(OUT), rows])
    rows = rows.drop_duplicates(["model", "task"], keep="last")
    rows = rows.sort_values(["model", "task"], key=lambda column: column.map(ORDER.get).fillna(0))
    rows.to_csv(OUT, index=False, float_format="%.3f", lineterminator="\n")


ORDER = {name: i for i, name in enumerate(BATTERY)}


def main() -> None:
    """Measure the tasks of one model after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=Path, required=True, help="folder of model folders")
    parser.add_argument("--model", nargs="+", help="which of them (default: all)")
    parser.add_argument("--task", nargs="+", default=list(BATTERY), choices=list(BATTERY))
    parser.add_argument("--pairs", type=int, default=50)
    parser.add_argument("--again", action="store_true", help="measure what is there already, too")
    arguments = parser.parse_args()
    names = arguments.model or sorted(path.name for path in arguments.models.iterdir())
    for name in names:
        known = set()
        if OUT.exists() and not arguments.again:
            known = set(pd.read_csv(OUT).query("model == @name").task)
        folder = arguments.models / name
        tokens = {}
        tokenizer = load_model(folder)
        for task in arguments.task:
            if task not in known:
                data = load_task(task, split="test", n=arguments.pairs)
                try:
                    tokens[task] = data.tokenize(tokenizer)
                except DataError as error:
                    print(f"{name}, {task}: {error}")
        del tokenizer
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        for task, pairs in tokens.items():
            began = time.monotonic()
            with torch.inference_mode():
                found = measure(model, pairs)
            row = {
                "model": name,
                "precision": PRECISION,
                "task": task,
                "pairs": len(pairs),
                **found,
            }
            print(f"{row} {time.monotonic() - began:.0f} s", flush=True)
            save(pd.DataFrame([row]))


if __name__ == "__main__":
    main()
