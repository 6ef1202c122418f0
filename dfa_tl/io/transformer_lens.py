"""Node scores of TransformerLens's `tools.analysis.attribution_patching`.

Its nodes are a head, an MLP or the embedding **at one position**: objects with a `kind`
(`attn_head_out`, `mlp_out`, `embed`), `layer`, `head` and `position`. Ours are summed over
positions:

    score(node) = sum over positions p of its score at p

Its gradient is taken at the corrupt run, so its sums are those of
`attribute(model, data, "nap", at="corrupt")`. Nothing is imported from TransformerLens: what is
given only has to look like its nodes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from dfa_tl.errors import ScoresError
from dfa_tl.nodes import Node, NodeSet

KINDS = {"embed": "the embedding", "attn_head_out": "a head", "mlp_out": "an MLP"}
MadeNode = TypeVar("MadeNode")


class Sums(NamedTuple):
    """Scores summed over positions.

    Attributes:
        nodes: The nodes.
        values: A score for each of them, in order.
        input: The embedding's score; None if there is none.
    """

    nodes: NodeSet
    values: list[float]
    input: float | None


def summed(result: Any) -> Sums:
    """The scores of an `AttributionResult`, or of its `node_scores`, summed over positions.

    Raises:
        ScoresError: no scores; nodes of another kind; a node that has no score at a position at
            which others have one.
    """
    scores = getattr(result, "node_scores", result)
    if not isinstance(scores, Mapping) or not scores:
        raise ScoresError(
            "expected the result of TransformerLens's attribution_patch, or its node_scores; got "
            f"{type(result).__name__} without scores"
        )
    by_node: dict[Node, dict[int, float]] = {}
    embedding: dict[int, float] = {}
    for key, score in scores.items():
        kind = getattr(key, "kind", None)
        if kind not in KINDS:
            raise ScoresError(
                f"{key!r} is none of {', '.join(KINDS.values())}: expected node scores of "
                "TransformerLens's attribution_patch"
            )
        at = embedding if kind == "embed" else by_node.setdefault(Node(key.layer, key.head), {})
        at[key.position] = float(score)
    if not by_node:
        raise ScoresError("only the embedding has scores; no head and no MLP has")
    n_heads = 1 + max((node.head for node in by_node if node.head is not None), default=-1)
    nodes = NodeSet(1 + max(node.layer for node in by_node), n_heads)
    positions = set().union(*by_node.values())
    for node in nodes:
        if set(by_node.get(node, ())) != positions:
            raise ScoresError(f"{node} lacks scores at some of {len(positions)} positions")
    return Sums(
        nodes=nodes,
        values=[math.fsum(by_node[node].values()) for node in nodes],
        input=None if not embedding else math.fsum(embedding.values()),
    )


def at_position(sums: Sums, make: Callable[..., MadeNode], position: int) -> dict[MadeNode, float]:
    """Scores by TransformerLens node, the whole of each at one position.

    Args:
        sums: The scores.
        make: TransformerLens's `Node` class, called with `kind`, `position`, `layer` and `head`.
        position: Where the scores stand.
    """
    made = {}
    if sums.input is not None:
        made[make(kind="embed", position=position)] = sums.input
    for node, value in zip(sums.nodes, sums.values, strict=True):
        kind = "attn_head_out" if node.is_head else "mlp_out"
        made[make(kind=kind, position=position, layer=node.layer, head=node.head)] = value
    return made
