"""A TransformerLens 3 `HookedTransformer` with the weights of a plain Hugging Face model."""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase


def hooked_transformer(
    hf: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None = None
) -> nn.Module:
    """Settings and weights by TransformerLens's own conversions, nothing folded or centred."""
    from transformer_lens import HookedTransformer, HookedTransformerConfig
    from transformer_lens.pretrained import weight_conversions as convert

    c = hf.config
    heads, width = c.num_attention_heads, c.hidden_size
    settings: dict[str, Any] = {
        "n_layers": c.num_hidden_layers,
        "d_model": width,
        "n_ctx": c.max_position_embeddings,
        "d_head": getattr(c, "head_dim", None) or width // heads,
        "n_heads": heads,
        "d_vocab": c.vocab_size,
        "device": "cpu",
        "seed": None,
        "original_architecture": type(hf).__name__,
    }
    settings |= {"gpt2": _gpt2, "gpt_neox": _neox}.get(c.model_type, _llama_like)(c)
    model = HookedTransformer(HookedTransformerConfig(**settings), tokenizer)
    converted = {
        "gpt2": convert.convert_gpt2_weights,
        "gpt_neox": convert.convert_neox_weights,
        "llama": convert.convert_llama_weights,
        "qwen2": convert.convert_qwen2_weights,
        "gemma2": convert.convert_gemma_weights,
    }[c.model_type](hf, model.cfg)
    model.load_state_dict(converted, strict=False)
    return model.eval()


def _gpt2(c: Any) -> dict[str, Any]:
    return {
        "d_mlp": 4 * c.n_embd,
        "act_fn": c.activation_function,
        "normalization_type": "LN",
        "eps": c.layer_norm_epsilon,
    }


def _neox(c: Any) -> dict[str, Any]:
    return {
        "d_mlp": c.intermediate_size,
        "act_fn": c.hidden_act,
        "normalization_type": "LN",
        "eps": c.layer_norm_eps,
        "parallel_attn_mlp": c.use_parallel_residual,
        "positional_embedding_type": "rotary",
        "rotary_adjacent_pairs": False,
        "rotary_dim": int(
            c.rope_parameters["partial_rotary_factor"] * c.hidden_size // c.num_attention_heads
        ),
        "default_prepend_bos": False,
    }


def _llama_like(c: Any) -> dict[str, Any]:
    d_head = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
    rope = c.rope_parameters
    settings: dict[str, Any] = {
        "d_mlp": c.intermediate_size,
        "act_fn": "silu",
        "normalization_type": "RMS",
        "eps": c.rms_norm_eps,
        "n_key_value_heads": c.num_key_value_heads,
        "positional_embedding_type": "rotary",
        "rotary_adjacent_pairs": False,
        "rotary_dim": d_head,
        "rotary_base": rope["rope_theta"],
        "final_rms": True,
        "gated_mlp": True,
    }
    if rope["rope_type"] == "llama3":
        settings |= {
            "use_NTK_by_parts_rope": True,
            "NTK_original_ctx_len": rope["original_max_position_embeddings"],
            "NTK_by_parts_low_freq_factor": rope["low_freq_factor"],
            "NTK_by_parts_high_freq_factor": rope["high_freq_factor"],
            "NTK_by_parts_factor": rope["factor"],
        }
    if c.model_type == "qwen2":
        settings["default_prepend_bos"] = False
    if c.model_type == "gemma2":
        settings |= {
            "act_fn": c.hidden_activation,
            "attn_scale": c.query_pre_attn_scalar**0.5,
            "use_local_attn": True,
            "window_size": c.sliding_window,
            "attn_types": [
                "local" if kind == "sliding_attention" else "global" for kind in c.layer_types
            ],
            "attn_scores_soft_cap": c.attn_logit_softcapping,
            "output_logits_soft_cap": c.final_logit_softcapping,
            "use_normalization_before_and_after": True,
        }
    return settings
