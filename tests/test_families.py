"""The main families of models, with all that sets them apart, against plain Hugging Face modules.

These are the deep tests; test_architectures.py has a short one for every architecture.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import pytest
import torch
from scipy.stats import spearmanr
from torch import nn
from transformers import PreTrainedModel

from dfa_tl import (
    MIB_KS,
    NodeScores,
    PairDataset,
    PromptPair,
    attribute,
    check,
    evaluate,
    load_model,
)
from dfa_tl.alignment.patch_runs import patch_run
from dfa_tl.alignment.train import soft_masked_logits
from dfa_tl.models.interventions import capture, hooked
from dfa_tl.models.partial_run import Resume, residual_site
from dfa_tl.nodes import mlp_site
from dfa_tl.tasks.metrics import kl_divergence
from hooked_models import hooked_transformer
from oracle import Oracle
from tiny_models import FAMILIES, random_pairs, tiny_model, word_tokenizer

pytestmark = pytest.mark.slow

MAJOR = int(version("transformer-lens").split(".")[0])
METHODS = ("nap", "nap-ig-inputs", "nap-ig-activations", "exact")
# Longer than Gemma-2's window of 3, and of unequal length.
LENGTHS = (9, 4, 7)
TOLERANCE = 1e-4

family = pytest.mark.parametrize("family", FAMILIES)


def close(actual: Any, expected: Any) -> None:
    """To 1e-4 of the largest expected value: single entries may be zero."""
    actual, expected = (torch.as_tensor(each).detach().double() for each in (actual, expected))
    assert actual.shape == expected.shape
    assert expected.abs().max() > 0
    assert (actual - expected).abs().max() <= TOLERANCE * expected.abs().max()


@pytest.fixture(scope="session")
def pairs_of():
    """Pairs longer than the sliding window, as tensors and as a data set."""
    pairs = random_pairs(n=len(LENGTHS), lengths=LENGTHS, seed=5)
    return pairs, PairDataset.from_tokens(*pairs)


def by_method(oracle: Oracle, method: str, pairs):
    if method == "nap-ig-inputs":
        return oracle.nap_ig_inputs(pairs, 2)
    if method == "nap-ig-activations":
        return oracle.nap_ig_activations(pairs, 2)
    return getattr(oracle, method)(pairs)


def check_method(case, pairs_of, method: str) -> None:
    pairs, data = pairs_of
    scores = attribute(case.model, data, method, ig_steps=2, batch_size=3, progress=False)
    expected = by_method(case.oracle, method, pairs)
    close(
        torch.cat([scores.values, torch.tensor([scores.input])]),
        torch.cat([expected.nodes, expected.input[None]]),
    )


@family
def test_check(case_of, family):
    found = check(case_of(family).model)
    assert found.logits_error is not None
    assert found.logits_error < TOLERANCE
    assert found.residual_error < TOLERANCE
    assert found.additive_heads == (family != "Gemma-2")


@family
def test_nap(case_of, pairs_of, family):
    check_method(case_of(family), pairs_of, "nap")


@family
def test_nap_ig_inputs(case_of, pairs_of, family):
    check_method(case_of(family), pairs_of, "nap-ig-inputs")


@family
def test_nap_ig_activations(case_of, pairs_of, family):
    check_method(case_of(family), pairs_of, "nap-ig-activations")


@family
def test_exact(case_of, pairs_of, family):
    check_method(case_of(family), pairs_of, "exact")


def random_scores(case) -> NodeScores:
    values = torch.randn(len(case.model.nodes), generator=torch.Generator().manual_seed(0))
    return NodeScores(case.model.nodes, values, input=0.5)


@family
def test_curves(case_of, pairs_of, family):
    case, (pairs, data) = case_of(family), pairs_of
    scores = random_scores(case)
    curve = evaluate(case.model, data, scores, batch_size=3, progress=False)
    close(curve.faithfulness, case.oracle.faithfulness(pairs, scores.values, MIB_KS))
    mib = evaluate(case.model, data, scores, protocol="mib", batch_size=3, progress=False)
    close(mib.faithfulness, case.oracle.faithfulness_mib(pairs, scores.values, 0.5, MIB_KS))


@family
def test_soft_mask(case_of, pairs_of, family):
    case, (pairs, data) = case_of(family), pairs_of
    mask = torch.rand(len(case.model.nodes), generator=torch.Generator().manual_seed(0))
    mask.requires_grad_()
    batch = data.tokenize(case.model).select(range(len(LENGTHS)), "cpu")
    with case.model.unchanged():
        runs = patch_run(case.model, batch, "removal")
        logits = soft_masked_logits(case.model, batch, runs, mask, "removal")
        kl = kl_divergence(runs.log_probs, logits).mean()
        (gradient,) = torch.autograd.grad(kl, mask)
    expected, _ = case.oracle.soft_mask_loss(pairs, mask, objective="removal")
    close(kl, expected)
    close(gradient, torch.autograd.grad(expected, mask)[0])


@family
def test_padding(case_of, pairs_of, family):
    case, (pairs, data) = case_of(family), pairs_of
    batch = data.tokenize(case.model).select(range(len(LENGTHS)), "cpu")
    with torch.no_grad():
        together = case.model.last_logits(batch.clean, batch.mask, batch.last)
        alone = [
            case.hf(row[None, :n]).logits[0, -1] for row, n in zip(pairs[0], LENGTHS, strict=True)
        ]
    close(together, torch.stack(alone))
    wider = tuple(nn.functional.pad(tokens, (0, 5), value=7) for tokens in pairs[:2])
    more = PairDataset.from_tokens(*wider, *pairs[2:])
    scores = [attribute(case.model, each, "nap", progress=False).values for each in (data, more)]
    assert torch.equal(*scores)


@family
def test_resumed_runs(case_of, pairs_of, family):
    case, (_, data) = case_of(family), pairs_of
    model, layers = case.model, range(case.model.nodes.n_layers)
    batch = data.tokenize(model).select(range(len(LENGTHS)), "cpu")
    edit = {mlp_site(layers[-1]): lambda activation: activation * 2}
    with torch.no_grad():
        with capture(model, map(residual_site, layers)) as residuals, hooked(model, edit):
            whole = model.last_logits(batch.clean, batch.mask, batch.last)
        for layer in layers:
            resume = Resume(layer, residuals[residual_site(layer)])
            with hooked(model, edit):
                part = model.last_logits(batch.clean, batch.mask, batch.last, resume)
            close(part, whole)


@family
def test_bfloat16(case_of, save_tiny, pairs_of, family):
    """Rounded to 8 bits, random weights still give the same scores to a few per cent."""
    half = load_model(save_tiny(family), dtype=torch.bfloat16)
    assert half.dtype == torch.bfloat16
    assert check(half).logits_error < 0.05
    for method in ("nap-ig-inputs", "exact"):
        full, rounded = (
            attribute(model, pairs_of[1], method, ig_steps=2, progress=False).values
            for model in (case_of(family).model, half)
        )
        assert rounded.dtype == torch.float32
        assert rounded.isfinite().all()
        error = (rounded - full).norm() / full.norm()
        assert 0 < error < 0.08, error
        assert spearmanr(rounded, full).statistic > 0.95


PREPENDS = ("Llama-3", "Llama-3.2", "Gemma-2", "GPT-2")
"""Families whose prompts TransformerLens begins with a BOS, if the tokenizer has one."""


@family
def test_tokens(tmp_path, family):
    prompts = ["w9 w4 w30 w31 w7", "w9 w4 w8"]
    expected = [[9, 4, 30, 31, 7], [9, 4, 8]]
    tiny_model(family).save_pretrained(tmp_path)
    for bos in (True, False):
        tokenizer = word_tokenizer(bos=bos)
        tokenizer.padding_side = "left"
        tokenizer.save_pretrained(tmp_path)
        model = load_model(tmp_path)
        first = [tokenizer.bos_token_id] if bos and family in PREPENDS else []
        assert [model.prompt_tokens(p).tolist() for p in prompts] == [first + e for e in expected]
        assert model.answer_tokens("w3").tolist() == [3]
        texts = PairDataset(
            tuple(PromptPair(p, p.replace("w4", "w5"), "w3", "w2") for p in prompts)
        )
        tokens = texts.tokenize(model)
        assert tokens.lengths.tolist() == [len(first) + 5, len(first) + 3]
        oracle = Oracle(tiny_model(family))
        scores = attribute(model, texts, "nap", progress=False)
        pairs = (tokens.clean, tokens.corrupt, tokens.answers, tokens.lengths)
        close(scores.values, oracle.nap(pairs).nodes)


@family
def test_hooked_transformer(case_of, pairs_of, family):
    if MAJOR >= 4:
        pytest.skip("TransformerLens 4 has no HookedTransformer")
    model = load_model(hooked_transformer(tiny_model(family)))
    assert check(model, case_of(family).hf).logits_error < TOLERANCE
    for method in METHODS:
        mine, bridge = (
            attribute(each, pairs_of[1], method, ig_steps=2, batch_size=3, progress=False)
            for each in (model, case_of(family).model)
        )
        close(mine.values, bridge.values)


# What an architecture does, and a change of the plain model that undoes it.


def without_setting(**settings: Any) -> Callable[[str], PreTrainedModel]:
    """A model with the same weights and other settings."""

    def change(family: str) -> PreTrainedModel:
        model = tiny_model(family)
        other = tiny_model(family, **settings)
        other.load_state_dict(model.state_dict())
        return other

    return change


def without_modules(ending: str | tuple[str, ...], edit: Callable[[nn.Module], None]) -> Callable:
    """The model with each module whose name ends so edited in place."""

    def change(family: str) -> PreTrainedModel:
        model = tiny_model(family)
        found = [module for name, module in model.named_modules() if name.endswith(ending)]
        assert found
        with torch.no_grad():
            for module in found:
                edit(module)
        return model

    return change


def swap_groups(projection: nn.Module) -> None:
    projection.weight.copy_(projection.weight.roll(len(projection.weight) // 2, 0))


def swap_parts(projection: nn.Module) -> None:
    """Queries for keys, keys for values: GPT-2's parts are columns, Pythia's rows of each head."""
    columns = projection.weight.shape[1] > projection.weight.shape[0]
    shift = projection.weight.shape[1] // 3 if columns else projection.weight.shape[0] // 12
    projection.weight.copy_(projection.weight.roll(shift, 1 if columns else 0))


def drop_bias(projection: nn.Module) -> None:
    projection.bias.zero_()


def drop_positions(embedding: nn.Module) -> None:
    embedding.weight.zero_()


def pass_through(norm: nn.Module) -> None:
    norm.forward = lambda activation: activation


def own_unembedding(family: str) -> PreTrainedModel:
    model = tiny_model(family)
    weight = copy.deepcopy(model.lm_head.weight)
    model.lm_head.weight = nn.Parameter(weight.detach().flip(0))
    return model


def unscaled(embedding: nn.Module) -> None:
    embedding.embed_scale.fill_(1.0)


LLAMA = ("Llama-3", "Llama-3.2")
UNSCALED_ROPE = {"rope_type": "default", "rope_theta": 500000.0}
TRAITS: dict[str, tuple[tuple[str, ...], Callable[[str], PreTrainedModel]]] = {
    "grouped-query attention": (
        (*LLAMA, "Qwen-2.5", "Gemma-2"),
        without_modules("v_proj", swap_groups),
    ),
    "scaled rotary positions": (LLAMA, without_setting(rope_parameters=UNSCALED_ROPE)),
    "partly rotary positions": (
        ("Pythia",),
        without_setting(rope_parameters={**UNSCALED_ROPE, "partial_rotary_factor": 1.0}),
    ),
    "learned positions": (("GPT-2",), without_modules("wpe", drop_positions)),
    "unembedding tied to the embedding": (
        ("Llama-3.2", "Qwen-2.5", "Gemma-2", "GPT-2"),
        own_unembedding,
    ),
    "scaled embedding": (("Gemma-2",), without_modules("embed_tokens", unscaled)),
    "biases of queries, keys and values": (
        ("Qwen-2.5", "GPT-2", "Pythia"),
        without_modules(("q_proj", "k_proj", "v_proj", "c_attn", "query_key_value"), drop_bias),
    ),
    "one projection for queries, keys and values": (
        ("GPT-2", "Pythia"),
        without_modules(("c_attn", "query_key_value"), swap_parts),
    ),
    "attention and MLP in parallel": (
        ("Pythia",),
        without_setting(use_parallel_residual=False),
    ),
    "sliding window": (("Gemma-2",), without_setting(sliding_window=30)),
    "soft cap on attention": (("Gemma-2",), without_setting(attn_logit_softcapping=None)),
    "soft cap on logits": (("Gemma-2",), without_setting(final_logit_softcapping=None)),
    "own scale of attention": (("Gemma-2",), without_setting(query_pre_attn_scalar=12)),
    "norm after attention": (
        ("Gemma-2",),
        without_modules("post_attention_layernorm", pass_through),
    ),
    "norm after the MLP": (
        ("Gemma-2",),
        without_modules("post_feedforward_layernorm", pass_through),
    ),
}


@family
@pytest.mark.parametrize("trait", TRAITS)
def test_traits(case_of, pairs_of, family, trait):
    """Without it the plain model is another one; the hooked model has it."""
    families, without = TRAITS[trait]
    if family not in families:
        pytest.skip(f"{family} has no {trait}")
    case, (pairs, data) = case_of(family), pairs_of
    batch = data.tokenize(case.model).select(range(len(LENGTHS)), "cpu")
    with torch.no_grad():
        hooked_logits = case.model.last_logits(batch.clean, batch.mask, batch.last)
        other = without(family)
        logits = [
            torch.stack(
                [
                    model(row[None, :n]).logits[0, -1]
                    for row, n in zip(pairs[0], LENGTHS, strict=True)
                ]
            )
            for model in (case.hf, other)
        ]
    close(hooked_logits, logits[0])
    difference = (logits[0] - logits[1]).abs().max() / logits[0].abs().max()
    assert difference > 100 * TOLERANCE
