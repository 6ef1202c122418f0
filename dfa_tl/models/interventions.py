"""Read and change activations at hook points, as context managers.

    with capture(model, sites) as seen: ...         # seen[site] is the activation
    with replace(model, {site: value}): ...         # a -> value
    with interpolate(model, {site: (to, w)}): ...   # a -> a + w (to - a)

Every hook asked for must be seen to fire before the context closes, or a `HookError` names it. Our
hooks come after any that are already on the model, and only ours are removed, also when the body
raises. Close over the site you asked for: on a `TransformerBridge` the name that a hook sees is
another one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from dfa_tl.errors import HookError
from dfa_tl.models.node_model import NodeModel
from dfa_tl.models.state import added_hooks
from dfa_tl.nodes import NodeSet, head_site, mlp_site

HookFunction = Callable[[Tensor], Tensor | None]
"""From an activation to its replacement; None keeps it."""

Weights = Mapping[str, Float[Tensor, "..."]]
"""A weight for each site, of a shape that broadcasts over the site's activation."""


@contextmanager
def hooked(model: NodeModel, functions: Mapping[str, HookFunction]) -> Iterator[None]:
    """Call `functions[site]` on the activation at each site, in every run inside.

    Raises:
        HookError: a site's hook did not fire in the body.
    """
    fired: set[str] = set()

    def noting(site: str, function: HookFunction) -> Callable[..., Tensor | None]:
        def run(activation: Tensor, hook: Any) -> Tensor | None:
            fired.add(site)
            return function(activation)

        return run

    hooks = [(model.hook_point(site), noting(site, each)) for site, each in functions.items()]
    with added_hooks(hooks):
        yield
        silent = [site for site in functions if site not in fired]
        if silent:
            raise HookError(
                f"{len(silent)} of {len(functions)} hooks never fired on {model.name}, first "
                f"{silent[0]}: the run did not do what was asked, so it is void"
            )


@contextmanager
def capture(model: NodeModel, sites: Iterable[str]) -> Iterator[dict[str, Tensor]]:
    """The activations at `sites`, detached, of the last run inside."""
    seen: dict[str, Tensor] = {}
    with hooked(model, {site: _storing(seen, site) for site in sites}):
        yield seen


def _storing(seen: dict[str, Tensor], site: str) -> HookFunction:
    def store(activation: Tensor) -> None:
        seen[site] = activation.detach()

    return store


@contextmanager
def replace(model: NodeModel, values: Mapping[str, Tensor]) -> Iterator[None]:
    """Every activation at a site becomes `values[site]` (which broadcasts over it)."""

    def replacing(value: Tensor) -> HookFunction:
        return lambda activation: value.to(activation).expand_as(activation)

    with hooked(model, {site: replacing(value) for site, value in values.items()}):
        yield


@contextmanager
def interpolate(model: NodeModel, toward: Mapping[str, Tensor], weights: Weights) -> Iterator[None]:
    """At each site of `weights` the activation a becomes a + w (toward - a).

    `a` is the value in this intervened run; exact at w = 0 and w = 1. Gradients flow to the
    weights. Training (soft masks) and evaluation (0 / 1 masks) both patch with this.
    """

    def moving(site: str) -> HookFunction:
        def move(activation: Tensor) -> Tensor:
            target = toward[site].to(activation).expand_as(activation)
            return torch.lerp(
                activation, target, weights[site].to(activation).expand_as(activation)
            )

        return move

    with hooked(model, {site: moving(site) for site in weights}):
        yield


def site_weights(
    nodes: NodeSet, weights: Float[Tensor, " node"], start_layer: int = 0
) -> dict[str, Float[Tensor, "..."]]:
    """One weight per node as weights of the sites: `head 1` for heads, a scalar for an MLP."""
    by_layer = weights.unflatten(0, (nodes.n_layers, nodes.n_heads + 1))
    sites: dict[str, Tensor] = {}
    for layer in range(start_layer, nodes.n_layers):
        sites[head_site(layer)] = by_layer[layer, :-1, None]
        sites[mlp_site(layer)] = by_layer[layer, -1]
    return sites
