"""`align`: train W by patching the target with soft masks.

    s' = normalised source scores of the task          mask m = sigmoid(s' W / temperature)
    target on the corrupt prompt, every node's activation a becoming  a + m_j (a_clean - a)
    loss = KL(P_clean || P_intervened) at the last real position + lambda * mean(m)

`a` is the value that the node takes in the intervened run. Only W gets gradients; the target is
frozen. One W is trained over all tasks, each with its own s. Source: arXiv 2604.24302, section 3.

Memory: a forward and a backward run of one batch, plus the clean activations of the data.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from dfa_tl.alignment.alignment import Alignment, AlignmentHistory, normalize
from dfa_tl.alignment.clean import CleanRun, CleanRuns
from dfa_tl.alignment.config import AlignmentConfig
from dfa_tl.alignment.depth import depth_mean
from dfa_tl.errors import ConfigError, NumericsError
from dfa_tl.models.diagnosis import where_not_finite
from dfa_tl.models.halving import Halving
from dfa_tl.models.interventions import interpolate, site_weights
from dfa_tl.models.wrapper import NodeModel
from dfa_tl.nodes import NodeSet
from dfa_tl.scores import NodeScores, check_nodes
from dfa_tl.tasks.metrics import kl_divergence
from dfa_tl.tasks.pairs import PairBatch, PairDataset


class _Gradient(NamedTuple):
    """Of the KL summed over some pairs."""

    mask: Float[Tensor, " target"]
    kl: Float[Tensor, ""]


def align(
    scores: Mapping[str, NodeScores],
    target: NodeModel,
    data: Mapping[str, PairDataset],
    config: AlignmentConfig | None = None,
    *,
    cache: str = "auto",
    progress: bool = True,
) -> Alignment:
    """Train W so that source scores, mapped to the target, keep the target faithful.

    Args:
        scores: Source scores of each training task, all of one source model.
        target: The target model; it is as it was afterwards.
        data: Pairs of each training task.
        config: Settings; the default is `AlignmentConfig()`.
        cache: Where clean activations are kept between epochs: `device`, `host`, `none` (run the
            clean prompts again), or `auto`, the first of them with room. It changes memory and
            speed, not the result.
        progress: Show a progress bar.

    Raises:
        ConfigError: no tasks, or scores and data of different tasks.
        ScoresError: scores of different source models.
        DataError: pairs that the target's tokenizer makes unusable.
        NumericsError: the loss is not finite.
    """
    settings = config or AlignmentConfig()
    source = _checked_source(scores, data)
    inputs = {
        task: normalize(vector.values, settings.normalization).to(target.device)
        for task, vector in scores.items()
    }
    generator = torch.Generator().manual_seed(settings.seed)
    matrix = _initial(source, target.nodes, settings, generator).to(target.device)
    matrix.requires_grad_(True)
    optimizer = torch.optim.Adam([matrix], lr=settings.learning_rate)
    log: list[tuple[float, float, float, str]] = []
    with target.unchanged():
        batches = _batches(target, data, settings.batch_size)
        clean_runs = CleanRuns(target, len(batches), cache)
        halving = Halving()
        n_steps = settings.epochs * len(batches)
        with tqdm(total=n_steps, desc=f"align {target.name}", disable=not progress) as bar:
            for _ in range(settings.epochs):
                for place in torch.randperm(len(batches), generator=generator).tolist():
                    task, batch = batches[place]
                    mask = torch.sigmoid(inputs[task] @ matrix / settings.temperature)
                    kl, kl_gradient = _kl_of_mask(
                        target, batch, mask.detach(), clean_runs, place, halving
                    )
                    mean_mask = mask.mean()
                    loss = kl + settings.sparsity * float(mean_mask.detach())
                    if not math.isfinite(loss):
                        raise NumericsError(
                            f"the alignment loss became {loss} at step {len(log) + 1} on {task!r}: "
                            f"{where_not_finite(target, batch)}. Lower the learning rate or check "
                            "the scale of the scores"
                        )
                    # The chain rule by hand: the KL's gradient reaches W through the mask alone.
                    (matrix.grad,) = torch.autograd.grad(
                        (mask * kl_gradient).sum() + settings.sparsity * mean_mask, [matrix]
                    )
                    optimizer.step()
                    log.append((loss, kl, float(mean_mask.detach()), task))
                    bar.update()
                    bar.set_postfix(loss=f"{loss:.3f}", mask=f"{log[-1][2]:.2f}")
    losses, divergences, means, tasks = zip(*log, strict=True)
    return Alignment(
        W=matrix,
        source=source,
        target=target.nodes,
        config=settings,
        history=AlignmentHistory(
            torch.tensor(losses), torch.tensor(divergences), torch.tensor(means), tasks
        ),
        provenance={
            "source": next(iter(scores.values())).provenance.get("model", "source"),
            "target": target.name,
            "tasks": list(scores),
            "pairs": {task: len(pairs) for task, pairs in data.items()},
        },
    )


def soft_masked_logits(
    target: NodeModel, batch: PairBatch, clean: CleanRun, mask: Float[Tensor, " target"]
) -> Float[Tensor, "batch vocab"]:
    """Last logits on the corrupt prompts, every node moved towards its clean value by `mask`."""
    weights = site_weights(target.nodes, mask)
    with interpolate(target, clean.activations, weights):
        return target.last_logits(batch.corrupt, batch.mask, batch.last)


def _kl_of_mask(
    target: NodeModel,
    batch: PairBatch,
    mask: Float[Tensor, " target"],
    clean_runs: CleanRuns,
    place: int,
    halving: Halving,
) -> tuple[float, Float[Tensor, " target"]]:
    """The batch's mean KL and its gradient with respect to the mask."""

    def gradient(part: PairBatch) -> _Gradient:
        leaf = mask.clone().requires_grad_(True)
        if part is batch:
            clean = clean_runs.of(place, batch)
        else:
            start = int((batch.index == part.index[0]).nonzero())
            clean = clean_runs.part(place, batch, start, start + len(part))
        logits = soft_masked_logits(target, part, clean, leaf)
        divergence = kl_divergence(clean.log_probs, logits).sum()
        (slope,) = torch.autograd.grad(divergence, [leaf])
        return _Gradient(slope, divergence.detach())

    parts = [result for _, result in halving(batch, gradient)]
    slope = torch.stack([part.mask for part in parts]).sum(0)
    divergence = sum(float(part.kl) for part in parts)
    return divergence / len(batch), slope / len(batch)


def _batches(
    target: NodeModel, data: Mapping[str, PairDataset], batch_size: int
) -> list[tuple[str, PairBatch]]:
    batches = []
    for task, dataset in data.items():
        pairs = dataset.tokenize(target)
        for rows in pairs.row_batches(batch_size):
            batches.append((task, pairs.select(rows, target.device)))
    return batches


def _initial(
    source: NodeSet, target: NodeSet, settings: AlignmentConfig, generator: torch.Generator
) -> Float[Tensor, "source target"]:
    if settings.initialization == "depth-mean":
        return depth_mean(source, target)
    return settings.init_std * torch.randn(len(source), len(target), generator=generator)


def _checked_source(scores: Mapping[str, NodeScores], data: Mapping[str, PairDataset]) -> NodeSet:
    if not scores:
        raise ConfigError("no tasks to train on: give source scores and pairs of at least one")
    if set(scores) != set(data):
        raise ConfigError(
            f"scores are of tasks {sorted(scores)}, pairs of {sorted(data)}; give both for each"
        )
    first = next(iter(scores.values()))
    for vector in scores.values():
        check_nodes(vector, first.nodes, "the first task's source model")
    return first.nodes
