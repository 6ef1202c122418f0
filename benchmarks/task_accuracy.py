"""Whether pretrained models can do the tasks in natural English.

python benchmarks/task_accuracy.py --models FOLDER --model smollm2-135m

Each task's test pairs are tokenised as `load_model` does and run through the plain Hugging Face
model in float32. Accuracy is the share of pairs whose answer has a larger logit than the wrong
answer; `top_1` the share whose answer has the largest logit of all; `m_clean` and `m_corrupt` are
the means of the logit difference on clean and corrupt prompts. Rows that
benchmarks/results/task_accuracy.csv holds already are kept, unless `--again` asks for them.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from dfa_tl import load_model, load_task
from dfa_tl.errors import DataError
from dfa_tl.io.atomic import write_file
from dfa_tl.tasks import TASKS
from dfa_tl.tasks.batches import TokenPairs

OUT = Path(__file__).parent / "results" / "task_accuracy.csv"
PRECISION = "4-bit, dequantised"
BATCH_SIZE = 16


def last_logits(model: PreTrainedModel, prompts: Tensor, lengths: Tensor) -> Tensor:
    """Logits at the last token of each prompt; what pads it on the right has no effect on it."""
    states = model.base_model(prompts[:, : lengths.max()]).last_hidden_state
    unembed: Any = model.get_output_embeddings()
    return unembed(states[torch.arange(len(states)), lengths - 1])


def measure(model: PreTrainedModel, tokens: TokenPairs) -> dict[str, float]:
    """What a model does on the pairs of a task."""
    frames = []
    for rows in tokens.lengths.argsort().split(BATCH_SIZE):
        prompts, lengths = (
            torch.cat([tokens.clean[rows], tokens.corrupt[rows]]),
            tokens.lengths[rows],
        )
        logits = last_logits(model, prompts, lengths.repeat(2))
        answers = tokens.answers[rows]
        right, wrong = logits.gather(1, answers.repeat(2, 1)).unbind(1)
        m_clean, m_corrupt = (right - wrong).chunk(2)
        top_1 = logits[: len(rows)].argmax(1) == answers[:, 0]
        frames.append(torch.stack([m_clean > 0, top_1, m_clean, m_corrupt], 1).double())
    means = torch.cat(frames).mean(0).tolist()
    return dict(zip(("accuracy", "top_1", "m_clean", "m_corrupt"), means, strict=True))


def save(rows: pd.DataFrame) -> None:
    """Write the table, the last row of each model and task."""
    if OUT.exists():
        rows = pd.concat([pd.read_csv(OUT), rows])
    rows = rows.drop_duplicates(["model", "task"], keep="last")
    rows = rows.sort_values(["model", "task"], key=lambda column: column.map(ORDER.get).fillna(0))
    text = rows.to_csv(index=False, float_format="%.3f", lineterminator="\n")
    write_file(OUT, text.encode())


ENGLISH = [name for name, task in TASKS.items() if not task.is_toy]
ORDER = {name: i for i, name in enumerate(ENGLISH)}


def main() -> None:
    """Measure the tasks of one model after the other."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", type=Path, required=True, help="folder of model folders")
    parser.add_argument("--model", nargs="+", help="which of them (default: all)")
    parser.add_argument("--task", nargs="+", default=list(ENGLISH), choices=list(ENGLISH))
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
