"""How far each job is from the least work it could do: ratios to bare runs, side by side.

    python benchmarks/limits.py --shape gpt2-small
    python benchmarks/limits.py --shape llama-8b --device cuda --dtype bfloat16 --tokens 64

F is one bare forward run of the same TransformerLens model on the same batch (no hooks, no_grad), B
one bare forward plus backward run to the embeddings (frozen parameters). Each job's time is divided
by its limit in units of F and B; medians over repetitions. Memory is the peak of live tensors above
the weights, as a multiple of that of B. Shapes other than toy-large have random weights.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformer_lens.model_bridge import TransformerBridge
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig

from dfa_tl import (
    MIB_KS,
    AlignmentConfig,
    NodeModel,
    NodeScores,
    PairDataset,
    align,
    attribute,
    evaluate,
    load_model,
)
from dfa_tl.evaluation.circuits import circuits_of
from dfa_tl.io.atomic import write_file
from dfa_tl.io.output import output_file
from dfa_tl.io.strict_json import json_bytes
from dfa_tl.models.bundled.train import build_tokenizer
from dfa_tl.models.tensor_memory import peak_of

LLAMA: dict[str, Any] = {"vocab_size": 128_256, "num_key_value_heads": 8}
SHAPES: dict[str, Any] = {
    "gpt2-small": GPT2Config,
    "llama-1b": lambda: LlamaConfig(
        hidden_size=2048, intermediate_size=8192, num_hidden_layers=16, num_attention_heads=32,
        tie_word_embeddings=True, **LLAMA,
    ),
    "llama-8b": lambda: LlamaConfig(
        hidden_size=4096, intermediate_size=14_336, num_hidden_layers=32, num_attention_heads=32,
        **LLAMA,
    ),
}  # fmt: skip
IG_STEPS = 5


def build(shape: str, device: str, dtype: torch.dtype) -> NodeModel:
    """The bundled toy-large, or a model of that shape with random weights."""
    if shape == "toy-large":
        return load_model(shape, device=device, dtype=dtype)
    torch.manual_seed(0)
    with torch.device(device):
        hf = AutoModelForCausalLM.from_config(SHAPES[shape](), dtype=dtype)
    with tempfile.TemporaryDirectory() as folder:
        # Only the tokenizer is looked up by name; these benchmarks use none.
        build_tokenizer().save_pretrained(folder)
        bridge = TransformerBridge.boot_transformers(
            folder, hf_model=hf.eval(), device=device, dtype=dtype
        )
    return NodeModel(bridge, shape)


def random_pairs(vocabulary: int, n: int, tokens: int) -> PairDataset:
    """Unpadded pairs of random tokens that differ in two positions."""
    generator = torch.Generator().manual_seed(0)
    clean = torch.randint(3, vocabulary, (n, tokens), generator=generator)
    corrupt = clean.clone()
    corrupt[:, 2:4] = torch.randint(3, vocabulary, (n, 2), generator=generator)
    answers = torch.stack([torch.full((n,), 5), torch.full((n,), 6)], dim=1)
    return PairDataset.from_tokens(clean, corrupt, answers)


def bare_runs(model: NodeModel, tokens: torch.Tensor) -> tuple[Callable, Callable]:
    """F and B on one batch."""

    def forward() -> None:
        with torch.no_grad():
            model.tl(tokens, return_type="logits")

    def forward_backward() -> None:
        leaf: list[torch.Tensor] = []

        def start(activation: torch.Tensor, hook: Any) -> torch.Tensor:
            leaf.append(activation.detach().requires_grad_(True))
            return leaf[0]

        with model.tl.hooks(fwd_hooks=[("hook_embed", start)]):
            logits = model.tl(tokens, return_type="logits")
            torch.autograd.grad(logits[:, -1, 5].sum() - logits[:, -1, 6].sum(), leaf)

    return forward, forward_backward


def seconds(job: Callable[[], Any], device: str) -> float:
    """Wall time of one call."""
    begin = time.perf_counter()
    job()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def write(path: Path, settings: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """Write the rows, beside those of other jobs that were measured with the same settings."""
    record = {"settings": settings, "torch": torch.__version__, "rows": rows}
    if path.exists():
        before = json.loads(path.read_text())
        if {**before, "rows": None} == {**record, "rows": None}:
            measured = {row["job"] for row in rows}
            record["rows"] = [r for r in before["rows"] if r["job"] not in measured] + rows
    write_file(path, json_bytes(record, "the record", indent=2, sort_keys=False) + b"\n")


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description="Ratios of every job to its limit.")
    parser.add_argument("--shape", choices=("toy-large", *SHAPES), default="toy-large")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--tokens", type=int, default=16, help="tokens of each prompt")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--pairs", type=int, default=16)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--jobs", nargs="*", help="only these")
    parser.add_argument("--out", type=Path, help="JSON file")
    arguments = parser.parse_args()
    out = arguments.out and output_file(arguments.out, "limits.json")
    dtype = getattr(torch, arguments.dtype)
    model = build(arguments.shape, arguments.device, dtype)
    vocabulary = model.tl.cfg.d_vocab
    data = random_pairs(vocabulary, arguments.pairs, arguments.tokens)
    batches = arguments.pairs // arguments.batch
    n, layers, m = len(model.nodes), model.nodes.n_layers, IG_STEPS
    generator = torch.Generator().manual_seed(1)
    scores = NodeScores(model.nodes, torch.randn(n, generator=generator))
    distinct = {row.numpy().tobytes() for row in circuits_of(scores, MIB_KS, "nodes").kept}
    # The full circuit is the clean run.
    circuits = len(distinct) - 1
    options = {"batch_size": arguments.batch, "progress": False}
    epochs = 3
    config = AlignmentConfig(epochs=epochs, batch_size=arguments.batch)

    def attributing(method: str) -> Callable[[], Any]:
        return lambda: attribute(model, data, method, ig_steps=m, **options)

    # job: (run, forward runs of the limit, forward-backward runs of the limit), per batch
    jobs: dict[str, tuple[Callable[[], Any], float, float]] = {
        "nap": (attributing("nap"), 1, 1),
        "nap-ig-inputs": (attributing("nap-ig-inputs"), 1, m + 1),
        "nap-ig-activations": (attributing("nap-ig-activations"), 0, (2 * layers + 1) * m),
        "exact": (attributing("exact"), n, 0),
        "evaluate": (lambda: evaluate(model, data, scores, **options), 2 + circuits, 0),
        "align": (
            lambda: align({"t": scores}, model, {"t": data}, config, progress=False),
            2,
            epochs,
        ),
    }
    if arguments.jobs:
        jobs = {name: job for name, job in jobs.items() if name in arguments.jobs}
    tokens = data.tokenize(model).clean[: arguments.batch].to(arguments.device)
    forward, backward = bare_runs(model, tokens)
    rows = []
    with model.unchanged():
        for bare in (forward, backward, forward, backward):
            bare()
        base_memory = peak_of(backward, model.device)
        for name, (job, n_forward, n_backward) in jobs.items():
            job()
            times = []
            for _ in range(arguments.repeat):
                f = statistics.median(seconds(forward, arguments.device) for _ in range(5))
                b = statistics.median(seconds(backward, arguments.device) for _ in range(5))
                taken = seconds(job, arguments.device)
                limit = batches * (n_forward * f + n_backward * b)
                times.append((taken / limit, taken, f, b))
            ratio, taken, f, b = sorted(times)[len(times) // 2]
            memory = peak_of(job, model.device)
            row = {
                "job": name,
                "limit": f"{n_forward:g} F + {n_backward:g} B",
                "seconds": taken,
                "F": f,
                "B": b,
                "ratio": ratio,
                "memory_mib": memory / 2**20,
                "memory_ratio": memory / base_memory,
            }
            rows.append(row)
            print(
                f"{name:20s} {row['limit']:>14s} per batch {taken:9.3f} s  x {ratio:5.2f}   "
                f"memory {row['memory_mib']:8.1f} MiB  x {row['memory_ratio']:4.2f}",
                flush=True,
            )
    print(f"bare B: {base_memory / 2**20:.1f} MiB above the weights")
    if out is not None:
        settings = {k: v for k, v in vars(arguments).items() if k not in ("out", "jobs")}
        write(out, settings, rows)


if __name__ == "__main__":
    main()
