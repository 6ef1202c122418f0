"""The package inside other people's code: their context, their threads, their model and hooks."""

from __future__ import annotations

import asyncio
import runpy
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from torch import nn

from dfa_tl import (
    AlignmentConfig,
    NodeScores,
    PairDataset,
    align,
    attribute,
    controls,
    estimate_memory,
    evaluate,
    evaluate_many,
    load_model,
)
from dfa_tl.errors import ConfigError, ModelError
from dfa_tl.nodes import EMBED_SITE, mlp_site
from oracle import Oracle

EXAMPLE = Path(__file__).parent.parent / "examples" / "own_model.py"
METHODS = ("nap", "nap-ig-activations", "exact")
RAW = AlignmentConfig(epochs=1, normalization="none", initialization="random")


pytestmark = pytest.mark.usefixtures("one_thread")


def everything(model, data) -> dict[str, torch.Tensor]:
    """What each public call gives on a model."""
    found = {}
    for method in METHODS:
        found[method] = attribute(model, data, method, ig_steps=2, progress=False)
    found["at corrupt"] = attribute(model, data, "nap", at="corrupt", progress=False)
    alignment = align({"t": found["nap"]}, model, {"t": data}, RAW, progress=False)
    carried = alignment.transfer(found["nap"])
    curve = evaluate(model, data, carried, progress=False)
    alone = controls.target_only(model, {"t": data}, AlignmentConfig(epochs=1), progress=False)
    tensors = {name: scores.values for name, scores in found.items()}
    return tensors | {
        "W": alignment.W,
        "loss": alignment.history.loss,
        "carried": carried.values,
        "curve": torch.as_tensor(curve.pair_values, device="cpu"),
        "target only": alone.values,
    }


def same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


@pytest.fixture(scope="module")
def expected(case_of):
    case = case_of("llama-gqa")
    return everything(case.model, case.data)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_inside_a_context_without_gradients(llama, expected, context):
    with context():
        found = everything(llama.model, llama.data)
        assert torch.is_inference_mode_enabled() == (context is torch.inference_mode)
        assert not torch.is_grad_enabled()
    same(found, expected)
    del found["curve"]  # made a tensor in this test
    assert not any(value.is_inference() for value in found.values())


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def default_device(device: str) -> Iterator[None]:
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_device(None)


OTHER_DEFAULTS = {
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "float64": lambda: default_dtype(torch.float64),
    "bfloat16": lambda: default_dtype(torch.bfloat16),
    "default device": lambda: default_device("meta"),  # where nothing can be computed
    "device context": lambda: torch.device("meta"),
}


@pytest.mark.parametrize("name", OTHER_DEFAULTS)
def test_inside_a_context_with_other_defaults(llama, expected, toy_small, name):
    """Numbers are those of the model's own dtype and device, and the context stays as it was."""
    text = "When Mary and John went"
    tokens = toy_small.prompt_tokens(text)
    with OTHER_DEFAULTS[name]():
        before = torch.ones(1) @ torch.ones(1, 1)
        found = everything(llama.model, llama.data)
        assert toy_small.prompt_tokens(text).equal(tokens)
        drawn = controls.random_W(llama.model.nodes, llama.model.nodes).W
        after = torch.ones(1) @ torch.ones(1, 1)
    same(found, expected)
    assert torch.equal(drawn, controls.random_W(llama.model.nodes, llama.model.nodes).W)
    assert (after.dtype, after.device) == (before.dtype, before.device)


@pytest.mark.usefixtures("unchecked")
def test_a_model_that_is_not_wrapped(llama):
    """A live TransformerLens model, or a name, where `load_model` of it is meant."""
    scores = NodeScores(llama.model.nodes, torch.ones(len(llama.model.nodes)))
    for given, kind in ((llama.model.tl, "a TransformerBridge"), ("toy-small", "'toy-small'")):
        for call in (
            lambda given=given: attribute(given, llama.data),
            lambda given=given: evaluate(given, llama.data, scores),
            lambda given=given: evaluate_many(given, llama.data, {"any": scores}),
            lambda given=given: align({"t": scores}, given, {"t": llama.data}),
            lambda given=given: controls.target_only(given, {"t": llama.data}),
            lambda given=given: estimate_memory(given, llama.data, "nap"),
        ):
            with pytest.raises(ConfigError, match=rf"a NodeModel, got {kind}\. To get it"):
                call()


def test_what_was_made_in_inference_mode_is_of_use_outside(llama, expected):
    with torch.inference_mode():
        data = PairDataset.from_tokens(*(tensor.clone() for tensor in llama.pairs))
        scores = NodeScores(llama.model.nodes, expected["nap"] * 1.0)
    assert data.tokens.clean.is_inference()
    same(everything(llama.model, data), expected)
    alignment = align({"t": scores}, llama.model, {"t": data}, RAW, progress=False)
    assert torch.equal(alignment.W, expected["W"])


def test_weights_made_in_inference_mode_are_refused(save_tiny, llama):
    model = load_model(save_tiny("llama-gqa"))
    linear = next(m for m in model.tl.modules() if isinstance(m, nn.Linear))
    with torch.inference_mode():
        linear.weight = nn.Parameter(linear.weight.clone())
    before = [p.requires_grad for p in model.tl.parameters()]
    scores = NodeScores(model.nodes, torch.ones(len(model.nodes)))
    for call in (
        lambda: attribute(model, llama.data, "nap", progress=False),
        lambda: align({"t": scores}, model, {"t": llama.data}, RAW, progress=False),
        lambda: evaluate(model, llama.data, scores, progress=False),
    ):
        with pytest.raises(ModelError, match=r"weight was made inside torch\.inference_mode\(\)"):
            call()
        assert [p.requires_grad for p in model.tl.parameters()] == before


@pytest.mark.slow
def test_train_mode_with_dropout(case_of, save_tiny):
    """GPT-2 has dropout of .1: it is off in every run, and on again afterwards."""
    case = case_of("gpt2")
    assert case.hf.config.resid_pdrop > 0
    model = load_model(save_tiny("gpt2"))
    model.tl.train()
    model.tl.blocks[1].eval()
    modes = [m.training for m in (*model.tl.modules(), *model.tl.original_model.modules())]
    assert any(isinstance(m, nn.Dropout) and m.training for m in model.tl.original_model.modules())
    same(everything(model, case.data), everything(case.model, case.data))
    after = [m.training for m in (*model.tl.modules(), *model.tl.original_model.modules())]
    assert after == modes


def test_a_live_models_name_does_not_say_where_it_lies(save_tiny):
    """It stands in provenance, and so in files that are published."""
    model = load_model(save_tiny("llama-gqa"))
    assert load_model(model.tl).name == save_tiny("llama-gqa").name


def test_gradients_that_were_there_stay(save_tiny, llama):
    model = load_model(save_tiny("llama-gqa"))
    parameters = list(model.tl.original_model.parameters())
    for parameter in parameters:
        parameter.grad = torch.full_like(parameter, 0.5)
    parameters[0].requires_grad_(False)
    everything(model, llama.data)
    assert all((parameter.grad == 0.5).all() for parameter in parameters)
    assert [p.requires_grad for p in parameters] == [False] + [True] * (len(parameters) - 1)


@pytest.mark.slow
def test_inside_a_running_event_loop(llama, expected):
    """As in Jupyter: called from a coroutine, and from threads that the loop waits for."""

    async def cell():
        here = everything(llama.model, llama.data)
        there = asyncio.to_thread(everything, llama.model, llama.data)
        ticks = 0
        waiting = asyncio.ensure_future(there)
        while not waiting.done():
            ticks += 1
            await asyncio.sleep(0.01)
        return here, await waiting, ticks

    here, there, ticks = asyncio.run(cell())
    same(here, expected)
    same(there, expected)
    assert ticks, "the loop stood still"


def test_two_threads_with_different_work_take_turns(llama):
    """Each has its own hooks on the one model: none may see the other's."""
    model, data = llama.model, llama.data
    scores = NodeScores(model.nodes, torch.arange(len(model.nodes)).float())
    work = {
        "exact": lambda: attribute(model, data, "exact", batch_size=1, progress=False).values,
        "evaluate": lambda: torch.as_tensor(
            evaluate(model, data, scores, batch_size=1, progress=False).pair_values
        ),
        "align": lambda: align({"t": scores}, model, {"t": data}, RAW, progress=False).W,
        # Another wrapper of the same model waits for the same turn.
        "wrapped": lambda: attribute(load_model(model.tl), data, "nap", progress=False).values,
    }
    alone = {name: call() for name, call in work.items()}
    together: dict[str, torch.Tensor] = {}
    start = threading.Barrier(len(work))

    def run(name):
        start.wait()
        together[name] = work[name]()

    threads = [threading.Thread(target=run, args=(name,)) for name in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    same(together, alone)


@pytest.mark.slow
def test_a_thread_in_inference_mode_beside_one_that_is_not(llama, expected):
    found = {}

    def run(name, context):
        with context():
            found[name] = everything(llama.model, llama.data)

    contexts = {"inference": torch.inference_mode, "gradients": torch.enable_grad}
    threads = [threading.Thread(target=run, args=each) for each in contexts.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name in contexts:
        same(found[name], expected)


class Spy:
    """A hook of the user's that changes an activation and counts."""

    def __init__(self, factor: float) -> None:
        self.factor, self.times = factor, 0

    def __call__(self, activation, hook):
        self.times += 1
        return activation * self.factor


@pytest.mark.parametrize("site", [mlp_site(1), EMBED_SITE])
def test_own_hooks_are_part_of_the_model(save_tiny, llama, site):
    """Scores are those of the model with its hook; the oracle has a plain one at the same place."""
    model, spy = load_model(save_tiny("llama-gqa")), Spy(0.5)
    model.tl.add_hook(site, spy)
    hooks = {name: len(point.fwd_hooks) for name, point in model.tl.hook_dict.items()}
    scores = attribute(model, llama.data, "nap", progress=False)
    fired = spy.times
    assert fired

    oracle = Oracle(llama.hf)
    module = oracle.embedding if site == EMBED_SITE else oracle.mlps[1]
    handle = module.register_forward_hook(lambda module, args, output: output * 0.5)
    try:
        halved = oracle.nap(llama.pairs)
    finally:
        handle.remove()
    largest = halved.nodes.abs().max()
    assert (scores.values - halved.nodes).abs().max() <= 1e-4 * largest
    plain = attribute(llama.model, llama.data, "nap", progress=False)
    assert (scores.values - plain.values).abs().max() > 1e-2 * largest

    everything(model, llama.data)
    assert {name: len(point.fwd_hooks) for name, point in model.tl.hook_dict.items()} == hooks
    fired = spy.times
    model.tl(torch.ones(1, 2, dtype=torch.long))
    assert spy.times == fired + 1


def test_inside_the_users_own_hooks_context(save_tiny, llama):
    """Called while the user's temporary hooks are on: they stay on until that context ends."""
    model, spy = load_model(save_tiny("llama-gqa")), Spy(1.0)
    with model.tl.hooks(fwd_hooks=[(mlp_site(0), spy)]):
        attribute(model, llama.data, "exact", progress=False)
        fired = spy.times
        model.tl(torch.ones(1, 2, dtype=torch.long))
        assert spy.times == fired + 1
    model.tl(torch.ones(1, 2, dtype=torch.long))
    assert spy.times == fired + 1


KINDS_OF_MODEL = ["", "--hooked"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS_OF_MODEL, ids=["bridge", "hooked transformer"])
def test_the_example(kind, monkeypatch, capsys):
    if kind and version("transformer-lens").startswith("4"):
        pytest.skip("TransformerLens 4 has no HookedTransformer")

    monkeypatch.setattr(sys, "argv", [str(EXAMPLE), "--pairs", "6", *([kind] if kind else [])])
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    assert "as it was; its own hook fired" in capsys.readouterr().out
