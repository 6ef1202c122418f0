"""What `align` trains: the target's logits as a function of a few tensors.

    logits = s' W + b                    mask = sigmoid(logits / temperature)

    full       W itself, from N(0, init_std^2) or from a depth-mean map P
    rank r     W = U V, or P + U V; U is source x r, from N(0, 1/r); V is r x target, from
               N(0, init_std^2) without P, so that W's entries start as those of a full W, and
               from 0 with P, so that training starts at P
    scale      W = exp(c) P, from c = 0

The bias b starts at 0. A free mask (`controls.target_only`) is a full W of one row under the
constant score 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from dfa_tl.alignment.config import AlignmentConfig
from dfa_tl.alignment.depth import DEPTH_MAPS
from dfa_tl.errors import ConfigError
from dfa_tl.nodes import NodeSet


@dataclass(frozen=True, eq=False)
class FullWeights:
    """Every entry of W is trained."""

    matrix: Float[Tensor, "source target"]

    @property
    def trained(self) -> list[Tensor]:
        """W."""
        return [self.matrix]

    @property
    def W(self) -> Float[Tensor, "source target"]:
        """W."""
        return self.matrix


@dataclass(frozen=True, eq=False)
class LowRankWeights:
    """W = U V, added to a fixed prior if there is one."""

    U: Float[Tensor, "source rank"]
    V: Float[Tensor, "rank target"]
    prior: Float[Tensor, "source target"] | None = None

    @property
    def trained(self) -> list[Tensor]:
        """U and V."""
        return [self.U, self.V]

    @property
    def W(self) -> Float[Tensor, "source target"]:
        """U V plus the prior."""
        product = self.U @ self.V
        return product if self.prior is None else self.prior + product


@dataclass(frozen=True, eq=False)
class ScaledPrior:
    """W = exp(c) times a fixed prior."""

    log_scale: Float[Tensor, ""]
    prior: Float[Tensor, "source target"]

    @property
    def trained(self) -> list[Tensor]:
        """The scalar c."""
        return [self.log_scale]

    @property
    def W(self) -> Float[Tensor, "source target"]:
        """The scaled prior."""
        return self.log_scale.exp() * self.prior


Weights = FullWeights | LowRankWeights | ScaledPrior
"""One way to write W: `trained` gets gradients, `W` is W as it stands."""


@dataclass(frozen=True, eq=False)
class LinearMap:
    """s' -> s' W + b; every tensor in `trained` is made to require gradients."""

    weights: Weights
    bias: Float[Tensor, " target"] | None = None

    def __post_init__(self) -> None:
        for tensor in self.trained:
            tensor.requires_grad_(True)

    @property
    def trained(self) -> list[Tensor]:
        """The tensors for the optimiser."""
        return [*self.weights.trained, *([] if self.bias is None else [self.bias])]

    def logits(self, scores: Float[Tensor, " source"]) -> Float[Tensor, " target"]:
        """Predicted target scores of normalised source scores."""
        predicted = scores @ self.weights.W
        return predicted if self.bias is None else predicted + self.bias


def initial_map(
    source: NodeSet,
    target: NodeSet,
    settings: AlignmentConfig,
    generator: torch.Generator,
    device: torch.device | str = "cpu",
) -> LinearMap:
    """The map at the start of training.

    Raises:
        ConfigError: a rank that no W between these node sets can have.
    """
    depth_map = DEPTH_MAPS.get(settings.initialization)
    prior = None if depth_map is None else depth_map(source, target)
    weights: Weights
    if settings.learned == "scale":
        assert prior is not None, "AlignmentConfig lets a scale be learned of a depth-mean map only"
        weights = ScaledPrior(torch.zeros((), dtype=torch.float32, device=device), prior.to(device))
    elif settings.rank is not None:
        weights = _low_rank(
            settings.rank, prior, source, target, settings.init_std, generator, device
        )
    else:
        if prior is None:
            prior = settings.init_std * normal(len(source), len(target), generator)
        weights = FullWeights(prior.to(device))
    if not settings.target_bias:
        return LinearMap(weights)
    return LinearMap(weights, torch.zeros(len(target), dtype=torch.float32, device=device))


def _low_rank(
    rank: int,
    prior: Float[Tensor, "source target"] | None,
    source: NodeSet,
    target: NodeSet,
    init_std: float,
    generator: torch.Generator,
    device: torch.device | str,
) -> LowRankWeights:
    n_source, n_target = len(source), len(target)
    if rank > min(n_source, n_target):
        raise ConfigError(
            f"rank={rank}, but W is {n_source} source by {n_target} target nodes: give a rank of "
            f"at most {min(n_source, n_target)}, or None for a full W"
        )
    U = normal(n_source, rank, generator) / math.sqrt(rank)
    if prior is None:
        V = init_std * normal(rank, n_target, generator)
        return LowRankWeights(U.to(device), V.to(device))
    V = torch.zeros(rank, n_target, dtype=torch.float32, device=device)
    return LowRankWeights(U.to(device), V, prior.to(device))


def normal(rows: int, columns: int, generator: torch.Generator) -> Float[Tensor, "row column"]:
    """Numbers from N(0, 1), the same whatever the caller's default dtype and device."""
    return torch.randn(rows, columns, generator=generator, dtype=torch.float32, device="cpu")
