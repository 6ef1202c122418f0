from __future__ import annotations

import pytest
import torch

from dfa_tl import Node, NodeScores, NodeSet
from dfa_tl.errors import ConfigError, FileFormatError, ScoresError
from dfa_tl.nodes import head_site, mlp_site, node_sites

NODES = NodeSet(2, 3)


def scores() -> NodeScores:
    return NodeScores(
        NODES, torch.tensor([0.0, 3, 1, -2, 3, 0, 0, 5]), input=0.5, provenance={"task": "ioi"}
    )


def test_names_and_order():
    assert NODES.names == ("a0.h0", "a0.h1", "a0.h2", "m0", "a1.h0", "a1.h1", "a1.h2", "m1")
    assert len(NODES) == 8
    for i, node in enumerate(NODES):
        assert NODES.index(node) == NODES.index(node.name) == i
        assert Node.parse(node.name) == node == NODES[i]
        assert node.is_head == (node.head is not None)
    assert node_sites(NODES, 1) == [head_site(1), mlp_site(1)]
    assert str(NODES) == "8 nodes (2 layers of 3 heads and an MLP)"


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "node",
    ["a2.h0", "a0.h3", "m2", Node(0, -1), Node(-1, 0), Node(1, -1), Node(-1), Node(0, 3), 0, None],
)
def test_nodes_that_are_not_there(node):
    for look_up in (NODES.index, scores().__getitem__):
        with pytest.raises(
            ConfigError,
            match=rf"no node {node} among 8 nodes|expected a Node or a text, got {node}",
        ):
            look_up(node)


def test_names_that_are_none():
    with pytest.raises(ConfigError, match="'h3' is not a node name: expected"):
        Node.parse("h3")
    for name in ("", "m01", "a-1.h0", "a1.h٣", "m1\n", "m" + "9" * 5000):
        with pytest.raises(ConfigError, match="is not a node name"):
            Node.parse(name)
    with pytest.raises(ConfigError, match="at least one layer"):
        NodeSet(0, 3)


def test_top_is_signed_and_stable():
    assert [node.name for node in scores().top(4)] == ["m1", "a0.h1", "a1.h0", "a0.h2"]
    assert scores()["m0"] == -2
    assert len(scores()) == 8
    assert scores().top(0) == []
    assert len(scores().top(100)) == 8


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("n", [-1, True, 2.0, None])
def test_so_many_nodes_cannot_be_the_top(n):
    with pytest.raises(ConfigError, match=r"n=.*(must be|expected) a whole number"):
        scores().top(n)


def test_frame():
    frame = scores().to_frame()
    assert list(frame.columns) == ["node", "layer", "head", "score", "rank"]
    assert frame.loc[frame["node"] == "m1", "rank"].item() == 1
    assert frame["head"].isna().tolist() == [False] * 3 + [True] + [False] * 3 + [True]


def test_save_and_load(tmp_path):
    scores().save(tmp_path / "deep" / "s.safetensors")
    again = NodeScores.load(tmp_path / "deep" / "s.safetensors")
    assert torch.equal(again.values, scores().values)
    assert (again.nodes, again.input, again.provenance) == (NODES, 0.5, {"task": "ioi"})
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["s.safetensors"]


def test_nodes_without_a_score(tmp_path):
    some = NodeScores(NODES, torch.ones(8), unscored=("m1", "a0.h1", "m1"))
    assert some.unscored == ("a0.h1", "m1")
    assert some.values.tolist() == [1, 0, 1, 1, 1, 1, 1, 0]
    some.save(tmp_path / "s.safetensors")
    assert NodeScores.load(tmp_path / "s.safetensors").unscored == ("a0.h1", "m1")
    # What is not used may be anything, as in another tool's file.
    nan = torch.tensor([float("nan"), 1, 1, 1, 1, 1, 1, 1])
    assert NodeScores(NODES, nan, unscored=("a0.h0",))["a0.h0"] == 0


def test_bad_scores():
    with pytest.raises(ScoresError, match="expected one score for each of 8 nodes"):
        NodeScores(NODES, torch.zeros(7))
    with pytest.raises(ScoresError, match=r"must be finite, but these are not: a0\.h1"):
        NodeScores(NODES, torch.tensor([0, float("nan"), 0, 0, 0, 0, 0, 0]))
    with pytest.raises(ScoresError, match="and others"):
        NodeScores(NODES, torch.full((8,), float("inf")))
    with pytest.raises(ScoresError, match="score of the input must be finite"):
        NodeScores(NODES, torch.zeros(8), input=float("nan"))


def test_bad_files(tmp_path):
    path = tmp_path / "s.safetensors"
    with pytest.raises(FileFormatError, match="no file"):
        NodeScores.load(path)
    path.write_bytes(b"not safetensors")
    with pytest.raises(FileFormatError, match="truncated or altered, write it again"):
        NodeScores.load(path)
    scores().save(path)
    content = path.read_bytes()
    path.write_bytes(content.replace(b'n_heads\\": 3', b'n_heads\\": 4'))
    with pytest.raises(FileFormatError, match="does not hold valid node scores"):
        NodeScores.load(path)


def test_values_are_copied():
    values = torch.zeros(8)
    mine = NodeScores(NODES, values)
    values += 1
    assert mine.values.sum() == 0
