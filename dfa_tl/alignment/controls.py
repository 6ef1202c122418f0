"""Controls: what a transfer gives when W or the source scores carry no information.

random_W    an untrained W ~ N(0, std^2): a random ranking of the target's nodes
uniform_s   constant source scores; W trained and tested with them can only learn one mask for
            all tasks, so what DFA gains over it is what the source accounts for
"""

from __future__ import annotations

import torch

from dfa_tl.alignment.alignment import Alignment
from dfa_tl.alignment.config import AlignmentConfig
from dfa_tl.nodes import NodeSet
from dfa_tl.scores import NodeScores


def random_W(source: NodeSet, target: NodeSet, config: AlignmentConfig | None = None) -> Alignment:
    """An untrained random W, of the config's seed and standard deviation."""
    settings = config or AlignmentConfig.paper()
    generator = torch.Generator().manual_seed(settings.seed)
    matrix = settings.init_std * torch.randn(len(source), len(target), generator=generator)
    return Alignment(matrix, source, target, settings, provenance={"control": "random_W"})


def uniform_s(source: NodeSet) -> NodeScores:
    """Constant scores, 1 for every node."""
    return NodeScores(source, torch.ones(len(source)), provenance={"method": "uniform_s"})
