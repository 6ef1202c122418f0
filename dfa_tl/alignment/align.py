"""`align`: train W by patching the target with soft masks.

    s' = normalised source scores of the task          mask m = sigmoid(s' W / temperature)
    target on the corrupt prompt, every node's activation a becoming  a + m_j (a_clean - a)
    loss = KL(P_clean || P_intervened) at the last real position + lambda * mean(m)

`a` is the value that the node takes in the intervened run. Only W gets gradients; the target is
frozen. One W is trained over all tasks, each with its own s. Source: arXiv 2604.24302, section 3.

Memory: a forward and a backward run of one batch, plus the clean activations of the data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from dfa_tl.alignment.alignment import Alignment, AlignmentHistory, normalize
from dfa_tl.alignment.clean import CleanRun, clean_run
from dfa_tl.alignment.config import AlignmentConfig
from dfa_tl.alignment.depth import depth_mean
from dfa_tl.errors import ConfigError, NumericsError
from dfa_tl.models.interventions import interpolate, site_weights
from dfa_tl.models.wrapper import NodeModel
from dfa_tl.nodes import NodeSet
from dfa_tl.scores import NodeScores, check_nodes
from dfa_tl.tasks.metrics import kl_divergence
from dfa_tl.tasks.pairs import PairBatch, PairDataset


@dataclass(eq=False)
class _Step:
    """One batch of one task, and what is kept of its clean run."""

    task: str
    batch: PairBatch
    clean: CleanRun


def align(
    scores: Mapping[str, NodeScores],
    target: NodeModel,
    data: Mapping[str, PairDataset],
    config: AlignmentConfig | None = None,
    *,
    progress: bool = True,
) -> Alignment:
    """Train W so that source scores, mapped to the target, keep the target faithful.

    Args:
        scores: Source scores of each training task, all of one source model.
        target: The target model; it is as it was afterwards.
        data: Pairs of each training task.
        config: Settings; the default is `AlignmentConfig()`.
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
    loss_log: list[float] = []
    kl_log: list[float] = []
    mask_log: list[float] = []
    task_log: list[str] = []
    with target.unchanged():
        steps = _prepare(target, data, settings.batch_size)
        n_steps = settings.epochs * len(steps)
        with tqdm(total=n_steps, desc=f"align {target.name}", disable=not progress) as bar:
            for _ in range(settings.epochs):
                for place in torch.randperm(len(steps), generator=generator).tolist():
                    step = steps[place]
                    mask = torch.sigmoid(inputs[step.task] @ matrix / settings.temperature)
                    logits = soft_masked_logits(target, step.batch, step.clean, mask)
                    divergence = kl_divergence(step.clean.log_probs, logits).mean()
                    loss = divergence.to(mask.device) + settings.sparsity * mask.mean()
                    (matrix.grad,) = torch.autograd.grad(loss, [matrix])
                    optimizer.step()
                    loss_log.append(float(loss.detach()))
                    kl_log.append(float(divergence.detach()))
                    mask_log.append(float(mask.detach().mean()))
                    task_log.append(step.task)
                    if not torch.tensor(loss_log[-1]).isfinite():
                        raise NumericsError(
                            f"the alignment loss became {loss_log[-1]} at step {len(loss_log)} "
                            f"on {step.task!r}; lower the learning rate or check the scores' scale"
                        )
                    bar.update()
                    bar.set_postfix(loss=f"{loss_log[-1]:.3f}", mask=f"{mask_log[-1]:.2f}")
    return Alignment(
        W=matrix,
        source=source,
        target=target.nodes,
        config=settings,
        history=AlignmentHistory(
            torch.tensor(loss_log), torch.tensor(kl_log), torch.tensor(mask_log), tuple(task_log)
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


def _prepare(target: NodeModel, data: Mapping[str, PairDataset], batch_size: int) -> list[_Step]:
    steps = []
    for task, dataset in data.items():
        pairs = dataset.tokenize(target)
        for rows in pairs.row_batches(batch_size):
            batch = pairs.select(rows, target.device)
            steps.append(_Step(task, batch, clean_run(target, batch)))
    return steps


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
