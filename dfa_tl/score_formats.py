"""Node scores in files: the package's own, and those of the benchmark and of TransformerLens."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from dfa_tl.arguments import fits
from dfa_tl.display import shown
from dfa_tl.errors import ConfigError, FileFormatError
from dfa_tl.io import mib, transformer_lens
from dfa_tl.io.atomic import user_path
from dfa_tl.io.mib_graph import Graph
from dfa_tl.io.tensors import node_set
from dfa_tl.nodes import NodeSet
from dfa_tl.settings import whole_number


class ScoreParts(NamedTuple):
    """The fields of `NodeScores`, in their order."""

    nodes: NodeSet
    values: Float[Tensor, " node"]
    input: float | None
    provenance: Mapping[str, Any]
    unscored: tuple[str, ...]


def pack(parts: ScoreParts) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and JSON-able metadata of the package's own file."""
    return {"values": parts.values}, {
        "n_layers": parts.nodes.n_layers,
        "n_heads": parts.nodes.n_heads,
        "input": parts.input,
        "provenance": dict(parts.provenance),
        "unscored": list(parts.unscored),
    }


def unpack(tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> ScoreParts:
    """What `pack` was given; `NodeScores` checks shapes and values itself.

    Raises:
        FileFormatError: a part has another type than `pack` writes.
        KeyError: a part is missing.
    """
    nodes, values = node_set(metadata["n_layers"], metadata["n_heads"]), tensors["values"]
    score, provenance = metadata["input"], metadata["provenance"]
    unscored = metadata.get("unscored", [])
    if not values.is_floating_point() or values.dim() != 1:
        raise FileFormatError(f"values must be a vector of numbers, got {tuple(values.shape)}")
    if score is not None and not fits(score, float):
        raise FileFormatError(f"the input's score must be a number or null, got {shown(score)}")
    if not isinstance(provenance, dict):
        raise FileFormatError("the provenance must be a dictionary")
    if not isinstance(unscored, list) or not fits(unscored, list[str]):
        raise FileFormatError(f"unscored must be a list of names, got {shown(unscored)}")
    return ScoreParts(nodes, values, score, provenance, tuple(unscored))


def write_mib(
    path: str | Path, parts: ScoreParts, d_model: int | None, parallel_attn_mlp: bool | None
) -> Path:
    """Write the benchmark's file; see `NodeScores.to_mib`."""
    provenance, file = parts.provenance, user_path(path)
    if file.suffix not in mib.SUFFIXES:
        for key in ("task", "model"):
            if key not in provenance:
                raise ConfigError(f"the provenance does not say the {key}: give a path of a file")
        file = mib.submission_file(file, str(provenance["task"]), str(provenance["model"]))
    architecture = provenance.get("architecture")
    known = dict(architecture) if isinstance(architecture, Mapping) else {}
    given = {"d_model": d_model, "parallel_attn_mlp": parallel_attn_mlp}
    known |= {key: value for key, value in given.items() if value is not None}
    for key in given:
        if known.get(key) is None:
            raise ConfigError(f"the provenance does not say {key}: give {key}= of the model")
    width, parallel = whole_number("d_model", known["d_model"], 1), known["parallel_attn_mlp"]
    if not isinstance(parallel, bool):
        raise ConfigError(f"parallel_attn_mlp={shown(parallel)}: must be True or False")
    scores = dict(zip(parts.nodes.names, parts.values.tolist(), strict=True))
    scores |= dict.fromkeys(parts.unscored, math.nan)
    first = math.nan if parts.input is None else parts.input
    mib.write_graph(file, Graph(parts.nodes, width, parallel, (first, *scores.values())))
    return file


def read_mib(path: str | Path) -> ScoreParts:
    """The scores in the benchmark's file; see `NodeScores.from_mib`."""
    graph = mib.read_graph(path)
    first, *scores = graph.scores
    architecture = {"d_model": graph.d_model, "parallel_attn_mlp": graph.parallel_attn_mlp}
    unscored = [math.isnan(score) for score in scores]
    return ScoreParts(
        graph.nodes,
        torch.tensor(scores, device="cpu").nan_to_num(),
        None if math.isnan(first) else first,
        {"method": f"from {Path(path).name}", "architecture": architecture},
        tuple(name for name, none in zip(graph.nodes.names, unscored, strict=True) if none),
    )


def from_transformer_lens(result: object, provenance: Mapping[str, Any] | None) -> ScoreParts:
    """The scores of TransformerLens's result; see `NodeScores.from_transformer_lens`."""
    sums = transformer_lens.summed(result)
    values = torch.tensor(sums.values, device="cpu")
    known = {"method": "nap", "at": "corrupt", **(provenance or {})}
    return ScoreParts(sums.nodes, values, sums.input, known, ())
