"""What a training step needs from plain runs, computed once per batch and kept across epochs.

    injection   log P_clean, and the activations of the clean run, which are injected
    removal     log P_clean, and the activations of the corrupt run, which removed nodes take

`cache` says where it is kept: on the target's `device`, in `host` memory, or nowhere (`none`: the
prompts are run again in each epoch). `auto` takes the first of them where all batches fit in half
of the free memory.

The positions before the first in which the prompts of a pair differ are run once
(`dfa_tl.models.shared_prefix`); the activations are those of the positions after them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import psutil
import torch
from jaxtyping import Float
from torch import Tensor

from dfa_tl.models.interventions import capture
from dfa_tl.models.node_model import NodeModel
from dfa_tl.models.prefix import Prefix
from dfa_tl.models.shared_prefix import shared_prefix
from dfa_tl.nodes import node_sites
from dfa_tl.settings import check_choice
from dfa_tl.tasks.batches import PairBatch

Cache = Literal["auto", "device", "host", "none"]


@dataclass(frozen=True, eq=False)
class PatchRun:
    """What a batch is patched with.

    Attributes:
        activations: At every site, the values that nodes are moved towards.
        log_probs: Log-probabilities of the next token in the clean run.
        prefix: What the patched run starts after; None where it is whole.
    """

    activations: dict[str, Float[Tensor, "..."]]
    log_probs: Float[Tensor, "batch vocab"]
    prefix: Prefix | None = None

    def part(self, start: int, stop: int) -> PatchRun:
        """Rows `start` to `stop`."""
        return self._each(lambda tensor: tensor[start:stop])

    def on_host(self) -> PatchRun:
        """The same in host memory."""
        return self._each(Tensor.cpu)

    def _each(self, change: Callable[[Tensor], Tensor]) -> PatchRun:
        activations = {site: change(value) for site, value in self.activations.items()}
        prefix = None if self.prefix is None else self.prefix.each(change)
        return PatchRun(activations, change(self.log_probs), prefix)

    @property
    def bytes(self) -> int:
        """Memory used, in bytes."""
        of_prefix = [] if self.prefix is None else self.prefix.tensors
        tensors = (*self.activations.values(), self.log_probs, *of_prefix)
        return sum(tensor.nbytes for tensor in tensors)


@torch.no_grad()
def patch_run(model: NodeModel, batch: PairBatch, objective: str) -> PatchRun:
    """Run the clean prompts of a batch and, under `removal`, the corrupt ones."""
    sites = node_sites(model.nodes)
    prefix = shared_prefix(model, batch)
    with model.partial_run.continued(prefix):
        with capture(model, sites if objective == "injection" else ()) as activations:
            logits = model.last_logits(batch.clean, batch.mask, batch.last)
        if objective == "removal":
            with capture(model, sites) as activations:
                model.last_logits(batch.corrupt, batch.mask, batch.last)
    return PatchRun(activations, logits.float().log_softmax(-1), prefix)


class PatchRuns:
    """The plain runs of some batches, kept where there is room."""

    def __init__(
        self, model: NodeModel, n_batches: int, objective: str, cache: str = "auto"
    ) -> None:
        check_choice("cache", cache, get_args(Cache))
        self.model = model
        self.objective = objective
        self.n_batches = n_batches
        self.cache = cache
        self._kept: dict[int, PatchRun] = {}

    def of(self, number: int, batch: PairBatch, part: PairBatch) -> PatchRun:
        """The runs of `part`, which is batch `number` or consecutive rows of it.

        The runs of a whole batch are kept. Rows of a batch that is not kept are run alone.
        """
        kept = self._kept.get(number)
        if part is not batch:
            if kept is None:
                return patch_run(self.model, part, self.objective)
            start = int((batch.index == part.index[0]).nonzero())
            return kept.part(start, start + len(part))
        if kept is not None:
            return kept
        run = patch_run(self.model, batch, self.objective)
        if self.cache == "auto":
            self.cache = _first_with_room(self.model.device, run.bytes * self.n_batches)
        if self.cache != "none":
            self._kept[number] = run.on_host() if self.cache == "host" else run
        return run


def _first_with_room(device: torch.device, needed: int) -> Cache:
    fits_on_host = needed < psutil.virtual_memory().available / 2
    if device.type != "cuda":
        return "device" if fits_on_host else "none"
    free, _ = torch.cuda.mem_get_info(device)
    if needed < free / 2:
        return "device"
    return "host" if fits_on_host else "none"
