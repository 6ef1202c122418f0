"""Which models can be seen as nodes: decoders with heads and an MLP in every layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from dfa_tl.errors import ModelError
from dfa_tl.nodes import NodeSet


def nodes_of(tl: nn.Module) -> NodeSet:
    """The nodes of a model. Raises `ModelError` for what is no TransformerLens model."""
    cfg: Any = getattr(tl, "cfg", None)
    n_layers, n_heads = getattr(cfg, "n_layers", None), getattr(cfg, "n_heads", None)
    if (
        not isinstance(n_layers, int)
        or not isinstance(n_heads, int)
        or not hasattr(tl, "hook_dict")
    ):
        raise ModelError(
            f"expected a HookedTransformer or TransformerBridge, got {type(tl).__name__}; "
            "load_model makes one from a name or a folder"
        )
    return NodeSet(n_layers, n_heads)


def hook_points_of(tl: nn.Module, name: str, sites: Sequence[str]) -> dict[str, Any]:
    """The model's hook points at `sites`.

    Raises:
        ModelError: one of them is missing, or the model's weights are elsewhere.
    """
    hooks: Any = tl.hook_dict
    missing = [site for site in sites if site not in hooks]
    if missing:
        raise ModelError(
            f"{name} has no hook point {missing[0]} ({len(missing)} of {len(sites)} are missing): "
            "it is no decoder with attention heads and an MLP in every layer, so its nodes cannot "
            "be patched"
        )
    if any(parameter.is_meta for parameter in tl.parameters()):
        raise ModelError(
            f"weights of {name} are on the meta device and hold no numbers, or were moved to the "
            "disk: load them into memory"
        )
    return {site: hooks[site] for site in sites}
