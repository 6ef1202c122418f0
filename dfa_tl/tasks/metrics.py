"""Metrics: a number per pair from the logits at the last real position.

A metric is any callable `metric(last_logits, batch) -> Float[Tensor, "batch"]`; larger means more
of the clean behaviour. One number per pair, not averaged: averages are taken over all pairs, so
that no result depends on the batch size. Computed in float32 whatever the model's dtype. Gradients
are taken through all of these but `accuracy`, which is for evaluation only.

    logit_diff   logit(answer) - logit(wrong answer)
    prob_diff    P(answer) - P(wrong answer)
    log_prob     log P(answer)
    kl           - KL(P_clean || P): 0 for the clean model, negative otherwise
    accuracy     1 where the answer's logit is above the wrong answer's, else 0
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from dfa_tl.display import shown
from dfa_tl.errors import ConfigError
from dfa_tl.tasks.batches import PairBatch

Metric = Callable[[Float[Tensor, "batch vocab"], PairBatch], Float[Tensor, " batch"]]

DONE = 0.8
"""From this accuracy on, a model counts as able to do a task."""
NEAR_CHANCE = 0.6
"""With two answers, a model whose accuracy is at most this counts as unable to do the task."""


def measured(
    metric: Metric, last_logits: Float[Tensor, "batch vocab"], batch: PairBatch
) -> Float[Tensor, " batch"]:
    """The metric of each pair of a batch, in float32: how every metric is called.

    Raises:
        ConfigError: the metric is not a function, or does not return one floating-point number per
            pair.
    """
    if not callable(metric):
        raise ConfigError(
            f"metric={shown(metric)}: must be a function metric(last_logits, batch), such as "
            "dfa_tl.tasks.metrics.logit_diff"
        )
    values = metric(last_logits, batch)
    fits = isinstance(values, Tensor) and values.is_floating_point()
    if not fits or values.shape != (len(batch),):
        came = (
            f"shape {tuple(values.shape)} of {values.dtype}"
            if isinstance(values, Tensor)
            else type(values).__name__
        )
        raise ConfigError(
            f"the metric {getattr(metric, '__name__', metric)!r} must return a floating-point "
            f"tensor of shape ({len(batch)},) for a batch of {len(batch)}, one number per pair; "
            f"got {came}. Do not average or sum over the batch: averages are taken over all pairs"
        )
    return values.float()


def _at_answers(
    values: Float[Tensor, "batch vocab"], batch: PairBatch
) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
    right, wrong = values.gather(-1, batch.answers.to(values.device)).float().unbind(-1)
    return right, wrong


def logit_diff(last_logits: Float[Tensor, "batch vocab"], batch: PairBatch) -> Tensor:
    """Logit of the answer minus logit of the wrong answer."""
    right, wrong = _at_answers(last_logits, batch)
    return right - wrong


def prob_diff(last_logits: Float[Tensor, "batch vocab"], batch: PairBatch) -> Tensor:
    """Probability of the answer minus probability of the wrong answer."""
    right, wrong = _at_answers(last_logits.float().softmax(-1), batch)
    return right - wrong


def log_prob(last_logits: Float[Tensor, "batch vocab"], batch: PairBatch) -> Tensor:
    """Log-probability of the answer, in nats."""
    return _at_answers(last_logits.float().log_softmax(-1), batch)[0]


def kl_divergence(
    reference_log_probs: Float[Tensor, "batch vocab"], last_logits: Float[Tensor, "batch vocab"]
) -> Float[Tensor, " batch"]:
    """KL(P_reference || P) of each row, in nats."""
    log_probs = last_logits.float().log_softmax(-1)
    reference = reference_log_probs.to(log_probs.device, torch.float32)
    return (reference.exp() * (reference - log_probs)).sum(-1)


def kl(last_logits: Float[Tensor, "batch vocab"], batch: PairBatch) -> Tensor:
    """Minus KL(P_clean || P), in nats: the closer to the clean run, the larger."""
    if batch.clean_logits is None:
        raise ConfigError("the kl metric needs the batch's clean logits (with_clean_logits)")
    return -kl_divergence(batch.clean_logits.float().log_softmax(-1), last_logits)


def accuracy(last_logits: Float[Tensor, "batch vocab"], batch: PairBatch) -> Tensor:
    """1 where the answer is preferred to the wrong answer, else 0. It has no gradient."""
    return (logit_diff(last_logits, batch) > 0).float()


METRICS: dict[str, Metric] = {
    metric.__name__: metric for metric in (logit_diff, prob_diff, log_prob, kl, accuracy)
}
