"""Attention patterns of a circuit's heads on one pair, clean and corrupt.

    pattern[head, query, key] = softmax over key of (q_query · k_key) / sqrt(d_head), causal

Read at `blocks.{l}.attn.hook_pattern` (`batch head query key`), so a row sums to one and has no
weight on keys after the query. Only layers of the heads asked for are read; both prompts run as one
batch. Memory: 2 heads pos² numbers per layer that is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from dfa_tl.arguments import checked_arguments
from dfa_tl.errors import ConfigError
from dfa_tl.models.interventions import capture
from dfa_tl.models.node_model import NodeModel
from dfa_tl.nodes import Node
from dfa_tl.tasks.pairs import PairDataset, PromptPair


@checked_arguments
@dataclass(frozen=True, eq=False)
class AttentionPatterns:
    """Attention patterns of some heads on one pair, float32 on the CPU.

    Attributes:
        model: Name of the model.
        heads: Names of the heads, in the order of the patterns.
        clean_tokens, corrupt_tokens: The text of each token of the two prompts.
        clean, corrupt: Patterns of the two runs.
    """

    model: str
    heads: tuple[str, ...]
    clean_tokens: tuple[str, ...]
    corrupt_tokens: tuple[str, ...]
    clean: Float[Tensor, "head query key"]
    corrupt: Float[Tensor, "head query key"]

    def __post_init__(self) -> None:
        for run in ("clean", "corrupt"):
            n, shape = len(getattr(self, f"{run}_tokens")), tuple(getattr(self, run).shape)
            if shape != (len(self.heads), n, n):
                raise ConfigError(
                    f"{run}: expected {len(self.heads)} heads over {n} {run}_tokens, got "
                    f"shape {shape}"
                )

    def __repr__(self) -> str:
        return (
            f"AttentionPatterns({self.model}: {', '.join(self.heads)}; "
            f"{len(self.clean_tokens)} tokens)"
        )


def pattern_site(layer: int) -> str:
    """Hook point of a layer's attention patterns: `batch head query key`."""
    return f"blocks.{layer}.attn.hook_pattern"


@torch.no_grad()
@checked_arguments
def attention_patterns(
    model: NodeModel, pair: PromptPair | PairDataset, nodes: Iterable[Node | str]
) -> AttentionPatterns:
    """The patterns of a circuit's heads on a pair.

    Args:
        model: The model; left as it was.
        pair: A clean and a corrupt prompt; or a data set, tokenised as its task asks; its first
            pair that the tokenizer can use is taken.
        nodes: The circuit, such as `scores.top(12)`; its MLPs have no pattern and are left out.

    Raises:
        ConfigError: there are no heads among the nodes, or the model lacks a node.
        DataError: this model's tokenizer makes the pair unusable.
        HookError: a layer never computes its patterns (fused attention).
        ModelError: the model has no tokenizer, or no hook points at its patterns.
    """
    given = [model.nodes[model.nodes.index(node)] for node in nodes]
    heads = [(node.layer, node.head) for node in given if node.head is not None]
    if not heads:
        raise ConfigError(
            f"no heads among {[node.name for node in given]}: MLPs have no attention pattern, "
            "give a larger circuit, such as scores.top(12)"
        )
    data = PairDataset((pair,)) if isinstance(pair, PromptPair) else pair
    batch = data.tokenize(model).select([0], model.device)
    sites = [pattern_site(layer) for layer in dict.fromkeys(layer for layer, _ in heads)]
    with model.unchanged(), capture(model, sites) as seen:
        model.last_logits(
            torch.cat([batch.clean, batch.corrupt]), batch.mask.repeat(2, 1), batch.last.repeat(2)
        )
    both = torch.stack([seen[pattern_site(layer)][:, head] for layer, head in heads], dim=1)
    clean, corrupt = both.float().cpu()
    return AttentionPatterns(
        model=model.name,
        heads=tuple(node.name for node in given if node.is_head),
        clean_tokens=_texts(model, batch.clean[0].tolist()),
        corrupt_tokens=_texts(model, batch.corrupt[0].tolist()),
        clean=clean,
        corrupt=corrupt,
    )


def _texts(model: NodeModel, tokens: Sequence[int]) -> tuple[str, ...]:
    return tuple(str(model.tl.tokenizer.decode([token])) for token in tokens)
