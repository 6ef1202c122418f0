"""Tiny random Hugging Face models and random prompt pairs for tests; no network, no dfa_tl code."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
)

KINDS = ("llama-gqa", "gpt2", "neox-parallel")
VOCAB = 60
PAD = 0
# Large next to the usual 0.02, so that attention is not uniform and every layer matters.
SPREAD = 0.2
SPECIAL = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
Pairs = tuple[Tensor, Tensor, Tensor, Tensor]


def tiny_model(kind: str, seed: int = 0) -> PreTrainedModel:
    """A float32, eager-attention, eval-mode random model: 3 layers, 4 heads, d_model 32.

    Biases and norm weights are random too. The global random state is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if kind == "llama-gqa":
            model = LlamaForCausalLM(
                LlamaConfig(
                    vocab_size=VOCAB,
                    hidden_size=32,
                    intermediate_size=64,
                    num_hidden_layers=3,
                    num_attention_heads=4,
                    num_key_value_heads=2,
                    max_position_embeddings=32,
                    initializer_range=SPREAD,
                    attn_implementation="eager",
                    **SPECIAL,
                )
            )
        elif kind == "gpt2":
            model = GPT2LMHeadModel(
                GPT2Config(
                    vocab_size=VOCAB,
                    n_embd=32,
                    n_layer=3,
                    n_head=4,
                    n_positions=32,
                    initializer_range=SPREAD,
                    attn_implementation="eager",
                    **SPECIAL,
                )
            )
        elif kind == "neox-parallel":
            model = GPTNeoXForCausalLM(
                GPTNeoXConfig(
                    vocab_size=VOCAB,
                    hidden_size=32,
                    intermediate_size=64,
                    num_hidden_layers=3,
                    num_attention_heads=4,
                    max_position_embeddings=32,
                    rotary_pct=0.25,
                    use_parallel_residual=True,
                    initializer_range=SPREAD,
                    attn_implementation="eager",
                    **SPECIAL,
                )
            )
        else:
            raise ValueError(f"unknown kind {kind!r}; expected one of {KINDS}")
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name.endswith("bias"):
                    parameter.normal_(0.0, SPREAD)
                elif parameter.ndim == 1:  # the gain of a LayerNorm or RMSNorm
                    parameter.normal_(1.0, SPREAD)
    return model.float().eval()


def random_pairs(
    kind_or_vocab: str | int = VOCAB,
    n: int = 6,
    seed: int = 0,
    lengths: Sequence[int] | None = None,
) -> Pairs:
    """Random pairs: clean [n, pos], corrupt [n, pos], answers [n, 2] (right, wrong), lengths [n].

    Rows are right-padded with token 0, which no real position holds. Clean and corrupt differ at
    one to three real positions, never at the last one. `lengths` defaults to a cycle over 4..9.
    """
    vocab = VOCAB if isinstance(kind_or_vocab, str) else kind_or_vocab
    lengths = [(7, 4, 9, 6, 8, 5)[i % 6] for i in range(n)] if lengths is None else list(lengths)
    if len(lengths) != n or min(lengths) < 2:
        raise ValueError(f"expected {n} lengths of at least 2, got {lengths}")
    generator = torch.Generator().manual_seed(seed)

    def draw(low: int, high: int, count: int = 1) -> Tensor:
        return torch.randint(low, high, (count,), generator=generator)

    clean = torch.full((n, max(lengths)), PAD)
    answers = torch.empty((n, 2), dtype=torch.long)
    for row, length in enumerate(lengths):
        clean[row, :length] = draw(1, vocab, length)
        answers[row] = 1 + torch.randperm(vocab - 1, generator=generator)[:2]
    corrupt = clean.clone()
    for row, length in enumerate(lengths):
        changes = int(draw(1, min(3, length - 1) + 1))
        where = torch.randperm(length - 1, generator=generator)[:changes]
        # A shift by 1..vocab-2 within 1..vocab-1 always gives another real token.
        corrupt[row, where] = 1 + (clean[row, where] - 1 + draw(1, vocab - 1, changes)) % (
            vocab - 1
        )
    return clean, corrupt, answers, torch.tensor(lengths)
