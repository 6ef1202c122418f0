from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from dfa_tl import (
    AlignmentConfig,
    NodeScores,
    PairDataset,
    attribute,
    estimate_memory,
    evaluate,
    load_task,
    report_pairs,
)
from dfa_tl.attribution.registry import METHODS
from dfa_tl.errors import ConfigError, DataError, NumericsError
from dfa_tl.tasks.metrics import accuracy, logit_diff


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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "eap"}, "unknown method 'eap': choose one of nap"),
        ({"ablation": "resample"}, "unknown ablation 'resample'"),
        ({"ablation": "zero"}, "takes only ablation='counterfactual'"),
        ({"ig_steps": 0}, "ig_steps=0: must be a whole number of at least 1"),
        ({"batch_size": 0}, "batch_size=0: must be a whole number of at least 1"),
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


def averaged(last_logits, batch):
    return logit_diff(last_logits, batch).mean()


def column(last_logits, batch):
    return logit_diff(last_logits, batch)[:, None]


def of_half(last_logits, batch):
    return logit_diff(last_logits, batch)[: len(batch) // 2]


def right(last_logits, batch):
    return logit_diff(last_logits, batch) > 0


def as_list(last_logits, batch):
    return logit_diff(last_logits, batch).tolist()


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("method", [*METHODS, "evaluate"])
@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (
            averaged,
            r"'averaged' must return .* one number per pair; got shape \(\) of torch.float32",
        ),
        (column, r"got shape \([14], 1\) of torch.float32"),
        (of_half, r"got shape \([02],\) of torch.float32"),
        (right, r"got shape \([14],\) of torch.bool"),
        (as_list, "got list. Do not average or sum over the batch"),
        ("logit_diff", "metric=.*expected a function, got 'logit_diff'"),
    ],
)
def test_a_metric_gives_one_number_per_pair(llama, metric, message, method, batch_size):
    """An average over the batch would make scores depend on its size."""
    options = {"metric": metric, "batch_size": batch_size, "progress": False}
    if method == "evaluate":
        # As many runs as pairs: what fits by chance must not be taken either.
        scores = NodeScores(llama.model.nodes, torch.arange(len(llama.model.nodes)).float())
        call = partial(evaluate, scores=scores, ks=(0.5, 1))
    else:
        call = partial(attribute, method=method, ig_steps=2)
    with pytest.raises(ConfigError, match=message):
        call(llama.model, llama.data, **options)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("value", [0, -1, True, np.True_, 2.5, "4", None, float("nan")])
@pytest.mark.parametrize("name", ["batch_size", "ig_steps"])
def test_numbers_that_are_no_whole_numbers(llama, name, value):
    model, data = llama.model, llama.data
    scores = NodeScores(model.nodes, torch.arange(len(model.nodes)).float())
    calls = [lambda: attribute(model, data, "nap-ig-inputs", progress=False, **{name: value})]
    if name == "batch_size":
        calls += [
            lambda: evaluate(model, data, scores, batch_size=value, progress=False),
            lambda: report_pairs(model, data, batch_size=value),
            lambda: estimate_memory(model, data, "nap", batch_size=value),
            lambda: AlignmentConfig(batch_size=value),
        ]
    for call in calls:
        with pytest.raises(ConfigError, match=rf"{name}=.*(must be|expected) a whole number"):
            call()


@pytest.mark.usefixtures("unchecked")
def test_whole_numbers_of_numpy(llama):
    model, data, four = llama.model, llama.data, np.int64(4)
    scores = attribute(model, data, batch_size=four, ig_steps=np.int32(2), progress=False)
    same = attribute(model, data, batch_size=4, ig_steps=2, progress=False)
    assert torch.equal(scores.values, same.values)
    assert scores.provenance == same.provenance
    assert type(scores.provenance["ig_steps"]) is int
    curve = evaluate(model, data, scores, batch_size=four, progress=False)
    assert curve.cpr == evaluate(model, data, scores, batch_size=4, progress=False).cpr
    assert (
        report_pairs(model, data, batch_size=four).frame().equals(report_pairs(model, data).frame())
    )
    estimates = [estimate_memory(model, data, "nap", batch_size=size) for size in (four, 4)]
    assert estimates[0] == pytest.approx(estimates[1], rel=0.01)
    config = AlignmentConfig(batch_size=four, rank=np.int64(2))
    assert config == AlignmentConfig(batch_size=4, rank=2)
    assert type(config.batch_size) is type(config.rank) is int
