"""Layer profiles: which share of the importance lies in which layer.

    source     q_t = sum_i w(i, t) sum_{j in layer i} |s_j| / sum_j |s_j|
    mask       r_t = sum_{j in layer t} m_j / sum_j m_j
    penalty    sum_t (r_t - q_t)^2

q is the source's profile carried to the target's depth. s are raw source scores, w(i, t) the
depth-mean weights between layers; q and r each sum to 1, so the penalty lies between 0 and 2. It is
differentiable in the mask.
"""

from __future__ import annotations

import torch
from einops import reduce
from jaxtyping import Float
from torch import Tensor

from dfa_tl.alignment.depth import layer_weights
from dfa_tl.nodes import NodeSet
from dfa_tl.scores import NodeScores


def carried_profile(scores: NodeScores, target: NodeSet) -> Float[Tensor, " layer"]:
    """q: the source's share of |s| per layer, at the target's layers.

    Scores that are all zero say nothing; every source layer then has the same share.
    """
    sizes = reduce(scores.values.abs(), "(layer unit) -> layer", "sum", layer=scores.nodes.n_layers)
    if not sizes.any():
        sizes = torch.ones_like(sizes)
    return (sizes / sizes.sum()) @ layer_weights(scores.nodes.n_layers, target.n_layers)


def profile_distance(
    mask: Float[Tensor, " target"], profile: Float[Tensor, " layer"]
) -> Float[Tensor, ""]:
    """The penalty of a mask under a carried profile."""
    sizes = reduce(mask, "(layer unit) -> layer", "sum", layer=len(profile))
    return (sizes / sizes.sum() - profile).square().sum()
