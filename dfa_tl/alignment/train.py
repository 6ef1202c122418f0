"""`align`: train W by patching the target with soft masks.

    mask m = sigmoid((s' W + b) / temperature), s' the normalised source scores of the task
    the target runs on the corrupt prompt, and each activation a becomes  a + m_j (a_clean - a)
    loss = KL(P_clean || P_intervened) at the last real position + lambda * mean(m)
           + profile_penalty * (distance between the layer profiles of m and s)

`a` is the value that the node takes in the intervened run. Only the tensors that W is made from
(`dfa_tl.alignment.linear_map`) and the optional bias b get gradients; the target is frozen. One W
is trained over all tasks, each with its own s. Source: arXiv 2604.24302, section 3; b and the
profile penalty are off by default.

Memory: a forward and a backward run of one batch, plus the clean activations of the data.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim import Adam, Optimizer
from tqdm.auto import tqdm

from dfa_tl.alignment.alignment import Alignment
from dfa_tl.alignment.clean_cache import CleanRun, CleanRuns
from dfa_tl.alignment.config import AlignmentConfig
from dfa_tl.alignment.depth import carried_profile, profile_distance
from dfa_tl.alignment.history import AlignmentHistory
from dfa_tl.alignment.linear_map import LinearMap, initial_map, normalize
from dfa_tl.arguments import checked_arguments
from dfa_tl.errors import AlignmentWarning, ConfigError, NumericsError
from dfa_tl.models.batching import Halving
from dfa_tl.models.chance_accuracy import ChanceAccuracyWarning
from dfa_tl.models.diagnosis import where_not_finite
from dfa_tl.models.interventions import interpolate, site_weights
from dfa_tl.models.node_model import NodeModel
from dfa_tl.scores import NodeScores, check_nodes, check_scored
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


@checked_arguments
def align(
    scores: NodeScores | Sequence[NodeScores] | Mapping[str, NodeScores | Sequence[NodeScores]],
    target: NodeModel,
    data: PairDataset | Mapping[str, PairDataset],
    config: AlignmentConfig | None = None,
    *,
    cache: str = "auto",
    progress: bool = True,
) -> Alignment:
    """Train W so that source scores, mapped to the target, keep the target faithful.

    Args:
        scores: Source scores of each training task, all of one source model. A task may have
            several vectors, for instance from bootstrapped source pairs: each step draws one of
            them. For a single task, the scores alone are enough.
        target: The target model; it is not changed.
        data: Pairs of each training task. A single data set is one task, under its own name.
        config: Settings; the default is `AlignmentConfig()`.
        cache: Where clean activations are kept between epochs: `device`, `host`, `none` (run the
            clean prompts again), or `auto`, the first of them with enough memory. It changes
            memory and speed, not the result.
        progress: Show a progress bar.

    Raises:
        ConfigError: no tasks, a task without scores, scores and data of different tasks, or a
            rank above the number of nodes.
        ScoresError: scores of different source models.
        DataError: pairs that cannot be used with the target's tokenizer.
        NumericsError: the loss is not finite.

    Warns:
        AlignmentWarning: training takes fewer than 50 steps.

    Example:
        >>> source, target = load_model("toy-small"), load_model("toy-large")
        >>> data = load_task("ioi", n=16)
        >>> align({"ioi": attribute(source, data)}, target, {"ioi": data})
        Alignment(15 source x 42 target nodes, 3 steps)
    """
    settings = config or AlignmentConfig()
    data = by_task(data)
    vectors = _checked_vectors(scores, data)
    first = next(iter(vectors.values()))[0]
    with target.unchanged():  # it leaves the caller's inference mode, so W can be trained
        inputs = {
            task: [_source_vector(each, target, settings) for each in several]
            for task, several in vectors.items()
        }
        generator = torch.Generator().manual_seed(settings.seed)
        parameters = initial_map(first.nodes, target.nodes, settings, generator, target.device)
        history = train(
            parameters, inputs, target, data, settings, generator, cache=cache, progress=progress
        )
        W = parameters.W
    return Alignment(
        W=W,
        source=first.nodes,
        target=target.nodes,
        config=settings,
        history=history,
        provenance={
            "source": first.provenance.get("model", "source"),
            "target": target.name,
            "prepend_bos": target.prepend_bos,
            "dtype": target.dtype_name,
            "architecture": target.architecture,
            "tasks": list(vectors),
            "pairs": {task: len(pairs) for task, pairs in data.items()},
            "vectors": {task: len(several) for task, several in vectors.items()},
        },
        bias=parameters.bias,
    )


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
    cache: str = "auto",
    progress: bool = True,
) -> AlignmentHistory:
    """Minimise the loss over the trained tensors of `parameters`, which it changes in place."""
    # As the base class, whose `step` has types.
    optimizer = cast("Optimizer", Adam(parameters.trained, lr=settings.learning_rate))
    losses: list[float] = []
    divergences: list[float] = []
    means: list[float] = []
    tasks: list[str] = []
    with target.unchanged():
        batches = _batches(target, data, settings.batch_size)
        clean_runs = CleanRuns(target, len(batches), cache)
        halving = Halving()
        looks = {task: ChanceAccuracyWarning(target, task) for task in data}
        n_steps = settings.epochs * len(batches)
        if n_steps < FEW_STEPS:
            warnings.warn(
                f"training takes only {n_steps} steps ({sum(len(b) for _, b in batches)} pairs in "
                f"batches of {settings.batch_size}, {settings.epochs} epochs); below about "
                f"{FEW_STEPS} the result is close to the initial W. Use more pairs, or set epochs "
                f"to {-(-FEW_STEPS // len(batches))} or more",
                AlignmentWarning,
                stacklevel=4,  # the line that called `align` or `target_only`
            )
        numbers = (
            int(number)
            for _ in range(settings.epochs)
            for number in torch.randperm(len(batches), generator=generator).numpy()
        )
        bar = tqdm(numbers, f"align {target.name}", n_steps, disable=not progress)
        for number in bar:
            task, batch = batches[number]
            vector = _drawn(inputs[task], generator)
            mask = parameters.mask(vector.scores, settings.temperature)
            kl, kl_gradient = _kl_of_mask(
                target, batch, mask.detach(), clean_runs, number, halving, looks[task]
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
    loss, kl, mean = (torch.tensor(x, dtype=torch.float32) for x in (losses, divergences, means))
    return AlignmentHistory(loss, kl, mean, tuple(tasks))


def soft_masked_logits(
    target: NodeModel, batch: PairBatch, clean: CleanRun, mask: Float[Tensor, " target"]
) -> Float[Tensor, "batch vocab"]:
    """Last logits on the corrupt prompts, each node moved towards its clean value by `mask`."""
    with interpolate(target, clean.activations, site_weights(target.nodes, mask)):
        return target.last_logits(batch.corrupt, batch.mask, batch.last)


def _kl_of_mask(
    target: NodeModel,
    batch: PairBatch,
    mask: Float[Tensor, " target"],
    clean_runs: CleanRuns,
    number: int,
    halving: Halving,
    look: ChanceAccuracyWarning,
) -> tuple[float, Float[Tensor, " target"]]:
    """The batch's mean KL and its gradient with respect to the mask."""

    def gradient(part: PairBatch) -> _Gradient:
        leaf = mask.clone().requires_grad_(True)
        clean = clean_runs.of(number, batch, part)
        look.see(clean.log_probs, part)
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
    tokens = {task: dataset.tokenize(target) for task, dataset in data.items()}
    return [
        (task, pairs.select(rows, target.device))
        for task, pairs in tokens.items()
        for rows in pairs.row_batches(batch_size)
    ]


def _source_vector(
    scores: NodeScores, target: NodeModel, settings: AlignmentConfig
) -> SourceVector:
    values = normalize(scores.values, settings.normalization).to(target.device)
    profile = carried_profile(scores, target.nodes) if settings.profile_penalty else None
    return SourceVector(values, None if profile is None else profile.to(target.device))


def _drawn(vectors: Sequence[SourceVector], generator: torch.Generator) -> SourceVector:
    """One of a task's vectors; a single vector takes no random number."""
    if len(vectors) == 1:
        return vectors[0]
    return vectors[int(torch.randint(len(vectors), (), generator=generator))]


def _checked_vectors(
    scores: NodeScores | Sequence[NodeScores] | Mapping[str, NodeScores | Sequence[NodeScores]],
    data: Mapping[str, PairDataset],
) -> dict[str, list[NodeScores]]:
    """The vectors of each task, all of one source model; at least one task, each with a vector."""
    if not isinstance(scores, Mapping):
        if len(data) != 1:
            raise ConfigError(
                f"the scores are for one task, but the data are for {len(data)} "
                f"({', '.join(data)}): give scores by task, {{task: scores}}"
            )
        scores = dict.fromkeys(data, scores)
    if not scores:
        raise ConfigError("no tasks to train on: give source scores and pairs of at least one")
    if set(scores) != set(data):
        raise ConfigError(
            f"there are scores for the tasks {sorted(scores)} and pairs for {sorted(data)}: "
            "give both for every task"
        )
    vectors: dict[str, list[NodeScores]] = {}
    for task, given in scores.items():
        vectors[task] = [given] if isinstance(given, NodeScores) else list(given)
        if not vectors[task]:
            raise ConfigError(f"task {task!r} has no score vector: give one NodeScores or several")
        for vector in vectors[task]:
            first = next(iter(vectors.values()))[0]
            check_nodes(vector, first.nodes, "the first task's source model")
            check_scored(vector)
    return vectors
