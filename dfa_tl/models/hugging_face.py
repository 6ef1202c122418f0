"""The plain Hugging Face model under a `TransformerBridge`, sharing its weights.

A bridge replaces the model's modules with its own components, which compute attention themselves.
For comparison, a second model of the same class and settings is built without weights, and the
tensors that Transformers loaded are assigned to it by name. Memory: only buffers.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from accelerate import dispatch_model, init_empty_weights
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from dfa_tl.errors import ModelError, NumericsError
from dfa_tl.models.isolation import unchanged
from dfa_tl.models.node_model import NodeModel
from dfa_tl.models.probe import tolerance_of

LENGTHS = (16, 11, 5)


def plain_model(bridge: nn.Module) -> nn.Module:
    """A model that runs nothing but Transformers' own code on the bridge's weights.

    Raises:
        ModelError: weights of the bridge's model cannot be found by name, or are offloaded.
    """
    wrapped: Any = bridge.original_model
    with init_empty_weights(include_buffers=False):
        plain = type(wrapped)(copy.deepcopy(wrapped.config))
    tensors = _tensors(wrapped)
    if any(tensor.is_meta for tensor in tensors.values()):
        raise ModelError("some of its weights are offloaded, and are in memory only while it runs")
    expected = plain.state_dict()
    missing = [name for name in expected if name not in tensors]
    if missing:
        raise ModelError(
            f"{len(missing)} weights of {type(wrapped).__name__} cannot be found in its "
            f"bridge, first {missing[0]}; give check() a reference to compare with"
        )
    # Detached: freezing the plain model must not freeze the bridge's parameters.
    plain.load_state_dict({name: tensors[name].detach() for name in expected}, assign=True)
    devices = getattr(wrapped, "hf_device_map", None)
    if devices is not None and len(set(devices.values())) > 1:
        plain = dispatch_model(plain, devices)
    else:
        plain.to(next(iter(tensors.values())).device)
    return plain.eval().requires_grad_(False)


def _tensors(module: nn.Module, prefix: str = "") -> dict[str, Tensor]:
    """Parameters and buffers by the names that they have in the plain model."""
    while isinstance(own := getattr(module, "original_component", None), nn.Module):
        module = own
    found = dict(module.named_parameters(prefix, recurse=False))
    found |= dict(module.named_buffers(prefix, recurse=False))
    for name, child in module.named_children():
        found |= _tensors(child, f"{prefix}.{name}" if prefix else name)
    return found


def check_logits(model: NodeModel, plain: nn.Module, plain_name: str) -> float:
    """Compare the logits of a model and of the plain model.

    The probe is three rows of token ids spread over the vocabulary, of unequal length, in one
    padded batch; the plain model runs each row alone.

    Returns:
        Their largest difference, relative to the largest logit.

    Raises:
        ModelError: they differ by more than rounding explains.
        NumericsError: the logits are not finite.
    """
    tolerance = tolerance_of(model.dtype)
    tokens, mask = _probe_tokens(model)
    last = mask.sum(1) - 1
    with model.unchanged():
        logits = model.last_logits(tokens, mask, last).float()
    if not logits.isfinite().all():
        raise NumericsError(f"{model.name} gives logits that are not finite on the probe")
    error = _logits_error(model, logits, plain, tokens, last)
    if not error <= tolerance:
        raise ModelError(
            f"{model.name} does not compute what it should: its logits differ from those of "
            f"{plain_name} by {error:.2e} of the largest, more than {tolerance:.0e}"
        )
    return error


def weights_changed(model: NodeModel) -> bool:
    """Whether TransformerLens may have folded and centred the weights, unlike any plain model."""
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
            "is a different model"
        )
    if weights_changed(model):
        # Centred weights shift all logits as one.
        logits, expected = logits.log_softmax(-1), expected.log_softmax(-1)
    return float((logits - expected).abs().max() / expected.abs().max())
