"""`exact`: activation patching, the ground truth that the gradient methods estimate.

    score(node) = m(clean) - m(clean run with this one node set to its ablated value)

Each run starts at the node's layer from the clean residual stream.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dfa_tl.attribution.gradients import PairScores
from dfa_tl.models.ablation import AblatedValues
from dfa_tl.models.interventions import capture, interpolate, replace
from dfa_tl.models.wrapper import NodeModel, Resume, residual_site
from dfa_tl.nodes import EMBED_SITE, Node, head_site, mlp_site
from dfa_tl.tasks.metrics import Metric
from dfa_tl.tasks.pairs import PairBatch


@torch.no_grad()
def exact(
    model: NodeModel, batch: PairBatch, ablated: AblatedValues, metric: Metric, ig_steps: int = 1
) -> PairScores:
    """Scores of each pair. `ig_steps` is not used."""
    values = ablated.values(batch)
    with capture(model, map(residual_site, range(model.nodes.n_layers))) as residuals:
        logits = model.last_logits(batch.clean, batch.mask, batch.last)
    clean = metric(logits, batch).float()

    def effect(site: str, weight: Tensor, layer: int) -> Tensor:
        resume = Resume(layer, residuals[residual_site(layer)])
        with interpolate(model, values, {site: weight}):
            patched = model.last_logits(batch.clean, batch.mask, batch.last, resume)
        return (clean - metric(patched, batch).float()).cpu()

    columns = []
    for node in model.nodes:
        columns.append(effect(*_one_node(node, model.nodes.n_heads), node.layer))
    with replace(model, {EMBED_SITE: values[EMBED_SITE]}):
        without_input = model.last_logits(batch.clean, batch.mask, batch.last)
    return PairScores(
        nodes=torch.stack(columns, dim=1),
        input=(clean - metric(without_input, batch).float()).cpu(),
    )


def _one_node(node: Node, n_heads: int) -> tuple[str, Tensor]:
    """The node's site and the weights that ablate this node alone."""
    if node.head is None:
        return mlp_site(node.layer), torch.tensor(1.0)
    weights = torch.zeros(n_heads, 1)
    weights[node.head] = 1
    return head_site(node.layer), weights
