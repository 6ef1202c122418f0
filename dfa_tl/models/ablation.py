"""Ablated values: what a node's activation becomes when the node is left out.

    counterfactual    the value in the pair's corrupt run
    zero              0
    mean              its mean over the data's corrupt runs and real positions
    mean-positional   its mean over the data's corrupt runs, position by position

Means are streamed in float32: one vector a site (and position) is kept, never the activations.
A value broadcasts over the activation at its site.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from dfa_tl.errors import ConfigError
from dfa_tl.models.batching import Halving
from dfa_tl.models.interventions import capture
from dfa_tl.models.node_model import NodeModel
from dfa_tl.nodes import EMBED_SITE, node_sites
from dfa_tl.tasks.batches import PairBatch, TokenPairs

Ablation = Literal["counterfactual", "zero", "mean", "mean-positional"]


def check_ablation(ablation: str) -> None:
    """Raise `ConfigError` for an unknown ablation."""
    if ablation not in get_args(Ablation):
        raise ConfigError(
            f"unknown ablation {ablation!r}: choose one of {', '.join(get_args(Ablation))}"
        )


class AblatedValues:
    """The ablated values of all nodes and of the embedding, batch by batch."""

    def __init__(self, model: NodeModel, pairs: TokenPairs, ablation: str, batch_size: int) -> None:
        check_ablation(ablation)
        self.model = model
        self.ablation = ablation
        self.sites = [EMBED_SITE, *node_sites(model.nodes)]
        self.means: dict[str, Tensor] = {}
        if ablation.startswith("mean"):
            self.means = self._streamed_means(pairs, batch_size)

    @property
    def per_pair(self) -> bool:
        """Whether each pair has ablated values of its own (rows of the batch)."""
        return self.ablation == "counterfactual"

    @torch.no_grad()
    def corrupt_run(
        self, batch: PairBatch
    ) -> tuple[dict[str, Float[Tensor, "..."]], Float[Tensor, "batch vocab"]]:
        """The ablated value of every site for this batch, and the logits of its corrupt run."""
        with capture(self.model, self.sites if self.per_pair else ()) as seen:
            logits = self.model.last_logits(batch.corrupt, batch.mask, batch.last)
        return (seen if self.per_pair else self.values(batch)), logits

    def values(self, batch: PairBatch) -> dict[str, Float[Tensor, "..."]]:
        """The ablated value of every site for this batch, in a dict of the caller's own."""
        if self.per_pair:
            return self.corrupt_run(batch)[0]
        if self.ablation == "zero":
            return {site: torch.zeros((), device=batch.clean.device) for site in self.sites}
        if self.ablation == "mean":
            return dict(self.means)
        width = batch.clean.shape[1]
        return {site: mean[:width] for site, mean in self.means.items()}

    @torch.no_grad()
    def _streamed_means(self, pairs: TokenPairs, batch_size: int) -> dict[str, Tensor]:
        positional = self.ablation == "mean-positional"
        width = pairs.clean.shape[1]
        totals: dict[str, Tensor] = {}
        halving = Halving()
        counts = torch.zeros(width, dtype=torch.float32)
        for rows in pairs.row_batches(batch_size):
            whole = pairs.select(rows, self.model.device)
            for batch, sums in halving(whole, self._position_sums):
                counts[: batch.mask.shape[1]] += batch.mask.sum(0).cpu()
                for site, total in sums.items():
                    if site not in totals:
                        totals[site] = total.new_zeros((width, *total.shape[1:]))
                    totals[site][: len(total)] += total
        if not positional:
            return {site: total.sum(0) / counts.sum().item() for site, total in totals.items()}
        per_position = counts.clamp(min=1)
        return {
            site: total / per_position.to(total.device).view(-1, *[1] * (total.dim() - 1))
            for site, total in totals.items()
        }

    def _position_sums(self, batch: PairBatch) -> dict[str, Float[Tensor, "pos ..."]]:
        """Sums over the pairs of a batch at each real position of the corrupt run."""
        with capture(self.model, self.sites) as seen:
            self.model.last_logits(batch.corrupt, batch.mask, batch.last)
        return {
            site: torch.einsum(
                "bp...,bp->p...", activation.float(), batch.mask.to(activation.device).float()
            )
            for site, activation in seen.items()
        }
