"""Does a hooked model compute what the plain one does, and do only its nodes write to the stream?

    logits      max |hooked - plain| / max |plain|, the plain model being Hugging Face's own code on
                the same weights
    residual    what `dfa_tl.models.probe` finds: with heads and MLP held constant, how far a layer
                is from a multiple of what enters it and a constant, relative to the stream

Many models have multipliers, or scale, project or norm their embeddings before these enter the
stream. That is not a fault: it changes no node's score.

Cost: seven short forward runs and a short backward run.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from dfa_tl.arguments import checked_arguments
from dfa_tl.models.hugging_face import check_logits, plain_model, weights_changed
from dfa_tl.models.loading import load_model
from dfa_tl.models.node_model import NodeModel
from dfa_tl.models.probe import tolerance_of


@dataclass(frozen=True)
class ModelCheck:
    """What `check` found; errors are relative, and within the tolerance.

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
            "there is no plain model to compare logits with"
            if self.logits_error is None
            else f"logits equal those of {self.compared_with} to {self.logits_error:.1e}"
        )
        heads = "" if self.additive_heads else "; a norm follows attention, so heads do not add up"
        return (
            f"{self.model}: {logits}; only its nodes write to the residual stream, to "
            f"{self.residual_error:.1e}{heads}"
        )


@checked_arguments
@torch.no_grad()
def check(model: NodeModel, reference: nn.Module | str | Path | None = None) -> ModelCheck:
    """Check that a hooked model computes what the plain one does, all of it through its nodes.

    On a short probe, the logits must be those of the plain Hugging Face model, and nothing but
    heads and MLPs may write to the residual stream. Hooks that are on the model count as part of
    it.

    Args:
        model: The model to check; it is not changed.
        reference: The plain model, or the name or folder to load it from. The default is the one
            under the bridge, on the same weights. A `HookedTransformer`, or a bridge in
            compatibility mode, has none: without a reference only the residual stream is checked,
            and the result says so.

    Raises:
        ModelError: there is a difference; the message says how large, and where.
        NumericsError: logits that are not finite.
    """
    plain, compared_with = _plain(model, reference)
    residual_error = model.probe_error()
    logits_error = None if plain is None else check_logits(model, plain, str(compared_with))
    return ModelCheck(
        model=model.name,
        compared_with=compared_with,
        logits_error=logits_error,
        residual_error=residual_error,
        additive_heads=not hasattr(model.tl.blocks[0], "ln1_post"),
        tolerance=tolerance_of(model.dtype),
    )


def _plain(
    model: NodeModel, reference: nn.Module | str | Path | None
) -> tuple[nn.Module | None, str | None]:
    if isinstance(reference, nn.Module):
        return reference, f"the {type(reference).__name__} given"
    if reference is not None:
        other = load_model(reference, device=model.device, dtype=model.dtype)
        return plain_model(other.tl), f"the Hugging Face model {other.name}"
    if weights_changed(model):
        return None, None
    return plain_model(model.tl), f"the {type(model.tl.original_model).__name__} under the bridge"
