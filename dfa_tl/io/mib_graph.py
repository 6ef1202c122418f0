"""A graph at node level of the benchmark's files: names, order, and validity."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dfa_tl.display import shown
from dfa_tl.errors import FileFormatError
from dfa_tl.io.foreign import require, table
from dfa_tl.io.tensors import node_set, whole
from dfa_tl.nodes import NodeSet

NOT_SCORED = "it has no scores of nodes; NodeScores cannot hold those of edges or neurons"


@dataclass(frozen=True)
class Graph:
    """Scores as the benchmark's files hold them.

    Attributes:
        nodes: Heads and MLPs.
        d_model: Width of the model's residual stream.
        parallel_attn_mlp: Whether attention and MLP of a layer read the same residual stream.
        scores: Score of `input` and then of every node; NaN where there is none.
    """

    nodes: NodeSet
    d_model: int
    parallel_attn_mlp: bool
    scores: tuple[float, ...]

    @property
    def names(self) -> list[str]:
        """The names of what has a score: `input` and the nodes."""
        return scored_names(self.nodes)

    @property
    def cfg(self) -> dict[str, int | bool]:
        """The file's `cfg`."""
        return {
            "n_layers": self.nodes.n_layers,
            "n_heads": self.nodes.n_heads,
            "parallel_attn_mlp": self.parallel_attn_mlp,
            "d_model": self.d_model,
        }

    @property
    def edges(self) -> Iterator[str]:
        """Names of all edges, ordered by destination."""
        before = ["input"]
        for layer in range(self.nodes.n_layers):
            heads = [f"a{layer}.h{head}" for head in range(self.nodes.n_heads)]
            yield from (f"{a}->{head}<{part}>" for a in before for head in heads for part in "qkv")
            into_mlp = before if self.parallel_attn_mlp else before + heads
            yield from (f"{a}->m{layer}" for a in into_mlp)
            before += [*heads, f"m{layer}"]
        yield from (f"{a}->logits" for a in before)

    @property
    def destinations(self) -> list[str]:
        """Destinations of edges, in the order of the columns of `edges_scores`."""
        names = []
        for layer in range(self.nodes.n_layers):
            heads = range(self.nodes.n_heads)
            names += [f"a{layer}.h{head}<{part}>" for part in "qkv" for head in heads]
            names.append(f"m{layer}")
        return [*names, "logits"]


def scored_names(nodes: NodeSet) -> list[str]:
    """`input` and the names of the nodes."""
    return ["input", *nodes.names]


def checked_cfg(content: object) -> tuple[NodeSet, Mapping[str, Any]]:
    """The nodes that a file's `cfg` describes, and the `cfg`."""
    cfg = table(content, "cfg")
    require(cfg, ("n_layers", "n_heads", "parallel_attn_mlp", "d_model"), "cfg")
    if not isinstance(cfg["parallel_attn_mlp"], bool):
        raise FileFormatError(
            f"parallel_attn_mlp must be true or false in cfg, got {shown(cfg['parallel_attn_mlp'])}"
        )
    whole(cfg["d_model"], "d_model")
    return node_set(cfg["n_layers"], cfg["n_heads"]), cfg


def check_names(found: Sequence[str], nodes: NodeSet) -> None:
    """Raise `FileFormatError` unless `found` are the input, the nodes, and perhaps `logits`."""
    expected = scored_names(nodes)
    missing = set(expected).difference(found)
    unknown = set(found).difference(expected, ["logits"])
    for problem, names in (("missing", missing), ("unknown", unknown)):
        if names:
            raise FileFormatError(
                f"{len(names)} nodes are {problem}, among them {shown(min(names))}; its cfg says "
                f"{nodes}, and the input"
            )


def checked_graph(nodes: NodeSet, cfg: Mapping[str, Any], scores: Sequence[object]) -> Graph:
    """The graph with these scores for `input` and every node.

    Raises:
        FileFormatError: a score is not a number, or infinite, or all are NaN.
    """
    numbers = []
    for name, score in zip(scored_names(nodes), scores, strict=True):
        if not isinstance(score, (int, float)) or isinstance(score, bool) or abs(score) > 1e38:
            raise FileFormatError(
                f"the score of {name} must be a finite number, or NaN for none; got {shown(score)}"
            )
        numbers.append(float(score))
    if all(map(math.isnan, numbers)):
        raise FileFormatError(NOT_SCORED)
    return Graph(nodes, cfg["d_model"], cfg["parallel_attn_mlp"], tuple(numbers))
