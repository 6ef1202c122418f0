"""The map from source scores to a target mask, and those of its tensors that `align` trains.

    s' = normalised source scores     predicted scores = s' W + b     mask = sigmoid((s' W + b) / t)

    full       W itself, from 0, from N(0, init_std^2) or from a depth-mean map P
    rank r     W = U V, or P + U V; U is source x r, from N(0, 1/r); V is r x target, from
               N(0, init_std^2) without P, so that W's entries start as those of a full W, and
               from 0 with P, so that training starts at P
    scale      W = exp(c) P, from c = 0

The bias b starts at `initial_logit`. A free mask (`controls.target_only`) is a full W of one row
under the constant score 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from dfa_tl.alignment.config import AlignmentConfig
from dfa_tl.alignment.depth import DEPTH_MAPS
from dfa_tl.errors import ConfigError
from dfa_tl.nodes import NodeSet


def normalize(scores: Float[Tensor, " node"], how: str) -> Float[Tensor, " node"]:
    """Source scores, normalised as W expects them.

    Args:
        scores: Raw scores.
        how: `none`, `max` or `centered`; see `AlignmentConfig`. Constant scores cannot be centred
            and become ones, so that the uniform-s control trains under every setting.
    """
    values = scores.float()
    if how == "none":
        return values
    if how == "max":
        return values / values.abs().max().clamp_min(torch.finfo(values.dtype).tiny)
    deviation = values.std(unbiased=False)
    if deviation <= 1e-6 * values.abs().max():
        return torch.ones_like(values)
    return (values - values.mean()) / deviation


def predicted_scores(
    scores: Float[Tensor, " source"],
    W: Float[Tensor, "source target"],
    bias: Float[Tensor, " target"] | None,
) -> Float[Tensor, " target"]:
    """S' W + b of normalised source scores s'."""
    predicted = scores @ W
    return predicted if bias is None else predicted + bias


def soft_mask(predicted: Float[Tensor, " target"], temperature: float) -> Float[Tensor, " target"]:
    """The mask, in (0, 1), of predicted scores."""
    return torch.sigmoid(predicted / temperature)


@dataclass(frozen=True, eq=False)
class LinearMap:
    """A map in training.

    Attributes:
        tensors: What W is made from; they are made to require gradients, and so is the bias.
        weights: From these tensors to W.
        bias: b; None for a map without one.
        is_full: Whether the one tensor is W itself.
        bias_is_fixed: Whether b keeps its first value.
    """

    tensors: tuple[Tensor, ...]
    weights: Callable[[Sequence[Tensor]], Float[Tensor, "source target"]]
    bias: Float[Tensor, " target"] | None = None
    is_full: bool = False
    bias_is_fixed: bool = False

    def __post_init__(self) -> None:
        for tensor in self.trained:
            tensor.requires_grad_(True)

    @classmethod
    def full(
        cls,
        W: Float[Tensor, "source target"],
        bias: Float[Tensor, " target"] | None = None,
        *,
        bias_is_fixed: bool = False,
    ) -> LinearMap:
        """A map whose W is trained entry by entry, starting from this one."""
        return cls((W,), lambda tensors: tensors[0], bias, True, bias_is_fixed)

    @property
    def trained(self) -> list[Tensor]:
        """The tensors that the optimiser changes."""
        bias = [] if self.bias is None or self.bias_is_fixed else [self.bias]
        return [*self.tensors, *bias]

    def rates(self, settings: AlignmentConfig, size: float) -> list[tuple[Tensor, float]]:
        """The learning rate of each trained tensor.

        Args:
            settings: The learning rate, and what it is measured in.
            size: sum_i |s'_i|, the mean over score vectors.
        """
        rate = settings.learning_rate
        if settings.step == "entry" or not self.is_full:
            return [(tensor, rate) for tensor in self.trained]
        share = rate / len(self.trained)  # W and b move the same predicted scores
        W, *bias = self.trained
        return [(W, share / size if size > 0 else share), *((each, share) for each in bias)]

    @property
    def W(self) -> Float[Tensor, "source target"]:
        """W at the current point of training."""
        return self.weights(self.tensors)

    def mask(
        self, scores: Float[Tensor, " source"], temperature: float
    ) -> Float[Tensor, " target"]:
        """The mask of normalised source scores."""
        return soft_mask(predicted_scores(scores, self.W, self.bias), temperature)


def initial_map(
    source: NodeSet,
    target: NodeSet,
    settings: AlignmentConfig,
    generator: torch.Generator,
    device: torch.device | str = "cpu",
) -> LinearMap:
    """The map at the start of training.

    Raises:
        ConfigError: a rank that is larger than W allows.
    """

    def zeros(*shape: int) -> Tensor:
        return torch.zeros(shape, dtype=torch.float32, device=device)

    n_source, n_target = len(source), len(target)
    depth_map = DEPTH_MAPS.get(settings.initialization)
    prior = None if depth_map is None else depth_map(source, target).to(device)
    if settings.initialization == "zero":
        prior = zeros(n_source, n_target)
    fixed = not settings.target_bias
    bias = None if fixed and not settings.initial_logit else zeros(n_target)
    if bias is not None:
        bias += settings.initial_logit
    if settings.learned == "scale":
        assert prior is not None, "AlignmentConfig allows learned='scale' for depth-mean maps only"
        return LinearMap(
            (zeros(),), lambda tensors: tensors[0].exp() * prior, bias, bias_is_fixed=fixed
        )
    if settings.rank is None:
        if prior is None:
            prior = (settings.init_std * normal(n_source, n_target, generator)).to(device)
        return LinearMap.full(prior, bias, bias_is_fixed=fixed)
    if settings.rank > min(n_source, n_target):
        raise ConfigError(
            f"rank={settings.rank}, but W is {n_source} source by {n_target} target nodes: give a "
            f"rank of at most {min(n_source, n_target)}, or None for a full W"
        )
    U = (normal(n_source, settings.rank, generator) / math.sqrt(settings.rank)).to(device)
    if prior is None:
        V = (settings.init_std * normal(settings.rank, n_target, generator)).to(device)
        return LinearMap((U, V), lambda tensors: tensors[0] @ tensors[1], bias, bias_is_fixed=fixed)
    zero_V = zeros(settings.rank, n_target)
    return LinearMap(
        (U, zero_V), lambda tensors: prior + tensors[0] @ tensors[1], bias, bias_is_fixed=fixed
    )


def normal(rows: int, columns: int, generator: torch.Generator) -> Float[Tensor, "row column"]:
    """Numbers from N(0, 1), the same whatever the caller's default dtype and device."""
    return torch.randn(rows, columns, generator=generator, dtype=torch.float32, device="cpu")
