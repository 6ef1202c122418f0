"""A word of warning before a long computation on a task that the model cannot do.

One forward run of the first batch, and only where at least `LONG_RUN` batches follow, so that it
costs a few percent of a forward pass. `PairDataset.report` measures all pairs.
"""

from __future__ import annotations

import logging

import torch
from jaxtyping import Float
from torch import Tensor

from dfa_tl.models.halving import Halving
from dfa_tl.models.wrapper import NodeModel
from dfa_tl.tasks.batches import PairBatch
from dfa_tl.tasks.metrics import accuracy
from dfa_tl.tasks.report import NEAR_CHANCE

LONG_RUN = 8

logger = logging.getLogger(__name__)


@torch.no_grad()
def warn_if_unsolved(
    model: NodeModel, batch: PairBatch, task: str, n_batches: int, halving: Halving
) -> None:
    """Log a warning when the clean runs of a batch prefer the answer about as often as guessing.

    Args:
        model: The model.
        batch: The first batch.
        task: The task's name.
        n_batches: How many batches the computation has; a short one is not worth the check.
        halving: Splits the batch where it does not fit in memory.
    """
    if n_batches < LONG_RUN:
        return

    def right(part: PairBatch) -> Float[Tensor, " batch"]:
        return accuracy(model.last_logits(part.clean, part.mask, part.last), part)

    share = float(torch.cat([result for _, result in halving(batch, right)]).mean())
    if share <= NEAR_CHANCE:
        logger.warning(
            "%s may not be able to do %r: it prefers the answer in %.0f %% of the first %d pairs, "
            "where guessing gives 50 %%. See PairDataset.report",
            model.name,
            task,
            100 * share,
            len(batch),
        )
