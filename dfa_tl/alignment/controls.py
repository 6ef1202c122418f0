"""Controls: what a transfer gives when part of its information is taken away, or more is given.

control       W                              source scores      what it tests
random_W      untrained, N(0, std^2)         of the task        a random ranking
untrained_W   as it is before training       of the task        what training adds
depth_mean_W  untrained, depth-mean          of the task        what layers alone carry over
depth_mean_paper_W  the same with the paper's depth-mean heuristic
permuted_W    trained, columns permuted      of the task        whether the target node matters
scrambled_s   trained                        permuted           whether the source node matters
random_s      trained with and tested on one random vector per task: whether s means anything
uniform_s     trained with and tested on a constant s: one mask for all tasks, so what DFA gains
              over it is what the source accounts for
target_only   no W: a free mask trained on the task itself, without any source
regression    ridge from source to gold scores of the training tasks: W with supervision
mean_gold     the mean of the training tasks' gold scores: supervision without a source
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from dfa_tl.alignment.align import SourceVector, by_task, train
from dfa_tl.alignment.alignment import Alignment, normalize
from dfa_tl.alignment.config import AlignmentConfig
from dfa_tl.alignment.depth import depth_mean, depth_mean_paper
from dfa_tl.alignment.parameters import FullWeights, LinearMap, initial_map, normal
from dfa_tl.arguments import checked_arguments
from dfa_tl.errors import ConfigError
from dfa_tl.models.wrapper import NodeModel
from dfa_tl.nodes import NodeSet
from dfa_tl.scores import NodeScores, check_nodes, check_scored
from dfa_tl.settings import check_number, check_seed
from dfa_tl.tasks.pairs import PairDataset


@checked_arguments
def random_W(source: NodeSet, target: NodeSet, config: AlignmentConfig | None = None) -> Alignment:
    """An untrained random W, of the config's seed and standard deviation."""
    settings = config or AlignmentConfig.paper()
    generator = torch.Generator().manual_seed(settings.seed)
    matrix = settings.init_std * normal(len(source), len(target), generator)
    return Alignment(matrix, source, target, settings, provenance={"control": "random_W"})


@checked_arguments
def untrained_W(source: NodeSet, target: NodeSet, config: AlignmentConfig) -> Alignment:
    """W, and its bias, as `align` starts with them under the same settings."""
    generator = torch.Generator().manual_seed(config.seed)
    with torch.inference_mode(False):
        start = initial_map(source, target, config, generator, torch.device("cpu"))
    provenance = {"control": "untrained_W"}
    return Alignment(
        start.weights.W, source, target, config, provenance=provenance, bias=start.bias
    )


@checked_arguments
def depth_mean_W(
    source: NodeSet, target: NodeSet, config: AlignmentConfig | None = None
) -> Alignment:
    """The untrained depth-mean W (`dfa_tl.alignment.depth`).

    Args:
        source: Nodes of the source model.
        target: Nodes of the target model.
        config: Its `normalization` is applied to source scores; `none` unless given.
    """
    settings = config or AlignmentConfig(normalization="none")
    provenance = {"control": "depth_mean_W"}
    return Alignment(depth_mean(source, target), source, target, settings, provenance=provenance)


@checked_arguments
def depth_mean_paper_W(
    source: NodeSet, target: NodeSet, config: AlignmentConfig | None = None
) -> Alignment:
    """The paper's depth-mean heuristic (`dfa_tl.alignment.depth`); arguments of `depth_mean_W`."""
    settings = config or AlignmentConfig(normalization="none")
    matrix = depth_mean_paper(source, target)
    provenance = {"control": "depth_mean_paper_W"}
    return Alignment(matrix, source, target, settings, provenance=provenance)


@checked_arguments
def permuted_W(alignment: Alignment, seed: int) -> Alignment:
    """The same W with its target columns, and the bias with them, in a random order."""
    check_seed("seed", seed)
    order = _order(len(alignment.target), seed)
    return replace(
        alignment,
        W=alignment.W[:, order],
        bias=None if alignment.bias is None else alignment.bias[order],
        provenance={**alignment.provenance, "control": "permuted_W", "permutation_seed": seed},
    )


@checked_arguments
def scrambled_s(scores: NodeScores, seed: int) -> NodeScores:
    """The same values on other nodes, in a random order.

    Nodes without a score stay as they are: the values are permuted among the others.
    """
    check_seed("seed", seed)
    scored = [place for place, node in enumerate(scores.nodes) if node.name not in scores.unscored]
    values = scores.values.clone()
    values[scored] = scores.values[scored][_order(len(scored), seed)]
    method = f"scrambled {scores.provenance.get('method', '')}".strip()
    return replace(
        scores,
        values=values,
        provenance={**scores.provenance, "method": method, "permutation_seed": seed},
    )


@checked_arguments
def random_s(nodes: NodeSet, seed: int) -> NodeScores:
    """One N(0, 1) number per node."""
    check_seed("seed", seed)
    values = normal(1, len(nodes), torch.Generator().manual_seed(seed))[0]
    return NodeScores(nodes, values, provenance={"method": "random_s", "seed": seed})


@checked_arguments
def uniform_s(source: NodeSet) -> NodeScores:
    """Constant scores, 1 for every node."""
    ones = torch.ones(len(source), dtype=torch.float32, device="cpu")
    return NodeScores(source, ones, provenance={"method": "uniform_s"})


@checked_arguments
def target_only(
    target: NodeModel,
    data: PairDataset | Mapping[str, PairDataset],
    config: AlignmentConfig | None = None,
    *,
    start: float = 0.5,
    progress: bool = True,
) -> NodeScores:
    """A mask trained on the target alone: what the optimiser can do without any source.

    One logit per target node, trained with `align`'s loss on the pairs of all the tasks given. In
    `align`'s terms it is a W of one row under the constant score 1.

    Args:
        target: The target model; it is as it was afterwards.
        data: Pairs to train on, by task; for the control of one task, that task's train pairs,
            which need no name beside their own.
        config: Its optimiser, sparsity, temperature and seed; what it says of W, of source scores
            and of their profile does not apply. The default is the paper's, in batches of 16:
            a single logit moves by no more than the learning rate in a step, and .1 is the paper's.
        start: Every logit before training. 1/2 is where the default W starts under constant
            scores. From 0 a mask may stay stuck: every node is half off at first, and the clean
            behaviour may be gone.
        progress: Show a progress bar.

    Returns:
        The logits.

    Raises:
        ConfigError: no tasks.
        DataError: pairs that the target's tokenizer makes unusable.
        NumericsError: the loss is not finite.
    """
    data = by_task(data)
    if not data:
        raise ConfigError("target_only(data=...) has no tasks to train on: give at least one")
    check_number("start", start)
    settings = config or AlignmentConfig.paper(batch_size=16)
    with target.unchanged():  # what is trained is made in here: the caller may be in inference mode
        shape = (1, len(target.nodes))
        logits = torch.full(shape, float(start), dtype=torch.float32, device=target.device)
        mask = LinearMap(FullWeights(logits))
        one = SourceVector(logits.new_ones(1))
        generator = torch.Generator().manual_seed(settings.seed)
        inputs = {task: [one] for task in data}
        train(mask, inputs, target, data, settings, generator, progress=progress)
    return NodeScores(
        target.nodes,
        mask.weights.W[0],
        provenance={
            "model": target.name,
            "prepend_bos": target.prepend_bos,
            "architecture": target.architecture,
            "task": ", ".join(data),
            "method": "target_only",
            "pairs": {task: len(pairs) for task, pairs in data.items()},
        },
    )


@checked_arguments
def regression(
    source_scores: NodeScores | Mapping[str, NodeScores],
    gold: NodeScores | Mapping[str, NodeScores],
    penalty: float = 1.0,
) -> Alignment:
    """The supervised W: ridge regression from source scores to gold scores over tasks.

        minimise  sum_tasks |g - s' W - b|^2 + penalty |W|^2

    s' are the `centered` source scores and g the gold scores at zero mean and unit standard
    deviation within each task, so that no task counts for more because its metric has larger
    units; predicted scores are in those units, which leaves a ranking as it is. b is not
    penalised. With X, G the tasks' s', g less their means over tasks, the solution is

        W = X^T (X X^T + penalty I)^-1 G        b = mean(g) - mean(s') W

    a system of one equation per task, for tasks are far fewer than nodes. One task alone has
    nothing to regress on and gives its own gold scores for every s.

    Args:
        source_scores: Source scores of the training tasks, by task; for a single task, its
            scores as they are will do.
        gold: Target scores of the same tasks, attributed directly.
        penalty: Weight of the ridge, above 0.

    Raises:
        ConfigError: no tasks, different tasks, or a penalty that is not above 0.
        ScoresError: scores of different models.
    """
    source_scores, gold = _by_task(source_scores), _by_task(gold)
    if set(source_scores) != set(gold):
        raise ConfigError(
            f"source_scores has the tasks {sorted(source_scores)} and gold {sorted(gold)}: give "
            "both for the same tasks"
        )
    check_number("penalty", penalty, above=0)
    tasks = list(gold)
    g = _standardised(gold, "target").double()
    s = _standardised({task: source_scores[task] for task in tasks}, "source").double()
    X, G = s - s.mean(0), g - g.mean(0)
    ridge = float(penalty) * torch.eye(len(tasks), dtype=X.dtype, device=X.device)
    W = X.T @ torch.linalg.solve(X @ X.T + ridge, G)
    first_source, first_gold = source_scores[tasks[0]], gold[tasks[0]]
    return Alignment(
        W,
        first_source.nodes,
        first_gold.nodes,
        AlignmentConfig(normalization="centered"),
        provenance={
            "control": "regression",
            "source": first_source.provenance.get("model", "source"),
            "target": first_gold.provenance.get("model", "target"),
            "tasks": tasks,
            "penalty": penalty,
        },
        bias=g.mean(0) - s.mean(0) @ W,
    )


@checked_arguments
def mean_gold(gold: NodeScores | Mapping[str, NodeScores]) -> NodeScores:
    """The mean over tasks of gold scores at zero mean and unit standard deviation in each task.

    Standardised, no task counts for more because its metric has larger units. Constant scores,
    which rank nothing, count as ones.

    Raises:
        ConfigError: no tasks.
        ScoresError: scores of different models.
    """
    gold = _by_task(gold)
    values = _standardised(gold, "target").mean(0)
    first = next(iter(gold.values()))
    return NodeScores(
        first.nodes,
        values,
        provenance={
            "model": first.provenance.get("model", "target"),
            "method": "mean_gold",
            "tasks": list(gold),
        },
    )


def _by_task(scores: NodeScores | Mapping[str, NodeScores]) -> Mapping[str, NodeScores]:
    """The scores by task; a single vector is that of one task."""
    return {"task": scores} if isinstance(scores, NodeScores) else scores


def _standardised(scores: Mapping[str, NodeScores], side: str) -> Tensor:
    """One row per task. Raises for no tasks, and for scores of different models."""
    if not scores:
        raise ConfigError(f"no tasks: give {side} scores of at least one")
    first = next(iter(scores.values()))
    for vector in scores.values():
        check_nodes(vector, first.nodes, f"the first task's {side} model")
        check_scored(vector)
    return torch.stack([normalize(vector.values, "centered") for vector in scores.values()])


def _order(n: int, seed: int) -> Tensor:
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed), device="cpu")
