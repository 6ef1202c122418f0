"""What an alignment step needs from the clean run, computed once per batch and kept across epochs.

`cache` says where it is kept: on the target's `device`, in `host` memory, or nowhere (`none`: the
clean prompts are run again in each epoch). `auto` takes the first of them where all batches fit in
half of the free memory.
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
from dfa_tl.nodes import node_sites
from dfa_tl.settings import check_choice
from dfa_tl.tasks.batches import PairBatch

Cache = Literal["auto", "device", "host", "none"]


@dataclass(frozen=True, eq=False)
class CleanRun:
    """Activations at every site, and the log-probabilities of the next token."""

    activations: dict[str, Float[Tensor, "..."]]
    log_probs: Float[Tensor, "batch vocab"]

    def part(self, start: int, stop: int) -> CleanRun:
        """Rows `start` to `stop`."""
        return self._each(lambda tensor: tensor[start:stop])

    def on_host(self) -> CleanRun:
        """The same in host memory."""
        return self._each(Tensor.cpu)

    def _each(self, change: Callable[[Tensor], Tensor]) -> CleanRun:
        activations = {site: change(value) for site, value in self.activations.items()}
        return CleanRun(activations, change(self.log_probs))

    @property
    def bytes(self) -> int:
        """Memory used, in bytes."""
        return sum(tensor.nbytes for tensor in (*self.activations.values(), self.log_probs))


@torch.no_grad()
def clean_run(model: NodeModel, batch: PairBatch) -> CleanRun:
    """Run the clean prompts of a batch."""
    with capture(model, node_sites(model.nodes)) as activations:
        logits = model.last_logits(batch.clean, batch.mask, batch.last)
    return CleanRun(activations, logits.float().log_softmax(-1))


class CleanRuns:
    """The clean runs of some batches, kept where there is room."""

    def __init__(self, model: NodeModel, n_batches: int, cache: str = "auto") -> None:
        check_choice("cache", cache, get_args(Cache))
        self.model = model
        self.n_batches = n_batches
        self.cache = cache
        self._kept: dict[int, CleanRun] = {}

    def of(self, number: int, batch: PairBatch, part: PairBatch) -> CleanRun:
        """The clean run of `part`, which is batch `number` or consecutive rows of it.

        The run of a whole batch is kept. Rows of a batch that is not kept are run alone.
        """
        kept = self._kept.get(number)
        if part is not batch:
            if kept is None:
                return clean_run(self.model, part)
            start = int((batch.index == part.index[0]).nonzero())
            return kept.part(start, start + len(part))
        if kept is not None:
            return kept
        run = clean_run(self.model, batch)
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
