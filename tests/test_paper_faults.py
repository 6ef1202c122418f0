"""Faults of earlier code, shown on the objects that the code uses."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dfa_tl import AlignmentConfig, NodeScores, NodeSet, align, controls, evaluate, load_task
from dfa_tl.alignment.patch_runs import patch_run
from dfa_tl.alignment.train import soft_masked_logits
from hooked_models import hooked_transformer


def test_run_with_hooks_says_nothing_about_a_silent_hook(case_of):
    """The paper's script patches heads at hook_result of a HookedTransformer: nothing happens."""
    try:
        from transformer_lens import HookedTransformer  # noqa: F401
    except ImportError:
        pytest.skip("this TransformerLens has no HookedTransformer")
    model: Any = hooked_transformer(case_of("llama-gqa").hf)
    tokens = torch.arange(1, 6)[None]

    def without_heads(name: str) -> torch.Tensor:
        hooks = [(f"blocks.{n}.attn.{name}", lambda a, hook: 0 * a) for n in range(3)]
        return model.run_with_hooks(tokens, fwd_hooks=hooks)

    with torch.no_grad():
        assert torch.equal(without_heads("hook_result"), model(tokens))
        assert not torch.equal(without_heads("hook_z"), model(tokens))


def test_only_the_bridge_refuses_a_silent_hook(llama):
    with pytest.raises(ValueError, match="use_attn_result is False"):
        llama.model.tl.run_with_hooks(
            torch.arange(1, 6)[None], fwd_hooks=[("blocks.0.attn.hook_result", lambda a, hook: a)]
        )


@pytest.mark.parametrize("nodes", [NodeSet(2, 2), NodeSet(5, 3)])
@pytest.mark.parametrize("size", [0.1, 3.0])
def test_a_step_moves_a_logit_by_the_rate_times_the_scores(llama, nodes, size):
    scores = NodeScores(nodes, size * torch.linspace(-1, 2, len(nodes)))
    config = AlignmentConfig.paper(epochs=1, batch_size=10)
    start = controls.untrained_W(nodes, llama.model.nodes, config).transfer(scores)
    trained = align({"t": scores}, llama.model, {"t": llama.data}, config, progress=False)
    moved = (trained.transfer(scores).values - start.values).abs()
    expected = 0.1 * scores.values.abs().sum()
    torch.testing.assert_close(moved, expected.expand(len(moved)), rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("nodes", [NodeSet(2, 2), NodeSet(5, 3)])
@pytest.mark.parametrize("size", [0.1, 3.0])
@pytest.mark.parametrize("normalization", ["none", "centered"])
def test_by_default_a_step_moves_a_logit_by_the_rate(llama, nodes, size, normalization):
    scores = NodeScores(nodes, size * torch.linspace(-1, 2, len(nodes)))
    config = AlignmentConfig(
        steps=1,
        batch_size=10,
        learning_rate=0.1,
        normalization=normalization,
        initialization="zero",
    )
    start = controls.untrained_W(nodes, llama.model.nodes, config).transfer(scores)
    trained = align({"t": scores}, llama.model, {"t": llama.data}, config, progress=False)
    moved = trained.transfer(scores).values - start.values
    torch.testing.assert_close(moved.abs(), torch.full_like(moved, 0.1), rtol=1e-2, atol=1e-4)
    free = controls.target_only(llama.model, {"t": llama.data}, config, progress=False)
    moved = free.values - 2.0
    torch.testing.assert_close(moved.abs(), torch.full_like(moved, 0.1), rtol=1e-2, atol=1e-4)


def test_a_mask_that_suffices_when_injected_is_no_circuit(toy_large):
    test = load_task("ioi", split="test", n=16)
    upper = torch.tensor([float(node.layer >= 3) for node in toy_large.nodes])
    curve = evaluate(
        toy_large, test, NodeScores(toy_large.nodes, upper), ks=(0.5, 1), progress=False
    )
    batch = test.tokenize(toy_large).select(range(16), "cpu")
    with toy_large.unchanged(), torch.no_grad():
        runs = patch_run(toy_large, batch, "injection")
        logits = soft_masked_logits(toy_large, batch, runs, upper, "injection")
    right, wrong = logits.gather(1, batch.answers).T
    corrupt, clean = curve.corrupt.mean(), curve.clean.mean()
    assert (float((right - wrong).mean()) - corrupt) / (clean - corrupt) > 0.7
    assert curve.faithfulness[0] < 0.1
