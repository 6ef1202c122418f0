"""What every attribution method must do; one that is added is checked without a line of test."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest
import torch

from dfa_tl import PairDataset, attribute
from dfa_tl.attribution.registry import METHODS
from dfa_tl.errors import ConfigError
from dfa_tl.models.ablation import Ablation
from dfa_tl.models.node_model import NodeModel
from dfa_tl.models.shared_prefix import shared_prefix

every_method = pytest.mark.parametrize("method", METHODS.values(), ids=list(METHODS))


def scores_of(case, method, data=None, **options):
    options = {"ig_steps": 2, "progress": False, **options}
    return attribute(case.model, case.data if data is None else data, method.name, **options)


@every_method
def test_batch_size_order_and_padding_do_not_matter(llama, method):
    clean, corrupt, answers, lengths = llama.pairs
    expected = scores_of(llama, method, batch_size=len(lengths)).values
    order = torch.tensor([3, 0, 1, 2])
    shuffled = PairDataset.from_tokens(clean[order], corrupt[order], answers[order], lengths[order])
    extra = torch.randint(1, 50, (len(lengths), 4))
    wider = PairDataset.from_tokens(
        torch.cat([clean, extra], 1), torch.cat([corrupt, extra], 1), answers, lengths
    )
    for result in (
        scores_of(llama, method, batch_size=1),
        scores_of(llama, method, shuffled),
        scores_of(llama, method, wider),
    ):
        torch.testing.assert_close(result.values, expected, rtol=1e-4, atol=1e-6)


@every_method
def test_scores_are_averages_over_pairs(llama, method):
    """Fault 4: scores must not shrink with the number of pairs."""
    clean, corrupt, answers, lengths = llama.pairs
    twice = PairDataset.from_tokens(
        *(torch.cat([t, t]) for t in (clean, corrupt, answers)), torch.cat([lengths, lengths])
    )
    double = scores_of(llama, method, twice)
    torch.testing.assert_close(double.values, scores_of(llama, method).values, rtol=1e-4, atol=1e-6)


@every_method
def test_a_prompt_that_is_its_own_counterfactual_gives_zeros(llama, method):
    if not method.ablations:
        pytest.skip("it ablates nothing")
    clean, _, answers, lengths = llama.pairs
    same = PairDataset.from_tokens(clean, clean, answers, lengths)
    scores = scores_of(llama, method, same)
    torch.testing.assert_close(scores.values, torch.zeros(len(scores)), rtol=0, atol=1e-5)
    assert scores.input == pytest.approx(0, abs=1e-5)


@every_method
def test_what_prompts_share_may_be_run_once_where_it_says_so(llama, method, register):
    if not method.shares_prefix:
        pytest.skip("its runs are whole")
    long = llama.pairs[3] > 4
    clean, corrupt, answers, lengths = (tensor[long].clone() for tensor in llama.pairs)
    shared = int(lengths.min()) - 2
    corrupt[:, :shared] = clean[:, :shared]
    corrupt[:, shared] = 1 + clean[:, shared] % 30
    late = PairDataset.from_tokens(clean, corrupt, answers, lengths)
    batch = late.tokenize(llama.model).select(range(len(lengths)), "cpu")
    assert shared_prefix(llama.model, batch) is not None
    whole = replace(method, name="whole", shares_prefix=False)
    register(METHODS, whole)
    expected = scores_of(llama, whole, late).values
    torch.testing.assert_close(
        scores_of(llama, method, late).values, expected, rtol=1e-4, atol=1e-6
    )


@every_method
def test_it_takes_the_ablations_that_it_says(llama, method):
    found = {}
    for ablation in get_args(Ablation):
        if ablation in method.ablations or not method.ablations:
            found[ablation] = scores_of(llama, method, ablation=ablation).values
        else:
            with pytest.raises(ConfigError, match=f"{method.name} .* takes only ablation="):
                scores_of(llama, method, ablation=ablation)
    assert all(values.isfinite().all() for values in found.values())
    distinct = {tuple(values.tolist()) for values in found.values()}
    assert len(distinct) == (len(found) if method.ablations else 1)


@every_method
def test_steps_matter_where_it_says_so(llama, method):
    few, many = (scores_of(llama, method, ig_steps=steps) for steps in (1, 4))
    assert torch.equal(few.values, many.values) != method.has_steps
    assert many.provenance["ig_steps"] == (4 if method.has_steps else None)


@every_method
def test_provenance_says_where_scores_came_from(llama, method):
    scores = scores_of(llama, method)
    expected = {
        "model": llama.model.name,
        "method": method.name,
        "task": llama.data.name,
        "pairs": 4,
        "ablation": "counterfactual",
        "metric": "logit_diff",
    }
    assert scores.provenance.items() >= expected.items()
    assert method.name in repr(scores)
    assert len(method.description) > 20


@every_method
def test_the_model_is_left_as_it_was(llama, method):
    before = [parameter.clone() for parameter in llama.model.tl.parameters()]
    hooks, state = dict(llama.model.tl._forward_hooks), torch.get_rng_state()
    scores_of(llama, method)
    assert all(map(torch.equal, before, llama.model.tl.parameters()))
    assert dict(llama.model.tl._forward_hooks) == hooks
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in llama.model.tl.parameters())


@every_method
@pytest.mark.parametrize("ablation", ["counterfactual", "zero"])
def test_it_costs_the_passes_that_it_says(llama, method, ablation, monkeypatch):
    if method.passes is None or ablation not in method.ablations:
        pytest.skip("not known, or refused")
    plain, counted = NodeModel.last_logits, []

    def counting(self, tokens, *rest):
        # A run that starts at a layer with several copies of a pair counts each copy.
        counted.append(len(tokens))
        return plain(self, tokens, *rest)

    monkeypatch.setattr(NodeModel, "last_logits", counting)
    scores_of(llama, method, ablation=ablation, ig_steps=3, batch_size=3)
    assert sum(counted) == 4 * method.cost(llama.model.nodes, 3, ablation).forward
