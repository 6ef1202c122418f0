"""Circuits: which nodes a score vector keeps at each proportion, under each protocol.

    nodes   rank heads and MLPs by signed score, keep the best int(k n); the input is always clean
    mib     rank the input with them (n + 1 items), keep the best int(k (n + 1)); a circuit without
            the input is disconnected: f = 0, and it is not run

`mib` is the node-level evaluation of the Mechanistic Interpretability Benchmark, needed only to
compare with published numbers. There, an input without a score (as in a transferred circuit) counts
as 0, as in the published evaluation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

import torch
from jaxtyping import Bool
from torch import Tensor

from dfa_tl.nodes import NodeSet
from dfa_tl.scores import NodeScores
from dfa_tl.settings import check_choice

Protocol = Literal["nodes", "mib"]


@dataclass(frozen=True, eq=False)
class Circuits:
    """The circuits of one score vector on a grid.

    Attributes:
        kept: True for the nodes that circuit k keeps.
        connected: False for circuits that count as f = 0 without being run.
    """

    kept: Bool[Tensor, "k node"]
    connected: Bool[Tensor, " k"]


def circuits_of(
    scores: NodeScores, ks: Sequence[float], protocol: str, *, absolute: bool = False
) -> Circuits:
    """The circuits that `scores` keeps at each of `ks`; ties are broken in node order.

    Nodes that were not scored are in every circuit and are not counted in n.
    """
    check_choice("protocol", protocol, get_args(Protocol))
    with_input = protocol == "mib"
    values = scores.values
    scored = torch.ones_like(values, dtype=torch.bool)
    scored[[scores.nodes.index(name) for name in scores.unscored]] = False
    if with_input:
        values = torch.cat([values.new_tensor([scores.input or 0.0]), values])
        scored = torch.cat([scored.new_tensor([True]), scored])
    if absolute:
        values = values.abs()
    order = values.masked_fill(~scored, -torch.inf).sort(descending=True, stable=True).indices
    kept = (~scored).repeat(len(ks), 1)
    for row, k in enumerate(ks):
        kept[row, order[: int(k * int(scored.sum()))]] = True
    if with_input:
        return Circuits(kept=kept[:, 1:], connected=kept[:, 0])
    return Circuits(kept=kept, connected=kept.new_ones(len(ks)))


def distinct_circuits(
    circuits: Mapping[str, Circuits],
) -> tuple[Bool[Tensor, "circuit node"], dict[bytes, int]]:
    """The distinct circuits to run, sorted so that neighbours share low layers, and their rows."""
    masks = {
        circuit_key(mask): mask for each in circuits.values() for mask in each.kept[each.connected]
    }
    ordered = sorted(masks, reverse=True)  # the fullest low layers first, as in the clean run
    if not ordered:
        width = next(iter(circuits.values())).kept.shape[1]
        return torch.zeros(0, width, dtype=torch.bool), {}
    return torch.stack([masks[key] for key in ordered]), {k: i for i, k in enumerate(ordered)}


def circuit_key(kept: Bool[Tensor, " node"]) -> bytes:
    """What equal circuits have in common."""
    return kept.numpy().tobytes()


def first_layer_run(
    kept: Bool[Tensor, " node"], before: Bool[Tensor, " node"], n_layers: int
) -> int:
    """The layer at which a circuit starts after another one; `n_layers` if they are equal."""
    differs = (kept != before).view(n_layers, -1).any(1).nonzero()
    return int(differs[0]) if len(differs) else n_layers


@lru_cache
def expected_runs(n_vectors: int, nodes: NodeSet, ks: tuple[float, ...], protocol: str) -> float:
    """The work of running the circuits of so many score vectors, in runs of all layers.

    It is that of random vectors, whose circuits are run in order after the clean run.
    """
    drawn = torch.Generator().manual_seed(0)
    circuits = {
        str(number): circuits_of(
            NodeScores(nodes, torch.randn(len(nodes), generator=drawn), input=1.0), ks, protocol
        )
        for number in range(n_vectors)
    }
    kept, _ = distinct_circuits(circuits)
    before = torch.cat([torch.ones_like(kept[:1]), kept[:-1]])
    differs = (kept != before).view(len(kept), nodes.n_layers, -1).any(2)
    first = differs.int().argmax(1)
    return float((1 - first / nodes.n_layers)[differs.any(1)].sum())
