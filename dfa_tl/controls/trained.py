"""`target_only`: a control that is trained on the target alone."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from dfa_tl.alignment.config import AlignmentConfig
from dfa_tl.alignment.linear_map import LinearMap
from dfa_tl.alignment.train import SourceVector, by_task, train
from dfa_tl.arguments import checked_arguments
from dfa_tl.errors import ConfigError
from dfa_tl.models.node_model import NodeModel
from dfa_tl.scores import NodeScores
from dfa_tl.settings import check_number
from dfa_tl.tasks.pairs import PairDataset


@checked_arguments
def target_only(
    target: NodeModel,
    data: PairDataset | Mapping[str, PairDataset],
    config: AlignmentConfig | None = None,
    *,
    start: float = 2.0,
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
        start: Every logit before training; 2 keeps .88 of every node. From 0 a mask may get stuck:
            every node is half removed at first, and the clean behaviour may be lost.
        progress: Show a progress bar.

    Returns:
        The logits.

    Raises:
        ConfigError: no tasks.
        DataError: pairs that cannot be used with the target's tokenizer.
        NumericsError: the loss is not finite.
    """
    data = by_task(data)
    if not data:
        raise ConfigError("target_only(data=...) has no tasks to train on: give at least one")
    settings = config or AlignmentConfig()
    check_number("start", start)
    with target.unchanged():  # it leaves the caller's inference mode, so the mask can be trained
        shape = (1, len(target.nodes))
        logits = torch.full(shape, float(start), dtype=torch.float32, device=target.device)
        mask = LinearMap.full(logits)
        one = SourceVector(logits.new_ones(1))
        generator = torch.Generator().manual_seed(settings.seed)
        inputs = {task: [one] for task in data}
        train(mask, inputs, target, data, settings, generator, progress=progress)
    return NodeScores(
        target.nodes,
        logits[0],
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
