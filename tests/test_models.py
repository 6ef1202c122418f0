from __future__ import annotations

import shutil
import threading
from importlib.metadata import version

import pytest
import torch
from torch import nn

from dfa_tl import NodeModel, PairDataset, align, attribute, evaluate, load_model
from dfa_tl.errors import FileFormatError, HookError, ModelError
from dfa_tl.models.folder import BUNDLED_FOLDER
from dfa_tl.models.interventions import capture, hooked, interpolate, replace, site_weights
from dfa_tl.models.partial_run import Resume, residual_site
from dfa_tl.nodes import EMBED_SITE, head_site, mlp_site, node_sites
from hooked_models import hooked_transformer
from tiny_models import KINDS, tiny_model


def batch_of(case):
    tokens = case.data.tokenize(case.model)
    return tokens.select(range(len(tokens)), "cpu")


@pytest.mark.parametrize("kind", KINDS)
def test_a_padded_row_gives_the_logits_of_the_row_alone(case_of, kind):
    case = case_of(kind)
    batch = batch_of(case)
    assert not batch.mask.all()
    with torch.no_grad():
        together = case.model.last_logits(batch.clean, batch.mask, batch.last)
        for row, length in enumerate((batch.last + 1).tolist()):
            plain = case.hf(batch.clean[row : row + 1, :length]).logits[0, -1]
            torch.testing.assert_close(together[row], plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fallback", [False, True])
def test_a_run_from_a_layer_equals_the_whole_run(case_of, kind, fallback, monkeypatch):
    case = case_of(kind)
    batch = batch_of(case)
    model = case.model
    layers = range(model.nodes.n_layers)
    site = mlp_site(model.nodes.n_layers - 1)
    with torch.no_grad():
        with (
            capture(model, map(residual_site, layers)) as residuals,
            hooked(model, {site: lambda a: a * 2}),
        ):
            whole = model.last_logits(batch.clean, batch.mask, batch.last)
        if fallback:
            monkeypatch.setattr(model.partial_run, "block_output", "other")
        for layer in layers:
            resume = Resume(layer, residuals[residual_site(layer)])
            with hooked(model, {site: lambda a: a * 2}):
                part = model.last_logits(batch.clean, batch.mask, batch.last, resume)
            torch.testing.assert_close(part, whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_run_skips_the_layers_below(case_of, kind):
    case = case_of(kind)
    batch = batch_of(case)
    model = case.model
    with torch.no_grad():
        with capture(model, [residual_site(2)]) as residuals:
            model.last_logits(batch.clean, batch.mask, batch.last)
        resume = Resume(2, residuals[residual_site(2)])
        silent = capture(model, [mlp_site(1)])
        silent.__enter__()
        model.last_logits(batch.clean, batch.mask, batch.last, resume)
        with pytest.raises(HookError, match=r"1 of 1 hooks never fired.*blocks\.1\.hook_mlp_out"):
            silent.__exit__(None, None, None)
    assert "forward" not in model.tl.blocks[0].__dict__


def test_resuming_needs_a_whole_run_first(save_tiny):
    model = load_model(load_model(save_tiny("llama-gqa")).tl)
    tokens = torch.ones(1, 3, dtype=torch.long)
    with pytest.raises(ModelError, match=r"run .* from the embedding once"):
        model.last_logits(
            tokens, tokens.bool(), torch.tensor([2]), Resume(1, torch.zeros(1, 3, 32))
        )


def test_every_hook_fires_on_every_site(llama):
    batch = batch_of(llama)
    sites = [EMBED_SITE, *node_sites(llama.model.nodes)]
    with capture(llama.model, sites) as seen, torch.no_grad():
        llama.model.last_logits(batch.clean, batch.mask, batch.last)
    assert set(seen) == set(sites)
    width = batch.clean.shape[1]
    assert seen[head_site(0)].shape == (4, width, 4, 8)
    assert seen[mlp_site(0)].shape == (4, width, 32)
    assert seen[EMBED_SITE].shape == (4, width, 32)


def test_a_hook_that_does_not_fire_is_named(llama):
    """Fault 1: an intervention that silently does nothing."""
    silent = capture(llama.model, [head_site(0), mlp_site(0)])
    silent.__enter__()
    with pytest.raises(HookError, match=r"2 of 2 hooks never fired.*hook_z"):
        silent.__exit__(None, None, None)


def test_replace_and_interpolate(llama):
    batch = batch_of(llama)
    site = mlp_site(1)
    value = torch.full((32,), 0.25)
    with torch.no_grad():
        with replace(llama.model, {site: value}), capture(llama.model, [site]) as seen:
            llama.model.last_logits(batch.clean, batch.mask, batch.last)
        assert torch.equal(seen[site], value.expand_as(seen[site]))
        with capture(llama.model, [site]) as before:
            llama.model.last_logits(batch.clean, batch.mask, batch.last)
        half = {site: torch.tensor(0.5)}
        with interpolate(llama.model, {site: value}, half), capture(llama.model, [site]) as seen:
            llama.model.last_logits(batch.clean, batch.mask, batch.last)
    torch.testing.assert_close(seen[site], before[site] / 2 + 0.125)


def test_site_weights_have_one_weight_per_node(llama):
    nodes = llama.model.nodes
    weights = site_weights(nodes, torch.arange(len(nodes), dtype=torch.float32))
    assert weights[head_site(1)][:, 0].tolist() == [5, 6, 7, 8]
    assert weights[mlp_site(2)].item() == 14


def loaded(save_tiny) -> NodeModel:
    """A model of one's own that has run once: its first run sets up hooks of Hugging Face's."""
    model = load_model(save_tiny("llama-gqa"))
    model.tl(torch.ones(1, 2, dtype=torch.long))
    return model


class State:
    """Everything of a model that a call could change."""

    def __init__(self, tl):
        hf = getattr(tl, "original_model", tl)
        self.weights = {k: v.clone() for k, v in hf.state_dict().items()}
        modules = [*tl.modules(), *hf.modules()]
        self.flags = (
            [m.training for m in modules],
            [p.requires_grad for m in modules for p in m.parameters(recurse=False)],
            [p.grad is None for m in modules for p in m.parameters(recurse=False)],
            [p.dtype for m in modules for p in m.parameters(recurse=False)],
            ["forward" in m.__dict__ for m in modules],
            [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in modules],
            {n: (len(h.fwd_hooks), len(h.bwd_hooks)) for n, h in tl.hook_dict.items()},
            repr(tl.cfg),
        )
        self.random = torch.get_rng_state()

    def __eq__(self, other):
        return (
            self.flags == other.flags
            and torch.equal(self.random, other.random)
            and all(torch.equal(v, other.weights[k]) for k, v in self.weights.items())
        )


def test_a_model_is_unchanged_after_every_public_call(save_tiny, llama):
    model = loaded(save_tiny)
    model.tl.train()
    model.tl.blocks[1].eval()
    next(iter(model.tl.parameters())).requires_grad_(False)
    seen = []
    model.hook_point(mlp_site(0)).add_hook(lambda a, hook: seen.append(1))
    before = State(model.tl)
    scores = {}
    for method in ("nap", "nap-ig-inputs", "nap-ig-activations", "exact"):
        scores[method] = attribute(model, llama.data, method, ig_steps=2, progress=False)
        assert State(model.tl) == before
    evaluate(model, llama.data, scores["nap"], progress=False)
    assert State(model.tl) == before
    align({"t": scores["nap"]}, model, {"t": llama.data}, progress=False)
    assert State(model.tl) == before
    assert seen, "the user's own hook was left out"
    # Train mode does not change the numbers.
    expected = attribute(llama.model, llama.data, "nap", progress=False)
    torch.testing.assert_close(scores["nap"].values, expected.values)


class Interrupted(BaseException):
    pass


@pytest.mark.parametrize("method", ["nap", "nap-ig-activations", "exact"])
@pytest.mark.parametrize("where", ["hook", "metric"])
def test_a_model_is_unchanged_after_an_exception(save_tiny, llama, method, where):
    model = loaded(save_tiny)
    calls = []

    def fail(*_, **__):
        calls.append(1)
        if len(calls) > 3:
            raise Interrupted

    if where == "hook":
        model.hook_point(head_site(2)).add_hook(fail)
        options = {}
    else:
        options = {"metric": lambda logits, batch: (fail(), logits[:, 0])[1]}
    model.tl.train()
    before = State(model.tl)
    with pytest.raises(Interrupted):
        attribute(model, llama.data, method, batch_size=1, progress=False, **options)
    assert State(model.tl) == before


def test_two_threads_take_turns(llama):
    expected = attribute(llama.model, llama.data, "nap", progress=False).values
    results = []

    def work():
        results.append(attribute(llama.model, llama.data, "nap", progress=False).values)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 3
    assert all(torch.equal(result, expected) for result in results)


def test_live_models_are_wrapped_as_they_are(llama):
    again = load_model(llama.model.tl)
    assert again.tl is llama.model.tl
    assert again.nodes == llama.model.nodes
    assert "15 nodes" in repr(again)
    with pytest.raises(ModelError, match="a live model is used as it is"):
        load_model(llama.model.tl, dtype=torch.bfloat16)


def test_bundled_tokenizer_splits_words(toy_small):
    text = "When Mary and John went to the store , John gave a drink to"
    tokens = toy_small.prompt_tokens(text)
    assert toy_small.tl.tokenizer.decode(tokens).split() == ["<bos>", *text.split()]
    assert toy_small.answer_tokens(" Mary").shape == (1,)


def test_bundled_weights_are_checked(tmp_path, monkeypatch):
    monkeypatch.setattr("dfa_tl.models.folder.BUNDLED_FOLDER", tmp_path)
    folder = tmp_path / "toy-small"
    shutil.copytree(BUNDLED_FOLDER / "toy-small", folder)
    load_model("toy-small")
    weights = folder / "model.safetensors"
    good = weights.read_bytes()
    altered = bytearray(good)
    altered[-5] ^= 1
    for bad in (good[:-100], bytes(altered)):
        weights.write_bytes(bad)
        with pytest.raises(FileFormatError, match=r"model\.safetensors is missing, truncated or a"):
            load_model("toy-small")


def test_a_model_without_mlps(llama):
    class Headless(nn.Module):
        def __init__(self):
            super().__init__()
            self.cfg = llama.model.tl.cfg
            self.hook_dict = {k: v for k, v in llama.model.tl.hook_dict.items() if "mlp" not in k}

    with pytest.raises(ModelError, match=r"no hook point blocks\.0\.hook_mlp_out"):
        NodeModel(Headless())


@pytest.mark.skipif(
    version("transformer-lens").startswith("4"), reason="TransformerLens 4 has none"
)
@pytest.mark.parametrize("method", ["nap", "nap-ig-inputs", "nap-ig-activations", "exact"])
def test_hooked_transformer_and_bridge_give_the_same_scores(llama, method):
    other = load_model(hooked_transformer(tiny_model("llama-gqa")))
    expected = attribute(llama.model, llama.data, method, ig_steps=2, progress=False)
    scores = attribute(other, llama.data, method, ig_steps=2, batch_size=3, progress=False)
    torch.testing.assert_close(scores.values, expected.values, rtol=1e-4, atol=1e-5)
    curve = evaluate(other, llama.data, expected, progress=False)
    bridge = evaluate(llama.model, llama.data, expected, progress=False)
    assert curve.faithfulness == pytest.approx(bridge.faithfulness, rel=1e-4, abs=1e-5)
    with pytest.raises(ModelError, match="has no tokenizer"):
        other.prompt_tokens("Mary")


def test_unknown_token_of_its_own(toy_small, llama):
    assert toy_small.unknown_token == toy_small.tl.tokenizer.unk_token_id
    assert isinstance(PairDataset.from_tokens(*llama.pairs), PairDataset)
