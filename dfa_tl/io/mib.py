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
benchmark ranks the nodes.

The leaderboard takes a folder with one folder per task and model, `{task}_{model}` with dashes
within the task, and in it one file with scores: here `importances.json` or `importances.pt`.

Source: github.com/hannamw/EAP-IG, `eap/graph.py`; github.com/hannamw/MIB-circuit-track, "Submitting
to the MIB Leaderboard".
"""

from __future__ import annotations

import re
from pathlib import Path

from dfa_tl.errors import ConfigError, FileFormatError
from dfa_tl.io.atomic import readable, user_path, write_file
from dfa_tl.io.mib_graph import Graph
from dfa_tl.io.mib_json import from_json, to_json
from dfa_tl.io.mib_tensors import from_tensors, to_tensors
from dfa_tl.io.model_names import BENCHMARK_NAMES, SHORT_NAMES

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
        ConfigError: another suffix, or names that do not make a folder's.
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
    """Write a graph; the suffix says in which form.

    Raises:
        ConfigError: another suffix than .json and .pt.
        FileWriteError: the file cannot be written; what was there is as it was.
    """
    _check_suffix(path)
    write_file(path, to_json(graph) if path.suffix == ".json" else to_tensors(graph))


def read_graph(path: str | Path) -> Graph:
    """Read a graph at node level; the suffix says in which form.

    Args:
        path: The file, or the folder of a task and model that holds one.

    Raises:
        ConfigError: another suffix than .json and .pt.
        FileFormatError: no such file; one that is too large, altered, not of this format, or of a
            graph without scores of its nodes; other nodes than its `cfg` says; infinite scores.
    """
    path = user_path(path)
    if path.is_dir():
        path = _only_file(path)
    _check_suffix(path)
    readable(path, f"a circuit file ({path.suffix}) of the benchmark")
    try:
        return from_json(path) if path.suffix == ".json" else from_tensors(path)
    except FileFormatError as error:
        raise FileFormatError(f"{path} is no graph with scores of nodes: {error}") from error


def _check_suffix(path: Path) -> None:
    if path.suffix not in SUFFIXES:
        raise ConfigError(f"{path} must end in .json or .pt, the benchmark's two forms")


def _only_file(folder: Path) -> Path:
    found = [file for suffix in SUFFIXES for file in sorted(folder.glob(f"*{suffix}"))]
    if len(found) != 1:
        names = ", ".join(file.name for file in found[:5]) or "none"
        raise FileFormatError(
            f"{folder} is a folder that should hold one .json or .pt file with scores; it holds "
            f"{names}: give the file"
        )
    return found[0]
