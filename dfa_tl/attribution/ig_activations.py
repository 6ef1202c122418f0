"""`nap-ig-activations`: integrated gradients over the activations of one site at a time.

For a site (a layer's heads together, one MLP, or the embedding), dm/da is taken **at that site
alone** and averaged over m runs in which that site's activation is a_abl + k/m (a_clean - a_abl),
k = 1..m, and all else follows from the clean input; the score is (a_clean - a_abl) times that mean.

The k = m run is the clean run, one for all sites. The others start at the site's layer from the
clean residual stream and go back no further than the site. Source: Hanna et al. 2024
(arXiv 2403.17806).
"""

from __future__ import annotations

import torch
from torch import Tensor

from dfa_tl.attribution.gradients import (
    PairScores,
    contract,
    contracted_gradients,
    metric_gradient,
    pair_scores,
)
from dfa_tl.models.ablation import AblatedValues
from dfa_tl.models.interventions import capture, hooked
from dfa_tl.models.node_model import NodeModel
from dfa_tl.models.partial_run import Resume, residual_site
from dfa_tl.nodes import EMBED_SITE, head_site, mlp_site
from dfa_tl.tasks.batches import PairBatch
from dfa_tl.tasks.metrics import Metric, measured


def nap_ig_activations(
    model: NodeModel, batch: PairBatch, ablated: AblatedValues, metric: Metric, ig_steps: int
) -> PairScores:
    """Scores of each pair."""
    differences = ablated.values(batch)
    clean: dict[str, Tensor] = {}

    def clean_delta(site: str, activation: Tensor) -> Tensor:
        clean[site] = activation
        differences[site] = activation - differences[site].to(activation)
        return differences[site]

    layers = range(model.nodes.n_layers)
    with capture(model, map(residual_site, layers)) as residuals:
        totals = contracted_gradients(model, batch, metric, clean_delta)

    def add_steps(site: str, resume: Resume | None) -> None:
        for step in range(1, ig_steps):
            activation = clean[site] - (1 - step / ig_steps) * differences[site]
            activation.requires_grad_(True)
            with hooked(model, {site: lambda _, value=activation: value}):
                logits = model.last_logits(batch.clean, batch.mask, batch.last, resume)
            gradient = metric_gradient(measured(metric, logits, batch), activation, metric)
            totals[site] = totals[site] + contract(gradient, differences[site])

    add_steps(EMBED_SITE, None)
    for layer in layers:
        resume = Resume(layer, residuals[residual_site(layer)])
        for site in (head_site(layer), mlp_site(layer)):
            add_steps(site, resume)
            del clean[site], differences[site]
    with torch.no_grad():
        return pair_scores(model.nodes, {site: total / ig_steps for site, total in totals.items()})
