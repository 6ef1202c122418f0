"""`train`: the loop that trains masks by patching the target; `align` and `target_only` call it.

    mask m = sigmoid((s' W + b) / temperature), s' the normalised source scores of the task

    removal      the target runs on the clean prompt, and each activation a becomes
                 a + (1 - m_j) (a_corrupt - a): nodes are removed, as in the evaluation. A mask of
                 0s and 1s gives the very logits of `evaluate`'s circuit.
    injection    the target runs on the corrupt prompt, and each activation a becomes
                 a + m_j (a_clean - a): clean values are injected, as in the paper

    loss = KL(P_clean || P_intervened) at the last real position + lambda * mean(m)
           + profile_penalty * (distance between the layer profiles of m and s)

`a` is the value that the node takes in the intervened run. Only the tensors that W is made from
(`dfa_tl.alignment.linear_map`) and the bias b get gradients; the target is frozen. One W is trained
over all tasks, each with its own s. Source: arXiv 2604.24302, section 3 (`injection`, without b);
the profile penalty is off by default.

Memory: a forward and a backward run of one batch, plus the activations that the data are patched
with.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim import Adam, Optimizer
from tqdm.auto import tqdm

from dfa_tl.alignment.config import AlignmentConfig
from dfa_tl.alignment.depth import profile_distance
from dfa_tl.alignment.history import AlignmentHistory
from dfa_tl.alignment.linear_map import LinearMap
from dfa_tl.alignment.patch_runs import PatchRun, PatchRuns
from dfa_tl.errors import AlignmentWarning, NumericsError
from dfa_tl.models.batching import Halving
from dfa_tl.models.chance_accuracy import ChanceAccuracyWarning
from dfa_tl.models.diagnosis import where_not_finite
from dfa_tl.models.interventions import interpolate, site_weights
from dfa_tl.models.node_model import NodeModel
from dfa_tl.tasks.batches import PairBatch
from dfa_tl.tasks.metrics import kl_divergence
from dfa_tl.tasks.pairs import PairDataset

FEW_STEPS = 50
"""`align` warns about training with fewer steps."""


class SourceVector(NamedTuple):
    """Normalised source scores on the target's device, as a training step uses them.

    `profile` is the source's layer profile at the target's depth; None without the penalty.
    """

    scores: Float[Tensor, " source"]
    profile: Float[Tensor, " layer"] | None = None


class _Gradient(NamedTuple):
    """The KL summed over some pairs, and its gradient with respect to the mask."""

    mask: Float[Tensor, " target"]
    kl: Float[Tensor, ""]


def by_task(data: PairDataset | Mapping[str, PairDataset]) -> Mapping[str, PairDataset]:
    """The data by task; a single data set is one task, under its own name."""
    return {data.name: data} if isinstance(data, PairDataset) else data


def train(
    parameters: LinearMap,
    inputs: Mapping[str, Sequence[SourceVector]],
    target: NodeModel,
    data: Mapping[str, PairDataset],
    settings: AlignmentConfig,
    generator: torch.Generator,
    *,
    check: Callable[[int, bool], bool] = lambda step, is_last: False,
    cache: str = "auto",
    progress: bool = True,
) -> AlignmentHistory:
    """Minimise the loss over the trained tensors of `parameters`, which it changes in place.

    `check` is told the number of steps done, and whether it was the last one; True ends training.
    """
    sizes = [float(each.scores.abs().sum()) for several in inputs.values() for each in several]
    rates = parameters.rates(settings, sum(sizes) / len(sizes))
    # As the base class, whose `step` has types.
    optimizer = cast("Optimizer", Adam([{"params": [each], "lr": rate} for each, rate in rates]))
    losses: list[float] = []
    divergences: list[float] = []
    means: list[float] = []
    tasks: list[str] = []
    with target.unchanged():
        batches = _batches(target, data, settings.batch_size)
        runs = PatchRuns(target, len(batches), settings.objective, cache)
        halving = Halving()
        accuracy = {task: ChanceAccuracyWarning(target, task) for task in data}
        n_steps = settings.n_steps(len(batches))
        if n_steps < FEW_STEPS:
            _warn(
                f"training takes only {n_steps} steps; below about {FEW_STEPS} the result is close "
                "to the initial W. Set steps to 100 or more, or use more pairs"
            )
        bar = tqdm(range(n_steps), f"align {target.name}", disable=not progress)
        order: list[int] = []
        stopped = check(0, False)
        for step in bar:
            if stopped:
                break
            if not order:
                order = [*torch.randperm(len(batches), generator=generator).numpy()]
            number = int(order.pop(0))
            task, batch = batches[number]
            if settings.schedule == "linear":
                for group, (_, rate) in zip(optimizer.param_groups, rates, strict=True):
                    group["lr"] = rate * (1 - step / n_steps)
            vector = _drawn(inputs[task], generator)
            mask = parameters.mask(vector.scores, settings.temperature)
            kl, kl_gradient = _kl_of_mask(
                batch, mask.detach(), runs, number, halving, accuracy[task]
            )
            mean_mask = mask.mean()
            penalty = settings.sparsity * mean_mask
            loss = kl + settings.sparsity * float(mean_mask.detach())
            if vector.profile is not None:
                distance = profile_distance(mask, vector.profile)
                penalty = penalty + settings.profile_penalty * distance
                loss += settings.profile_penalty * float(distance.detach())
            if not math.isfinite(loss):
                raise NumericsError(
                    f"the alignment loss became {loss} at step {len(tasks) + 1} on {task!r}: "
                    f"{where_not_finite(target, batch)}. Lower the learning rate, or check "
                    "the scale of the scores"
                )
            # The chain rule by hand: the KL reaches the parameters through the mask alone.
            gradients = torch.autograd.grad(
                (mask * kl_gradient).sum() + penalty, parameters.trained
            )
            for tensor, gradient in zip(parameters.trained, gradients, strict=True):
                tensor.grad = gradient
            optimizer.step()
            losses.append(loss)
            divergences.append(kl)
            means.append(float(mean_mask.detach()))
            tasks.append(task)
            bar.set_postfix_str(f"loss={loss:.3f}, mask={means[-1]:.2f}")
            stopped = check(step + 1, step + 1 == n_steps)
    if not stopped and not _has_settled(losses):
        _warn(
            f"training has not settled: the loss still falls after {n_steps} steps. Set steps to "
            f"{2 * n_steps}, or raise the learning rate"
        )
    loss, kl, mean = (torch.tensor(x, dtype=torch.float32) for x in (losses, divergences, means))
    return AlignmentHistory(loss, kl, mean, tuple(tasks))


def _warn(message: str) -> None:
    warnings.warn(message, AlignmentWarning, stacklevel=5)  # the call of `align` or `target_only`


def _has_settled(losses: Sequence[float]) -> bool:
    """Whether the last fifth of the training contributed less than a tenth of the whole fall.

    A fall within two standard errors of the noise between batches counts as none.
    """
    fifth = len(losses) // 5
    if fifth < 4:
        return True
    values = torch.tensor(losses, dtype=torch.float64)
    first, before, last = values[:fifth], values[-2 * fifth : -fifth], values[-fifth:]
    fall = float(before.mean() - last.mean())
    noise = float(((before.var() + last.var()) / fifth).sqrt())
    return fall <= 2 * noise or fall <= 0.1 * float(first.mean() - last.mean())


def soft_masked_logits(
    target: NodeModel,
    batch: PairBatch,
    runs: PatchRun,
    mask: Float[Tensor, " target"],
    objective: str,
) -> Float[Tensor, "batch vocab"]:
    """Last logits of the run that is patched with a soft mask, as the objective says."""
    removal = objective == "removal"
    weights = site_weights(target.nodes, 1 - mask if removal else mask)
    with target.partial_run.continued(runs.prefix), interpolate(target, runs.activations, weights):
        prompts = batch.clean if removal else batch.corrupt
        return target.last_logits(prompts, batch.mask, batch.last)


def _kl_of_mask(
    batch: PairBatch,
    mask: Float[Tensor, " target"],
    runs: PatchRuns,
    number: int,
    halving: Halving,
    accuracy: ChanceAccuracyWarning,
) -> tuple[float, Float[Tensor, " target"]]:
    """The batch's mean KL and its gradient with respect to the mask."""

    def gradient(part: PairBatch) -> _Gradient:
        leaf = mask.clone().requires_grad_(True)
        plain = runs.of(number, batch, part)
        accuracy.see(plain.log_probs, part)
        logits = soft_masked_logits(runs.model, part, plain, leaf, runs.objective)
        divergence = kl_divergence(plain.log_probs, logits).sum()
        (slope,) = torch.autograd.grad(divergence, [leaf])
        return _Gradient(slope, divergence.detach())

    parts = [result for _, result in halving(batch, gradient)]
    slope = torch.stack([part.mask for part in parts]).sum(0)
    divergence = sum(float(part.kl) for part in parts)
    return divergence / len(batch), slope / len(batch)


def _batches(
    target: NodeModel, data: Mapping[str, PairDataset], batch_size: int
) -> list[tuple[str, PairBatch]]:
    tokens = {task: dataset.tokenize(target) for task, dataset in data.items()}
    return [
        (task, pairs.select(rows, target.device))
        for task, pairs in tokens.items()
        for rows in pairs.row_batches(batch_size)
    ]


def _drawn(vectors: Sequence[SourceVector], generator: torch.Generator) -> SourceVector:
    """One of a task's vectors; a single vector takes no random number."""
    if len(vectors) == 1:
        return vectors[0]
    return vectors[int(torch.randint(len(vectors), (), generator=generator))]
