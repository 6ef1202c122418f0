"""Ctrl-C at any moment, threads, forked processes: the model is as it was, results are the same."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM

import dfa_tl
from dfa_tl import (
    AlignmentConfig,
    NodeModel,
    NodeScores,
    PairDataset,
    align,
    attribute,
    evaluate,
    load_model,
    load_task,
)
from dfa_tl.models import state
from dfa_tl.models.folder import BUNDLED_FOLDER
from dfa_tl.nodes import mlp_site
from hooked_models import hooked_transformer
from tiny_models import random_pairs, tiny_model

PACKAGE = str(Path(dfa_tl.__file__).parent)
SAMPLES = 8


def skip_without_hooked_transformer() -> None:
    if version("transformer-lens").startswith("4"):
        pytest.skip("TransformerLens 4 has no HookedTransformer")


def hooked_toy() -> NodeModel:
    skip_without_hooked_transformer()
    plain = AutoModelForCausalLM.from_pretrained(BUNDLED_FOLDER / "toy-small").eval()
    return load_model(hooked_transformer(plain, load_model("toy-small").tl.tokenizer))


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module", params=["bridge", "hooked transformer"])
def model(request, save_tiny) -> NodeModel:
    """In train mode, one parameter frozen, with hooks of the user's; it has run once."""
    if request.param == "bridge":
        model = load_model(save_tiny("llama-gqa"))
    else:
        skip_without_hooked_transformer()
        model = load_model(hooked_transformer(tiny_model("llama-gqa")))
    model.tl(torch.ones(1, 2, dtype=torch.long))
    model.tl.train()
    model.tl.blocks[1].eval()
    next(iter(model.tl.parameters())).requires_grad_(False)
    model.tl.add_hook(mlp_site(0), lambda activation, hook: activation * 0.9)
    model.tl.blocks[1].register_forward_hook(lambda module, args, output: None)
    return model


def tokens() -> PairDataset:
    return PairDataset.from_tokens(*random_pairs(n=1, lengths=(4,)))


def modules_of(model: NodeModel) -> list[nn.Module]:
    return [*model.tl.modules(), *getattr(model.tl, "original_model", model.tl).modules()]


def everything_of(model: NodeModel) -> list[object]:
    """Every hook by identity, every flag, and the settings of the thread."""
    found: list[object] = [
        model.tl.cfg.default_prepend_bos,
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
    ]
    for module in modules_of(model):
        found += [
            module.training,
            list(module._forward_hooks.items()),
            list(module._forward_pre_hooks.items()),
            list(module._backward_hooks.items()),
            [id(handle) for handle in getattr(module, "fwd_hooks", ())],
            id(module.__dict__.get("forward")),
            [p.requires_grad for p in module.parameters(recurse=False)],
            [p.grad is None for p in module.parameters(recurse=False)],
        ]
    return found


def calls_on(model: NodeModel) -> dict[str, Callable[[], torch.Tensor]]:
    data = tokens()
    scores = NodeScores(model.nodes, torch.arange(len(model.nodes)).float())
    short = AlignmentConfig(epochs=1)

    def score(method: str) -> Callable[[], torch.Tensor]:
        return lambda: attribute(model, data, method, ig_steps=2, progress=False).values

    return {
        "nap": score("nap"),
        "nap-ig-activations": score("nap-ig-activations"),
        "exact": score("exact"),
        "evaluate": lambda: torch.as_tensor(
            evaluate(model, data, scores, ks=(0, 0.5, 1), progress=False).pair_values
        ),
        "align": lambda: align({"t": scores}, model, {"t": data}, short, progress=False).W,
    }


def is_near(code) -> bool:
    """Code between whose steps a model stands changed: ours, contextlib's, and that of hooks."""
    return (
        code.co_filename.startswith(PACKAGE)
        or code.co_filename == contextlib.__file__
        or "hook" in code.co_filename
        or "hook" in code.co_name
    )


def traced(call: Callable[[], torch.Tensor], stop: int | None = None) -> tuple[int, int]:
    """Run `call` with a KeyboardInterrupt at step number `stop`.

    Steps are entries and lines of the code that `is_near` tells. Returns how many there were, and
    how many interrupts were raised.
    """
    seen = raised = 0

    def step() -> None:
        nonlocal seen, raised
        seen += 1
        if seen == stop:
            raised += 1
            raise KeyboardInterrupt

    def within(frame, event, argument):
        if event == "line":
            step()
        return within

    def entered(frame, event, argument):
        if not is_near(frame.f_code):
            return None
        step()
        return within

    before = sys.gettrace()
    sys.settrace(entered)
    try:
        call()
    except KeyboardInterrupt:
        assert raised
    finally:
        sys.settrace(before)
    return seen, raised


@pytest.mark.slow
# Python ignores what is raised while it closes a generator: such an interrupt is lost.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", ["nap", "nap-ig-activations", "exact", "evaluate", "align"])
def test_interrupted_anywhere(model, name):
    """At places spread over the call: nothing is left behind, and the next call is right."""
    call = calls_on(model)[name]
    expected = call()
    before = everything_of(model)
    total, _ = traced(call)
    assert total > SAMPLES
    for number in torch.linspace(1, total, SAMPLES).long().tolist():
        _, raised = traced(call, number)
        assert raised == 1
        assert everything_of(model) == before, f"interrupted at step {number} of {total}"
    assert torch.equal(call(), expected)


def test_interrupted_again_and_again_while_it_is_put_back(model, monkeypatch):
    """The first Ctrl-C ends a run; the next ones come while hooks are taken off, and later."""
    before = everything_of(model)
    take_off, calls = state._take_off, []

    def interrupted(*_):
        raise KeyboardInterrupt

    def sometimes(each):
        calls.append(each)
        if len(calls) in (1, 2, 7, 40, 41):
            raise KeyboardInterrupt
        take_off(each)

    call = calls_on(model)["evaluate"]
    expected = call()
    with monkeypatch.context() as patch:
        patch.setattr(state, "remove_hook", interrupted)
        patch.setattr(state, "_take_off", sometimes)
        with pytest.raises(KeyboardInterrupt):
            call()
    assert len(calls) > 41
    assert everything_of(model) == before
    assert torch.equal(call(), expected)


def test_hooks_that_are_put_on_meanwhile_stay(model):
    """By the user's own code inside a call, as by Transformers in a model's first run."""
    point = model.hook_point(mlp_site(2))
    plain = model.tl.blocks[2]
    handles = []

    def metric(logits, batch):
        if not handles:
            handles.append(plain.register_forward_hook(lambda module, args, output: None))
            point.add_hook(lambda activation, hook: None)
        return logits[:, 0]

    attribute(model, tokens(), "exact", metric=metric, progress=False)
    assert handles[0].id in plain._forward_hooks
    state.remove_hook(point, point.fwd_hooks[-1])
    handles[0].remove()
    assert not point.fwd_hooks


def test_two_threads_with_text():
    """Tokenising waits for its turn too: a HookedTransformer changes its settings meanwhile."""
    model = hooked_toy()
    data = load_task("ioi", n=16)
    expected = data.tokenize(model)
    default = model.tl.cfg.default_prepend_bos
    same: list[bool] = []
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:

        def work():
            for _ in range(10):
                found = data.tokenize(model)
                same.append(
                    found.clean.shape == expected.clean.shape
                    and torch.equal(found.clean, expected.clean)
                    and torch.equal(found.answers, expected.answers)
                )

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert len(same) == 30
    assert all(same)
    assert model.tl.cfg.default_prepend_bos == default


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_child_forked_while_another_thread_is_inside_a_call(model):
    """The child has a model as it was, and does not wait for a thread that it does not have."""
    call = calls_on(model)["evaluate"]
    expected = call()
    before = everything_of(model)
    inside, leave = threading.Event(), threading.Event()

    def metric(logits, batch):
        inside.set()
        assert leave.wait(60)
        return logits[:, 0]

    def work():
        with contextlib.suppress(dfa_tl.errors.NumericsError):
            attribute(model, tokens(), "exact", metric=metric, progress=False)

    thread = threading.Thread(target=work)
    thread.start()
    assert inside.wait(60)
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(60)  # ends the child where it hangs
        as_before = everything_of(model) == before
        os._exit(0 if as_before and torch.equal(call(), expected) else 1)
    leave.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert everything_of(model) == before
