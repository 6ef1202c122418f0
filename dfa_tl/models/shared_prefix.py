"""What the two prompts of each pair have in common at their start is run once.

Up to the first token in which a clean and a corrupt prompt differ, every counterfactual run has the
same activations: those of circuits, of soft masks, and of the corrupt run. Where a model is causal,
later positions see them only as keys and values. So these are computed once for a batch, and each
run starts after the shortest prefix of its pairs:

    with model.partial_run.continued(shared_prefix(model, batch)): ...

Runs inside give the logits of whole runs, and hooks see the positions after the prefix. Under other
ablations than `counterfactual` the prefix changes as well, so this must not be used there.

Whether a model can be continued is not looked up but seen: whenever a batch is longer than any
before, the last logits of its last rows are compared with those of a whole run. Runs stay whole
where these differ, where the model takes no cache, and where the user has hooks on it, which may
act on certain positions.
"""

from __future__ import annotations

import torch

from dfa_tl.models.batching import is_out_of_memory
from dfa_tl.models.isolation import has_user_hooks
from dfa_tl.models.node_model import NodeModel
from dfa_tl.models.prefix import Prefix
from dfa_tl.models.probe import tolerance_of
from dfa_tl.tasks.batches import PairBatch

LEAST_SHARE = 0.2
"""A prefix that is a smaller part of the prompts saves less than the run over it may cost."""
CHECKED_ROWS = 2


def prefix_length(batch: PairBatch) -> int:
    """The length of a batch's common prefix; 0 where it is too short to be worth a run."""
    return batch.n_shared if batch.n_shared >= LEAST_SHARE * batch.clean.shape[1] else 0


@torch.no_grad()
def shared_prefix(model: NodeModel, batch: PairBatch) -> Prefix | None:
    """The common prefix of the prompts of a batch; None where runs have to be whole."""
    length, width = prefix_length(batch), batch.clean.shape[1]
    support = model.partial_run.prefix_support
    if not (support.works and length) or has_user_hooks(model.tl):
        return None
    try:
        prefix = model.partial_run.prefix_of(batch.clean[:, :length])
        if width > support.widest:
            support.works = _gives_whole_runs(model, batch, prefix)
            support.widest = width
    # The model's own code raises whatever it raises.
    except Exception as error:
        if is_out_of_memory(error):
            raise
        support.works = False
        return None
    return prefix if support.works else None


def _gives_whole_runs(model: NodeModel, batch: PairBatch, prefix: Prefix) -> bool:
    first = max(0, len(batch) - CHECKED_ROWS)
    rows = batch.part(first, len(batch))
    run = model.partial_run
    inputs = (rows.clean, rows.mask, rows.last, None)
    whole = run.last_logits(*inputs).float()
    with run.continued(prefix.each(lambda tensor: tensor[first:])):
        continued = run.last_logits(*inputs).float()
    error = (continued - whole).abs().max()
    return bool(error <= tolerance_of(model.dtype) * whole.abs().max())
