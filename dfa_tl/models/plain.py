"""The plain Hugging Face model under a `TransformerBridge`, sharing its weights.

A bridge puts its own components in the place of the model's modules and computes attention in
these. To have something to compare with, a second model of the same class and settings is made
without weights, and the tensors that Transformers loaded are set into it by their names. Memory:
none but buffers.
"""

from __future__ import annotations

import copy
from typing import Any

from accelerate import dispatch_model, init_empty_weights
from torch import Tensor, nn

from dfa_tl.errors import ModelError


def plain_model(bridge: nn.Module) -> nn.Module:
    """A model that runs nothing but Transformers' own code on the bridge's weights.

    Raises:
        ModelError: the bridge's model is of a kind whose weights cannot be found by name.
    """
    wrapped: Any = bridge.original_model
    with init_empty_weights(include_buffers=False):
        plain = type(wrapped)(copy.deepcopy(wrapped.config))
    tensors = _tensors(wrapped)
    expected = plain.state_dict()
    missing = [name for name in expected if name not in tensors]
    if missing:
        raise ModelError(
            f"{len(missing)} weights of {type(wrapped).__name__} are not to be found in its "
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
