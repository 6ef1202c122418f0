"""Is a hooked model the model, and are its nodes all that writes to the residual stream?

    logits      max |hooked - plain| / max |plain|, the plain model being Hugging Face's own code on
                the same weights
    residual    what `dfa_tl.models.probe` finds: with heads and MLP held constant, how far a layer
                is from a multiple of what enters it and a constant, relative to the stream

Multipliers, and embeddings that are scaled, projected or normed before they enter the stream, are
parts of many models and no faults: they change no score of a node.

Probe: three rows of token ids spread over the vocabulary, of unequal length, in one padded batch;
the plain model runs each row alone. Cost: five short forward runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from dfa_tl.errors import ModelError, NumericsError
from dfa_tl.models.guard import unchanged
from dfa_tl.models.plain import plain_model
from dfa_tl.models.probe import tolerance_of
from dfa_tl.models.wrapper import NodeModel

LENGTHS = (16, 11, 5)


@dataclass(frozen=True)
class ModelCheck:
    """What `NodeModel.check` found; errors are relative, and within the tolerance.

    Attributes:
        model: Name of the model.
        compared_with: The plain model, in words; None when there was none to compare with.
        logits_error: Of the logits at the last positions; None when there was nothing to compare.
        residual_error: Of the residual stream, which nothing but the nodes may write to.
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
            f"{self.model}: {logits}; nothing but its nodes writes to the residual stream, to "
            f"{self.residual_error:.1e}{heads}"
        )


@torch.no_grad()
def check_model(model: NodeModel, reference: nn.Module | str | Path | None = None) -> ModelCheck:
    """Check a model; see `NodeModel.check`."""
    plain, compared_with = _plain(model, reference)
    tolerance = tolerance_of(model.dtype)
    tokens, mask = _probe_tokens(model)
    last = mask.sum(1) - 1
    with model.unchanged():
        logits = model.last_logits(tokens, mask, last).float()
    if not logits.isfinite().all():
        raise NumericsError(f"{model.name} gives logits that are not finite on the probe")
    residual_error = model.probe_error()
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
        additive_heads=not hasattr(model.tl.blocks[0], "ln1_post"),
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


def _probe_tokens(model: NodeModel) -> tuple[Int[Tensor, "row pos"], Bool[Tensor, "row pos"]]:
    width = min(LENGTHS[0], model.tl.cfg.n_ctx)
    rows, positions = torch.arange(len(LENGTHS))[:, None], torch.arange(width)[None]
    # A stride prime to the vocabulary's size would do; this one only has to reach all of it.
    stride = max(1, int(0.618 * model.vocabulary_size))
    tokens = ((rows * width + positions + 1) * stride) % model.vocabulary_size
    mask = positions < torch.tensor(LENGTHS)[:, None].clamp(max=width)
    return tokens.to(model.device), mask.to(model.device)


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
