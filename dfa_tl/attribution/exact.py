"""`exact`: activation patching, the ground truth that the gradient methods estimate.

    score(node) = m(clean) - m(clean run with this one node set to its ablated value)

Each run starts at the nodes' layer from the clean residual stream. Up to `STACKED` nodes of a layer
share a run, each in its own copy of the batch, which keeps small models busy; without a graph, such
a run needs about as much memory as a forward and backward run of one copy.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor

from dfa_tl.attribution.gradients import PairScores
from dfa_tl.models.ablation import AblatedValues
from dfa_tl.models.interventions import capture, interpolate, replace
from dfa_tl.models.node_model import NodeModel
from dfa_tl.models.partial_run import Resume, residual_site
from dfa_tl.nodes import EMBED_SITE, head_site, mlp_site
from dfa_tl.tasks.batches import PairBatch, repeat_rows
from dfa_tl.tasks.metrics import Metric, measured

STACKED = 4


@torch.no_grad()
def exact(
    model: NodeModel, batch: PairBatch, ablated: AblatedValues, metric: Metric, ig_steps: int = 1
) -> PairScores:
    """Scores of each pair. `ig_steps` is not used."""
    values = ablated.values(batch)
    with capture(model, map(residual_site, range(model.nodes.n_layers))) as residuals:
        logits = model.last_logits(batch.clean, batch.mask, batch.last)
    batch = batch.with_clean_logits(logits)
    clean = measured(metric, logits, batch)
    columns: list[Tensor] = []
    one_each = torch.eye(model.nodes.n_heads + 1, dtype=torch.float32)
    for layer in range(model.nodes.n_layers):
        sites = (head_site(layer), mlp_site(layer))
        for left_out in torch.split(one_each, STACKED):
            copies = len(left_out)
            stacked = batch.repeated(copies)
            resume = Resume(layer, repeat_rows(residuals[residual_site(layer)], copies))
            toward = {site: values[site] for site in sites}
            if ablated.per_pair:
                toward = {site: repeat_rows(value, copies) for site, value in toward.items()}
            of_row = left_out.repeat_interleave(len(batch), dim=0)
            weights = {
                sites[0]: rearrange(of_row[:, :-1], "row head -> row 1 head 1"),
                sites[1]: rearrange(of_row[:, -1], "row -> row 1 1"),
            }
            with interpolate(model, toward, weights):
                patched = model.last_logits(stacked.clean, stacked.mask, stacked.last, resume)
            effects = clean.repeat(copies) - measured(metric, patched, stacked)
            columns += torch.split(effects.cpu(), len(batch))
    with replace(model, {EMBED_SITE: values[EMBED_SITE]}):
        without_input = model.last_logits(batch.clean, batch.mask, batch.last)
    return PairScores(
        nodes=torch.stack(columns, dim=1),
        input=(clean - measured(metric, without_input, batch)).cpu(),
    )
