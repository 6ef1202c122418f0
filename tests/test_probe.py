"""The run that shows, when a model is loaded, whether its hook points are its nodes."""

from __future__ import annotations

import pytest
import torch
from transformer_lens.model_bridge import TransformerBridge

from dfa_tl import NodeModel, check, load_model
from dfa_tl.errors import ModelError
from dfa_tl.models.partial_run import mask_option
from dfa_tl.models.probe import probe
from dfa_tl.nodes import head_site, mlp_site
from tiny_models import tiny_model, word_tokenizer


@pytest.fixture
def bridge(tmp_path):
    tiny_model("Llama-3").save_pretrained(tmp_path)
    word_tokenizer().save_pretrained(tmp_path)
    return TransformerBridge.boot_transformers(str(tmp_path), device="cpu")


def refused(bridge, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        load_model(bridge)


def test_a_live_model_is_left_as_it_was(bridge):
    """Hooks that are on it do not run, and stay."""
    ran = []
    point = bridge.hook_dict[mlp_site(1)]
    point.add_hook(lambda activation, hook: ran.append(hook.name))
    hooks, handles = dict(point._forward_hooks), list(point.fwd_hooks)
    bridge.train()
    random = torch.get_rng_state()
    load_model(bridge)
    assert not ran
    assert dict(point._forward_hooks) == hooks
    assert point.fwd_hooks == handles
    assert bridge.training
    assert torch.equal(random, torch.get_rng_state())
    assert sum(len(p.fwd_hooks) for p in set(bridge.hook_dict.values())) == 1


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_stream_with_very_large_values(tmp_path, dtype):
    """Pretrained models have a few, hundreds of times larger than what one MLP writes."""
    model = tiny_model("Llama-3")
    with torch.no_grad():
        model.model.embed_tokens.weight[:, 0] = 500.0
    model.save_pretrained(tmp_path)
    word_tokenizer().save_pretrained(tmp_path)
    found = check(load_model(tmp_path, dtype=dtype))
    assert found.residual_error < found.tolerance


def test_an_mlp_that_is_cut_off_from_the_stream(bridge):
    """What a hook sets there has no effect."""
    bridge.blocks[1].mlp.register_forward_hook(lambda module, args, out: torch.zeros_like(out))
    refused(bridge, "it is not what the MLP writes")


def test_something_else_that_writes_to_the_stream(bridge):
    norm = bridge.blocks[1].ln2
    block = bridge.blocks[1].original_component
    plain = block.forward

    def with_another(hidden, *args, **kwargs):
        output = plain(hidden, *args, **kwargs)
        return output + torch.relu(norm(hidden))

    block.forward = with_another
    refused(bridge, "stream leaving layer 1 differs .* something else writes")


def test_a_second_part_of_an_mlp(bridge):
    """Its hook point has the one part alone."""
    mlp = bridge.blocks[0].mlp
    out = mlp.register_forward_hook(lambda module, args, output: output + torch.tanh(args[0]))
    refused(bridge, "stream leaving layer 0 differs .* something else writes")
    out.remove()
    load_model(bridge)


def test_positions_that_see_later_tokens(bridge):
    def reversed_too(module, args, output):
        return output + output.flip(1)

    bridge.embed.register_forward_hook(reversed_too)
    refused(bridge, "not a causal language model")


def test_a_layer_that_runs_twice(bridge):
    block = bridge.blocks[2].original_component
    plain = block.forward

    def twice(hidden, *args, **kwargs):
        kwargs["past_key_values"] = None  # a cache would take the second run for later positions
        return plain(plain(hidden, *args, **kwargs), *args, **kwargs)

    block.forward = twice
    refused(bridge, "fires 2 times in a run, expected once")


def test_a_model_that_cannot_be_run(bridge):
    def fail(*_):
        raise ValueError("no run today")

    bridge.blocks[1].register_forward_pre_hook(fail)
    refused(bridge, r"cannot be run \(ValueError: no run today\)")


def test_hook_points_at_the_wrong_place(bridge):
    model = NodeModel(bridge)
    attention = bridge.blocks[1].attn
    places = {
        head_site(1): (attention.hook_out, r"has \[4, 6, 32\] at blocks\.1\.attn\.hook_z"),
        mlp_site(1): (bridge.blocks[1].ln2.hook_out, "is not what the MLP writes|something else"),
    }
    for site, (point, message) in places.items():
        with pytest.raises(ModelError, match=message):
            probe(bridge, "model", model.nodes, {**model._hook_points, site: point})
    assert probe(bridge, "model", model.nodes, model._hook_points) < 1e-6


def test_a_bridge_needs_no_mask(bridge):
    bridge.tokenizer.padding_side = "left"
    assert not mask_option(bridge, torch.ones(1, 3, dtype=torch.bool))
