"""Other tools' scores: the benchmark's files, and TransformerLens's attribution patching."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

import benchmark_reader
from dfa_tl import MIB_KS, NodeScores, NodeSet, PairDataset, attribute, controls, evaluate
from dfa_tl.errors import ConfigError, FileFormatError, ScoresError
from dfa_tl.evaluation.circuits import circuits_of
from dfa_tl.io.mib import submission_file
from dfa_tl.io.mib_graph import Graph
from oracle import Oracle, OracleScores
from tiny_models import KINDS

NODES = NodeSet(2, 3)
CFG = {"d_model": 12, "parallel_attn_mlp": False}


def some_scores(nodes: NodeSet = NODES, **changes) -> NodeScores:
    values = torch.randn(len(nodes), generator=torch.Generator().manual_seed(3))
    return NodeScores(nodes, values, **({"input": 0.25} | changes))


VARIANTS = {
    "input scored": some_scores(),
    "input not scored": some_scores(input=None),
    "nodes not scored": some_scores(unscored=("m0", "a1.h2")),
}


@pytest.mark.parametrize("suffix", [".json", ".pt"])
@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("scores", VARIANTS.values(), ids=VARIANTS)
def test_the_benchmark_reads_what_is_written(tmp_path, scores, parallel, suffix):
    path = tmp_path / f"importances{suffix}"
    assert scores.to_mib(path, d_model=12, parallel_attn_mlp=parallel) == path
    graph = benchmark_reader.read(path)
    assert (graph.n_layers, graph.n_heads) == (2, 3)
    assert (graph.d_model, graph.parallel) == (12, parallel)
    for name, score in graph.scores.items():
        if name in scores.unscored or (name == "input" and scores.input is None):
            assert math.isnan(score)
        else:
            assert score == (scores.input if name == "input" else scores[name])
    assert set(graph.edge_scores.values()) == {0.0}


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("scores", VARIANTS.values(), ids=VARIANTS)
def test_the_benchmark_keeps_the_circuits_that_we_keep(tmp_path, scores, absolute):
    """An input with a score is ranked (protocol mib), one without is always kept (nodes)."""
    graph = benchmark_reader.read(scores.to_mib(tmp_path / "s.pt", **CFG))
    protocol = "nodes" if scores.input is None else "mib"
    ours = circuits_of(scores, MIB_KS, protocol, absolute=absolute)
    for k, kept, connected in zip(MIB_KS, ours.kept, ours.connected, strict=True):
        theirs = graph.kept(int(k * graph.n_scored), absolute)
        assert {name for name, is_in in zip(NODES.names, kept, strict=True) if is_in} == (
            theirs - {"input"}
        )
        assert bool(connected) == ("input" in theirs)


@pytest.mark.parametrize("suffix", [".json", ".pt"])
@pytest.mark.parametrize("scores", VARIANTS.values(), ids=VARIANTS)
def test_there_and_back(tmp_path, scores, suffix):
    again = NodeScores.from_mib(scores.to_mib(tmp_path / f"s{suffix}", **CFG))
    assert torch.equal(again.values, scores.values)
    assert (again.nodes, again.input, again.unscored) == (NODES, scores.input, scores.unscored)
    assert again.provenance == {"method": f"from s{suffix}", "architecture": CFG}
    # What was read knows its model's architecture, so it needs nothing more to be written.
    again.to_mib(tmp_path / f"t{suffix}")
    assert (tmp_path / f"t{suffix}").stat().st_size == (tmp_path / f"s{suffix}").stat().st_size


BY_HAND = """{"cfg": {"n_layers": 1, "n_heads": 2, "parallel_attn_mlp": false, "d_model": 4},
 "nodes": {"input": {"in_graph": false, "score": -0.5}, "a0.h1": {"in_graph": false, "score": NaN},
           "a0.h0": {"in_graph": true, "score": 2}, "m0": {"in_graph": false, "score": -1.25},
           "logits": {"in_graph": true, "score": 7.0}},
 "edges": {"input->a0.h0<q>": {"score": 0.0, "in_graph": false},
           "input->logits": {"score": 0.0, "in_graph": true}}}"""


def test_files_made_by_hand_with_scores_of_input_and_logits(tmp_path):
    (tmp_path / "hand.json").write_text(BY_HAND)
    content = {
        "cfg": {"n_layers": 1, "n_heads": 2, "parallel_attn_mlp": False, "d_model": 4},
        "src_nodes": ["input", "a0.h0", "a0.h1", "m0", "logits"],
        "dst_nodes": [*(f"a0.h{h}<{x}>" for x in "qkv" for h in (0, 1)), "m0", "logits"],
        "edges_scores": torch.zeros(4, 8),
        "edges_in_graph": torch.zeros(4, 8).bool(),
        "nodes_in_graph": torch.zeros(4).bool(),
        "nodes_scores": torch.tensor([-0.5, 2.0, math.nan, -1.25, 7.0]),
    }
    torch.save(content, tmp_path / "hand.pt")
    for name in ("hand.json", "hand.pt"):
        scores = NodeScores.from_mib(tmp_path / name)
        assert scores.nodes == NodeSet(1, 2)
        assert scores.values.tolist() == [2.0, 0.0, -1.25]
        assert scores.input == -0.5
        assert scores.unscored == ("a0.h1",)
    # A node whose score was left out is one that was not scored.
    (tmp_path / "out.json").write_text(BY_HAND.replace(', "score": -0.5', ""))
    assert NodeScores.from_mib(tmp_path / "out.json").input is None


def test_edges_are_counted_as_the_benchmark_counts_them():
    """The numbers of edges that the benchmark divides by."""
    published = {(12, 12): 32491, (24, 14): 179749, (26, 8): 74218}
    for (n_layers, n_heads), count in published.items():
        nodes = NodeSet(n_layers, n_heads)
        graph = Graph(nodes, 8, False, (0.0,) * (len(nodes) + 1))
        assert sum(1 for _ in graph.edges) == count


@pytest.mark.parametrize(
    ("task", "model", "folder"),
    [
        ("ioi", "gpt2-small", "ioi_gpt2"),
        ("arc_easy", "meta-llama/Llama-3.1-8B", "arc-easy_llama3"),
        ("arithmetic_addition", "Qwen/Qwen2.5-0.5B", "arithmetic-addition_qwen2.5"),
        ("mcqa", "google/gemma-2-2b", "mcqa_gemma2"),
        ("mcqa", "toy-small", "mcqa_toy-small"),
        # The leaderboard's twelve columns, by the names that load_task and load_model take.
        ("mib/ioi", "gpt2-small", "ioi_gpt2"),
        ("mib/ioi", "qwen2.5-0.5b", "ioi_qwen2.5"),
        ("mib/ioi", "gemma2-2b", "ioi_gemma2"),
        ("mib/ioi", "llama3-8b", "ioi_llama3"),
        ("mib/mcqa", "qwen2.5-0.5b", "mcqa_qwen2.5"),
        ("mib/mcqa", "gemma2-2b", "mcqa_gemma2"),
        ("mib/mcqa", "llama3-8b", "mcqa_llama3"),
        ("mib/arithmetic_addition", "llama3-8b", "arithmetic-addition_llama3"),
        ("mib/arithmetic_subtraction", "llama3-8b", "arithmetic-subtraction_llama3"),
        ("mib/arc_easy", "gemma2-2b", "arc-easy_gemma2"),
        ("mib/arc_easy", "llama3-8b", "arc-easy_llama3"),
        ("mib/arc_challenge", "llama3-8b", "arc-challenge_llama3"),
        ("mib/ioi", "openai-community/gpt2", "ioi_gpt2"),
        # The paper's code reads and writes its other models by its own short names.
        ("mib/arc_easy", "llama3-1b", "arc-easy_llama3-1b"),
        ("ioi", "meta-llama/Llama-3.2-3B", "ioi_llama3-3b"),
        ("mcqa", "google/gemma-2-9b", "mcqa_gemma2-9b"),
        ("mib/mcqa", "llama3", "mcqa_llama3"),
    ],
)
def test_the_leaderboards_folders(tmp_path, task, model, folder):
    scores = some_scores(provenance={"task": task, "model": model})
    file = scores.to_mib(tmp_path / "submission", **CFG)
    assert file == tmp_path / "submission" / folder / "importances.json"
    assert torch.equal(NodeScores.from_mib(file.parent).values, scores.values)
    assert submission_file("x", task, model, ".pt") == Path("x") / folder / "importances.pt"
    scores.to_mib(file.with_suffix(".pt"), **CFG)
    with pytest.raises(
        FileFormatError, match=r"should hold one .* importances\.json, importances\.pt"
    ):
        NodeScores.from_mib(file.parent)


def test_what_the_files_need_and_the_scores_do_not_know(tmp_path):
    with pytest.raises(ConfigError, match="does not say d_model: give d_model= of the model"):
        some_scores().to_mib(tmp_path / "s.json")
    with pytest.raises(ConfigError, match="does not say the task: give a path of a file"):
        some_scores().to_mib(tmp_path / "folder", **CFG)
    with pytest.raises(ConfigError, match=r"'\.\.' cannot be part of a folder's name"):
        submission_file(tmp_path, "ioi", "..")
    own = some_scores(provenance={"task": "./my_task", "model": "gpt2-small"})
    with pytest.raises(ConfigError, match=r"'\./my-task' cannot .*: give the path of a \.json"):
        own.to_mib(tmp_path / "folder", **CFG)
    with pytest.raises(ConfigError, match=r"must end in \.json or \.pt"):
        NodeScores.from_mib(tmp_path / "s.csv")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", KINDS)
def test_attributed_and_transferred_scores_know_the_architecture(case_of, kind, tmp_path):
    case = case_of(kind)
    scores = attribute(case.model, case.data, "nap", progress=False)
    graph = benchmark_reader.read(scores.to_mib(tmp_path / "s.json"))
    assert graph.parallel == (kind == "neox-parallel")
    assert graph.d_model == case.hf.config.hidden_size
    nodes = case.model.nodes
    assert list(graph.scores)[1:] == list(nodes.names)


def test_nodes_that_were_not_scored_are_kept_by_evaluate_and_refused_by_alignment(llama):
    nodes = llama.model.nodes
    values = torch.arange(len(nodes)).float()
    scores = NodeScores(nodes, values, unscored=("m0", "a1.h0"))
    curve = evaluate(llama.model, llama.data, scores, ks=(0, 0.5, 1), progress=False)
    assert curve.n_kept == (2, 2 + int(0.5 * (len(nodes) - 2)), len(nodes))
    kept = torch.tensor([name in ("m0", "a1.h0") for name in nodes.names])
    expected = llama.oracle.circuit_metric(llama.pairs, kept)
    torch.testing.assert_close(
        torch.as_tensor(curve.pair_values[0]), expected, rtol=1e-4, atol=1e-5, check_dtype=False
    )
    assert scores["m0"] == 0
    with pytest.raises(ScoresError, match="2 nodes have no score, first m0"):
        controls.random_W(nodes, nodes).transfer(scores)
    with pytest.raises(ConfigError, match="no node m9"):
        NodeScores(nodes, values, unscored=("m9",))


# TransformerLens


@dataclass(frozen=True)
class LensNode:
    """What a node of TransformerLens looks like."""

    kind: str
    position: int
    layer: int | None = None
    head: int | None = None


def test_transformer_lens_scores_are_summed_over_positions():
    scores = {}
    for position in range(3):
        scores[LensNode("embed", position)] = 1.0 + position
        for layer in range(2):
            scores[LensNode("mlp_out", position, layer)] = 10.0 * layer + position
            for head in range(2):
                scores[LensNode("attn_head_out", position, layer, head)] = 100.0 * head - position
    result = NodeScores.from_transformer_lens(scores, provenance={"task": "ioi"})
    assert result.nodes == NodeSet(2, 2)
    assert result.values.tolist() == [-3, 297, 3, -3, 297, 33]
    assert result.input == 6
    assert result.provenance == {"method": "nap", "at": "corrupt", "task": "ioi"}
    back = result.to_transformer_lens(LensNode, position=2)
    assert back[LensNode("attn_head_out", 2, 0, 1)] == 297
    assert back[LensNode("embed", 2)] == 6
    assert torch.equal(NodeScores.from_transformer_lens(back).values, result.values)
    no_input = replace(result, input=None).to_transformer_lens(LensNode)
    assert NodeScores.from_transformer_lens(no_input).input is None


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ({}, "expected the result of TransformerLens's attribution_patch"),
        (3.5, "got float without scores"),
        ({"a0.h0": 1.0}, "'a0.h0' is none of the embedding, a head, an MLP"),
        ({LensNode("logits", 0, 1): 1.0}, "is none of"),
        ({LensNode("embed", 0): 1.0}, "only the embedding has scores"),
        (
            {LensNode("mlp_out", 0, 0): 1.0, LensNode("attn_head_out", 1, 0, 0): 1.0},
            "a0.h0 lacks scores at some of 2 positions",
        ),
        (
            {LensNode("mlp_out", 0, 1): 1.0, LensNode("attn_head_out", 0, 1, 0): 1.0},
            "a0.h0 lacks scores at some of 1 positions",
        ),
    ],
)
def test_what_is_not_transformer_lens_scores(scores, message):
    with pytest.raises(ScoresError, match=message):
        NodeScores.from_transformer_lens(scores)


def at_corrupt(oracle: Oracle, pairs) -> OracleScores:
    """(a_clean - a_corrupt) . dm/da at the corrupt run: plain modules, hooks and autograd."""
    scores = []
    for run in oracle.plain_runs(pairs):
        with torch.enable_grad():
            logits, acts = oracle.run(run.corrupt)
            metric = oracle.measure(logits, run).sum()
            gradients = torch.autograd.grad(metric, [acts[site] for site in oracle.sites])
        by_site = dict(zip(oracle.sites, gradients, strict=True))
        deltas = {site: run.clean_acts[site] - run.corrupt_acts[site] for site in oracle.sites}
        nodes = []
        for layer in range(oracle.n_layers):
            product = (deltas["attn", layer] * by_site["attn", layer])[0]
            nodes += [head.sum() for head in product.split(oracle.d_head, dim=-1)]
            nodes.append((deltas["mlp", layer] * by_site["mlp", layer]).sum())
        of_input = (deltas["input"] * by_site["input"]).sum()
        scores.append(OracleScores(torch.stack(nodes), of_input))
    nodes, inputs = zip(*scores, strict=True)
    return OracleScores(torch.stack(nodes).mean(0), torch.stack(inputs).mean(0))


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_at_the_corrupt_run(case_of, kind):
    case = case_of(kind)
    scores = attribute(case.model, case.data, "nap", at="corrupt", batch_size=3, progress=False)
    expected = at_corrupt(case.oracle, case.pairs)
    largest = expected.nodes.abs().max()
    assert (scores.values - expected.nodes).abs().max() <= 1e-4 * largest
    assert abs(scores.input - expected.input) <= 1e-4 * max(largest, abs(expected.input))
    clean = attribute(case.model, case.data, "nap", progress=False)
    assert (scores.values - clean.values).abs().max() > 1e-2 * largest
    assert (scores.provenance["at"], clean.provenance["at"]) == ("corrupt", "clean")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "exact"}, "exact takes no gradient at the corrupt run"),
        ({}, "nap-ig-inputs takes no gradient at the corrupt run: leave at='clean'"),
        ({"method": "nap", "ablation": "zero"}, "use ablation='counterfactual', not 'zero'"),
        ({"at": "middle"}, "at='middle': choose one of clean, corrupt"),
    ],
)
def test_where_the_gradient_cannot_be_taken(llama, options, message):
    with pytest.raises(ConfigError, match=message):
        attribute(llama.model, llama.data, **({"at": "corrupt"} | options), progress=False)


@pytest.mark.parametrize("kind", ["llama-gqa", "gpt2"])
def test_transformer_lens_gives_the_same_scores(case_of, kind):
    """Its own attribution patching on the same bridge and the same tokens."""
    lens = pytest.importorskip(
        "transformer_lens.tools.analysis.attribution_patching",
        reason="this TransformerLens has none",
    )
    case = case_of(kind)
    clean, corrupt, answers, lengths = case.pairs
    width = int(lengths.min())
    clean, corrupt = clean[:, :width], corrupt[:, :width].clone()
    corrupt[:, 0] = 1 + clean[:, 0] % 50  # every pair differs within the width
    right, wrong = answers[0].tolist()
    data = PairDataset.from_tokens(clean, corrupt, answers[:1].expand(len(clean), 2))
    theirs = lens.attribution_patch(
        case.model.tl, clean, corrupt, lambda logits: logits[0, -1, right] - logits[0, -1, wrong]
    )
    ours = attribute(case.model, data, "nap", at="corrupt", progress=False)
    summed = NodeScores.from_transformer_lens(theirs)
    torch.testing.assert_close(summed.values, ours.values, rtol=1e-4, atol=1e-5)
    assert summed.input == pytest.approx(ours.input, rel=1e-4, abs=1e-5)
    back = lens.AttributionResult(ours.to_transformer_lens(lens.Node))
    best, score = back.top_nodes(1)[0]
    strongest = max((*ours.values.tolist(), ours.input), key=abs)
    assert score == pytest.approx(strongest)
    assert isinstance(best, lens.Node)


def test_what_was_not_scored_has_no_score_in_the_json(tmp_path):
    """NaN is no JSON. The benchmark reads a node without a score as NaN all the same."""
    path = some_scores(input=None).to_mib(tmp_path / "s.json", **CFG)
    constants: list[str] = []
    content = json.loads(path.read_text(), parse_constant=constants.append)
    assert not constants
    assert content["nodes"].pop("input") == {"in_graph": False}
    assert all("score" in node for name, node in content["nodes"].items() if name != "logits")
    assert math.isnan(benchmark_reader.read(path).scores["input"])
    # The benchmark's own files have NaN there, and are read.
    theirs = path.read_text().replace('"input": {', '"input": {"score": NaN, ')
    assert theirs != path.read_text()
    path.write_text(theirs)
    assert NodeScores.from_mib(path).input is None
