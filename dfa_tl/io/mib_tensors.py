"""The benchmark's .pt: a graph as EAP-IG's `Graph.to_pt` writes it.

The paper's copy of EAP-IG counts the logits among the sources of edges: its tensors have one row
more than `src_nodes` has names.

Only tensors, numbers, text, lists and dictionaries are unpickled (`weights_only=True`): code in a
file is refused, not run.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path

import torch
from torch import Tensor

from dfa_tl.errors import FileFormatError
from dfa_tl.io import atomic
from dfa_tl.io.mib_graph import (
    NOT_SCORED,
    Graph,
    check_names,
    checked_cfg,
    checked_graph,
    require,
    scored_names,
    table,
)


def to_tensors(graph: Graph) -> bytes:
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


def from_tensors(path: Path) -> Graph:
    """Read a graph. A node whose score is NaN was not scored."""
    content = table(load_plain(path), "its content")
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


def load_plain(path: Path) -> object:
    """What `torch.save` wrote, if it is tensors, numbers, text, lists and dictionaries alone.

    Raises:
        FileFormatError: anything else, code above all; a file that is truncated or too large.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise FileFormatError(
            f"it is truncated, altered, or not by torch.save ({error})"
        ) from error
    if size > atomic.MAX_BYTES:
        raise FileFormatError(f"it holds {size:,} bytes; {atomic.MAX_BYTES:,} at most are read")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise FileFormatError(
            "it holds pickled objects or code, which are never run. Ask for the .json form, or for "
            "a .pt with tensors, numbers and names alone"
        ) from error
    except Exception as error:  # what an altered file makes torch raise is not documented
        raise FileFormatError(f"it is truncated or altered ({error})") from error
