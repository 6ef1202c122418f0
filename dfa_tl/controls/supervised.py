"""Controls that use target scores of the training tasks: gold ones, or trained masks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor

from dfa_tl.alignment.alignment import Alignment
from dfa_tl.alignment.config import AlignmentConfig
from dfa_tl.alignment.linear_map import normalize
from dfa_tl.arguments import checked_arguments
from dfa_tl.errors import ConfigError
from dfa_tl.scores import NodeScores, check_nodes, check_scored
from dfa_tl.settings import check_number


@checked_arguments
def regression(
    source_scores: NodeScores | Mapping[str, NodeScores],
    gold: NodeScores | Mapping[str, NodeScores],
    penalty: float = 1.0,
) -> Alignment:
    """The supervised W: ridge regression from source to gold scores over tasks.

    Other scores of the target may take the place of gold, such as trained masks.

        minimise  sum_tasks |g - s' W - b|^2 + penalty |W|^2

    s' are the `centered` source scores and g the gold scores at zero mean and unit standard
    deviation within each task, so that no task counts more because its metric has larger values;
    predicted scores are in these units, which does not change their order. b is not penalised. With
    X, G the tasks' s', g minus their means over tasks, the solution is

        W = X^T (X X^T + penalty I)^-1 G        b = mean(g) - mean(s') W

    a system with one equation per task, since there are far fewer tasks than nodes. With one task
    alone, every s gives the gold scores of that task.

    Args:
        source_scores: Source scores of the training tasks, by task; for a single task, the scores
            alone are enough.
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
    gram = X @ X.T + float(penalty) * torch.eye(len(tasks), dtype=X.dtype, device=X.device)
    dual = cast("Tensor", torch.linalg.solve(gram, G))  # pyright: ignore[reportUnknownMemberType]
    W = X.T @ dual
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
def mean_scores(scores: NodeScores | Mapping[str, NodeScores]) -> NodeScores:
    """The mean over tasks of target scores at zero mean and unit standard deviation in each task.

    This way no task counts more because its metric has larger values. Constant scores, which rank
    nothing, count as ones.

    Raises:
        ConfigError: no tasks.
        ScoresError: scores of different models.
    """
    scores = _by_task(scores)
    values = _standardised(scores, "target").mean(0)
    first = next(iter(scores.values()))
    return NodeScores(
        first.nodes,
        values,
        provenance={
            "model": first.provenance.get("model", "target"),
            "method": f"mean of {first.provenance.get('method', 'scores')}",
            "tasks": list(scores),
        },
    )


@checked_arguments
def nearest_task(scores: NodeScores, source_scores: Mapping[str, NodeScores]) -> str:
    """The training task whose source scores have the largest Pearson correlation with `scores`.

    Raises:
        ConfigError: no training tasks.
        ScoresError: scores of different models.
    """
    if not source_scores:
        raise ConfigError("no tasks: give source_scores of at least one")
    own = _standardised({"test": scores}, "source")[0]
    first = next(iter(source_scores.values()))
    check_nodes(scores, first.nodes, "the first task's source model")
    others = _standardised(source_scores, "source")
    return list(source_scores)[int((others @ own).argmax())]


def _by_task(scores: NodeScores | Mapping[str, NodeScores]) -> Mapping[str, NodeScores]:
    """The scores by task; a single vector belongs to a single task."""
    return {"task": scores} if isinstance(scores, NodeScores) else scores


def _standardised(scores: Mapping[str, NodeScores], side: str) -> Tensor:
    """One row per task. Raises if there are no tasks, or scores of different models."""
    if not scores:
        raise ConfigError(f"no tasks: give {side} scores of at least one")
    first = next(iter(scores.values()))
    for vector in scores.values():
        check_nodes(vector, first.nodes, f"the first task's {side} model")
        check_scored(vector)
    return torch.stack([normalize(vector.values, "centered") for vector in scores.values()])
