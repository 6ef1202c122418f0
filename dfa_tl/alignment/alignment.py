"""`Alignment`: a learned map from a source model's node scores to a target model's.

`transfer` gives the predicted scores, which rank nodes as the mask does; `mask` gives what training
patched with (`dfa_tl.alignment.linear_map`). Settings and normalisation are saved with W.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from dfa_tl import display
from dfa_tl.alignment import serialization
from dfa_tl.alignment.config import AlignmentConfig
from dfa_tl.alignment.history import AlignmentHistory
from dfa_tl.alignment.linear_map import normalize, predicted_scores, soft_mask
from dfa_tl.arguments import checked_arguments
from dfa_tl.errors import ConfigError, FileFormatError
from dfa_tl.io import paper
from dfa_tl.io.atomic import MAX_BYTES
from dfa_tl.io.hub import OnHub
from dfa_tl.io.tensors import load_tensors, save_tensors
from dfa_tl.nodes import NodeSet
from dfa_tl.scores import NodeScores, as_floats, check_nodes, check_scored


@checked_arguments(skip=("W", "bias"))
@dataclass(frozen=True, eq=False)
class Alignment(OnHub):
    """A map between the nodes of two models.

    Attributes:
        W: `source target`, float32.
        source: Nodes of the source model.
        target: Nodes of the target model.
        config: Settings of W; `normalization` and `temperature` are also used to apply it.
        history: The training history; None for a W that was not trained.
        provenance: Models, tasks and number of pairs, JSON-able.
        bias: `target`, float32, added to s' W; None for an alignment without one.

    Raises:
        ConfigError: W or the bias is not finite or has another shape than the node sets.
    """

    W: Float[Tensor, "source target"]
    source: NodeSet
    target: NodeSet
    config: AlignmentConfig = field(default_factory=AlignmentConfig)
    history: AlignmentHistory | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict[str, Any])
    bias: Float[Tensor, " target"] | None = None

    hub_file = "alignment.safetensors"
    hub_patterns = ("alignment.safetensors",)
    hub_limit = MAX_BYTES

    def __post_init__(self) -> None:
        n_source, n_target = len(self.source), len(self.target)
        size = f"be {n_source} source by {n_target} target nodes"
        object.__setattr__(self, "W", _checked("W", self.W, (n_source, n_target), size))
        if self.bias is not None:
            size = f"have one entry for each of {n_target} target nodes"
            object.__setattr__(self, "bias", _checked("bias", self.bias, (n_target,), size))
        object.__setattr__(self, "provenance", dict(self.provenance))

    @checked_arguments
    def transfer(self, scores: NodeScores) -> NodeScores:
        """Predicted target scores of the source scores (raw: before sigmoid and temperature).

        Raises:
            ScoresError: the scores belong to other nodes than the source model's.

        Example:
            >>> source, target = load_model("toy-small"), load_model("toy-large")
            >>> data = load_task("ioi", n=16)
            >>> scores = attribute(source, data)
            >>> alignment = align({"ioi": scores}, target, {"ioi": data})
            >>> [node.name for node in alignment.transfer(scores).top(3)]
            ['m5', 'm4', 'a4.h2']
        """
        check_nodes(scores, self.source, "the alignment's source model")
        check_scored(scores)
        with torch.autocast("cpu", enabled=False):  # in float32, whatever the caller's context
            normalized = normalize(scores.values, self.config.normalization)
            predicted = predicted_scores(normalized, self.W, self.bias)
        return NodeScores(
            nodes=self.target,
            values=predicted,
            provenance={
                **self.provenance,
                "model": self.provenance.get("target", "target"),
                "task": scores.provenance.get("task", ""),
                "method": f"aligned {scores.provenance.get('method', '')}".strip(),
            },
        )

    @checked_arguments
    def mask(self, scores: NodeScores) -> Float[Tensor, " target"]:
        """The soft mask, in (0, 1), with which training would patch the target."""
        return soft_mask(self.transfer(scores).values, self.config.temperature)

    @checked_arguments
    def then(self, other: Alignment | AlignmentChain) -> AlignmentChain:
        """This map from A to B and then `other` from B to C; `ConfigError` if the two Bs differ."""
        return AlignmentChain((self,)).then(other)

    @checked_arguments
    def save(self, path: str | Path) -> None:
        """Write W, bias, settings, history and provenance to a safetensors file.

        Raises:
            FileFormatError: the provenance is not JSON-able.
            FileWriteError: the file cannot be written; an existing file is left as it was.
        """
        save_tensors(path, "alignment", *serialization.pack(vars(self)))

    @classmethod
    @checked_arguments
    def load(cls, path: str | Path) -> Alignment:
        """Read an alignment. Raises `FileFormatError` when the file does not hold a valid one."""
        tensors, metadata = load_tensors(path, "alignment")
        try:
            return cls(**serialization.unpack(tensors, metadata))
        except (KeyError, TypeError, ValueError) as error:
            raise FileFormatError(f"{path} does not hold a valid alignment: {error}") from error

    @classmethod
    def from_paper(cls, path: str | Path) -> Alignment:
        """Read an `alignment_matrix__*.pt` of the paper's code, see `dfa_tl.io.paper`.

        Raises:
            FileFormatError: the file does not hold such a matrix, or holds code.
        """
        try:
            return cls(**serialization.from_paper(paper.read_matrix(path)))
        except ConfigError as error:
            raise FileFormatError(f"{path} holds settings that make no sense: {error}") from error

    def _card_text(self) -> tuple[str, Mapping[str, Any]]:
        return (
            f"A linear map W from scores of {self.source} to scores of {self.target}: `transfer` "
            "carries a circuit over, `mask` gives the soft mask that W was trained with.",
            {"config": asdict(self.config), **self.provenance},
        )

    def __repr__(self) -> str:
        trained = "untrained" if self.history is None else f"{len(self.history)} steps"
        return f"Alignment({len(self.source)} source x {len(self.target)} target nodes, {trained})"

    def _repr_html_(self) -> str:
        models = [str(self.provenance.get(key, key)) for key in ("source", "target")]
        tasks = ", ".join(map(str, self.provenance.get("tasks", ())))
        trained = [display.line("not trained")]
        if self.history is not None and len(self.history):
            first, final = (float(self.history.loss[step]) for step in (0, -1))
            trained = [
                display.sparkline(
                    range(len(self.history)), self.history.loss.numpy().tolist(), "loss"
                ),
                display.line(
                    f"loss by step, from {first:.3g} to {final:.3g}; mean mask at the end "
                    f"{float(self.history.mean_mask[-1]):.2f}"
                ),
            ]
        mean = rearrange(
            self.W.abs(),
            "(source unit) (target other) -> target source unit other",
            source=self.source.n_layers,
            target=self.target.n_layers,
        ).mean((2, 3))
        return display.block(
            display.shortened(f"Alignment {' -> '.join(models)}"),
            [
                f"{len(self.source)} source x {len(self.target)} target nodes",
                f"{self.config.normalization} scores",
                f"{self.config.initialization} start",
                *([display.shortened(f"tasks {tasks}")] if tasks else []),
            ],
            display.heat_map(mean.numpy().tolist(), "mean |W| between layers of source and target"),
            display.line(
                "mean |W|: layers of the source across, of the target upwards; shaded by the "
                f"square root, full at {float(mean.max()):.3g}"
            ),
            *trained,
        )


def _checked(name: str, values: Tensor, shape: tuple[int, ...], size: str) -> Tensor:
    """A copy on the CPU in float32; `ConfigError` unless it is finite and has that shape."""
    with torch.inference_mode(False):  # it may be used in training
        copied = as_floats(f"Alignment({name})", values)
    if copied.shape != shape:
        raise ConfigError(f"{name} must {size}, got shape {tuple(copied.shape)}")
    if not copied.isfinite().all():
        raise ConfigError(f"{name} must be finite")
    return copied


@checked_arguments
@dataclass(frozen=True, eq=False)
class AlignmentChain(OnHub):
    """Alignments one after the other: A to B, B to C, and so on.

    Each step normalises the scores that the step before it predicts, so no single W can replace
    a chain.

    Raises:
        ConfigError: no steps, or a step that does not start where the one before ends.
    """

    steps: tuple[Alignment, ...]

    hub_file = "alignment_chain.safetensors"
    hub_patterns = ("alignment_chain.safetensors",)
    hub_limit = MAX_BYTES

    def __post_init__(self) -> None:
        if not self.steps:
            raise ConfigError("a chain needs at least one alignment in steps")
        for number, (one, other) in enumerate(pairwise(self.steps), start=1):
            if one.target != other.source:
                raise ConfigError(
                    f"alignment {number} of the chain ends at {one.target}, alignment {number + 1} "
                    f"starts from {other.source}: each must start where the one before ends"
                )

    @property
    def source(self) -> NodeSet:
        """Nodes of the first model."""
        return self.steps[0].source

    @property
    def target(self) -> NodeSet:
        """Nodes of the last model."""
        return self.steps[-1].target

    @checked_arguments
    def then(self, other: Alignment | AlignmentChain) -> AlignmentChain:
        """This chain and then `other`."""
        more = other.steps if isinstance(other, AlignmentChain) else (other,)
        return AlignmentChain((*self.steps, *more))

    @checked_arguments
    def transfer(self, scores: NodeScores) -> NodeScores:
        """Predicted scores of the last model's nodes; `ScoresError` as in `Alignment.transfer`."""
        for step in self.steps:
            scores = step.transfer(scores)
        return scores

    @checked_arguments
    def mask(self, scores: NodeScores) -> Float[Tensor, " target"]:
        """The last step's soft mask, in (0, 1)."""
        return soft_mask(self.transfer(scores).values, self.steps[-1].config.temperature)

    @checked_arguments
    def save(self, path: str | Path) -> None:
        """Write every alignment of the chain, in order, to one safetensors file.

        Raises:
            FileFormatError: a provenance is not JSON-able.
            FileWriteError: the file cannot be written; an existing file is left as it was.
        """
        packed = serialization.pack_all([vars(step) for step in self.steps])
        save_tensors(path, "alignment-chain", *packed)

    @classmethod
    @checked_arguments
    def load(cls, path: str | Path) -> AlignmentChain:
        """Read a chain. Raises `FileFormatError` when the file does not hold a valid one."""
        tensors, metadata = load_tensors(path, "alignment-chain")
        try:
            steps = serialization.unpack_all(tensors, metadata)
            return cls(tuple(Alignment(**step) for step in steps))
        except (KeyError, TypeError, ValueError) as error:
            raise FileFormatError(f"{path} does not hold a valid chain: {error}") from error

    def _card_text(self) -> tuple[str, Mapping[str, Any]]:
        return (
            f"{len(self.steps)} linear maps one after the other, from scores of {self.source} to "
            f"scores of {self.target}: `transfer` carries a circuit over.",
            {"steps": [dict(step.provenance) for step in self.steps]},
        )

    def __repr__(self) -> str:
        sizes = [len(self.source), *(len(step.target) for step in self.steps)]
        return f"AlignmentChain({' -> '.join(map(str, sizes))} nodes)"

    def _repr_html_(self) -> str:
        pages = (step._repr_html_() for step in self.steps)  # pyright: ignore[reportPrivateUsage]
        return display.block(repr(self), [], *pages)
