"""Find where a NaN or an infinity first appeared."""

from __future__ import annotations

import torch
from torch import Tensor

from dfa_tl.models.interventions import hooked
from dfa_tl.models.node_model import NodeModel
from dfa_tl.models.partial_run import residual_site
from dfa_tl.nodes import EMBED_SITE, head_site, mlp_site
from dfa_tl.tasks.batches import PairBatch


@torch.no_grad()
def where_not_finite(model: NodeModel, batch: PairBatch) -> str:
    """A phrase that names the first hook, in computation order, with a value that is not finite.

    Both prompts of each pair are run again, unpatched.
    """
    sites = [EMBED_SITE]
    for layer in range(model.nodes.n_layers):
        sites += [residual_site(layer), head_site(layer), mlp_site(layer)]
    for name, tokens in (("clean", batch.clean), ("corrupt", batch.corrupt)):
        found: list[tuple[str, int]] = []

        def look(site: str, activation: Tensor, found: list[tuple[str, int]] = found) -> None:
            real = batch.mask.to(activation.device)
            bad = ~activation.flatten(2).isfinite().all(-1) & real
            if bad.any():
                found.append((site, int(bad.any(1).nonzero()[0])))

        hooks = {site: (lambda activation, site=site: look(site, activation)) for site in sites}
        with hooked(model, hooks):
            logits = model.last_logits(tokens, batch.mask, batch.last)
        if not found and not logits.isfinite().all():
            found.append(("the logits", int((~logits.isfinite().all(-1)).nonzero()[0])))
        if found:
            site, row = found[0]
            return f"first at {site}, in the {name} run of pair {int(batch.index[row])}"
    return "every activation of the runs is finite, so the metric or its gradient is not"
