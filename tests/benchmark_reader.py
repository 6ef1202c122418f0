"""The benchmark's side of its circuit files: reading one and ranking its nodes; no dfa_tl code.

After the facts of the format (EAP-IG's `Graph.from_json`, `from_pt`, and `apply_topn` at node
level): forward index 0 is `input`, then each layer's heads and its MLP; a node or an edge that is
not in the model cannot be read; `logits` is skipped; scores that are not set are NaN, and NaN is
always kept.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch


class Graph:
    """What the benchmark knows after reading a file."""

    def __init__(self, cfg: dict) -> None:
        self.n_layers, self.n_heads = cfg["n_layers"], cfg["n_heads"]
        self.parallel, self.d_model = cfg["parallel_attn_mlp"], cfg["d_model"]
        self.names = ["input"]
        self.backward = []
        for layer in range(self.n_layers):
            self.names += [f"a{layer}.h{head}" for head in range(self.n_heads)] + [f"m{layer}"]
            for letter in "qkv":
                self.backward += [f"a{layer}.h{head}<{letter}>" for head in range(self.n_heads)]
            self.backward.append(f"m{layer}")
        self.backward.append("logits")
        self.scores = dict.fromkeys(self.names, math.nan)
        self.edge_scores: dict[str, float] = dict.fromkeys(self.real_edges(), 0.0)

    def real_edges(self) -> list[str]:
        """An edge leads from a node to whatever reads the residual stream after it."""

        def step(name: str) -> float:
            if name in ("input", "logits"):
                return -1 if name == "input" else math.inf
            layer = int(name[1:].split(".")[0])
            return layer + (0.5 if name[0] == "m" and not self.parallel else 0)

        pairs = [(a, b) for a in self.names for b in self.backward]
        return [f"{a}->{b}" for a, b in pairs if step(a) < step(b.split("<")[0])]

    def kept(self, n: int, absolute: bool) -> set[str]:
        """The n best scored nodes, and every node that was not scored."""
        scored = {name: score for name, score in self.scores.items() if not math.isnan(score)}
        assert n <= len(scored)
        size = abs if absolute else float
        order = sorted(scored, key=lambda name: -size(scored[name]))
        return set(order[:n]) | (set(self.scores) - set(scored))

    @property
    def n_scored(self) -> int:
        return sum(not math.isnan(score) for score in self.scores.values())


def read(path: Path) -> Graph:
    if path.suffix == ".json":
        content = json.loads(path.read_text())
        assert {"cfg", "nodes", "edges"} <= set(content)
        graph = Graph(content["cfg"])
        for name, node in content["nodes"].items():
            assert isinstance(node["in_graph"], bool)
            if name == "logits":
                continue
            assert name in graph.scores
            if "score" in node:
                graph.scores[name] = float(node["score"])
        for name, edge in content["edges"].items():
            assert isinstance(edge["in_graph"], bool)
            assert name in graph.edge_scores
            graph.edge_scores[name] = float(edge["score"])
        assert len(content["edges"]) == len(graph.edge_scores)
        return graph
    content = torch.load(path, weights_only=True)
    required = {"cfg", "src_nodes", "dst_nodes", "edges_scores", "edges_in_graph", "nodes_in_graph"}
    assert required <= set(content)
    graph = Graph(content["cfg"])
    shape = (len(graph.names), len(graph.backward))
    assert content["edges_scores"].shape == content["edges_in_graph"].shape == shape
    assert content["edges_in_graph"].dtype == content["nodes_in_graph"].dtype == torch.bool
    assert content["nodes_in_graph"].shape == content["nodes_scores"].shape == shape[:1]
    assert content["src_nodes"] == graph.names
    assert content["dst_nodes"] == graph.backward
    graph.scores = dict(zip(graph.names, content["nodes_scores"].tolist(), strict=True))
    return graph
