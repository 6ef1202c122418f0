"""What an alignment step needs of the clean run, computed once per batch and kept across epochs.

Where it is kept (`cache`): on the target's `device`, in `host` memory, or not at all (`none`: run
again each time). `auto` takes the first of them where all batches fit in half of what is free.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import psutil
import torch
from jaxtyping import Float
from torch import Tensor

from dfa_tl.errors import ConfigError
from dfa_tl.models.interventions import capture
from dfa_tl.models.node_model import NodeModel
from dfa_tl.nodes import node_sites
from dfa_tl.tasks.batches import PairBatch

Cache = Literal["auto", "device", "host", "none"]


@dataclass(frozen=True, eq=False)
class CleanRun:
    """Activations at every site, and the log-probabilities of the next token."""

    activations: dict[str, Float[Tensor, "..."]]
    log_probs: Float[Tensor, "batch vocab"]

    def part(self, start: int, stop: int) -> CleanRun:
        """Rows `start` to `stop`."""
        rows = slice(start, stop)
        return CleanRun({s: a[rows] for s, a in self.activations.items()}, self.log_probs[rows])

    def on_host(self) -> CleanRun:
        """The same in host memory."""
        return CleanRun({s: a.cpu() for s, a in self.activations.items()}, self.log_probs.cpu())

    @property
    def bytes(self) -> int:
        """Memory taken."""
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
        if cache not in get_args(Cache):
            raise ConfigError(f"cache={cache!r}: choose one of {', '.join(get_args(Cache))}")
        self.model = model
        self.n_batches = n_batches
        self.cache = cache
        self._kept: dict[int, CleanRun] = {}

    def of(self, place: int, batch: PairBatch) -> CleanRun:
        """The clean run of the batch at `place`."""
        if place in self._kept:
            return self._kept[place]
        run = clean_run(self.model, batch)
        if self.cache == "auto":
            self.cache = _roomiest(self.model.device, run.bytes * self.n_batches)
        if self.cache != "none":
            self._kept[place] = run.on_host() if self.cache == "host" else run
        return run

    def part(self, place: int, batch: PairBatch, start: int, stop: int) -> CleanRun:
        """The same for some rows of the batch; without a kept run only those rows are run."""
        if place in self._kept:
            return self._kept[place].part(start, stop)
        return clean_run(self.model, batch.part(start, stop))


def _roomiest(device: torch.device, needed: int) -> str:
    host = psutil.virtual_memory().available
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        if needed < free / 2:
            return "device"
        return "host" if needed < host / 2 else "none"
    return "device" if needed < host / 2 else "none"
