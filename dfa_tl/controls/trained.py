"""`target_only`: a control that is trained on the target alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from dfa_tl.alignment.config import AlignmentConfig
from dfa_tl.alignment.linear_map import LinearMap
from dfa_tl.alignment.train import SourceVector, by_task, train
from dfa_tl.arguments import checked_arguments
from dfa_tl.errors import ConfigError
from dfa_tl.models.node_model import NodeModel
from dfa_tl.scores import NodeScores, check_nodes
from dfa_tl.settings import check_number
from dfa_tl.tasks.pairs import PairDataset


@checked_arguments
def target_only(
    target: NodeModel,
    data: PairDataset | Mapping[str, PairDataset],
    config: AlignmentConfig | None = None,
    *,
    start: float | NodeScores | Sequence[float | NodeScores] = 2.0,
    progress: bool = True,
) -> NodeScores:
    """A mask trained on the target alone: what the optimiser can do without any source.

    One logit per target node, trained with `align`'s loss on the pairs of all given tasks. In
    `align`'s terms it is a W of one row under the constant score 1.

    Args:
        target: The target model; it is not changed.
        data: Pairs to train on, by task; for a single task, its pairs alone are enough.
        config: The settings; those of W, of source scores and of their profile do not apply. With
            the settings of `align`, it has the same number of steps of the same size. By default
            they are the defaults of `align`.
        start: The logits before training: one number for all, or scores in logits, such as a
            transferred circuit to be refined. Of several starts, each trained with all steps, the
            mask with the lowest loss over the last fifth of its training is returned. A logit of 2
            keeps .88 of every node; from 0 a mask may get stuck, since every node is half removed
            at first and the clean behaviour may be lost.
        progress: Show a progress bar.

    Returns:
        The logits.

    Raises:
        ConfigError: no tasks, or no start.
        ScoresError: a start of another model.
        DataError: pairs that cannot be used with the target's tokenizer.
        NumericsError: the loss is not finite.
    """
    data = by_task(data)
    if not data:
        raise ConfigError("target_only(data=...) has no tasks to train on: give at least one")
    settings = config or AlignmentConfig()
    starts = start if isinstance(start, Sequence) else [start]
    if not starts:
        raise ConfigError("target_only(start=...) is empty: give at least one start")
    first_logits = [_logits(each, target) for each in starts]
    found: list[tuple[float, Tensor]] = []
    for logits in first_logits:
        with target.unchanged():  # it leaves the caller's inference mode, so masks can be trained
            free = logits[None].to(target.device, copy=True)
            mask = LinearMap.full(free)
            one = SourceVector(free.new_ones(1))
            generator = torch.Generator().manual_seed(settings.seed)
            inputs = {task: [one] for task in data}
            history = train(mask, inputs, target, data, settings, generator, progress=progress)
        last = history.loss[-max(1, len(history) // 5) :]
        found.append((float(last.mean()), free.detach()[0]))
    _, best = min(found, key=lambda one: one[0])
    return NodeScores(
        target.nodes,
        best,
        provenance={
            "model": target.name,
            "prepend_bos": target.prepend_bos,
            "dtype": target.dtype_name,
            "architecture": target.architecture,
            "task": ", ".join(data),
            "method": "target_only",
            "pairs": {task: len(pairs) for task, pairs in data.items()},
        },
    )


def _logits(start: float | NodeScores, target: NodeModel) -> Float[Tensor, " node"]:
    if isinstance(start, NodeScores):
        check_nodes(start, target.nodes, f"the target {target.name}")
        return start.values.float()
    check_number("start", start)
    return torch.full((len(target.nodes),), float(start), dtype=torch.float32, device="cpu")
