"""Node scores: one number per node, with where they came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from dfa_tl.errors import FileFormatError, ScoresError
from dfa_tl.files import load_tensors, save_tensors
from dfa_tl.nodes import Node, NodeSet


@dataclass(frozen=True, eq=False)
class NodeScores:
    """Scores of all nodes of one model. Positive: the node supports the clean behaviour.

    Attributes:
        nodes: The nodes scored, in the order of `values`.
        values: `Float[Tensor, "node"]`, kept in float32 on the CPU; in units of the metric.
        input: Score of the token embedding, used only by the `mib` evaluation protocol;
            None when it was not scored (a transferred circuit has none).
        provenance: Where the scores came from (model, task, method, settings), JSON-able.

    Raises:
        ScoresError: `values` has another shape than the nodes, or is not finite.
    """

    nodes: NodeSet
    values: Float[Tensor, " node"]
    input: float | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        values = torch.as_tensor(self.values).detach().to("cpu", torch.float32).clone()
        if values.shape != (len(self.nodes),):
            raise ScoresError(
                f"expected one score for each of {self.nodes}, got shape {tuple(values.shape)}"
            )
        if not values.isfinite().all():
            bad = [self.nodes[i].name for i in (~values.isfinite()).nonzero()[:, 0].tolist()]
            raise ScoresError(
                f"scores must be finite; not so for {', '.join(bad[:5])}"
                f"{' and others' if len(bad) > 5 else ''}"
            )
        if self.input is not None and not torch.tensor(self.input).isfinite():
            raise ScoresError(f"the score of the input must be finite, got {self.input}")
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "provenance", dict(self.provenance))

    def __len__(self) -> int:
        return len(self.nodes)

    def __getitem__(self, node: Node | str) -> float:
        return float(self.values[self.nodes.index(node)])

    def top(self, n: int) -> list[Node]:
        """The `n` nodes with the highest (signed) scores, best first; ties in node order."""
        order = self.values.sort(descending=True, stable=True).indices
        return [self.nodes[i] for i in order[:n].tolist()]

    def to_frame(self) -> pd.DataFrame:
        """One row per node: `node`, `layer`, `head` (missing for an MLP), `score`, `rank`."""
        order = self.values.sort(descending=True, stable=True).indices
        rank = torch.empty_like(order)
        rank[order] = torch.arange(1, len(order) + 1)
        return pd.DataFrame(
            {
                "node": self.nodes.names,
                "layer": [node.layer for node in self.nodes],
                "head": pd.array([node.head for node in self.nodes], dtype="Int64"),
                "score": self.values.numpy(),
                "rank": rank.numpy(),
            }
        )

    def save(self, path: str | Path) -> None:
        """Write the scores and their provenance to a safetensors file."""
        metadata = {
            "n_layers": self.nodes.n_layers,
            "n_heads": self.nodes.n_heads,
            "input": self.input,
            "provenance": dict(self.provenance),
        }
        save_tensors(path, "scores", {"values": self.values}, metadata)

    @classmethod
    def load(cls, path: str | Path) -> NodeScores:
        """Read scores. Raises `FileFormatError` when the file does not hold valid ones."""
        tensors, metadata = load_tensors(path, "scores")
        try:
            return cls(
                nodes=NodeSet(metadata["n_layers"], metadata["n_heads"]),
                values=tensors["values"],
                input=metadata["input"],
                provenance=metadata["provenance"],
            )
        except (KeyError, TypeError, ScoresError) as error:
            raise FileFormatError(f"{path} does not hold valid node scores: {error}") from error

    def __repr__(self) -> str:
        where = " ".join(
            str(self.provenance[key])
            for key in ("model", "task", "method")
            if key in self.provenance
        )
        best = ", ".join(f"{node} {self[node]:+.3g}" for node in self.top(3))
        return f"NodeScores({where + ': ' if where else ''}{self.nodes}; top {best})"


def check_nodes(scores: NodeScores, nodes: NodeSet, model_name: str) -> None:
    """Raise `ScoresError` unless the scores belong to a model with these nodes."""
    if scores.nodes != nodes:
        origin = scores.provenance.get("model", "another model")
        raise ScoresError(
            f"these scores are of {origin}, {scores.nodes}; {model_name} has {nodes}. "
            "Attribute on this model, or carry the scores over with Alignment.transfer"
        )
