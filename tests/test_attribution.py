from __future__ import annotations

import pytest
import torch

from dfa_tl import NodeScores, PairDataset, attribute, evaluate, load_task
from dfa_tl.errors import ConfigError, DataError, NumericsError
from dfa_tl.tasks.metrics import accuracy, logit_diff

METHODS = ("nap", "nap-ig-inputs", "nap-ig-activations", "exact")


@pytest.mark.parametrize("method", METHODS)
def test_batch_size_order_and_padding_do_not_matter(llama, method):
    def scores(data, **options):
        return attribute(llama.model, data, method, ig_steps=2, progress=False, **options).values

    clean, corrupt, answers, lengths = llama.pairs
    expected = scores(llama.data, batch_size=len(lengths))
    order = torch.tensor([3, 0, 1, 2])
    shuffled = PairDataset.from_tokens(clean[order], corrupt[order], answers[order], lengths[order])
    extra = torch.randint(1, 50, (len(lengths), 4))
    wider = PairDataset.from_tokens(
        torch.cat([clean, extra], 1), torch.cat([corrupt, extra], 1), answers, lengths
    )
    for result in (scores(llama.data, batch_size=1), scores(shuffled), scores(wider)):
        torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-6)


def test_scores_are_averages_over_pairs(llama):
    """Fault 4: scores must not shrink with the number of pairs."""
    clean, corrupt, answers, lengths = llama.pairs
    twice = PairDataset.from_tokens(
        *(torch.cat([t, t]) for t in (clean, corrupt, answers)), torch.cat([lengths, lengths])
    )
    once = attribute(llama.model, llama.data, "nap", progress=False)
    double = attribute(llama.model, twice, "nap", progress=False)
    torch.testing.assert_close(once.values, double.values, rtol=1e-4, atol=1e-6)


def test_exact_score_of_one_node_is_the_circuit_without_it(llama):
    exact = attribute(llama.model, llama.data, "exact", progress=False)
    top = exact.top(1)[0]
    without = torch.ones(len(exact))
    without[exact.nodes.index(top)] = 0
    n = len(exact)
    curve = evaluate(
        llama.model,
        llama.data,
        NodeScores(exact.nodes, without),
        ks=((n - 1 + 0.5) / n, 1.0),
        progress=False,
    )
    assert curve.n_kept == (n - 1, n)
    missing = (curve.clean - curve.pair_values[0]).mean()
    assert missing == pytest.approx(exact[top], rel=1e-4)


def test_gradient_scores_rank_like_exact_ones_on_a_trained_model(toy_small):
    """On a solved task the estimators agree with activation patching about what matters."""
    data = load_task("ioi", n=16, split="test")
    exact = attribute(toy_small, data, "exact", progress=False)
    estimate = attribute(toy_small, data, "nap-ig-activations", progress=False)
    correlation = torch.corrcoef(torch.stack([exact.values, estimate.values]))[0, 1]
    assert correlation > 0.9


def test_provenance_says_where_scores_came_from(llama):
    scores = attribute(llama.model, llama.data, "nap", progress=False)
    assert scores.provenance["model"] == llama.model.name
    assert scores.provenance["method"] == "nap"
    assert scores.provenance["pairs"] == 4
    assert "nap" in repr(scores)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "eap"}, "unknown method 'eap': choose one of nap"),
        ({"ablation": "resample"}, "unknown ablation 'resample'"),
        ({"ablation": "zero"}, "takes only ablation='counterfactual'"),
        ({"ig_steps": 0}, "ig_steps=0: must be at least 1"),
        ({"batch_size": 0}, "batch_size=0: must be at least 1"),
        ({"method": "nap", "metric": accuracy}, "has no gradient"),
    ],
)
def test_bad_settings(llama, options, message):
    with pytest.raises(ConfigError, match=message):
        attribute(llama.model, llama.data, progress=False, **options)


def test_no_pairs(llama):
    with pytest.raises(DataError, match="holds no pairs"):
        attribute(llama.model, PairDataset(()), progress=False)


def test_infinite_scores_are_an_error_that_names_the_pairs(llama):
    def broken(last_logits, batch):
        return logit_diff(last_logits, batch) * float("inf")

    with pytest.raises(NumericsError, match="not finite, in pairs"):
        attribute(llama.model, llama.data, "nap", metric=broken, progress=False)


def test_works_under_no_grad_and_inference_mode(llama):
    expected = attribute(llama.model, llama.data, "nap", progress=False).values
    with torch.no_grad():
        assert torch.equal(
            attribute(llama.model, llama.data, "nap", progress=False).values, expected
        )
    with torch.inference_mode():
        result = attribute(llama.model, llama.data, "nap", progress=False).values
    assert torch.equal(result, expected)
