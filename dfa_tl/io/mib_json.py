"""The benchmark's .json: a graph as EAP-IG's `Graph.to_json` writes it."""

from __future__ import annotations

import math
from pathlib import Path

from dfa_tl.io.mib_graph import (
    Graph,
    check_names,
    checked_cfg,
    checked_graph,
    require,
    scored_names,
    table,
)
from dfa_tl.io.strict_json import json_bytes, parse_json


def to_json(graph: Graph) -> bytes:
    """The file's content. Every edge is listed: some 100 MB for 32 layers of 32 heads.

    EAP-IG writes NaN, which is no JSON, for a node that was not scored. Here its score is left out,
    which EAP-IG reads as NaN.
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


def from_json(path: Path) -> Graph:
    """Read a graph. A node without a score, and one whose score is NaN, was not scored."""
    content = table(parse_json(path.read_bytes(), "it", strict=False), "its content")
    require(content, ("cfg", "nodes", "edges"), "it")
    nodes, cfg = checked_cfg(content["cfg"])
    entries = table(content["nodes"], "nodes")
    check_names(list(entries), nodes)
    scores = [table(entries[name], name).get("score", math.nan) for name in scored_names(nodes)]
    return checked_graph(nodes, cfg, scores)
