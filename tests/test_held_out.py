"""Checks while W is trained: held-out curves, the best W, early stopping, and training further."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from dfa_tl import Alignment, AlignmentConfig, NodeScores, NodeSet, align, controls, evaluate
from dfa_tl.errors import ConfigError, ScoresError
from dfa_tl.evaluation.held_out import HeldOut
from dfa_tl.viz import training_history

SOURCE = NodeSet(2, 2)
KS = (0.0, 0.5, 1.0)
SETTINGS = AlignmentConfig(steps=6, batch_size=4, learning_rate=0.5)


def some_scores(seed=0, nodes=SOURCE) -> NodeScores:
    values = torch.randn(len(nodes), generator=torch.Generator().manual_seed(seed))
    return NodeScores(nodes, values)


def trained(case, settings=SETTINGS, **options) -> Alignment:
    given = {"t": some_scores()}
    return align(given, case.model, {"t": case.data}, settings, progress=False, **options)


def held_out(case, **options) -> HeldOut:
    return HeldOut(case.model, {"t": some_scores()}, {"t": case.data}, ks=KS, **options)


def test_checks_see_W_as_it_is_after_so_many_steps(llama):
    seen = {}
    constant = replace(SETTINGS, schedule="constant")  # so that fewer steps are the same steps
    whole = trained(llama, constant, check=seen.__setitem__, check_every=2)
    assert list(seen) == [0, 2, 4, 6]
    assert torch.equal(seen[6].W, whole.W)
    assert torch.equal(trained(llama).W, trained(llama, check=seen.__setitem__).W)
    for steps in (2, 4):
        fewer = trained(llama, replace(constant, steps=steps))
        torch.testing.assert_close(seen[steps].W, fewer.W)
    untrained = controls.untrained_W(SOURCE, llama.model.nodes, SETTINGS)
    torch.testing.assert_close(seen[0].W, untrained.W)


def test_a_check_ends_training(llama):
    stopped = trained(llama, check=lambda step, W: step >= 4, check_every=2)
    assert len(stopped.history) == 4
    assert trained(llama, check=lambda step, W: "not True").history.tasks == ("t",) * 6


def test_held_out_curves_are_those_of_evaluate(llama):
    watch = held_out(llama)
    whole = trained(llama, check=watch, check_every=3)
    frame = watch.to_frame()
    assert frame["step"].tolist() == [0, 3, 6]
    scores = whole.transfer(some_scores())
    curve = evaluate(llama.model, llama.data, scores, ks=KS, progress=False)
    last = frame.iloc[-1]
    assert (last["cpr"], last["cmd"]) == pytest.approx((curve.cpr, curve.cmd), abs=1e-6)
    best = frame.loc[frame["cmd"].idxmin()]
    assert watch.best_step == best["step"]
    scores = watch.best.transfer(some_scores())
    again = evaluate(llama.model, llama.data, scores, ks=KS, progress=False)
    assert again.cmd == pytest.approx(best["cmd"], abs=1e-6)
    by_cpr = held_out(llama, by="cpr")
    trained(llama, check=by_cpr, check_every=3)
    assert by_cpr.best_step == frame.loc[frame["cpr"].idxmax()]["step"]


class Falling(HeldOut):
    """Circuits that get worse after the second check."""

    def __call__(self, step, alignment):
        wanted = [0.5, 0.4, 0.6, 0.7, 0.8, 0.9, 1.0][step]
        values = torch.linspace(0, 1, len(self.target.nodes)) * (1 if wanted < 0.5 else -1)
        fixed = controls.uniform_s(alignment.source)
        W = values[None].repeat(len(alignment.source), 1)
        made = Alignment(W, alignment.source, alignment.target)
        self.scores = dict.fromkeys(self.scores, fixed)
        return super().__call__(step, made)


def test_patience_counts_checks_without_a_better_W(llama):
    watch = Falling(llama.model, {"t": some_scores()}, {"t": llama.data}, ks=KS, patience=2)
    stopped = trained(llama, check=watch, check_every=1)
    steps = watch.to_frame()["step"].tolist()
    assert steps[-1] == watch.best_step + 2 == len(stopped.history) < SETTINGS.steps


def test_held_out_arguments(llama):
    with pytest.raises(ConfigError, match="give both for the same tasks"):
        HeldOut(llama.model, {"t": some_scores()}, {"u": llama.data})
    with pytest.raises(ConfigError, match="by"):
        held_out(llama, by="loss")
    with pytest.raises(ConfigError, match="patience"):
        held_out(llama, patience=0)
    with pytest.raises(ConfigError, match="check_every"):
        trained(llama, check_every=0)


def test_the_figure_of_training_shows_held_out_curves(llama):
    watch = held_out(llama)
    whole = trained(llama, check=watch, check_every=3)
    figure = training_history(whole, watch)
    titles = [axis.title.text for axis in figure.select_yaxes()]
    assert [title for title in titles if title] == [
        "loss", "KL to the clean run (nats)", "mean mask", "CPR, held out", "CMD, held out",
    ]  # fmt: skip
    frame = watch.to_frame()
    lines = [list(trace.y) for trace in figure.data if trace.mode == "lines+markers"]
    assert lines == [frame["cpr"].tolist(), frame["cmd"].tolist()]
    with pytest.raises(ConfigError, match="no checks"):
        training_history(whole, held_out(llama))


# Training further


def test_training_from_a_start_goes_on_from_there(llama):
    constant = replace(SETTINGS, schedule="constant", learning_rate=1e-9)
    W = 0.1 * torch.randn(6, len(llama.model.nodes), generator=torch.Generator().manual_seed(1))
    bias = torch.linspace(-1, 1, len(llama.model.nodes))
    start = Alignment(W, SOURCE, llama.model.nodes, constant, bias=bias)
    same = trained(llama, constant, start=start)
    torch.testing.assert_close(same.W, W, atol=1e-6, rtol=0)
    torch.testing.assert_close(same.bias, bias)
    moved = trained(llama, replace(constant, learning_rate=0.5), start=start)
    assert (moved.W - W).abs().max() > 0.1
    assert torch.equal(moved.bias, bias)
    free = trained(llama, replace(SETTINGS, target_bias=True), start=start)
    assert (free.bias - bias).abs().max() > 0.1
    assert torch.equal(start.W, W)


def test_a_start_that_does_not_fit(llama):
    nodes = llama.model.nodes
    start = Alignment(torch.zeros(6, len(nodes)), SOURCE, nodes, SETTINGS)
    with pytest.raises(ScoresError, match="start is a W from"):
        trained(llama, start=Alignment(torch.zeros(6, 6), SOURCE, SOURCE, SETTINGS))
    with pytest.raises(ConfigError, match="rank=None"):
        trained(llama, replace(SETTINGS, rank=1), start=start)
    with pytest.raises(ConfigError, match="give both the same"):
        trained(llama, replace(SETTINGS, normalization="none"), start=start)


def test_a_free_mask_from_several_starts_is_the_one_with_the_lowest_loss(llama):
    settings = replace(SETTINGS, sparsity=0.0)  # so that keeping everything is best
    data = {"t": llama.data}

    def mask(start):
        return controls.target_only(llama.model, data, settings, start=start, progress=False)

    assert torch.equal(mask((-6.0, 0.0, 6.0)).values, mask(6.0).values)
    assert torch.equal(mask((6.0, 0.0, -6.0)).values, mask((6.0,)).values)
    assert not torch.equal(mask(6.0).values, mask(0.0).values)


def test_a_free_mask_refines_a_transferred_circuit(llama):
    start = some_scores(3, llama.model.nodes)
    tiny = replace(SETTINGS, learning_rate=1e-9)
    refined = controls.target_only(llama.model, llama.data, tiny, start=start, progress=False)
    torch.testing.assert_close(refined.values, start.values, atol=1e-6, rtol=0)
    with pytest.raises(ScoresError):
        controls.target_only(llama.model, llama.data, start=some_scores(), progress=False)
    with pytest.raises(ConfigError, match="at least one start"):
        controls.target_only(llama.model, llama.data, start=[], progress=False)
