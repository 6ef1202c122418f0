"""Train the bundled models from scratch: `python -m dfa_tl.models.bundled.train toy-small`.

Both are Llama-architecture language models with grouped-query attention over a word-level
vocabulary, trained on the train splits of the six generated tasks mixed evenly. The loss is the
cross-entropy of the next token, the answer's weighted 20 to 1 against the prompt's. The run is
seeded, writes a checkpoint every 500 steps (and resumes from it), and ends by printing the
accuracy on the test split of every task. Floating-point sums depend on the number of threads, so
the weights are reproduced to the last bit only with the same thread count and PyTorch build.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from dfa_tl.io.atomic import make_folder, write_file
from dfa_tl.io.output import output_folder
from dfa_tl.io.strict_json import json_bytes
from dfa_tl.tasks.pairs import PromptPair
from dfa_tl.tasks.registry import TASKS, TOY_TASKS, WORDS
from dfa_tl.tasks.task import SPLITS, generate_pairs, stream_pairs

PAD, BOS, UNK = "<pad>", "<bos>", "<unk>"
VOCABULARY = (PAD, BOS, UNK, *sorted(WORDS))
TOKEN_ID = {word: index for index, word in enumerate(VOCABULARY)}
ANSWER_WEIGHT = 20.0
CHECKED_FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
SHAPES = {
    "toy-small": {"layers": 3, "heads": 4, "kv_heads": 2, "d_model": 64, "d_mlp": 256},
    "toy-large": {"layers": 6, "heads": 6, "kv_heads": 3, "d_model": 96, "d_mlp": 256},
}


@dataclass(frozen=True)
class Settings:
    """How a bundled model is trained."""

    seed: int
    weight_decay: float
    arithmetic_rows: int  # five tokens each: more of them cost next to nothing
    rows_per_task: int = 16
    peak_lr: float = 2e-3
    steps: int = 12_000


# With the large model's settings the small one memorised additions (0.945 on the test split).
SETTINGS = {
    "toy-small": Settings(seed=1, weight_decay=0.3, arithmetic_rows=64),
    "toy-large": Settings(seed=0, weight_decay=0.1, arithmetic_rows=48),
}


def build_tokenizer() -> PreTrainedTokenizerFast:
    """The word-level tokenizer: words split at white space, `<bos>` in front."""
    tokenizer = Tokenizer(models.WordLevel(TOKEN_ID, unk_token=UNK))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # type: ignore[assignment]
    tokenizer.post_processor = processors.TemplateProcessing(  # type: ignore[assignment]
        single=f"{BOS} $A", special_tokens=[(BOS, TOKEN_ID[BOS])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=BOS,
        unk_token=UNK,
        padding_side="right",
        add_bos_token=True,
    )


def build_model(name: str, seed: int) -> LlamaForCausalLM:
    """An untrained model of one of the bundled shapes."""
    shape = SHAPES[name]
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=shape["d_model"],
        intermediate_size=shape["d_mlp"],
        num_hidden_layers=shape["layers"],
        num_attention_heads=shape["heads"],
        num_key_value_heads=shape["kv_heads"],
        max_position_embeddings=64,
        bos_token_id=TOKEN_ID[BOS],
        eos_token_id=TOKEN_ID[BOS],
        pad_token_id=TOKEN_ID[PAD],
        tie_word_embeddings=False,
    )
    return LlamaForCausalLM(config)


def encode(prompt: str, answer: str | int) -> list[int]:
    """Token ids of a prompt followed by its answer, `<bos>` in front."""
    return [TOKEN_ID[BOS], *(TOKEN_ID[word] for word in f"{prompt} {answer}".split())]


def prompts(pairs: Iterator[PromptPair]) -> Iterator[list[int]]:
    """Both prompts of every pair, with the answer that is right for each."""
    for pair in pairs:
        yield encode(pair.clean, pair.answer)
        yield encode(pair.corrupt, pair.wrong_answer)


def weighted_loss(model: LlamaForCausalLM, rows: list[list[int]]) -> torch.Tensor:
    """Cross-entropy summed over rows; within a row the answer weighs `ANSWER_WEIGHT` to 1."""
    length = max(map(len, rows))
    tokens = torch.tensor([row + [TOKEN_ID[PAD]] * (length - len(row)) for row in rows])
    last = torch.tensor([len(row) - 1 for row in rows])
    position = torch.arange(1, length)
    weight = (position < last[:, None]).float() + ANSWER_WEIGHT * (position == last[:, None])
    logits = model(tokens[:, :-1]).logits  # causal, padded on the right: no mask is needed
    loss = functional.cross_entropy(logits.transpose(1, 2), tokens[:, 1:], reduction="none")
    return (loss * weight).sum() / ANSWER_WEIGHT


@torch.no_grad()
def accuracy(model: LlamaForCausalLM, task: str, split: str, n: int = 200) -> float:
    """Share of clean prompts whose most likely next token (of all) is the answer."""
    pairs = generate_pairs(TASKS[task], n, split=split, seed=0)
    right = 0
    for pair in pairs:
        *prompt, answer = encode(pair.clean, pair.answer)
        right += int(model(torch.tensor([prompt])).logits[0, -1].argmax()) == answer
    return right / n


def train(name: str, folder: Path, settings: Settings) -> LlamaForCausalLM:
    """Train one bundled model, resuming from `folder/checkpoint.pt` when there is one."""
    model = build_model(name, settings.seed).train()
    decayed = [p for p in model.parameters() if p.dim() > 1]
    plain = [p for p in model.parameters() if p.dim() <= 1]
    optimizer = torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": settings.weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ],
        lr=settings.peak_lr,
        betas=(0.9, 0.98),
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=settings.peak_lr, total_steps=settings.steps, pct_start=0.1
    )
    checkpoint, start = folder / "checkpoint.pt", 0
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        schedule.load_state_dict(saved["schedule"])
        start = saved["step"]
    sources = {
        task: prompts(stream_pairs(TASKS[task], split="train", seed=settings.seed + start))
        for task in TOY_TASKS
    }
    short = [task for task in sources if task.startswith("arithmetic")]
    long = [task for task in sources if task not in short]
    began = time.time()
    for step in range(start, settings.steps):
        groups = [
            [next(sources[task]) for task in long for _ in range(settings.rows_per_task)],
            [next(sources[task]) for task in short for _ in range(settings.arithmetic_rows)],
        ]
        loss = torch.stack([weighted_loss(model, rows) for rows in groups]).sum()
        loss = loss / sum(map(len, groups))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if (step + 1) % 500 == 0:
            model.eval()
            scores = {task: accuracy(model, task, "validation") for task in TOY_TASKS}
            model.train()
            listed = "  ".join(f"{task} {value:.2f}" for task, value in scores.items())
            print(
                f"{step + 1:6d}  {time.time() - began:5.0f} s  loss {loss:.3f}  {listed}",
                flush=True,
            )
            state = {
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "schedule": schedule.state_dict(),
                "step": step + 1,
            }
            content = io.BytesIO()
            torch.save(state, content)
            write_file(checkpoint, content.getvalue())
    return model.eval()


def write_checksums(folder: Path) -> None:
    """The SHA-256 of every file that `load_model` checks."""
    digests = {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in CHECKED_FILES
    }
    write_file(
        folder / "sha256.json",
        json_bytes(digests, "the checksums", indent=2, sort_keys=False) + b"\n",
    )


def main() -> None:
    """Train, save in Hugging Face format, and report the accuracies."""
    parser = argparse.ArgumentParser(description="Train a bundled model from scratch.")
    parser.add_argument("name", choices=sorted(SHAPES))
    parser.add_argument("--out", type=Path, help="folder (default: beside this script)")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    folder = output_folder(arguments.out or Path(__file__).parent / arguments.name)
    make_folder(folder)
    model = train(arguments.name, folder, SETTINGS[arguments.name])
    model.save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)
    write_checksums(folder)
    report = {split: {task: accuracy(model, task, split) for task in TOY_TASKS} for split in SPLITS}
    shown = json_bytes(report, "the accuracies", indent=2, sort_keys=False)
    write_file(folder / "accuracy.json", shown + b"\n")
    print(shown.decode())


if __name__ == "__main__":
    main()
