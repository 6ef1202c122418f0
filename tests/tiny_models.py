"""Tiny random Hugging Face models and random prompt pairs for tests; no network, no dfa_tl code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from torch import Tensor
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

VOCAB = 60
PAD = 0
# Large next to the usual 0.02, so that attention is not uniform and every layer matters.
SPREAD = 0.2
Pairs = tuple[Tensor, Tensor, Tensor, Tensor]


class Kind(NamedTuple):
    """A kind of model, and the settings in which it differs from the common ones."""

    model: type[PreTrainedModel]
    config: type[PreTrainedConfig]
    settings: dict[str, Any]


COMMON = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 32,
}
GPT2 = {"vocab_size": VOCAB, "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 32}
GROUPED = {**COMMON, "num_key_value_heads": 2}
# The original context is so short that most frequencies are scaled within a prompt.
ROPE_SCALING = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8,
}
LLAMA3 = {**GROUPED, "rope_parameters": ROPE_SCALING}
# Caps and a window that act on random weights and short prompts; 4 heads of 12 make no 32.
GEMMA2 = {
    **GROUPED,
    "head_dim": 12,
    "query_pre_attn_scalar": 10,
    "sliding_window": 3,
    "attn_logit_softcapping": 1.5,
    "final_logit_softcapping": 2.0,
}
NEOX = {**COMMON, "rotary_pct": 0.25, "use_parallel_residual": True}

MODELS = {
    "llama-gqa": Kind(LlamaForCausalLM, LlamaConfig, GROUPED),
    "gpt2": Kind(GPT2LMHeadModel, GPT2Config, GPT2),
    "neox-parallel": Kind(GPTNeoXForCausalLM, GPTNeoXConfig, NEOX),
    "Llama-3": Kind(LlamaForCausalLM, LlamaConfig, LLAMA3),
    "Llama-3.2": Kind(LlamaForCausalLM, LlamaConfig, {**LLAMA3, "tie_word_embeddings": True}),
    "Qwen-2.5": Kind(Qwen2ForCausalLM, Qwen2Config, {**GROUPED, "tie_word_embeddings": True}),
    "Gemma-2": Kind(Gemma2ForCausalLM, Gemma2Config, GEMMA2),
    "GPT-2": Kind(GPT2LMHeadModel, GPT2Config, GPT2),
    "Pythia": Kind(GPTNeoXForCausalLM, GPTNeoXConfig, NEOX),
}
KINDS = ("llama-gqa", "gpt2", "neox-parallel")
"""What most tests run on."""
FAMILIES = ("Llama-3", "Llama-3.2", "Qwen-2.5", "Gemma-2", "GPT-2", "Pythia")
"""The families that the package is made for, with all that sets them apart."""


def tiny_model(kind: str, seed: int = 0, **settings: Any) -> PreTrainedModel:
    """A float32, eager-attention, eval-mode random model: 3 layers, 4 heads, d_model 32.

    Biases and norm weights are random too. The global random state is left as it was. `settings`
    replace those of the kind.
    """
    if kind not in MODELS:
        raise ValueError(f"unknown kind {kind!r}; expected one of {list(MODELS)}")
    model_class, config_class, of_kind = MODELS[kind]
    config = config_class(
        **{**of_kind, **settings},
        initializer_range=SPREAD,
        attn_implementation="eager",
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    # The gain of Gemma's norms is one more than their weight.
    centre = 0.0 if config.model_type == "gemma2" else 1.0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = model_class(config)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name.endswith("bias"):
                    parameter.normal_(0.0, SPREAD)
                elif parameter.ndim == 1:  # the gain of a LayerNorm or RMSNorm
                    parameter.normal_(centre, SPREAD)
    return model.float().eval()


def word_tokenizer(bos: bool = True) -> PreTrainedTokenizerFast:
    """`w0`, `w1`, .. are tokens 0, 1, ..; the last three are specials. Nothing is prepended."""
    words = [f"w{i}" for i in range(VOCAB - 3)]
    vocabulary = {word: i for i, word in enumerate([*words, "<bos>", "<eos>", "<unk>"])}
    core = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    core.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token="<bos>" if bos else None,
        eos_token="<eos>",
        pad_token="<eos>",
        unk_token="<unk>",
    )


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
