"""Half-precision models, and values that are not finite."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from scipy.stats import spearmanr

from dfa_tl import AlignmentConfig, NodeScores, align, attribute, evaluate, load_model, load_task
from dfa_tl.errors import NumericsError
from dfa_tl.nodes import head_site, mlp_site

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["toy-small", "toy-large"])
def test_half_precision_ranks_nodes_alike(name, dtype):
    data = load_task("ioi", n=24, split="test")
    full, half = load_model(name), load_model(name, dtype=dtype)
    assert half.dtype == dtype
    for method in ("nap", "nap-ig-inputs", "exact"):
        expected = attribute(full, data, method, progress=False)
        scores = attribute(half, data, method, progress=False)
        assert scores.values.dtype == torch.float32
        assert spearmanr(scores.values, expected.values).statistic > 0.99
    curves = [evaluate(model, data, expected, progress=False) for model in (full, half)]
    assert curves[1].cpr == pytest.approx(curves[0].cpr, abs=0.03)


def test_W_is_trained_in_float32():
    data = {"ioi": load_task("ioi", n=16)}
    scores = {"ioi": attribute(load_model("toy-small"), data["ioi"], progress=False)}
    results = {
        dtype: align(
            scores,
            load_model("toy-large", dtype=dtype),
            data,
            AlignmentConfig(steps=30),
            progress=False,
        )
        for dtype in (torch.float32, torch.bfloat16)
    }
    losses = [result.history.loss for result in results.values()]
    torch.testing.assert_close(*losses, rtol=0.05, atol=0.02)
    assert all(result.W.dtype == torch.float32 for result in results.values())


@pytest.mark.parametrize("site", [head_site(1), mlp_site(2)])
@pytest.mark.parametrize("job", ["attribute", "evaluate", "align"])
def test_a_nan_names_the_batch_and_the_hook(llama, site, job):
    scores = attribute(llama.model, llama.data, "nap", progress=False)

    def poison(activation, hook):
        poisoned = activation.clone()
        poisoned[-1] = float("nan")
        return poisoned

    point = llama.model.hook_point(site)
    point.add_hook(poison)
    jobs = {
        "attribute": partial(attribute, llama.model, llama.data, "nap", batch_size=2),
        "evaluate": partial(evaluate, llama.model, llama.data, scores, batch_size=2),
        "align": partial(align, {"t": scores}, llama.model, {"t": llama.data}),
    }
    try:
        with pytest.raises(NumericsError, match=rf"first at {site}, in the clean run of pair \d"):
            jobs[job](progress=False)
    finally:
        point.fwd_hooks.pop().hook.remove()


def test_a_metric_that_is_not_finite_is_told_apart(llama):
    with pytest.raises(NumericsError, match="so the metric or its gradient is not"):
        attribute(
            llama.model, llama.data, "nap", metric=lambda z, b: z[:, 0] * float("nan"),
            progress=False,
        )  # fmt: skip


def test_infinite_logits_are_named(llama):
    handle = llama.model.tl.unembed.register_forward_hook(
        lambda module, args, output: output + float("inf")
    )
    scores = NodeScores(llama.model.nodes, torch.rand(15))
    try:
        with pytest.raises(NumericsError, match="first at the logits, in the clean run"):
            evaluate(llama.model, llama.data, scores, progress=False)
    finally:
        handle.remove()
