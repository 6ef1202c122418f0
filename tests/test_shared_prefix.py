"""What the prompts of each pair share is run once; results are those of whole runs."""

from __future__ import annotations

import warnings
from dataclasses import replace
from importlib.metadata import version

import pytest
import torch

from dfa_tl import (
    LINEAR_KS,
    AlignmentConfig,
    NodeScores,
    PairDataset,
    align,
    attribute,
    evaluate,
    load_model,
    load_task,
)
from dfa_tl.alignment.patch_runs import patch_run
from dfa_tl.alignment.train import soft_masked_logits
from dfa_tl.attribution.gradients import contracted_gradients
from dfa_tl.attribution.nap import nap
from dfa_tl.attribution.registry import METHODS
from dfa_tl.errors import AlignmentWarning
from dfa_tl.models.interventions import capture
from dfa_tl.models.prefix import Prefix
from dfa_tl.models.shared_prefix import shared_prefix
from dfa_tl.models.tensor_memory import peak_of
from dfa_tl.nodes import mlp_site, node_sites
from dfa_tl.tasks.metrics import kl, kl_divergence
from hooked_models import hooked_transformer
from test_models import State
from test_oracle_parity import oracle_scores
from tiny_models import FAMILIES, random_pairs, tiny_model

LENGTHS = (9, 12, 10)
SHARED = 5  # more than Gemma-2's window of 3
KS = LINEAR_KS[::5]
family = pytest.mark.parametrize("family", FAMILIES)
objectives = pytest.mark.parametrize("objective", ["removal", "injection"])


def late_pairs(shared: int = SHARED):
    """Random pairs that differ at position `shared`, after it, and nowhere before."""
    clean, corrupt, answers, lengths = random_pairs(n=len(LENGTHS), lengths=LENGTHS, seed=5)
    corrupt[:, :shared] = clean[:, :shared]
    corrupt[:, shared] = 1 + clean[:, shared] % 30
    return clean, corrupt, answers, lengths


PAIRS = late_pairs()
DATA = PairDataset.from_tokens(*PAIRS)


def batch_of(model, data: PairDataset = DATA):
    return data.tokenize(model).select(range(len(data)), "cpu")


def random_scores(model, seed: int = 0) -> NodeScores:
    values = torch.randn(len(model.nodes), generator=torch.Generator().manual_seed(seed))
    return NodeScores(model.nodes, values, input=0.5)


def close(actual, expected, tolerance: float = 1e-4) -> None:
    """Relative to the largest expected value."""
    actual, expected = (torch.as_tensor(each).detach().double() for each in (actual, expected))
    assert actual.shape == expected.shape
    assert (actual - expected).abs().max() <= tolerance * expected.abs().max()


def scores_curve_and_W(model, data, shared: bool):
    model.partial_run.prefix_support.works = shared
    gold = attribute(model, data, ig_steps=2, batch_size=8, progress=False)
    scores = random_scores(model)
    curve = evaluate(model, data, scores, ks=KS, batch_size=8, progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AlignmentWarning)
        config = AlignmentConfig(steps=3)
        W = align({"t": scores}, model, {"t": data}, config, progress=False).W
    assert model.partial_run.prefix_support.works == shared
    return gold.values, curve.pair_values, W


def test_how_much_is_shared(llama):
    batch = batch_of(llama.model)
    assert batch.n_shared == SHARED
    equal = replace(batch, corrupt=batch.clean)
    assert equal.n_shared == min(LENGTHS) - 1  # the last position of each row is run
    first = replace(batch, corrupt=batch.clean.clone())
    first.corrupt[1, 0] += 1
    assert first.n_shared == 0


@family
def test_logits_are_those_of_plain_hugging_face_modules(case_of, family):
    case = case_of(family)
    batch = batch_of(case.model)
    sites = node_sites(case.model.nodes)
    with case.model.unchanged(), torch.no_grad():
        prefix = shared_prefix(case.model, batch)
        assert prefix is not None
        assert prefix.length == SHARED
        with case.model.partial_run.continued(prefix), capture(case.model, sites) as seen:
            logits = case.model.last_logits(batch.corrupt, batch.mask, batch.last)
        plain = [
            case.hf(row[None, :n]).logits[0, -1] for row, n in zip(PAIRS[1], LENGTHS, strict=True)
        ]
    close(logits, torch.stack(plain))
    assert {value.shape[1] for value in seen.values()} == {max(LENGTHS) - SHARED}


@family
def test_curves_are_the_oracles(case_of, family):
    case = case_of(family)
    scores = random_scores(case.model)
    curve = evaluate(case.model, DATA, scores, ks=KS, batch_size=2, progress=False)
    assert case.model.partial_run.prefix_support == type(case.model.partial_run.prefix_support)(
        True, max(LENGTHS)
    )
    close(curve.faithfulness, case.oracle.faithfulness(PAIRS, scores.values, KS))


@pytest.mark.parametrize(
    "method",
    [
        "nap",
        "nap-ig-inputs",
        pytest.param("nap-ig-activations", marks=pytest.mark.slow),
        pytest.param("exact", marks=pytest.mark.slow),
    ],
)
@family
def test_scores_are_the_oracles(case_of, family, method, monkeypatch):
    case, options = case_of(family), {"ig_steps": 2, "batch_size": 2, "progress": False}
    prefixes = []

    def noted(model, batch):
        prefixes.append(shared_prefix(model, batch))
        return prefixes[-1]

    monkeypatch.setattr("dfa_tl.attribution.attribute.shared_prefix", noted)
    scores = attribute(case.model, DATA, method, **options)
    assert [prefix.length for prefix in prefixes] == [SHARED, SHARED]
    expected = oracle_scores(case.oracle, method, PAIRS, steps=2)
    close(
        torch.cat([scores.values, torch.tensor([scores.input])]),
        torch.cat([expected.nodes, expected.input[None]]),
    )


@pytest.mark.parametrize("shares", [False, True])
def test_hooks_of_an_own_method_see_whole_prompts_unless_it_says_otherwise(llama, register, shares):
    seen = []

    def score(model, batch, ablated, metric, ig_steps):
        seen.append(ablated.values(batch)[mlp_site(0)].shape[1])
        return nap(model, batch, ablated, metric)

    own = replace(METHODS.find("nap"), name="own", score=score, shares_prefix=shares)
    register(METHODS, own)
    attribute(llama.model, DATA, "own", progress=False)
    assert seen == [max(LENGTHS) - SHARED * shares]


def test_accuracy_is_seen_in_runs_that_start_after_a_prefix(toy_small, caplog):
    data = load_task("ioi", n=8)
    swapped = [replace(p, answer=p.wrong_answer, wrong_answer=p.answer) for p in data.pairs]
    wrong = PairDataset(swapped, name="wrong")
    assert shared_prefix(toy_small, batch_of(toy_small, wrong)) is not None
    with caplog.at_level("WARNING"):
        attribute(toy_small, wrong, "nap", progress=False)
    assert "it prefers the right answer in 0 % of the first 8 pairs" in caplog.text


@pytest.mark.parametrize("options", [{"at": "corrupt"}, {"at": "corrupt", "metric": kl}])
def test_scores_at_the_corrupt_run_are_those_of_whole_runs(llama, options):
    assert shared_prefix(llama.model, batch_of(llama.model)) is not None
    scores = {}
    for works in (False, True):
        llama.model.partial_run.prefix_support.works = works
        scores[works] = attribute(llama.model, DATA, "nap", progress=False, **options).values
    close(scores[True], scores[False], 1e-5)


@objectives
@family
def test_soft_masks_are_the_oracles(case_of, family, objective):
    case = case_of(family)
    mask = torch.rand(len(case.model.nodes), generator=torch.Generator().manual_seed(0))
    mask.requires_grad_()
    batch = batch_of(case.model)
    with case.model.unchanged():
        runs = patch_run(case.model, batch, objective)
        assert runs.prefix is not None
        logits = soft_masked_logits(case.model, batch, runs, mask, objective)
        kl = kl_divergence(runs.log_probs, logits).mean()
        (gradient,) = torch.autograd.grad(kl, mask)
    expected, _ = case.oracle.soft_mask_loss(PAIRS, mask, objective=objective)
    close(kl, expected)
    close(gradient, torch.autograd.grad(expected, mask)[0])


def test_part_of_a_batch_has_its_part_of_the_prefix(llama):
    batch, mask = batch_of(llama.model), torch.full((len(llama.model.nodes),), 0.5)
    with llama.model.unchanged(), torch.no_grad():
        runs = patch_run(llama.model, batch, "removal")
        whole = soft_masked_logits(llama.model, batch, runs, mask, "removal")
        rows = runs.part(1, 3).on_host()
        part = soft_masked_logits(llama.model, batch.part(1, 3), rows, mask, "removal")
    close(part, whole[1:], 1e-5)
    assert runs.bytes > sum(value.nbytes for value in runs.activations.values())


def test_several_copies_of_a_batch_share_a_prefix(llama):
    batch = batch_of(llama.model)
    with llama.model.unchanged(), torch.no_grad():
        expected = llama.model.last_logits(batch.clean, batch.mask, batch.last)
        with llama.model.partial_run.continued(shared_prefix(llama.model, batch)):
            twice = batch.repeated(2)
            logits = llama.model.last_logits(twice.clean, twice.mask, twice.last)
    close(logits, expected.repeat(2, 1), 1e-5)


def test_other_prompts_are_run_whole_in_between(llama):
    """A metric may run the model on prompts of its own."""
    batch = batch_of(llama.model)
    other = replace(batch, clean=batch.clean.flip(0), last=batch.last.flip(0))
    inputs = (other.clean, batch.mask.flip(0), other.last)
    with llama.model.unchanged(), torch.no_grad():
        expected = llama.model.last_logits(*inputs)
        prefix = shared_prefix(llama.model, batch)
        assert prefix is not None
        assert not torch.equal(prefix.tokens, other.clean[:, : prefix.length])
        with llama.model.partial_run.continued(prefix):
            assert torch.equal(llama.model.last_logits(*inputs), expected)


def test_out_of_memory_halves_a_batch_and_its_prefix(llama, monkeypatch):
    rows = []

    def limited(model, batch, *arguments):
        rows.append((len(batch), model.partial_run.prefix.length))
        if len(batch) > 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return contracted_gradients(model, batch, *arguments)

    expected = attribute(llama.model, DATA, "nap", progress=False).values
    monkeypatch.setattr("dfa_tl.attribution.nap.contracted_gradients", limited)
    close(attribute(llama.model, DATA, "nap", progress=False).values, expected, 1e-5)
    assert rows == [(3, SHARED)] + 3 * [(1, SHARED)]


@pytest.mark.parametrize("task", ["ioi", "arc_challenge"])
def test_toys_give_the_numbers_of_whole_runs(toy_large, task):
    data = load_task(task, split="test", n=8)
    assert shared_prefix(toy_large, batch_of(toy_large, data)) is not None
    found, expected = (scores_curve_and_W(toy_large, data, shared) for shared in (True, False))
    toy_large.partial_run.prefix_support.works = True
    for actual, whole in zip(found, expected, strict=True):
        close(actual, whole, 1e-5)


@pytest.mark.skipif(
    version("transformer-lens").startswith("4"), reason="TransformerLens 4 has none"
)
@family
def test_a_hooked_transformer_gives_the_numbers_of_whole_runs(family):
    model = load_model(hooked_transformer(tiny_model(family)))
    assert shared_prefix(model, batch_of(model)) is not None
    found, expected = (scores_curve_and_W(model, DATA, shared) for shared in (True, False))
    for actual, whole in zip(found, expected, strict=True):
        close(actual, whole, 1e-5)


def test_runs_are_whole_where_prompts_differ_early(llama):
    assert shared_prefix(llama.model, batch_of(llama.model, late_data(1))) is None


def late_data(shared: int) -> PairDataset:
    return PairDataset.from_tokens(*late_pairs(shared))


def test_runs_are_whole_where_other_values_are_ablated(llama, monkeypatch):
    monkeypatch.setattr("dfa_tl.evaluation.evaluate.shared_prefix", None)
    for ablation in ("zero", "mean", "mean-positional"):
        evaluate(llama.model, DATA, random_scores(llama.model), ablation=ablation, progress=False)


@pytest.mark.parametrize("on", ["hook point", "block", "gradient"])
def test_runs_are_whole_with_hooks_of_the_user(llama, on):
    """They may act on certain positions, as this one does."""

    def steer(module, args, output):
        stream = output[0] if isinstance(output, tuple) else output
        stream[:, 3] += 1.0

    point, block = llama.model.hook_point(mlp_site(1)), llama.model.tl.blocks[1]
    if on == "block":
        handle = block.register_forward_hook(steer)
    elif on == "gradient":
        point.add_hook(lambda gradient, hook: (0 * gradient,), dir="bwd")
        handle = point.bwd_hooks[-1].hook
    else:
        point.add_hook(lambda activation, hook: steer(None, None, activation))
        handle = point.fwd_hooks[-1].hook
    try:
        assert shared_prefix(llama.model, batch_of(llama.model)) is None
    finally:
        handle.remove()
        point.fwd_hooks.clear()
        point.bwd_hooks.clear()
    assert shared_prefix(llama.model, batch_of(llama.model)) is not None


@pytest.mark.parametrize("fault", ["takes no cache", "ignores the cache"])
def test_a_model_that_cannot_be_continued_is_run_whole(save_tiny, monkeypatch, fault):
    model = load_model(save_tiny("llama-gqa"))
    scores = random_scores(model)
    model.partial_run.prefix_support.works = False
    expected = evaluate(model, DATA, scores, progress=False).pair_values
    model.partial_run.prefix_support.works = True

    def refuse(*_):
        raise TypeError("forward() got an unexpected keyword argument 'past_key_values'")

    if fault == "takes no cache":
        monkeypatch.setattr("dfa_tl.models.partial_run.new_cache", refuse)
    else:
        monkeypatch.setattr(Prefix, "cache", lambda self, tl, rows: type(refuse))
        monkeypatch.setattr("dfa_tl.models.partial_run.cache_option", lambda cache, mask: {})
        monkeypatch.setattr(Prefix, "from_cache", lambda cache, length: Prefix(length, (), ()))
    found = evaluate(model, DATA, scores, progress=False).pair_values
    assert not model.partial_run.prefix_support.works
    assert (found == expected).all()


def test_out_of_memory_is_not_taken_for_a_model_that_cannot_be_continued(llama, monkeypatch):
    def fail(*_):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("dfa_tl.models.partial_run.new_cache", fail)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        shared_prefix(llama.model, batch_of(llama.model))
    assert llama.model.partial_run.prefix_support.works


def test_longer_prompts_are_checked_again(save_tiny, monkeypatch):
    """A position embedding may change with the length."""
    model = load_model(save_tiny("llama-gqa"))
    checked = []
    monkeypatch.setattr(
        "dfa_tl.models.shared_prefix._gives_whole_runs",
        lambda model, batch, prefix: checked.append(batch.clean.shape[1]) or True,
    )
    evaluate(model, DATA, random_scores(model), batch_size=1, progress=False)
    evaluate(model, DATA, random_scores(model), batch_size=1, progress=False)
    assert checked == sorted(LENGTHS)


def test_the_model_is_unchanged(save_tiny):
    model = load_model(save_tiny("llama-gqa"))
    model.tl.train()
    before = State(model.tl)
    scores_curve_and_W(model, DATA, True)
    assert State(model.tl) == before


def test_memory_is_no_higher_than_by_the_cache(toy_large):
    data = load_task("ioi", split="test", n=8)
    scores = random_scores(toy_large)
    with toy_large.unchanged(), torch.no_grad():
        prefix = shared_prefix(toy_large, batch_of(toy_large, data))
    assert prefix is not None
    peaks = {}
    for works in (False, True):
        toy_large.partial_run.prefix_support.works = works
        peaks[works] = peak_of(
            lambda: evaluate(toy_large, data, scores, ks=KS, batch_size=8, progress=False),
            toy_large.device,
        )
    held = sum(tensor.nbytes for tensor in prefix.tensors)
    assert peaks[True] <= peaks[False] + 2 * held
