"""What an alignment step needs of the clean run, computed once per batch and kept across epochs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from dfa_tl.models.interventions import capture
from dfa_tl.models.wrapper import NodeModel
from dfa_tl.nodes import node_sites
from dfa_tl.tasks.pairs import PairBatch


@dataclass(frozen=True, eq=False)
class CleanRun:
    """Activations at every site, and the log-probabilities of the next token."""

    activations: dict[str, Float[Tensor, "..."]]
    log_probs: Float[Tensor, "batch vocab"]


@torch.no_grad()
def clean_run(model: NodeModel, batch: PairBatch) -> CleanRun:
    """Run the clean prompts of a batch."""
    with capture(model, node_sites(model.nodes)) as activations:
        logits = model.last_logits(batch.clean, batch.mask, batch.last)
    return CleanRun(activations, logits.float().log_softmax(-1))
