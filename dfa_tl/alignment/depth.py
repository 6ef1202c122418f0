"""Two fixed Ws that depend on layers alone, and the layer profile of a mask.

Each source layer is shared between the two nearest target layers, with weights w(i, t) that fall
linearly with the distance. Heads map to heads, and MLPs to MLPs.

    depth-mean          layer i of n lies at (i + 1/2) / n; a target head gets the mean of the
                        source layer's heads:
                        W[a_i.h, a_t.h'] = w(i, t) / H_source        W[m_i, m_t] = w(i, t)
    depth-mean-paper    the heuristic of the paper's code: layer i goes to i (L_t - 1) / (L_s - 1),
                        so the first layer goes to the first and the last to the last; a source
                        head's score is shared by the heads of the target layer, which thus add up:
                        W[a_i.h, a_t.h'] = w(i, t) / H_target        W[m_i, m_t] = w(i, t)

Under the paper's map every row of W sums to 1, and target layers between two mapped ones may get
nothing: their nodes score 0. A source of one layer maps to the first target layer.

A layer profile says which share of the importance lies in each layer. The penalty of a mask m under
raw source scores s, with w of depth-mean, is differentiable in m and lies between 0 and 2:

    source     q_t = sum_i w(i, t) sum_{j in layer i} |s_j| / sum_j |s_j|
    mask       r_t = sum_{j in layer t} m_j / sum_j m_j
    penalty    sum_t (r_t - q_t)^2
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from dfa_tl.nodes import NodeSet, layer_shares
from dfa_tl.scores import NodeScores


def layer_weights(n_source: int, n_target: int) -> Float[Tensor, "source_layer target_layer"]:
    """w(i, t); every row sums to 1."""
    rows = torch.arange(n_source, device="cpu")
    position = (rows.float() + 0.5) / n_source * n_target - 0.5
    return _shared(position.clamp(0, n_target - 1), n_target)


def paper_layer_weights(n_source: int, n_target: int) -> Float[Tensor, "source_layer target_layer"]:
    """w(i, t) of the paper's heuristic; every row sums to 1."""
    rows = torch.arange(n_source, device="cpu")
    return _shared(rows.float() * (n_target - 1) / max(n_source - 1, 1), n_target)


def _shared(
    position: Float[Tensor, " source_layer"], n_target: int
) -> Float[Tensor, "source_layer target_layer"]:
    """Each layer's weight, split between the target layers below and above its position."""
    rows = torch.arange(len(position), device="cpu")
    low = position.floor().long()
    high = (low + 1).clamp(max=n_target - 1)
    upper = position - low
    weights = position.new_zeros(len(position), n_target)
    weights[rows, low] += 1 - upper
    weights[rows, high] += upper
    return weights


def depth_mean(source: NodeSet, target: NodeSet) -> Float[Tensor, "source target"]:
    """The depth-mean W between two node sets."""
    return _between_nodes(
        layer_weights(source.n_layers, target.n_layers), source, target, source.n_heads
    )


def depth_mean_paper(source: NodeSet, target: NodeSet) -> Float[Tensor, "source target"]:
    """The W of the paper's depth-mean heuristic between two node sets."""
    return _between_nodes(
        paper_layer_weights(source.n_layers, target.n_layers), source, target, target.n_heads
    )


def _between_nodes(
    weights: Float[Tensor, "source_layer target_layer"],
    source: NodeSet,
    target: NodeSet,
    divisor: int,
) -> Float[Tensor, "source target"]:
    shape = (source.n_layers, source.n_heads + 1, target.n_layers, target.n_heads + 1)
    matrix = weights.new_zeros(shape)
    matrix[:, :-1, :, :-1] = weights[:, None, :, None] / divisor
    matrix[:, -1, :, -1] = weights
    return matrix.reshape(len(source), len(target))


DEPTH_MAPS: Mapping[str, Callable[[NodeSet, NodeSet], Float[Tensor, "source target"]]] = {
    "depth-mean": depth_mean,
    "depth-mean-paper": depth_mean_paper,
}
"""The maps by the names that `AlignmentConfig.initialization` takes."""


def carried_profile(scores: NodeScores, target: NodeSet) -> Float[Tensor, " layer"]:
    """q: the source's share of |s| per layer, at the target's layers.

    If all scores are 0, every source layer counts as having the same share.
    """
    n_layers = scores.nodes.n_layers
    sizes = scores.values.abs() if scores.values.any() else torch.ones_like(scores.values)
    return layer_shares(sizes, n_layers) @ layer_weights(n_layers, target.n_layers)


def profile_distance(
    mask: Float[Tensor, " target"], profile: Float[Tensor, " layer"]
) -> Float[Tensor, ""]:
    """Squared distance of the mask's layer profile r from the profile q."""
    return (layer_shares(mask, len(profile)) - profile).square().sum()
