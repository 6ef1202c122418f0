"""`nap`: node attribution patching, with and without integrated gradients over the inputs.

    nap             (a_clean - a_ablated) . dm/da at the clean run
    nap, corrupt    (a_clean - a_corrupt) . dm/da at the corrupt run
    nap-ig-inputs   the same with dm/da averaged over m runs whose input embedding is
                    corrupt + k/m (clean - corrupt), k = 1..m

The clean run is the last of the m runs, so m steps cost one forward and m forward-backward runs.
The gradient at the corrupt run estimates what patching a node's clean value into the corrupt run
restores; it is what TransformerLens's `attribution_patch` takes.
Sources: Syed et al. 2023 (arXiv 2310.10348); Hanna et al. 2024 (arXiv 2403.17806).
"""

from __future__ import annotations

import torch
from torch import Tensor

from dfa_tl.attribution.gradients import PairScores, contracted_gradients, pair_scores
from dfa_tl.models.ablation import AblatedValues
from dfa_tl.models.interventions import capture
from dfa_tl.models.node_model import NodeModel
from dfa_tl.nodes import EMBED_SITE, node_sites
from dfa_tl.tasks.batches import PairBatch
from dfa_tl.tasks.metrics import Metric


def nap(
    model: NodeModel, batch: PairBatch, ablated: AblatedValues, metric: Metric, ig_steps: int = 1
) -> PairScores:
    """Scores of each pair; `ig_steps` above 1 integrates over the inputs."""
    differences = ablated.values(batch)

    def clean_delta(site: str, activation: Tensor) -> Tensor:
        # The ablated value is not needed again: the difference takes its place.
        differences[site] = activation - differences[site].to(activation)
        return differences[site]

    totals = contracted_gradients(model, batch, metric, clean_delta)
    for step in range(1, ig_steps):
        missing = 1 - step / ig_steps

        def interpolated(clean: Tensor, missing: float = missing) -> Tensor:
            return clean - missing * differences[EMBED_SITE].to(clean)

        scores = contracted_gradients(
            model, batch, metric, lambda site, _: differences[site], interpolated
        )
        totals = {site: total + scores[site] for site, total in totals.items()}
    with torch.no_grad():
        return pair_scores(model.nodes, {site: total / ig_steps for site, total in totals.items()})


def nap_at_corrupt(model: NodeModel, batch: PairBatch, metric: Metric) -> PairScores:
    """Scores of each pair, with the gradient at the corrupt run."""
    with torch.no_grad(), capture(model, [EMBED_SITE, *node_sites(model.nodes)]) as clean:
        model.last_logits(batch.clean, batch.mask, batch.last)

    def delta(site: str, corrupt: Tensor) -> Tensor:
        return clean.pop(site).to(corrupt) - corrupt

    scores = contracted_gradients(model, batch, metric, delta, tokens=batch.corrupt)
    with torch.no_grad():
        return pair_scores(model.nodes, scores)
