"""Every estimator against the oracle: plain Hugging Face modules, one pair at a time, unpadded."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dfa_tl import LINEAR_KS, MIB_KS, NodeScores, attribute, evaluate
from dfa_tl.alignment.patch_runs import patch_run
from dfa_tl.alignment.train import soft_masked_logits
from dfa_tl.tasks.metrics import METRICS, kl_divergence, logit_diff
from tiny_models import KINDS

# The larger toy has nothing that the smaller one has not, and takes most of the time.
ALL_KINDS = (*KINDS, "toy-small", pytest.param("toy-large", marks=pytest.mark.slow))
ABLATIONS = ("counterfactual", "zero", "mean", "mean-positional")
TOLERANCE = 1e-4


def close(actual, expected) -> None:
    """To 1e-4 of the largest expected value: single entries may be zero."""
    actual, expected = (
        torch.as_tensor(each).detach().double().numpy() for each in (actual, expected)
    )
    assert actual.shape == expected.shape
    assert np.abs(expected).max() > 0
    assert np.abs(actual - expected).max() <= TOLERANCE * np.abs(expected).max()


def oracle_scores(oracle, method, pairs, ablation="counterfactual", steps=5):
    if method == "nap-ig-inputs":
        return oracle.nap_ig_inputs(pairs, steps)
    if method == "nap-ig-activations":
        return oracle.nap_ig_activations(pairs, steps, ablation)
    return getattr(oracle, method)(pairs, ablation)


@pytest.mark.parametrize("method", ["nap", "nap-ig-inputs", "nap-ig-activations", "exact"])
@pytest.mark.parametrize("kind", ALL_KINDS)
def test_scores(case_of, kind, method):
    case = case_of(kind)
    scores = attribute(case.model, case.data, method, ig_steps=2, batch_size=3, progress=False)
    expected = oracle_scores(case.oracle, method, case.pairs, steps=2)
    close(
        torch.cat([scores.values, torch.tensor([scores.input])]),
        torch.cat([expected.nodes, expected.input[None]]),
    )


@pytest.mark.slow
@pytest.mark.parametrize("ablation", ABLATIONS[1:])
@pytest.mark.parametrize("method", ["nap", "nap-ig-activations", "exact"])
@pytest.mark.parametrize("kind", KINDS)
def test_scores_under_other_ablations(case_of, kind, method, ablation):
    case = case_of(kind)
    scores = attribute(
        case.model, case.data, method, ig_steps=2, ablation=ablation, batch_size=3, progress=False
    )
    expected = oracle_scores(case.oracle, method, case.pairs, ablation, steps=2)
    close(
        torch.cat([scores.values, torch.tensor([scores.input])]),
        torch.cat([expected.nodes, expected.input[None]]),
    )


def random_scores(case, seed=0) -> NodeScores:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(len(case.model.nodes), generator=generator)
    return NodeScores(case.model.nodes, values, input=0.5)


@pytest.mark.parametrize(
    "ks",
    [
        pytest.param(MIB_KS, id="mib-grid"),
        pytest.param(LINEAR_KS, id="linear-grid", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("kind", ALL_KINDS)
def test_curves(case_of, kind, ks):
    case = case_of(kind)
    scores = random_scores(case)
    curve = evaluate(case.model, case.data, scores, ks=ks, batch_size=3, progress=False)
    close(curve.faithfulness, case.oracle.faithfulness(case.pairs, scores.values, ks))
    mib = evaluate(
        case.model, case.data, scores, ks=ks, protocol="mib", batch_size=3, progress=False
    )
    close(mib.faithfulness, case.oracle.faithfulness_mib(case.pairs, scores.values, 0.5, ks))


@pytest.mark.slow
@pytest.mark.parametrize("ablation", ABLATIONS[1:])
@pytest.mark.parametrize("kind", KINDS)
def test_circuits_under_other_ablations(case_of, kind, ablation):
    case = case_of(kind)
    scores = random_scores(case)
    curve = evaluate(
        case.model, case.data, scores, ks=(0, 0.5, 1), ablation=ablation, batch_size=3,
        progress=False,
    )  # fmt: skip
    kept = torch.zeros(len(scores), dtype=torch.bool)
    kept[scores.values.argsort(descending=True)[: int(0.5 * len(scores))]] = True
    close(curve.pair_values[1], case.oracle.circuit_metric(case.pairs, kept, ablation))
    expected = case.oracle.faithfulness(case.pairs, scores.values, (0, 0.5, 1), ablation)
    close(curve.faithfulness, expected)
    mib = evaluate(
        case.model, case.data, scores, ks=(0, 0.5, 1), ablation=ablation, protocol="mib",
        batch_size=3, progress=False,
    )  # fmt: skip
    empty = case.oracle.empty_metric(case.pairs, ablation, keep_input=False)
    torch.testing.assert_close(  # all zero where nothing is left of a model without biases
        torch.from_numpy(mib.baseline), empty, atol=1e-4, rtol=1e-4
    )
    expected = case.oracle.faithfulness_mib(case.pairs, scores.values, 0.5, (0, 0.5, 1), ablation)
    close(mib.faithfulness, expected)


ORACLE_METRICS = {
    "logit_diff": lambda z, a, c: z[:, a[0, 0]] - z[:, a[0, 1]],
    "prob_diff": lambda z, a, c: z.softmax(-1)[:, a[0, 0]] - z.softmax(-1)[:, a[0, 1]],
    "log_prob": lambda z, a, c: z.log_softmax(-1)[:, a[0, 0]],
    "kl": lambda z, a, c: -(c.softmax(-1) * (c.log_softmax(-1) - z.log_softmax(-1))).sum(-1),
    "accuracy": lambda z, a, c: (z[:, a[0, 0]] > z[:, a[0, 1]]).to(z),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ORACLE_METRICS)
@pytest.mark.parametrize("kind", KINDS)
def test_metrics(case_of, kind, name):
    case = case_of(kind)
    oracle = type(case.oracle)(case.hf, ORACLE_METRICS[name])
    metric = METRICS[name]
    exact = attribute(case.model, case.data, "exact", metric=metric, batch_size=3, progress=False)
    if name == "accuracy":  # counts: no tolerance, and all zero where no node decides a pair
        torch.testing.assert_close(exact.values, oracle.exact(case.pairs).nodes.float())
        return
    close(exact.values, oracle.exact(case.pairs).nodes)
    ig = attribute(case.model, case.data, ig_steps=2, metric=metric, progress=False)
    close(ig.values, oracle.nap_ig_inputs(case.pairs, 2).nodes)
    scores = random_scores(case)
    curve = evaluate(case.model, case.data, scores, ks=(0, 0.5, 1), metric=metric, progress=False)
    close(curve.faithfulness, oracle.faithfulness(case.pairs, scores.values, (0, 0.5, 1)))


@pytest.mark.parametrize("objective", ["removal", "injection"])
@pytest.mark.parametrize("kind", ALL_KINDS)
def test_soft_mask(case_of, kind, objective):
    case = case_of(kind)
    n = len(case.model.nodes)
    tokens = case.data.tokenize(case.model)
    batch = tokens.select(range(len(tokens)), "cpu")
    mask = torch.rand(n, generator=torch.Generator().manual_seed(0)).requires_grad_()
    with case.model.unchanged():
        runs = patch_run(case.model, batch, objective)
        logits = soft_masked_logits(case.model, batch, runs, mask, objective)
        kl = kl_divergence(runs.log_probs, logits).mean()
        (gradient,) = torch.autograd.grad(kl, mask)
    expected_kl, expected_logits = case.oracle.soft_mask_loss(case.pairs, mask, objective=objective)
    (expected_gradient,) = torch.autograd.grad(expected_kl, mask)
    close(logits, expected_logits)
    close(kl, expected_kl)
    close(gradient, expected_gradient)
    assert (gradient != 0).all(), "no gradient reaches some node"


@pytest.mark.parametrize("kind", KINDS)
def test_a_hard_mask_under_removal_is_the_circuit_that_is_evaluated(case_of, kind):
    """Fault 10: what is trained is what is measured."""
    case = case_of(kind)
    n = len(case.model.nodes)
    hard = (torch.arange(n) % 2).float()
    batch = case.data.tokenize(case.model).select(range(len(case.data)), "cpu")
    scores = NodeScores(case.model.nodes, hard)
    curve = evaluate(case.model, case.data, scores, ks=(0.5, 1), progress=False)
    assert curve.n_kept[0] == int(hard.sum())
    with case.model.unchanged(), torch.no_grad():
        runs = patch_run(case.model, batch, "removal")
        logits = soft_masked_logits(case.model, batch, runs, hard, "removal")
        measured = logit_diff(logits, batch)
    close(measured, torch.tensor(curve.pair_values[0]))


@pytest.mark.parametrize("kind", KINDS)
def test_hard_mask_is_the_soft_one_at_its_end_points(case_of, kind):
    case = case_of(kind)
    hard = (torch.arange(len(case.model.nodes)) % 2).float()
    tokens = case.data.tokenize(case.model)
    batch = tokens.select(range(len(tokens)), "cpu")
    with case.model.unchanged():
        runs = patch_run(case.model, batch, "injection")
        logits = soft_masked_logits(case.model, batch, runs, hard, "injection")
    close(logits, case.oracle.soft_mask_loss(case.pairs, hard)[1])
