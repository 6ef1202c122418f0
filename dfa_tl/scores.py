"""Node scores: one number per node, with where they came from."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from einops import reduce
from jaxtyping import Float
from torch import Tensor

from dfa_tl import display
from dfa_tl.arguments import checked_arguments, got
from dfa_tl.display import shown
from dfa_tl.errors import ConfigError, FileFormatError, ScoresError
from dfa_tl.io import mib, transformer_lens
from dfa_tl.io.atomic import user_path
from dfa_tl.io.hub import OnHub
from dfa_tl.io.mib_graph import Graph
from dfa_tl.io.tensors import load_tensors, node_set, save_tensors
from dfa_tl.io.transformer_lens import MadeNode
from dfa_tl.nodes import Node, NodeSet
from dfa_tl.settings import whole_number


@checked_arguments(skip=("values",))
@dataclass(frozen=True, eq=False)
class NodeScores(OnHub):
    """Scores of all nodes of one model; circuits keep the highest.

    Attributed scores are positive where a node supports the clean behaviour. Scores that an
    alignment carried over, and those of `target_only`, are logits of a mask: their order has a
    meaning, their sign has none.

    Attributes:
        nodes: The nodes scored, in the order of `values`.
        values: `Float[Tensor, "node"]`, kept in float32 on the CPU; attributed scores are in units
            of the metric.
        input: Score of the token embedding, used only by the `mib` evaluation protocol;
            None when it was not scored (a transferred circuit has none).
        provenance: Where the scores came from (model, task, method, settings), JSON-able.
        unscored: Names of nodes without a score, as another tool's file may have some; their
            `values` are set to 0. Evaluation keeps them in every circuit, alignment refuses them.

    Raises:
        ScoresError: `values` has another shape than the nodes, or is not finite.
        ConfigError: a name in `unscored` is not that of a node.

    Example:
        >>> nodes = load_model("toy-small").nodes
        >>> by_depth = NodeScores(nodes, [node.layer for node in nodes])
        >>> [node.name for node in by_depth.top(6)]
        ['a2.h0', 'a2.h1', 'a2.h2', 'a2.h3', 'm2', 'a1.h0']
    """

    nodes: NodeSet
    values: Float[Tensor, " node"]
    input: float | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
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
            bad = [self.nodes[i].name for i in (~values.isfinite()).nonzero()[:, 0].tolist()]
            raise ScoresError(
                f"scores must be finite; not so for {', '.join(bad[:5])}"
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
            ConfigError: `n` is no whole number from 0.
        """
        n = whole_number("n", n, 0)
        order = self.values.sort(descending=True, stable=True).indices
        return [self.nodes[i] for i in order[:n].tolist()]

    def to_frame(self) -> pd.DataFrame:
        """One row per node: `node`, `layer`, `head` (missing for an MLP), `score`, `rank`."""
        order = self.values.sort(descending=True, stable=True).indices
        rank = torch.empty_like(order)
        rank[order] = torch.arange(1, len(order) + 1, device=order.device)
        return pd.DataFrame(
            {
                "node": self.nodes.names,
                "layer": [node.layer for node in self.nodes],
                "head": pd.array([node.head for node in self.nodes], dtype="Int64"),
                "score": self.values.numpy(),
                "rank": rank.numpy(),
            }
        )

    @checked_arguments
    def save(self, path: str | Path) -> None:
        """Write the scores and their provenance to a safetensors file.

        Raises:
            FileFormatError: the provenance is not JSON-able.
            FileWriteError: the file cannot be written; what was there is as it was.
        """
        metadata = {
            "n_layers": self.nodes.n_layers,
            "n_heads": self.nodes.n_heads,
            "input": self.input,
            "provenance": dict(self.provenance),
            "unscored": list(self.unscored),
        }
        save_tensors(path, "scores", {"values": self.values}, metadata)

    @classmethod
    @checked_arguments
    def load(cls, path: str | Path) -> NodeScores:
        """Read scores. Raises `FileFormatError` when the file does not hold valid ones."""
        tensors, metadata = load_tensors(path, "scores")
        try:
            nodes, values = node_set(metadata["n_layers"], metadata["n_heads"]), tensors["values"]
            _check_parts(values, metadata)
            return cls(
                nodes=nodes,
                values=values,
                input=metadata["input"],
                provenance=metadata["provenance"],
                unscored=tuple(metadata.get("unscored", ())),
            )
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
        which is our protocol `nodes`. For the protocol `mib` of a transferred circuit, give it the
        score 0: `dataclasses.replace(scores, input=0.0)`.

        Args:
            path: A file that ends in .json or .pt; or a folder, in which the file is
                `{task}_{model}/importances.json`, as the leaderboard takes it, by the provenance.
            d_model: Width of the model's residual stream; by default what the provenance says.
            parallel_attn_mlp: Whether a layer's attention and MLP read the same residual stream; by
                default what the provenance says.

        Returns:
            The file.

        Raises:
            ConfigError: something that the file needs is neither given nor in the provenance.
            FileWriteError: the file cannot be written; what was there is as it was.
        """
        file = user_path(path)
        if file.suffix not in mib.SUFFIXES:
            task, model = (self._known(key, "a path of a file") for key in ("task", "model"))
            file = mib.submission_file(file, str(task), str(model))
        known = self.provenance.get("architecture")
        known = known if isinstance(known, Mapping) else {}
        cfg: dict[str, Any] = {"d_model": d_model, "parallel_attn_mlp": parallel_attn_mlp}
        cfg = {key: known.get(key) if value is None else value for key, value in cfg.items()}
        for key, value in cfg.items():
            if value is None:
                raise ConfigError(f"the provenance does not say {key}: give {key}= of the model")
        cfg["d_model"] = whole_number("d_model", cfg["d_model"], 1)
        if not isinstance(cfg["parallel_attn_mlp"], bool):
            raise ConfigError(
                f"parallel_attn_mlp={shown(cfg['parallel_attn_mlp'])}: must be True or False"
            )
        without = set(self.unscored)
        scores = [math.nan if self.input is None else self.input]
        scores += [math.nan if node.name in without else self[node] for node in self.nodes]
        mib.write_graph(file, Graph(self.nodes, scores=tuple(scores), **cfg))
        return file

    @classmethod
    @checked_arguments
    def from_mib(cls, path: str | Path) -> NodeScores:
        """Read scores from the Mechanistic Interpretability Benchmark's files, at node level.

        Args:
            path: The .json or .pt file, or the folder that holds it.

        Returns:
            The scores. Nodes with a score that is NaN are `unscored`; a score of `logits` is left
            out, as the benchmark does: the logits are in every circuit.

        Raises:
            ConfigError: a file that ends otherwise.
            FileFormatError: the file does not hold such scores, or holds code.
        """
        graph = mib.read_graph(path)
        of_input, *scores = graph.scores
        by_name = zip(graph.nodes.names, scores, strict=True)
        architecture = {"d_model": graph.d_model, "parallel_attn_mlp": graph.parallel_attn_mlp}
        return cls(
            nodes=graph.nodes,
            values=torch.tensor(scores, device="cpu").nan_to_num(),
            input=None if math.isnan(of_input) else of_input,
            provenance={"method": f"from {Path(path).name}", "architecture": architecture},
            unscored=tuple(name for name, score in by_name if math.isnan(score)),
        )

    @checked_arguments
    def to_transformer_lens(
        self, node: Callable[..., MadeNode], position: int = 0
    ) -> dict[MadeNode, float]:
        """The scores as TransformerLens holds them, the whole of each at one position.

            from transformer_lens.tools.analysis.attribution_patching import AttributionResult, Node
            AttributionResult(scores.to_transformer_lens(Node)).top_nodes(10)

        Args:
            node: TransformerLens's `Node`.
            position: Where the scores stand: TransformerLens scores every position, these are sums.
        """
        sums = transformer_lens.Sums(self.nodes, self.values.tolist(), self.input)
        return transformer_lens.at_position(sums, node, position)

    @classmethod
    @checked_arguments
    def from_transformer_lens(
        cls, result: Any, *, provenance: Mapping[str, Any] | None = None
    ) -> NodeScores:
        """The node scores of TransformerLens's `attribution_patch`, summed over positions.

        Args:
            result: The `AttributionResult`, or its `node_scores`.
            provenance: Where they came from; the result does not say.

        Raises:
            ScoresError: no node scores, or not of every node at every position.
        """
        sums = transformer_lens.summed(result)
        values = torch.tensor(sums.values, device="cpu")
        known = {"method": "nap", "at": "corrupt", **(provenance or {})}
        return cls(sums.nodes, values, input=sums.input, provenance=known)

    def _known(self, key: str, instead: str) -> Any:
        if key not in self.provenance:
            raise ConfigError(f"the provenance does not say the {key}: give {instead}")
        return self.provenance[key]

    def _card_text(self) -> tuple[str, Mapping[str, Any]]:
        of_input = "" if self.input is None else " and of the token embedding"
        return (
            f"Scores of {self.nodes}{of_input}; circuits keep the highest. `top(10)` lists the "
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
        without = set(self.unscored)
        values = [None if node.name in without else self[node] for node in self.nodes]
        width = self.nodes.n_heads + 1
        layers = [values[start : start + width] for start in range(0, len(values), width)]
        return display.block(
            f"NodeScores {self._where}",
            [str(self.nodes), *([f"{len(without)} without a score"] if without else [])],
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
    """A copy on the CPU in float32. Raises `ScoresError` for what holds no numbers."""
    try:
        return torch.as_tensor(values, device="cpu").detach().float().clone()
    # torch has a different error for each kind of thing that is no tensor.
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ScoresError(f"{name}: expected a tensor of numbers, got {got(values)}") from error


def _check_parts(values: Tensor, metadata: Mapping[str, Any]) -> None:
    """Raise `FileFormatError` for parts of a file that are of another type than was written."""
    if not values.is_floating_point() or values.dim() != 1:
        raise FileFormatError(f"values must be a vector of numbers, got {tuple(values.shape)}")
    of_input, unscored = metadata["input"], metadata.get("unscored", [])
    if of_input is not None and (
        isinstance(of_input, bool) or not isinstance(of_input, (int, float))
    ):
        raise FileFormatError(
            f"the score of the input must be a number or null, got {shown(of_input)}"
        )
    if not isinstance(metadata["provenance"], dict):
        raise FileFormatError("the provenance must be a dictionary")
    if not isinstance(unscored, list) or not all(isinstance(name, str) for name in unscored):
        raise FileFormatError(f"unscored must be a list of names, got {shown(unscored)}")


def layer_shares(values: Float[Tensor, " node"], n_layers: int) -> Float[Tensor, " layer"]:
    """Each layer's share of the sum of values that are not negative; NaN where all are 0."""
    sums = reduce(values, "(layer unit) -> layer", "sum", layer=n_layers)
    return sums / sums.sum()


def check_scored(scores: NodeScores) -> None:
    """Raise `ScoresError` unless every node has a score."""
    if scores.unscored:
        raise ScoresError(
            f"{len(scores.unscored)} nodes have no score, first {scores.unscored[0]}: alignment "
            "needs one of every source node; give them one with NodeScores(nodes, values)"
        )


def check_nodes(scores: NodeScores, nodes: NodeSet, model_name: str) -> None:
    """Raise `ScoresError` unless the scores belong to a model with these nodes."""
    if scores.nodes != nodes:
        origin = scores.provenance.get("model", "another model")
        raise ScoresError(
            f"these scores are of {origin}, {scores.nodes}; {model_name} has {nodes}. "
            "Attribute on this model, or carry the scores over with Alignment.transfer"
        )
