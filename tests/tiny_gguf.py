"""GGUF files of tiny models, written with the `gguf` package in the layout of llama.cpp.

The tokenizer is byte-level: each letter, alone and after a space, is a token.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, TokenType
from transformers import PreTrainedModel

from tiny_models import VOCAB

LETTERS = string.ascii_lowercase
SPACE = "Ġ"
WORDS = [*LETTERS, SPACE, *(SPACE + letter for letter in LETTERS)]
TOKENS = [*WORDS, *(f"<unused{i}>" for i in range(VOCAB - len(WORDS) - 2)), "<bos>", "<eos>"]
BOS, EOS = VOCAB - 2, VOCAB - 1
NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "model.layers": "blk",
}
Tensors = dict[str, np.ndarray]


def token_ids(text: str) -> list[int]:
    """The tokens of words of one letter each, nothing prepended."""
    return [TOKENS.index((SPACE if i else "") + word) for i, word in enumerate(text.split(" "))]


def gguf_tensors(model: PreTrainedModel) -> Tensors:
    """The model's weights by the names, and in the order of rows, that GGUF files have."""
    config, tensors = model.config, {}
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    tied = {"lm_head.weight"} if config.tie_word_embeddings else set()
    for name, tensor in model.state_dict().items():
        if name in tied:
            continue
        for ours, theirs in NAMES.items():
            name = name.replace(ours, theirs)
        rows = tensor.numpy()
        part = name.split(".")[-2]
        if config.model_type == "llama" and part in heads:
            # The two halves of a head's rows, which RoPE turns, take turns.
            halves = rows.reshape(heads[part], 2, -1, *rows.shape[1:])
            rows = halves.swapaxes(1, 2).reshape(rows.shape)
        tensors[name] = np.ascontiguousarray(rows)
    return tensors


def write_gguf(
    path: Path,
    model: PreTrainedModel,
    *,
    architecture: str | None = None,
    tensors: Callable[[Tensors], Mapping[str, np.ndarray]] = lambda tensors: tensors,
    settings: Mapping[str, Any] | None = None,
    quantised: bool = False,
    tokenizer: bool = True,
) -> Path:
    """Write a GGUF file.

    Args:
        path: Where.
        model: A Llama or a Qwen2.
        architecture: Another name for its architecture.
        tensors: Changes the tensors that are written.
        settings: Further settings: whole numbers and texts.
        quantised: Matrices in 8 bits (`Q8_0`).
        tokenizer: Whether the file has one.
    """
    config = model.config
    writer = GGUFWriter(path, architecture or config.model_type)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_vocab_size(config.vocab_size)
    for name, value in (settings or {}).items():
        (writer.add_uint32 if isinstance(value, int) else writer.add_string)(name, value)
    if tokenizer:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("gpt-2")
        writer.add_token_list(TOKENS)
        special = [TokenType.CONTROL if "<" in token else TokenType.NORMAL for token in TOKENS]
        writer.add_token_types(special)
        writer.add_token_merges([f"{SPACE} {letter}" for letter in LETTERS])
        writer.add_bos_token_id(BOS)
        writer.add_eos_token_id(EOS)
    for name, tensor in tensors(gguf_tensors(model)).items():
        if quantised and tensor.ndim == 2:
            writer.add_tensor(name, _blocks(tensor), raw_dtype=GGMLQuantizationType.Q8_0)
        else:
            writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _blocks(matrix: np.ndarray) -> np.ndarray:
    """Each 32 numbers of a row as a scale in half precision and 32 bytes."""
    scales, numbers = _scaled(matrix)
    bytes_of = np.concatenate([scales.view(np.uint8), numbers.view(np.uint8)], axis=-1)
    return bytes_of.reshape(len(matrix), -1)


def in_8_bits(matrix: np.ndarray) -> np.ndarray:
    """What is left of a matrix that is written in 8 bits."""
    scales, numbers = _scaled(matrix)
    return (scales.astype(np.float32) * numbers.astype(np.float32)).reshape(matrix.shape)


def _scaled(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    blocks = matrix.reshape(len(matrix), -1, 32)
    scales = (np.abs(blocks).max(-1, keepdims=True) / 127).astype(np.float16)
    return scales, np.round(blocks / scales.astype(np.float32)).clip(-127, 127).astype(np.int8)
