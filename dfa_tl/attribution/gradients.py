"""One forward and one backward run whose gradients are contracted with activation differences.

    score(node) = sum over positions and channels of (a_clean - a_ablated) . dm/da

The gradient at each site is contracted as soon as the backward pass produces it, and then dropped:
nothing of size nodes x d_model x positions ever exists. Parameters are frozen; the graph starts
at the embedding. Sums are in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from dfa_tl.errors import ConfigError, HookError
from dfa_tl.models.interventions import HookFunction, hooked
from dfa_tl.models.node_model import NodeModel
from dfa_tl.nodes import EMBED_SITE, NodeSet, head_site, mlp_site, node_sites
from dfa_tl.tasks.batches import PairBatch
from dfa_tl.tasks.metrics import Metric, measured

Delta = Callable[[str, Tensor], Tensor]
"""Takes a site and its activation in this run; returns what its gradient is contracted with."""

SiteScores = dict[str, Float[Tensor, "batch ..."]]
"""`batch head` at the heads of a layer, `batch` at an MLP and at the embedding."""


@dataclass(frozen=True, eq=False)
class PairScores:
    """Scores of each pair of a batch: of the nodes in order, and of the token embedding."""

    nodes: Float[Tensor, "batch node"]
    input: Float[Tensor, " batch"]


def contract(gradient: Tensor, delta: Tensor) -> Float[Tensor, "batch ..."]:
    """Sum of gradient times delta over positions and channels (heads are kept apart)."""
    product = gradient.float() * delta.to(gradient.device, torch.float32)
    return product.sum((1, -1))


def metric_gradient(
    values: Float[Tensor, " batch"], wrt: Tensor, metric: Metric
) -> Float[Tensor, "..."]:
    """Gradient of the metric summed over the batch (rows do not interact)."""
    if not values.requires_grad:
        raise ConfigError(
            f"the metric {getattr(metric, '__name__', metric)!r} has no gradient; attribute with a "
            "differentiable one (logit_diff, prob_diff, log_prob, kl), or with method='exact'"
        )
    return torch.autograd.grad(values.sum(), wrt)[0]


def contracted_gradients(
    model: NodeModel,
    batch: PairBatch,
    metric: Metric,
    delta: Delta,
    embedding: Callable[[Tensor], Tensor] | None = None,
    tokens: Int[Tensor, "batch pos"] | None = None,
) -> SiteScores:
    """Contract the metric's gradient at every site in one run.

    Args:
        model: The model.
        batch: The pairs.
        metric: The metric whose gradient is taken.
        delta: What each site's gradient is contracted with.
        embedding: Turns the prompts' token embedding into the one that this run uses.
        tokens: The prompts of this run; by default the clean ones.

    Raises:
        HookError: a site received no gradient.
    """
    scores: SiteScores = {}
    leaf: list[Tensor] = []

    def embed(activation: Tensor) -> Tensor:
        start = activation if embedding is None else embedding(activation)
        leaf.append(start.detach().clone().requires_grad_(True))
        watch(EMBED_SITE, leaf[0])
        return leaf[0]

    def watch(site: str, activation: Tensor) -> Tensor:
        difference = delta(site, activation.detach())

        def contract_here(gradient: Tensor) -> None:
            scores[site] = contract(gradient, difference)

        activation.register_hook(contract_here)  # pyright: ignore[reportUnknownMemberType]
        return activation

    def watching(site: str) -> HookFunction:
        return lambda activation: watch(site, activation)

    sites = node_sites(model.nodes)
    with hooked(model, {EMBED_SITE: embed, **{site: watching(site) for site in sites}}):
        prompts = batch.clean if tokens is None else tokens
        logits = model.last_logits(prompts, batch.mask, batch.last)
        metric_gradient(measured(metric, logits, batch), leaf[0], metric)
    silent = [site for site in (EMBED_SITE, *sites) if site not in scores]
    if silent:
        raise HookError(f"no gradient reached {silent[0]} of {model.name}; its score is unknown")
    return scores


def pair_scores(nodes: NodeSet, scores: SiteScores) -> PairScores:
    """Scores by site as one vector over the nodes for each pair, on the CPU."""
    columns: list[Tensor] = []
    for layer in range(nodes.n_layers):
        columns.append(scores[head_site(layer)].cpu())
        columns.append(rearrange(scores[mlp_site(layer)].cpu(), "batch -> batch 1"))
    return PairScores(nodes=torch.cat(columns, dim=1), input=scores[EMBED_SITE].cpu())
