"""A widened model computes the same, and its nodes are copies with equal scores, or idle with 0."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from dfa_tl import (
    Alignment,
    AlignmentConfig,
    NodeModel,
    NodeScores,
    NodeSet,
    attribute,
    check,
    evaluate,
    load_model,
    load_task,
)
from dfa_tl.errors import ConfigError, ModelError
from dfa_tl.models.folder import BUNDLED_FOLDER
from dfa_tl.models.planted import PlantedTarget, widen
from dfa_tl.tasks import TOY_TASKS
from oracle import Oracle
from tiny_models import tiny_model

FOLDER = BUNDLED_FOLDER / "toy-small"


class Pair(NamedTuple):
    source: LlamaForCausalLM
    target: NodeModel
    links: Tensor


def small() -> LlamaForCausalLM:
    return AutoModelForCausalLM.from_pretrained(FOLDER).eval()


def planted(folder: Path, source: LlamaForCausalLM, **settings) -> Pair:
    """The pair as users make it: saved with the tokenizer, and loaded as any other model."""
    wide, links = widen(source, **settings)
    wide.save_pretrained(folder)
    AutoTokenizer.from_pretrained(FOLDER).save_pretrained(folder)
    return Pair(source, load_model(folder), links)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return planted(tmp_path_factory.mktemp("wide"), small(), heads=8, layers=6, seed=1)


@pytest.fixture(scope="module")
def tokens(toy_small: NodeModel) -> Tensor:
    """One prompt of each task, all of the length of the shortest."""
    prompts = [load_task(task, n=1).tokenize(toy_small).clean[0] for task in TOY_TASKS]
    shortest = min(map(len, prompts))
    return torch.stack([prompt[:shortest] for prompt in prompts])


@torch.no_grad()
def same_logits(source: LlamaForCausalLM, wide: PlantedTarget, tokens: Tensor) -> None:
    expected = source(tokens).logits
    torch.testing.assert_close(wide.model(tokens).logits, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("heads", "layers"), [(4, 3), (8, 3), (4, 5), (16, 7)])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_logits_are_the_sources(tokens, heads, layers, seed):
    source = small()
    same_logits(source, widen(source, heads=heads, layers=layers, seed=seed), tokens)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"tie_word_embeddings": True},
        {"attention_bias": True, "mlp_bias": True},
        {"head_dim": 12, "num_key_value_heads": 1},
    ],
    ids=str,
)
def test_logits_of_other_llamas(settings, tmp_path):
    source = tiny_model("llama-gqa", **settings)
    wide = widen(source, heads=8, layers=6)
    tokens = torch.arange(1, 25).view(2, 12)
    same_logits(source, wide, tokens)
    wide.model.save_pretrained(tmp_path)
    saved = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    same_logits(source, PlantedTarget(saved, wide.links), tokens)


@pytest.mark.parametrize("seed", range(5))
def test_each_node_has_one_copy_of_its_kind_and_layers_keep_their_order(seed):
    source, target = NodeSet(3, 4), NodeSet(6, 8)
    links = widen(small(), heads=8, layers=6, seed=seed).links
    assert links.sum(1).tolist() == [1] * len(source)
    assert links.sum(0).max() == 1
    copies = {source[i]: target[j] for i, j in links.nonzero().tolist()}
    assert all(node.is_head == copied.is_head for node, copied in copies.items())
    layers = [{copies[node].layer for node in source if node.layer == layer} for layer in range(3)]
    assert all(len(each) == 1 for each in layers)
    assert sorted(layers, key=min) == layers
    assert len(set.union(*layers)) == 3


def test_idle_heads_are_silenced_in_either_way_and_are_random_otherwise():
    wide, links = widen(small(), heads=8, layers=6)
    silenced = set()
    for layer, block in enumerate(wide.model.layers):
        attention, width = block.self_attn, block.self_attn.head_dim
        for head in range(8):
            rows = slice(head * width, (head + 1) * width)
            value, output = attention.v_proj.weight[rows], attention.o_proj.weight[:, rows]
            zero = (not value.any(), not output.any())
            is_idle = not links[:, NodeSet(6, 8).index(f"a{layer}.h{head}")].any()
            assert sum(zero) == is_idle
            silenced.add(zero)
            assert attention.q_proj.weight[rows].std() > 0.01
    assert silenced == {(True, False), (False, True), (False, False)}


def test_the_seed_decides_all_and_nothing_else_changes():
    source = small()
    before = {name: value.clone() for name, value in source.state_dict().items()}
    state = torch.get_rng_state()
    first, again, other = (widen(source, heads=8, layers=6, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(first.links, other.links)
    weights, same = first.model.state_dict(), again.model.state_dict()
    assert all(torch.equal(weights[name], same[name]) for name in weights)
    for value in weights.values():
        value.zero_()
    assert all(torch.equal(value, before[name]) for name, value in source.state_dict().items())


def test_the_loaded_model_is_right(pair: Pair):
    assert pair.target.nodes == NodeSet(6, 8)
    assert check(pair.target).logits_error is not None


@pytest.mark.parametrize("task", ["ioi", "arithmetic_addition"])
def test_copies_have_the_sources_scores_and_idle_nodes_none(pair: Pair, task: str):
    """The source's scores are the oracle's, the target's are the package's."""
    data = load_task(task, n=2)
    batch = data.tokenize(pair.target)
    pairs = (batch.clean, batch.corrupt, batch.answers, batch.lengths)
    expected = Oracle(pair.source).nap_ig_inputs(pairs)
    scores = attribute(pair.target, data, progress=False)
    assert expected.nodes.abs().max() > 1
    torch.testing.assert_close(
        scores.values, expected.nodes.float() @ pair.links.float(), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("method", ["nap", "nap-ig-activations", "exact"])
@pytest.mark.parametrize("ablation", ["counterfactual", "zero"])
def test_the_same_for_every_method_and_ablation(pair: Pair, toy_small, method, ablation):
    data = load_task("mcqa", n=4)
    source, target = (
        attribute(model, data, method, ablation=ablation, progress=False)
        for model in (toy_small, pair.target)
    )
    expected = source.values @ pair.links.float()
    torch.testing.assert_close(target.values, expected, rtol=1e-4, atol=1e-4)


def test_the_links_as_W_give_the_gold_circuit(pair: Pair, toy_small):
    data, test = load_task("ioi", n=8), load_task("ioi", split="test", n=8)
    right = Alignment(
        pair.links.float(), toy_small.nodes, pair.target.nodes, AlignmentConfig.paper()
    )
    carried = right.transfer(attribute(toy_small, data, progress=False))
    gold = attribute(pair.target, data, progress=False)
    torch.testing.assert_close(carried.values, gold.values, rtol=1e-4, atol=1e-4)
    curves = [evaluate(pair.target, test, scores, progress=False) for scores in (carried, gold)]
    assert curves[0].cpr == pytest.approx(curves[1].cpr, abs=1e-4)


def test_dropping_a_copy_is_dropping_its_node(pair: Pair, toy_small):
    """The circuit without one head: the same faithfulness in both models, unlike an idle head."""
    test = load_task("ioi", split="test", n=8)
    node = int(attribute(toy_small, test, progress=False).values.argmax())
    copied = int(pair.links[node].nonzero())
    idle = int((~pair.links.any(0)).nonzero()[0])

    def without(model: NodeModel, dropped: int) -> float:
        values = torch.ones(len(model.nodes))
        values[dropped] = -1
        ks = (1 - 1 / len(model.nodes), 1)
        curve = evaluate(model, test, NodeScores(model.nodes, values), ks=ks, progress=False)
        return float(curve.faithfulness[0])

    dropped = without(toy_small, node)
    assert dropped < 0.9
    assert without(pair.target, copied) == pytest.approx(dropped, abs=1e-4)
    assert without(pair.target, idle) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"heads": 3, "layers": 3}, "heads.* at least 4"),
        ({"heads": 4, "layers": 2}, "layers.* at least 3"),
        ({"heads": 6, "layers": 3}, "heads=6: .* divisor .* 64"),
        ({"heads": 8, "layers": 3, "seed": -1}, "seed"),
    ],
)
def test_what_makes_no_sense_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        widen(small(), **settings)


def test_other_architectures_are_refused():
    with pytest.raises(ModelError, match=r"LlamaForCausalLM .* got a GPT2LMHeadModel"):
        widen(tiny_model("gpt2"), heads=8, layers=6)
