"""Controls that train nothing: a W or scores that carry less information than the real ones."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from dfa_tl.alignment.alignment import Alignment
from dfa_tl.alignment.config import AlignmentConfig
from dfa_tl.alignment.depth import depth_mean, depth_mean_paper
from dfa_tl.alignment.linear_map import initial_map, normal
from dfa_tl.arguments import checked_arguments
from dfa_tl.nodes import NodeSet
from dfa_tl.scores import NodeScores
from dfa_tl.settings import check_seed


@checked_arguments
def random_W(source: NodeSet, target: NodeSet, config: AlignmentConfig | None = None) -> Alignment:
    """An untrained random W, with the config's seed and standard deviation."""
    settings = config or AlignmentConfig.paper()
    generator = torch.Generator().manual_seed(settings.seed)
    matrix = settings.init_std * normal(len(source), len(target), generator)
    return Alignment(matrix, source, target, settings, provenance={"control": "random_W"})


@checked_arguments
def untrained_W(source: NodeSet, target: NodeSet, config: AlignmentConfig) -> Alignment:
    """W and its bias at the start of `align` with the same settings."""
    generator = torch.Generator().manual_seed(config.seed)
    with torch.inference_mode(False):
        start = initial_map(source, target, config, generator, torch.device("cpu"))
    provenance = {"control": "untrained_W"}
    return Alignment(start.W, source, target, config, provenance=provenance, bias=start.bias)


@checked_arguments
def depth_mean_W(
    source: NodeSet, target: NodeSet, config: AlignmentConfig | None = None
) -> Alignment:
    """The untrained depth-mean W (`dfa_tl.alignment.depth`).

    Args:
        source: Nodes of the source model.
        target: Nodes of the target model.
        config: Its `normalization` is applied to source scores; `none` unless given.
    """
    settings = config or AlignmentConfig(normalization="none")
    provenance = {"control": "depth_mean_W"}
    return Alignment(depth_mean(source, target), source, target, settings, provenance=provenance)


@checked_arguments
def depth_mean_paper_W(
    source: NodeSet, target: NodeSet, config: AlignmentConfig | None = None
) -> Alignment:
    """The paper's depth-mean W (`dfa_tl.alignment.depth`); arguments as for `depth_mean_W`."""
    settings = config or AlignmentConfig(normalization="none")
    matrix = depth_mean_paper(source, target)
    provenance = {"control": "depth_mean_paper_W"}
    return Alignment(matrix, source, target, settings, provenance=provenance)


@checked_arguments
def permuted_W(alignment: Alignment, seed: int) -> Alignment:
    """The same W with its target columns, and the bias with them, in a random order.

    Heads take the columns of heads, and MLPs those of MLPs.
    """
    check_seed("seed", seed)
    order = _order(_heads_and_mlps(alignment.target), len(alignment.target), seed)
    return replace(
        alignment,
        W=alignment.W[:, order],
        bias=None if alignment.bias is None else alignment.bias[order],
        provenance={**alignment.provenance, "control": "permuted_W", "permutation_seed": seed},
    )


@checked_arguments
def scrambled_s(scores: NodeScores, seed: int) -> NodeScores:
    """The same values in a random order; nodes without a score keep none.

    Heads take the values of heads, and MLPs those of MLPs.
    """
    check_seed("seed", seed)
    nodes = list(scores.nodes)
    of_type = [
        [index for index in each if nodes[index].name not in scores.unscored]
        for each in _heads_and_mlps(scores.nodes)
    ]
    values = scores.values[_order(of_type, len(nodes), seed)]
    method = f"scrambled {scores.provenance.get('method', '')}".strip()
    return replace(
        scores,
        values=values,
        provenance={**scores.provenance, "method": method, "permutation_seed": seed},
    )


@checked_arguments
def random_s(nodes: NodeSet, seed: int) -> NodeScores:
    """One N(0, 1) number per node."""
    check_seed("seed", seed)
    values = normal(1, len(nodes), torch.Generator().manual_seed(seed))[0]
    return NodeScores(nodes, values, provenance={"method": "random_s", "seed": seed})


@checked_arguments
def uniform_s(source: NodeSet) -> NodeScores:
    """Constant scores, 1 for every node."""
    ones = torch.ones(len(source), dtype=torch.float32, device="cpu")
    return NodeScores(source, ones, provenance={"method": "uniform_s"})


def _heads_and_mlps(nodes: NodeSet) -> list[list[int]]:
    """Indices of the heads, and of the MLPs."""
    return [[i for i, node in enumerate(nodes) if node.is_head == kind] for kind in (True, False)]


def _order(groups: list[list[int]], n: int, seed: int) -> Tensor:
    """`n` indices, those of each group in a random order within the group."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.arange(n)
    for group in groups:
        within = torch.tensor(group, dtype=torch.long)
        order[within] = within[torch.randperm(len(group), generator=generator, device="cpu")]
    return order
