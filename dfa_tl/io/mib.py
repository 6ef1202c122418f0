"""Files of the Mechanistic Interpretability Benchmark's circuit track: scores at node level.

A graph of EAP-IG, written by its `Graph.to_json` and `Graph.to_pt` and read by `from_json` and
`from_pt`. Its nodes are `input`, the heads `a{layer}.h{head}` and MLPs `m{layer}` in our order, and
`logits`, which has no score. A node whose score is NaN, or not in the file, was not scored and is
always kept. Signs agree with ours: positive supports the clean behaviour.

    .json   cfg     n_layers, n_heads, d_model, parallel_attn_mlp
            nodes   of each node: in_graph, score (none for logits)
            edges   of each edge `parent->child`, into heads `parent->child<q|k|v>`: in_graph, score
    .pt     cfg; src_nodes, dst_nodes (names); nodes_scores (source), nodes_in_graph (source),
            edges_scores and edges_in_graph (source, destination)

A graph at node level has no scores of edges: they are 0, and nothing is in the graph before the
benchmark ranks the nodes. The paper's copy of EAP-IG counts the logits among the sources of edges,
so its tensors have one row more than `src_nodes` has names.

The leaderboard takes a folder with one folder per task and model, `{task}_{model}` with dashes
within the task, and in it one file with scores: here `importances.json` or `importances.pt`.

Source: github.com/hannamw/EAP-IG, `eap/graph.py`; github.com/hannamw/MIB-circuit-track, "Submitting
to the MIB Leaderboard".
"""

from __future__ import annotations

import io
import math
import re
from pathlib import Path

import torch
from torch import Tensor

from dfa_tl.errors import ConfigError, FileFormatError
from dfa_tl.io.atomic import readable, user_path, write_file
from dfa_tl.io.foreign import load_torch_file, require, table
from dfa_tl.io.mib_graph import (
    NOT_SCORED,
    Graph,
    check_names,
    checked_cfg,
    checked_graph,
    scored_names,
)
from dfa_tl.io.model_names import BENCHMARK_NAMES, SHORT_NAMES
from dfa_tl.io.strict_json import json_bytes, parse_json

SUFFIXES = (".json", ".pt")
STEM = "importances"
MODELS = {
    hub.rpartition("/")[2]: name for name, hub in [*SHORT_NAMES.items(), *BENCHMARK_NAMES.items()]
}
"""The benchmark's, or else the paper's, names of models by the last part of their hub name."""


def submission_file(folder: str | Path, task: str, model: str, suffix: str = ".json") -> Path:
    """Where the leaderboard looks for the scores of a task and a model.

    Args:
        folder: The submission.
        task: The task's name, ours (`arc_easy`, `mib/arc_easy`) or the benchmark's (`arc-easy`).
        model: The model's short name (`llama3-8b`), or its hub name with or without the owner.
        suffix: `.json` or `.pt`.

    Raises:
        ConfigError: the suffix is another, or a name cannot be part of a folder's name.
    """
    last = SHORT_NAMES.get(model, model).rpartition("/")[2]
    task = task.removeprefix("mib/").replace("_", "-")
    names = task, MODELS.get(last, last.replace("_", "-"))
    for name in names:
        if not re.fullmatch(r"\w[\w.-]*", name):
            raise ConfigError(
                f"{name!r} cannot be part of a folder's name (letters, digits, .-): give the path "
                "of a .json or .pt file"
            )
    file = user_path(folder) / "_".join(names) / f"{STEM}{suffix}"
    _check_suffix(file)
    return file


def write_graph(path: Path, graph: Graph) -> None:
    """Write a graph, in the form of the suffix.

    Raises:
        ConfigError: the suffix is not .json or .pt.
        FileWriteError: the file cannot be written; an old file is unchanged.
    """
    _check_suffix(path)
    write_file(path, _to_json(graph) if path.suffix == ".json" else _to_torch_file(graph))


def read_graph(path: str | Path) -> Graph:
    """Read a graph at node level, in the form of the suffix.

    Args:
        path: The file, or the folder of a task and model that holds one.

    Raises:
        ConfigError: the suffix is not .json or .pt.
        FileFormatError: the file does not exist, is too large, altered or of another format, or has
            no scores of nodes, other nodes than its `cfg` says, or infinite scores.
    """
    path = user_path(path)
    if path.is_dir():
        path = _only_file(path)
    _check_suffix(path)
    readable(path, f"a circuit file ({path.suffix}) of the benchmark")
    try:
        return _from_json(path) if path.suffix == ".json" else _from_torch_file(path)
    except FileFormatError as error:
        raise FileFormatError(f"{path} is not a graph with scores of nodes: {error}") from error


def _check_suffix(path: Path) -> None:
    if path.suffix not in SUFFIXES:
        raise ConfigError(
            f"{path} must end in .json or .pt, the two forms of the benchmark's files"
        )


def _only_file(folder: Path) -> Path:
    found = [file for suffix in SUFFIXES for file in sorted(folder.glob(f"*{suffix}"))]
    if len(found) != 1:
        names = ", ".join(file.name for file in found[:5]) or "none"
        raise FileFormatError(
            f"{folder} is a folder that should hold one .json or .pt file with scores; it holds "
            f"{names}: give the file"
        )
    return found[0]


def _to_json(graph: Graph) -> bytes:
    """The file's content. Every edge is listed: some 100 MB for 32 layers of 32 heads.

    EAP-IG writes NaN, which is not JSON, for a node that was not scored. Here its score is left
    out, which EAP-IG reads as NaN.
    """
    nodes: dict[str, dict[str, float | bool]] = {
        name: {"in_graph": False} | ({} if math.isnan(score) else {"score": score})
        for name, score in zip(graph.names, graph.scores, strict=True)
    }
    nodes["logits"] = {"in_graph": True}
    unscored = {"score": 0.0, "in_graph": False}  # one for all: there may be millions of edges
    edges = {name: unscored for name in graph.edges}
    return json_bytes(
        {"cfg": graph.cfg, "nodes": nodes, "edges": edges}, "the graph", sort_keys=False
    )


def _from_json(path: Path) -> Graph:
    """Read a graph. A node without a score, and one whose score is NaN, was not scored."""
    content = table(parse_json(path.read_bytes(), "it", strict=False), "its content")
    require(content, ("cfg", "nodes", "edges"), "it")
    nodes, cfg = checked_cfg(content["cfg"])
    entries = table(content["nodes"], "nodes")
    check_names(list(entries), nodes)
    scores = [table(entries[name], name).get("score", math.nan) for name in scored_names(nodes)]
    return checked_graph(nodes, cfg, scores)


def _to_torch_file(graph: Graph) -> bytes:
    """The file's content."""
    shape = (len(graph.names), len(graph.destinations))
    content = io.BytesIO()
    torch.save(
        {
            "cfg": graph.cfg,
            "src_nodes": graph.names,
            "dst_nodes": graph.destinations,
            "edges_scores": torch.zeros(shape),
            "edges_in_graph": torch.zeros(shape, dtype=torch.bool),
            "nodes_in_graph": torch.zeros(shape[0], dtype=torch.bool),
            "nodes_scores": torch.tensor(graph.scores),
        },
        content,
    )
    return content.getvalue()


def _from_torch_file(path: Path) -> Graph:
    """Read a graph. A node whose score is NaN was not scored."""
    content = table(load_torch_file(path), "its content")
    require(content, ("cfg", "src_nodes", "dst_nodes", "nodes_in_graph", "edges_in_graph"), "it")
    if "nodes_scores" not in content:
        raise FileFormatError(NOT_SCORED)
    nodes, cfg = checked_cfg(content["cfg"])
    names, scores = content["src_nodes"], content["nodes_scores"]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise FileFormatError("src_nodes must be a list of names")
    check_names(names, nodes)
    expected = scored_names(nodes)
    if names not in (expected, [*expected, "logits"]):
        raise FileFormatError(
            "src_nodes must be in the model's order: the input, then each layer's heads and MLP"
        )
    with_logits = len(expected) + 1
    if not _is_vector(scores) or len(scores) not in (len(names), with_logits):
        shape = tuple(scores.shape) if _is_vector(scores) else type(scores).__name__
        raise FileFormatError(
            f"nodes_scores must be a vector of {len(names)} numbers, or {with_logits} with the "
            f"logits, got {shape}"
        )
    return checked_graph(nodes, cfg, scores.tolist()[: len(expected)])


def _is_vector(found: object) -> bool:
    """Whether `found` is a plain tensor of numbers with one axis."""
    return (
        isinstance(found, Tensor)
        and not found.is_nested
        and found.layout == torch.strided
        and found.device.type == "cpu"
        and found.is_floating_point()
        and found.dim() == 1
    )
