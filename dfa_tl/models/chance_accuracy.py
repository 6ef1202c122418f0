"""Warn early when a model is near chance on a task, before an hour is spent on it.

The accuracy comes from clean runs that are made anyway, so it costs no pass. It is judged on the
first `ENOUGH` pairs, because fewer would mislead: a model that is right nine times in ten is wrong
about a single pair one time in ten, but about half of eight pairs one time in two hundred.
`report_pairs` measures all pairs.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dfa_tl.models.node_model import NodeModel
from dfa_tl.tasks.batches import PairBatch
from dfa_tl.tasks.metrics import NEAR_CHANCE, accuracy

ENOUGH = 8

logger = logging.getLogger(__name__)


class ChanceAccuracyWarning:
    """Watches the clean runs of a task's first pairs, and warns once if accuracy is at chance."""

    def __init__(self, model: NodeModel, task: str) -> None:
        self.model = model
        self.task = task
        self._right: dict[int, float] = {}

    @property
    def enough(self) -> bool:
        """Whether enough pairs have been seen."""
        return len(self._right) >= ENOUGH

    def see(self, last_logits: Float[Tensor, "batch vocab"], batch: PairBatch) -> None:
        """Record the clean run of some pairs, by their logits or log-probabilities.

        A pair that is run again, for example because its batch was halved, counts once.
        """
        if self.enough:
            return
        answers = accuracy(last_logits.detach(), batch).tolist()
        for number, right in zip(batch.index.tolist(), answers, strict=True):
            self._right.setdefault(number, right)
        share = sum(self._right.values()) / len(self._right)
        if self.enough and share <= NEAR_CHANCE:
            logger.warning(
                "%s may not be able to do %r: it prefers the right answer in %.0f %% of the first "
                "%d pairs, and guessing gives 50 %%. See report_pairs",
                self.model.name,
                self.task,
                100 * share,
                len(self._right),
            )

    @contextmanager
    def at(self, batch: PairBatch) -> Iterator[None]:
        """Record the first run of the batch's clean prompts that is made inside.

        The run may start after a prefix.
        """
        if self.enough:
            yield
            return

        def see(module: nn.Module, prompts: tuple[Any, ...], logits: Tensor) -> None:
            if _are_clean(prompts[0], batch, self.model) and logits.shape[1] == 1:
                handle.remove()
                self.see(logits[:, 0], batch)

        handle = self.model.tl.register_forward_hook(see)
        try:
            yield
        finally:
            handle.remove()


def _are_clean(tokens: object, batch: PairBatch, model: NodeModel) -> bool:
    """Whether these are the batch's clean prompts, whole or after the prefix."""
    prefix = model.partial_run.prefix
    for start in {0, 0 if prefix is None else prefix.length}:
        clean = batch.clean[:, start:]
        if (
            isinstance(tokens, Tensor)
            and (tokens.shape, tokens.device) == (clean.shape, clean.device)
            and torch.equal(tokens, clean)
        ):
            return True
    return False
