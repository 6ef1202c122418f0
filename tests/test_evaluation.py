from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from dfa_tl import LINEAR_KS, MIB_KS, NodeScores, PairDataset, evaluate, evaluate_many, load_task
from dfa_tl.errors import ConfigError, NumericsError, ScoresError
from dfa_tl.evaluation.circuits import circuits_of
from dfa_tl.evaluation.curve import FaithfulnessCurve, cmd, cpr, floor
from dfa_tl.nodes import NodeSet
from dfa_tl.tasks.metrics import METRICS

NODES = NodeSet(2, 2)


def ramp(nodes=NODES, **more) -> NodeScores:
    return NodeScores(nodes, torch.arange(len(nodes), dtype=torch.float32), **more)


def test_areas_by_hand():
    assert cpr((0, 0.5, 1), np.array([0, 1, 1])) == pytest.approx(0.75)
    assert cmd((0, 0.5, 1), np.array([0, 2, 1])) == pytest.approx(0.5 * (1 + 1) / 2 + 0.25)
    assert floor(MIB_KS) == pytest.approx(0.25)
    assert floor(LINEAR_KS) == pytest.approx(0.025)


def test_nodes_protocol_keeps_the_best_signed_scores():
    kept = circuits_of(ramp(), (0, 0.34, 1), "nodes").kept
    assert kept.sum(1).tolist() == [0, 2, 6]
    assert kept[1].nonzero()[:, 0].tolist() == [4, 5]


def test_ties_are_broken_in_node_order():
    kept = circuits_of(NodeScores(NODES, torch.zeros(6)), (0, 0.5), "nodes").kept
    assert kept[1].tolist() == [True, True, True, False, False, False]


def test_absolute_ranking():
    scores = NodeScores(NODES, torch.tensor([-9.0, 1, 2, 3, 4, 5]))
    assert circuits_of(scores, (0, 0.2), "nodes").kept[1].nonzero().item() == 5
    assert circuits_of(scores, (0, 0.2), "nodes", absolute=True).kept[1].nonzero().item() == 0


def test_mib_protocol_ranks_the_input():
    low = circuits_of(ramp(input=-1.0), (0.5, 1), "mib")
    assert low.connected.tolist() == [False, True]
    assert low.kept.sum(1).tolist() == [3, 6]
    high = circuits_of(ramp(input=100.0), (0.5, 1), "mib")
    assert high.connected.tolist() == [True, True]
    assert high.kept.sum(1).tolist() == [2, 6]


def test_scores_without_an_input_give_it_zero_under_mib():
    """Fault 8: this is what pins published heuristics to the floor of 0.25."""
    assert not circuits_of(ramp(), (0.5, 1), "mib").connected[0]


@pytest.mark.parametrize("task", ["ioi", "mcqa", "arithmetic_addition"])
def test_end_points(toy_small, task):
    data = load_task(task, n=12, split="test")
    curve = evaluate(toy_small, data, ramp(toy_small.nodes), ks=(0, 1), progress=False)
    assert curve.faithfulness == pytest.approx([0, 1], abs=1e-5)
    assert curve.n_kept == (0, len(toy_small.nodes))


@pytest.mark.parametrize("protocol", ["nodes", "mib"])
@pytest.mark.parametrize("ablation", ["zero", "mean", "mean-positional"])
def test_the_floor_holds_under_every_ablation(toy_small, ablation, protocol):
    """A circuit that recovers nothing before k = 1 has the floor's CPR, whatever is ablated."""
    data = load_task("ioi", n=12, split="test")
    one = ramp(toy_small.nodes, input=100.0)
    settings = {"protocol": protocol, "ablation": ablation, "progress": False}
    curve = evaluate(toy_small, data, one, ks=(0, 0.01, 0.5, 1), **settings)
    assert curve.faithfulness[[0, 1, 3]] == pytest.approx([0, 0, 1], abs=1e-5)
    assert curve.corrupt.mean() != pytest.approx(curve.baseline.mean(), abs=0.1)
    same = replace(curve, empty=None)
    assert same.faithfulness[0] != pytest.approx(0, abs=0.1)


def test_without_input_and_nodes_nothing_is_left_to_tell_answers_apart(toy_small):
    """Zero ablation under `mib` leaves a residual stream of zeros, so all logits are equal."""
    data = load_task("ioi", n=4, split="test")
    options = {"protocol": "mib", "ablation": "zero", "progress": False}
    curve = evaluate(toy_small, data, ramp(toy_small.nodes, input=-9.0), **options)
    assert curve.baseline == pytest.approx(np.zeros(4), abs=1e-6)
    assert curve.faithfulness[:-1] == pytest.approx(np.zeros(9), abs=1e-6)
    assert curve.cpr == pytest.approx(curve.floor)


def test_counterfactual_f_is_zero_at_the_corrupt_run(toy_small):
    data = load_task("ioi", n=4, split="test")
    curve = evaluate(toy_small, data, ramp(toy_small.nodes), progress=False)
    assert curve.empty is None
    assert curve.baseline is curve.corrupt


def test_mib_circuit_without_the_input_recovers_nothing(toy_small):
    data = load_task("ioi", n=8, split="test")
    scores = ramp(toy_small.nodes, input=-1.0)
    curve = evaluate(toy_small, data, scores, protocol="mib", progress=False)
    assert curve.faithfulness[:-1] == pytest.approx(np.zeros(9), abs=1e-12)
    assert curve.cpr == pytest.approx(0.25, abs=1e-6)


def test_batch_size_does_not_matter(llama):
    first = evaluate(llama.model, llama.data, ramp(llama.model.nodes), progress=False)
    other = evaluate(llama.model, llama.data, ramp(llama.model.nodes), batch_size=1, progress=False)
    np.testing.assert_allclose(first.pair_values, other.pair_values, atol=1e-5)
    assert first.pair_values.shape == (len(MIB_KS), 4)


@pytest.mark.slow
def test_many_curves_equal_single_ones(llama):
    nodes = llama.model.nodes
    vectors = {
        name: NodeScores(nodes, torch.randn(len(nodes), generator=torch.Generator().manual_seed(i)))
        for i, name in enumerate("abc")
    }
    metrics = {name: METRICS[name] for name in ("logit_diff", "kl", "accuracy")}
    together = evaluate_many(
        llama.model, llama.data, vectors, metrics=metrics, ks=LINEAR_KS, progress=False
    )
    for name, vector in vectors.items():
        for metric_name, metric in metrics.items():
            alone = evaluate(
                llama.model, llama.data, vector, metric=metric, ks=LINEAR_KS, progress=False
            )
            curve = together[name][metric_name]
            np.testing.assert_allclose(curve.pair_values, alone.pair_values, atol=1e-5)
            assert curve.metric == metric_name


def test_equal_circuits_are_run_once(llama, monkeypatch):
    runs = []
    original = type(llama.model).last_logits

    def counted(self, *arguments, **options):
        runs.append(1)
        return original(self, *arguments, **options)

    monkeypatch.setattr(type(llama.model), "last_logits", counted)
    scores = ramp(llama.model.nodes)
    evaluate_many(
        llama.model, llama.data, {"a": scores, "b": scores}, ks=(0, 0.01, 0.02, 0.5, 1),
        progress=False,
    )  # fmt: skip
    # Clean (which is the full circuit), corrupt, the empty circuit and the half one.
    assert len(runs) == 4


def test_curve_tells_what_it_is(llama):
    curve = evaluate(llama.model, llama.data, ramp(llama.model.nodes), progress=False)
    assert "floor 0.250" in repr(curve)
    assert list(curve.to_frame().columns) == ["k", "n_kept", "faithfulness"]
    assert curve.cmd > 0


def test_scores_of_another_model(llama):
    with pytest.raises(ScoresError, match=r"15 nodes \(3 layers of 4 heads.*Alignment.transfer"):
        evaluate(llama.model, llama.data, ramp(NodeSet(5, 2)), progress=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"protocol": "edges"}, "protocol='edges': choose one of nodes, mib"),
        ({"ks": (0.5, 0.2)}, "at least two rising proportions"),
        ({"ks": (0.5,)}, "at least two rising proportions"),
        ({"ks": (0, 1.5)}, "at least two rising proportions"),
        ({"ks": 0.5}, "ks=.*expected a list of float, got 0.5"),
        ({"ks": "0 1"}, "ks=.*expected a list of float, got '0 1'"),
        ({"ablation": "noise"}, "unknown ablation 'noise'"),
    ],
)
def test_bad_settings(llama, options, message, unchecked):
    with pytest.raises(ConfigError, match=message):
        evaluate(llama.model, llama.data, ramp(llama.model.nodes), progress=False, **options)


def test_nothing_to_evaluate(llama):
    with pytest.raises(ConfigError, match="nothing to evaluate"):
        evaluate_many(llama.model, llama.data, {}, progress=False)


def test_equal_clean_and_corrupt_metric(llama):
    clean, _, answers, lengths = llama.pairs
    same = PairDataset.from_tokens(clean, clean, answers, lengths)
    with pytest.raises(NumericsError, match="faithfulness is undefined"):
        evaluate(llama.model, same, ramp(llama.model.nodes), progress=False)


def test_metric_that_is_not_finite(llama):
    def broken(last_logits, batch):
        return last_logits[:, 0] * float("nan")

    with pytest.raises(NumericsError, match="not finite in pairs"):
        evaluate(llama.model, llama.data, ramp(llama.model.nodes), metric=broken, progress=False)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"ks": (1.0, 0.5)}, ConfigError, "at least two rising proportions"),
        ({"ks": (0.5, float("nan"))}, ConfigError, "at least two rising proportions"),
        ({"ks": (0.2, 0.5, 1.0)}, ConfigError, "a curve of 3 proportions needs 3 sizes, 3 values"),
        ({"n_kept": (1,)}, ConfigError, r"'n_kept': \(1,\)"),
        ({"pair_values": np.ones((2, 4))}, ConfigError, r"'pair_values': \(2, 4\)"),
        ({"corrupt": np.zeros(1)}, ConfigError, r"'corrupt': \(1,\)"),
        (
            {"pair_values": np.ones((2, 0)), "clean": np.ones(0), "corrupt": np.ones(0)},
            ConfigError,
            "for at least one pair",
        ),
        ({"pair_values": np.full((2, 3), np.nan)}, NumericsError, "pair_values .* must be finite"),
        ({"clean": np.array([1, 1, np.inf])}, NumericsError, "clean .* must be finite"),
        ({"empty": np.zeros(2)}, ConfigError, r"'empty': \(2,\)"),
        ({"empty": np.array([0, 0, np.nan])}, NumericsError, "empty .* must be finite"),
        ({"empty": np.ones(3)}, NumericsError, r"m\(empty circuit\) = 1 are equal on average"),
    ],
)
def test_curves_that_make_no_sense(change, error, message):
    given = {
        "ks": (0.5, 1.0),
        "n_kept": (1, 2),
        "pair_values": np.ones((2, 3)),
        "clean": np.ones(3),
        "corrupt": np.zeros(3),
    }
    assert FaithfulnessCurve(**given).cpr == 0.5
    with pytest.raises(error, match=message):
        FaithfulnessCurve(**(given | change))


def test_a_task_that_is_turned_round_is_warned_of(toy_large, caplog):
    """CPR is as high as for a task that is solved: f divides by a negative number."""
    pairs = load_task("arithmetic_addition", split="test", n=4).pairs
    turned = tuple(replace(p, answer=p.wrong_answer, wrong_answer=p.answer) for p in pairs)
    scores = NodeScores(toy_large.nodes, torch.arange(float(len(toy_large.nodes))))
    evaluate(toy_large, PairDataset(pairs), scores, progress=False)
    assert not caplog.records
    evaluate(toy_large, PairDataset(turned, name="turned"), scores, progress=False)
    assert "lower on clean prompts than on corrupt prompts" in caplog.text
