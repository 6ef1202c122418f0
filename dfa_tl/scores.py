"""Node scores: one number per node, and where they came from."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd  # pyright: ignore[reportMissingTypeStubs]
import torch
from jaxtyping import Float, Int
from torch import Tensor

from dfa_tl import display, score_formats
from dfa_tl.arguments import checked_arguments, got
from dfa_tl.errors import FileFormatError, ScoresError
from dfa_tl.io import transformer_lens
from dfa_tl.io.hub import OnHub
from dfa_tl.io.tensors import load_tensors, save_tensors
from dfa_tl.io.transformer_lens import MadeNode
from dfa_tl.nodes import Node, NodeSet
from dfa_tl.score_formats import ScoreParts
from dfa_tl.settings import whole_number


@checked_arguments(skip=("values",))
@dataclass(frozen=True, eq=False)
class NodeScores(OnHub):
    """Scores of all nodes of one model; circuits keep the highest.

    Attributed scores are positive where a node supports the clean behaviour. Scores from an
    alignment or from `target_only` are logits of a mask: only their order is meaningful.

    Attributes:
        nodes: The nodes, in the order of `values`.
        values: `Float[Tensor, "node"]`, kept in float32 on the CPU; attributed scores are in units
            of the metric.
        input: Score of the token embedding, used only by the `mib` evaluation protocol; None when
            it was not scored (a transferred circuit has none).
        provenance: Where the scores came from (model, task, method, settings), JSON-able.
        unscored: Names of nodes without a score, which files of other tools may contain; their
            `values` are set to 0. Evaluation keeps them in every circuit, alignment refuses them.

    Raises:
        ScoresError: `values` has another shape than the nodes, or is not finite.
        ConfigError: a name in `unscored` is not the name of a node.

    Example:
        >>> nodes = load_model("toy-small").nodes
        >>> by_depth = NodeScores(nodes, [node.layer for node in nodes])
        >>> [node.name for node in by_depth.top(6)]
        ['a2.h0', 'a2.h1', 'a2.h2', 'a2.h3', 'm2', 'a1.h0']
    """

    nodes: NodeSet
    values: Float[Tensor, " node"]
    input: float | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict[str, Any])
    unscored: tuple[str, ...] = ()

    hub_file = "scores.safetensors"
    hub_patterns = ("scores.safetensors",)
    hub_limit = 2**26

    def __post_init__(self) -> None:
        with torch.inference_mode(False):  # the values may be used in training
            values = as_floats("NodeScores(values=...)", self.values)
            without = sorted({self.nodes.index(name) for name in self.unscored})
        if values.shape != (len(self.nodes),):
            raise ScoresError(
                f"values: expected one score for each of {self.nodes}, got shape "
                f"{tuple(values.shape)}"
            )
        values[without] = 0
        if not values.isfinite().all():
            bad = [self.nodes[i].name for i in (~values.isfinite()).numpy().nonzero()[0].tolist()]
            raise ScoresError(
                f"scores must be finite, but these are not: {', '.join(bad[:5])}"
                f"{' and others' if len(bad) > 5 else ''}"
            )
        if self.input is not None and not math.isfinite(self.input):
            raise ScoresError(f"the score of the input must be finite, got {self.input}")
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "unscored", tuple(self.nodes[i].name for i in without))
        object.__setattr__(self, "provenance", dict(self.provenance))

    def __len__(self) -> int:
        return len(self.nodes)

    @checked_arguments
    def __getitem__(self, node: Node | str) -> float:
        return float(self.values[self.nodes.index(node)])

    @checked_arguments
    def top(self, n: int) -> list[Node]:
        """The `n` nodes with the highest (signed) scores, best first; ties in node order.

        Raises:
            ConfigError: `n` is not a whole number from 0.
        """
        return [self.nodes[i] for i in self._order.numpy()[: whole_number("n", n, 0)].tolist()]

    def to_frame(self) -> pd.DataFrame:
        """One row per node: `node`, `layer`, `head` (missing for an MLP), `score`, `rank`."""
        return pd.DataFrame(
            {
                "node": self.nodes.names,
                "layer": [node.layer for node in self.nodes],
                "head": pd.array([node.head for node in self.nodes], dtype="Int64"),
                "score": self.values.numpy(),
                "rank": self._order.argsort().numpy() + 1,
            }
        )

    @property
    def _order(self) -> Int[Tensor, " node"]:
        """Indices of the nodes from the highest score to the lowest."""
        return self.values.sort(descending=True, stable=True).indices

    @checked_arguments
    def save(self, path: str | Path) -> None:
        """Write the scores and their provenance to a safetensors file.

        Raises:
            FileFormatError: the provenance is not JSON-able.
            FileWriteError: the file cannot be written; an existing file is left as it was.
        """
        save_tensors(path, "scores", *score_formats.pack(self._parts))

    @classmethod
    @checked_arguments
    def load(cls, path: str | Path) -> NodeScores:
        """Read scores. Raises `FileFormatError` when the file does not hold valid ones."""
        tensors, metadata = load_tensors(path, "scores")
        try:
            return cls(*score_formats.unpack(tensors, metadata))
        except (KeyError, TypeError, ValueError) as error:
            raise FileFormatError(f"{path} does not hold valid node scores: {error}") from error

    @checked_arguments
    def to_mib(
        self,
        path: str | Path,
        *,
        d_model: int | None = None,
        parallel_attn_mlp: bool | None = None,
    ) -> Path:
        """Write the scores as the Mechanistic Interpretability Benchmark reads them, at node level.

        An input without a score is written as not scored: the benchmark then always keeps it,
        like our protocol `nodes`. For the protocol `mib` of a transferred circuit, give it the
        score 0: `dataclasses.replace(scores, input=0.0)`.

        Args:
            path: A file that ends in .json or .pt; or a folder, in which
                `{task}_{model}/importances.json` is written for the leaderboard, with task and
                model from the provenance.
            d_model: Width of the model's residual stream; by default from the provenance.
            parallel_attn_mlp: Whether a layer's attention and MLP read the same residual stream; by
                default from the provenance.

        Returns:
            The file.

        Raises:
            ConfigError: something that the file needs is neither given nor in the provenance.
            FileWriteError: the file cannot be written; an existing file is left as it was.
        """
        return score_formats.write_mib(path, self._parts, d_model, parallel_attn_mlp)

    @classmethod
    @checked_arguments
    def from_mib(cls, path: str | Path) -> NodeScores:
        """Read scores from the Mechanistic Interpretability Benchmark's files, at node level.

        Args:
            path: The .json or .pt file, or the folder that holds it.

        Returns:
            The scores. Nodes whose score is NaN are `unscored`. A score for `logits` is ignored, as
            in the benchmark: the logits are in every circuit.

        Raises:
            ConfigError: a file with another ending.
            FileFormatError: the file does not hold such scores, or holds code.
        """
        return cls(*score_formats.read_mib(path))

    @checked_arguments
    def to_transformer_lens(
        self, node: Callable[..., MadeNode], position: int = 0
    ) -> dict[MadeNode, float]:
        """The scores in TransformerLens's form, each assigned in full to one position.

            from transformer_lens.tools.analysis.attribution_patching import AttributionResult, Node
            AttributionResult(scores.to_transformer_lens(Node)).top_nodes(10)

        Args:
            node: TransformerLens's `Node`.
            position: The position that gets the scores, which are sums over all positions here.
        """
        sums = transformer_lens.Sums(self.nodes, self.values.numpy().tolist(), self.input)
        return transformer_lens.at_position(sums, node, position)

    @classmethod
    @checked_arguments
    def from_transformer_lens(
        cls, result: Any, *, provenance: Mapping[str, Any] | None = None
    ) -> NodeScores:
        """The node scores of TransformerLens's `attribution_patch`, summed over positions.

        Args:
            result: The `AttributionResult`, or its `node_scores`.
            provenance: Where they came from; the result does not record it.

        Raises:
            ScoresError: no node scores, or a node without a score at some position.
        """
        return cls(*score_formats.from_transformer_lens(result, provenance))

    @property
    def _parts(self) -> ScoreParts:
        return ScoreParts(self.nodes, self.values, self.input, self.provenance, self.unscored)

    def _card_text(self) -> tuple[str, Mapping[str, Any]]:
        embedding = "" if self.input is None else " and of the token embedding"
        return (
            f"Scores of {self.nodes}{embedding}; circuits keep the highest. `top(10)` lists the "
            "best, `evaluate` measures the circuits they rank.",
            self.provenance,
        )

    @property
    def _where(self) -> str:
        return display.provenance_line(self.provenance, "model", "task", "method")

    def _best(self, n: int) -> str:
        return ", ".join(f"{node} {self[node]:+.3g}" for node in self.top(n))

    def __repr__(self) -> str:
        where = f"{self._where}: " if self._where else ""
        return f"NodeScores({where}{self.nodes}; top {self._best(3)})"

    def _repr_html_(self) -> str:
        values: list[float | None] = self.values.numpy().tolist()
        for name in self.unscored:
            values[self.nodes.index(name)] = None
        width, without = self.nodes.n_heads + 1, len(self.unscored)
        layers = [values[start : start + width] for start in range(0, len(values), width)]
        return display.block(
            f"NodeScores {self._where}",
            [str(self.nodes), *([f"{without} without a score"] if without else [])],
            display.line(f"highest: {self._best(8)}"),
            display.heat_map(
                [[*layer[:-1], None, layer[-1]] for layer in layers],
                "scores of the heads and then of the MLP, layer 0 at the bottom",
            ),
            display.line(
                "layers upwards, heads and then the MLP across; blue positive, orange negative, "
                f"shaded by the square root, full at {float(self.values.abs().max()):.3g}"
            ),
        )


def as_floats(name: str, values: object) -> Tensor:
    """A copy on the CPU in float32. Raises `ScoresError` for anything but numbers."""
    try:
        return torch.as_tensor(values, device="cpu").detach().float().clone()
    # torch raises a different error for each kind of value that is not a tensor.
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ScoresError(f"{name}: expected a tensor of numbers, got {got(values)}") from error


def check_scored(scores: NodeScores) -> None:
    """Raise `ScoresError` unless every node has a score."""
    if scores.unscored:
        raise ScoresError(
            f"{len(scores.unscored)} nodes have no score, first {scores.unscored[0]}: alignment "
            "needs a score for every source node; give them one with NodeScores(nodes, values)"
        )


def check_nodes(scores: NodeScores, nodes: NodeSet, model_name: str) -> None:
    """Raise `ScoresError` unless the scores belong to a model with these nodes."""
    if scores.nodes != nodes:
        origin = scores.provenance.get("model", "another model")
        raise ScoresError(
            f"these scores belong to {origin} ({scores.nodes}), but {model_name} has {nodes}. "
            "Attribute on this model, or carry the scores over with Alignment.transfer"
        )
