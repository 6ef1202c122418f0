"""Memory: estimates, out-of-memory, and nothing left behind."""

from __future__ import annotations

import gc
import logging

import pytest
import torch
from torch import Tensor

from dfa_tl import AlignmentConfig, align, attribute, estimate_memory, evaluate, load_task
from dfa_tl.attribution.exact import STACKED
from dfa_tl.attribution.registry import METHODS
from dfa_tl.errors import ConfigError, OutOfMemoryError
from dfa_tl.memory import OTHER_JOBS, run_job
from dfa_tl.models.batching import is_out_of_memory
from dfa_tl.models.tensor_memory import TrackMemory, peak_of
from dfa_tl.nodes import mlp_site

pytestmark = pytest.mark.slow

JOBS = (*METHODS, *OTHER_JOBS)


def test_tracking_counts_live_tensors():
    with TrackMemory() as tracker:
        a = torch.zeros(1000)
        b = a * 2
        view = b.view(10, 100)
        assert tracker.live == 8000
        del a, b
        assert tracker.live == 4000
        del view
    assert (tracker.live, tracker.peak) == (0, 8000)


@pytest.mark.parametrize("job", JOBS)
def test_estimates_are_within_30_percent(toy_small, job):
    data = load_task("ioi", n=12)
    estimate = estimate_memory(toy_small, data, job, batch_size=8)
    measured = peak_of(run_job(toy_small, data, job, 8), toy_small.device)
    assert estimate == pytest.approx(measured, rel=0.3)


@pytest.mark.parametrize("job", [*METHODS, "evaluate"])
@pytest.mark.parametrize("ablation", ["zero", "mean"])
def test_estimates_are_within_30_percent_under_other_ablations(toy_small, job, ablation):
    if job == "nap-ig-inputs":
        pytest.skip("takes only counterfactual")
    data = load_task("ioi", n=12)
    estimate = estimate_memory(toy_small, data, job, ablation=ablation, batch_size=8)
    measured = peak_of(run_job(toy_small, data, job, 8, ablation), toy_small.device)
    assert estimate == pytest.approx(measured, rel=0.3)


def test_unknown_job(toy_large):
    with pytest.raises(ConfigError, match="job='train': choose one of nap"):
        estimate_memory(toy_large, load_task("ioi", n=2), "train")


@pytest.mark.parametrize("job", JOBS)
def test_nothing_stays_allocated(llama, job):
    def live() -> int:
        gc.collect()
        return sum(issubclass(type(each), Tensor) for each in gc.get_objects())

    work = run_job(llama.model, llama.data, job, 2)
    work()
    before = live()
    work()
    assert live() == before


@pytest.mark.parametrize("job", JOBS)
def test_no_tensor_of_nodes_by_positions_by_d_model(toy_small, job):
    """The memory of edge-based tools: batch x positions x every node x d_model."""
    data = load_task("ioi", n=4)
    width = int(data.tokenize(toy_small).lengths.max())
    with TrackMemory() as tracker:
        run_job(toy_small, data, job, 4)()
    cfg = toy_small.tl.cfg
    # What the model itself makes of that many rows, and no more.
    rows = 4 * (STACKED if job == "exact" else 1)
    assert tracker.largest <= rows * width * max(cfg.d_mlp, cfg.n_heads * width) * 4


@pytest.fixture
def at_most_two(llama):
    """A model that has memory for two pairs only."""
    failures = []

    def fail(activation, hook):
        if len(activation) > 2:
            failures.append(len(activation))
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate ...")

    point = llama.model.hook_point(mlp_site(1))
    point.add_hook(fail)
    yield failures
    point.fwd_hooks.pop().hook.remove()


@pytest.mark.parametrize("method", ["nap", "nap-ig-inputs", "nap-ig-activations"])
@pytest.mark.parametrize("ablation", ["counterfactual", "mean"])
def test_out_of_memory_halves_the_batch(llama, at_most_two, caplog, method, ablation):
    if method == "nap-ig-inputs" and ablation == "mean":
        pytest.skip("takes only counterfactual")

    def scores(batch_size):
        return attribute(
            llama.model, llama.data, method, ig_steps=2, ablation=ablation,
            batch_size=batch_size, progress=False,
        ).values  # fmt: skip

    expected = scores(2)
    assert not at_most_two
    with caplog.at_level(logging.WARNING):
        torch.testing.assert_close(scores(4), expected, rtol=1e-5, atol=1e-6)
    assert at_most_two
    assert caplog.text.count("going on with half as many") == (2 if ablation == "mean" else 1)


@pytest.mark.parametrize("cache", ["auto", "none"])
def test_alignment_and_evaluation_go_on_too(llama, at_most_two, cache):
    scores = attribute(llama.model, llama.data, "nap", batch_size=2, progress=False)
    curve = evaluate(llama.model, llama.data, scores, batch_size=2, progress=False)
    again = evaluate(llama.model, llama.data, scores, batch_size=4, progress=False)
    assert again.faithfulness == pytest.approx(curve.faithfulness, rel=1e-4, abs=1e-5)
    failures = len(at_most_two)
    config = AlignmentConfig.paper(batch_size=4)
    short = align(
        {"t": scores}, llama.model, {"t": llama.data}, config, cache=cache, progress=False
    )
    assert len(at_most_two) > failures
    llama.model.hook_point(mlp_site(1)).fwd_hooks[-1].hook.remove()
    roomy = align(
        {"t": scores}, llama.model, {"t": llama.data}, config, cache=cache, progress=False
    )
    torch.testing.assert_close(short.W, roomy.W, rtol=1e-3, atol=1e-4)


def test_not_even_one_pair(llama):
    def fail(activation, hook):
        raise MemoryError("nothing left")

    point = llama.model.hook_point(mlp_site(0))
    point.add_hook(fail)
    try:
        with pytest.raises(OutOfMemoryError, match="not even one pair fits in memory"):
            attribute(llama.model, llama.data, "nap", progress=False)
    finally:
        point.fwd_hooks.pop().hook.remove()


def test_which_errors_mean_out_of_memory():
    assert is_out_of_memory(RuntimeError("MPS backend out of memory"))
    assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory"))
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
    assert not is_out_of_memory(ValueError("out of memory"))


@pytest.mark.parametrize("cache", ["device", "host", "none"])
def test_the_cache_changes_nothing(llama, cache):
    scores = attribute(llama.model, llama.data, "nap", progress=False)
    config = AlignmentConfig(steps=20, batch_size=2)

    def train(where):
        return align(
            {"t": scores}, llama.model, {"t": llama.data}, config, cache=where, progress=False
        ).W

    torch.testing.assert_close(train(cache), train("auto"))
    with pytest.raises(ConfigError, match="cache='disk': choose one of auto, device"):
        train("disk")
