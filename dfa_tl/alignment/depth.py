"""The depth-mean map: a W that knows only layers.

Layer l of n lies at relative depth (l + 1/2) / n. Each source layer maps to the two nearest target
layers, with weights that fall linearly with the distance (all of it to one layer beyond the first
and the last). Heads map to heads through the mean of the source layer's heads, MLPs to MLPs:

    W[a_i.h, a_t.h'] = w(i, t) / H_source        W[m_i, m_t] = w(i, t)
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from dfa_tl.nodes import NodeSet


def layer_weights(n_source: int, n_target: int) -> Float[Tensor, "source_layer target_layer"]:
    """w(i, t); every row sums to 1."""
    rows = torch.arange(n_source, device="cpu")
    place = (rows.float() + 0.5) / n_source * n_target - 0.5
    place = place.clamp(0, n_target - 1)
    low = place.floor().long()
    high = (low + 1).clamp(max=n_target - 1)
    upper = place - low
    weights = place.new_zeros(n_source, n_target)
    weights[rows, low] += 1 - upper
    weights[rows, high] += upper
    return weights


def depth_mean(source: NodeSet, target: NodeSet) -> Float[Tensor, "source target"]:
    """The depth-mean W between two node sets."""
    weights = layer_weights(source.n_layers, target.n_layers)
    shape = (source.n_layers, source.n_heads + 1, target.n_layers, target.n_heads + 1)
    matrix = weights.new_zeros(shape)
    matrix[:, :-1, :, :-1] = weights[:, None, :, None] / source.n_heads
    matrix[:, -1, :, -1] = weights
    return matrix.reshape(len(source), len(target))
