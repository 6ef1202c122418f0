"""Is a hooked model the model, and are its nodes all that writes to the residual stream?

    logits      max |hooked - plain| / max |plain|, the plain model being Hugging Face's own code on
                the same weights
    residual    max |stream - sum of writes| / max |stream| over layers and positions, where
                stream entering layer 0     = token embedding (+ position embedding)
                stream leaving layer l      = stream entering it + attention write + MLP write
                attention write             = sum over heads of z_h W_O,h + b_O

A norm after a sub-layer (Gemma-2) stands between the sub-layer and the stream. An MLP is then read
and patched after that norm, so its activation is its write; the heads of a layer share the norm, so
their activations are exact places to intervene but their writes do not add up: the attention write
is the norm of the sum over heads, and that is what is checked.

Probe: three rows of token ids spread over the vocabulary, of unequal length, in one padded batch;
the plain model runs each row alone. Cost: four short forward runs. Memory: one float32 copy of one
layer's W_O, and the residual streams of the probe.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from einops import einsum
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from dfa_tl.errors import ModelError, NumericsError
from dfa_tl.models.guard import unchanged
from dfa_tl.models.interventions import capture
from dfa_tl.models.plain import plain_model
from dfa_tl.models.wrapper import NodeModel, residual_site
from dfa_tl.nodes import EMBED_SITE, head_site, mlp_site

LENGTHS = (16, 11, 5)
TOLERANCE = {
    torch.float64: 1e-4,  # Transformers computes norms and softmaxes in float32 all the same
    torch.float32: 1e-4,
    torch.float16: 1e-2,
    torch.bfloat16: 5e-2,
}
"""Largest error by the dtype of the weights."""


@dataclass(frozen=True)
class ModelCheck:
    """What `NodeModel.check` found; errors are relative, and within the tolerance.

    Attributes:
        model: Name of the model.
        compared_with: The plain model, in words; None when there was none to compare with.
        logits_error: Of the logits at the last positions; None when there was nothing to compare.
        residual_error: Of the residual stream as the sum of what the nodes write.
        additive_heads: Whether the heads' own writes add up to the attention write; False where a
            norm follows attention.
        tolerance: What both errors stay under.
    """

    model: str
    compared_with: str | None
    logits_error: float | None
    residual_error: float
    additive_heads: bool
    tolerance: float

    def __str__(self) -> str:
        logits = (
            "no plain model to compare logits with"
            if self.logits_error is None
            else f"logits as of {self.compared_with} to {self.logits_error:.1e}"
        )
        heads = (
            "" if self.additive_heads else "; a norm after attention: heads do not add up singly"
        )
        return (
            f"{self.model}: {logits}; residual stream the sum of the writes to "
            f"{self.residual_error:.1e}{heads}"
        )


@torch.no_grad()
def check_model(model: NodeModel, reference: nn.Module | str | Path | None = None) -> ModelCheck:
    """Check a model; see `NodeModel.check`."""
    plain, compared_with = _plain(model, reference)
    tolerance = TOLERANCE.get(model.dtype, TOLERANCE[torch.bfloat16])
    tokens, mask = _probe(model)
    last = mask.sum(1) - 1
    with model.unchanged():
        layers = range(model.nodes.n_layers)
        sites = [EMBED_SITE, _residual_after(model, layers[-1])]
        sites += [site(layer) for layer in layers for site in (residual_site, head_site, mlp_site)]
        post_norm = hasattr(model.tl.blocks[0], "ln1_post")
        if post_norm:
            sites += [f"blocks.{layer}.hook_attn_out" for layer in layers]
        if hasattr(model.tl, "pos_embed"):
            sites.append("hook_pos_embed")
        with capture(model, sites) as seen:
            logits = model.last_logits(tokens, mask, last).float()
        residual_error = _residual_error(model, seen, mask, tolerance)
    if not logits.isfinite().all():
        raise NumericsError(f"{model.name} gives logits that are not finite on the probe")
    logits_error = None
    if plain is not None:
        logits_error = _logits_error(model, logits, plain, tokens, last)
        if not logits_error <= tolerance:
            raise ModelError(
                f"{model.name} is not the model it should be: its logits differ from those of "
                f"{compared_with} by {logits_error:.2e} of the largest, more than {tolerance:.0e}"
            )
    return ModelCheck(
        model=model.name,
        compared_with=compared_with,
        logits_error=logits_error,
        residual_error=residual_error,
        additive_heads=not post_norm,
        tolerance=tolerance,
    )


def _plain(
    model: NodeModel, reference: nn.Module | str | Path | None
) -> tuple[nn.Module | None, str | None]:
    if isinstance(reference, nn.Module):
        return reference, f"the {type(reference).__name__} given"
    if reference is not None:
        # Imported here: loading.py makes NodeModels, whose class has `check`.
        from dfa_tl.models.loading import load_model

        other = load_model(reference, device=model.device, dtype=model.dtype)
        return plain_model(other.tl), f"the Hugging Face model {other.name}"
    if _weights_changed(model):
        return None, None
    return plain_model(model.tl), f"the {type(model.tl.original_model).__name__} under the bridge"


def _weights_changed(model: NodeModel) -> bool:
    """Whether TransformerLens may have folded and centred the weights: no plain model has these."""
    return not hasattr(model.tl, "original_model") or model.tl.compatibility_mode


def _probe(model: NodeModel) -> tuple[Int[Tensor, "row pos"], Bool[Tensor, "row pos"]]:
    width = min(LENGTHS[0], model.tl.cfg.n_ctx)
    rows, positions = torch.arange(len(LENGTHS))[:, None], torch.arange(width)[None]
    # A stride prime to the vocabulary's size would do; this one only has to reach all of it.
    stride = max(1, int(0.618 * model.vocabulary_size))
    tokens = ((rows * width + positions + 1) * stride) % model.vocabulary_size
    mask = positions < torch.tensor(LENGTHS)[:, None].clamp(max=width)
    return tokens.to(model.device), mask.to(model.device)


def _residual_after(model: NodeModel, layer: int) -> str:
    last = layer == model.nodes.n_layers - 1
    return f"blocks.{layer}.hook_resid_post" if last else residual_site(layer + 1)


def _logits_error(
    model: NodeModel,
    logits: Float[Tensor, "row vocab"],
    plain: nn.Module,
    tokens: Int[Tensor, "row pos"],
    last: Int[Tensor, " row"],
) -> float:
    device = next(iter(plain.parameters())).device
    with unchanged(plain), torch.no_grad():
        rows = [
            plain(input_ids=row[None, : int(end) + 1].to(device), use_cache=False).logits[0, -1]
            for row, end in zip(tokens, last, strict=True)
        ]
    expected = torch.stack(rows).float().to(logits.device)
    if expected.shape != logits.shape:
        raise ModelError(
            f"{model.name} has {logits.shape[1]} logits, the plain model {expected.shape[1]}: it "
            "is another model"
        )
    if _weights_changed(model):
        # Centred weights shift all logits as one.
        logits, expected = logits.log_softmax(-1), expected.log_softmax(-1)
    return float((logits - expected).abs().max() / expected.abs().max())


def _residual_error(
    model: NodeModel, seen: dict[str, Tensor], mask: Tensor, tolerance: float
) -> float:
    """The largest error of the stream as a sum of writes, over all layers."""

    def error(stream: Tensor, writes: Tensor, where: str, of: str) -> float:
        real = mask.to(stream.device)
        stream, writes = stream[real].float(), writes.to(stream.device)[real].float()
        found = float((stream - writes).abs().max() / stream.abs().max())
        if not found <= tolerance:
            raise ModelError(
                f"in {model.name} the {where} differs from {of} by {found:.2e} of its largest "
                f"value, more than {tolerance:.0e}: something else writes to the residual "
                "stream, so scores of its nodes would not account for what the model does"
            )
        return found

    embedding = seen[EMBED_SITE].float()
    if "hook_pos_embed" in seen:
        embedding = embedding + seen["hook_pos_embed"].float()
    entering = seen[residual_site(0)]
    errors = [error(entering, embedding, "stream entering layer 0", "the embedding")]
    for layer in range(model.nodes.n_layers):
        block: Any = model.tl.blocks[layer]
        write = _heads_sum(block.attn, seen[head_site(layer)])
        attention = seen.get(f"blocks.{layer}.hook_attn_out")
        if attention is not None:
            normed = block.ln1_post(write.to(attention.dtype))
            of = "the norm of the sum of its heads"
            errors.append(error(attention, normed, f"attention write of layer {layer}", of))
            write = attention
        entering = seen[residual_site(layer)].float()
        leaving = seen[_residual_after(model, layer)]
        writes = entering + write.to(entering.device) + seen[mlp_site(layer)].to(entering.device)
        of = "what entered it and what its heads and MLP write"
        errors.append(error(leaving, writes, f"stream leaving layer {layer}", of))
    return max(errors)


def _heads_sum(attention: Any, z: Float[Tensor, "row pos head d_head"]) -> Tensor:
    weight = attention.W_O.float().to(z.device)
    write = einsum(z.float(), weight, "row pos head d, head d d_model -> row pos d_model")
    bias = getattr(attention, "b_O", None)
    return write if bias is None else write + bias.float().to(z.device)
