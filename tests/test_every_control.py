"""What every registered control must do; one that is added is checked without a line of test."""

from __future__ import annotations

import re
from dataclasses import fields

import pytest
import torch

from dfa_tl import AlignmentConfig, NodeScores, NodeSet, align
from dfa_tl.alignment.alignment import AlignmentChain
from dfa_tl.controls import CONTROLS, Control, Inputs, Need
from dfa_tl.controls.regimes import GOLD_STYLE, Regime
from dfa_tl.errors import ConfigError, DFAError, ScoresError

SOURCE = NodeSet(2, 2)
TASKS = ("one", "two", "test")
CONFIG = AlignmentConfig(epochs=1, batch_size=10)

every_control = pytest.mark.parametrize("control", CONTROLS.values(), ids=list(CONTROLS))


def some_scores(nodes: NodeSet, seed: int) -> NodeScores:
    values = torch.randn(len(nodes), generator=torch.Generator().manual_seed(seed))
    return NodeScores(nodes, values, provenance={"model": "some", "method": "nap"})


def changed(inputs: Inputs, **changes) -> Inputs:
    """The same with other values; what is None is not given."""
    values = {each.name: getattr(inputs, each.name) for each in fields(inputs)} | changes
    return Inputs(**{name: value for name, value in values.items() if value is not None})


def inputs_of(control: Control, case) -> Inputs:
    """All that a control needs, and nothing else."""
    nodes, (*training, test) = case.model.nodes, TASKS
    train_tasks = tuple(training) if control.regimes else (test,)
    source = {task: some_scores(SOURCE, seed) for seed, task in enumerate(TASKS)}
    data = dict.fromkeys(train_tasks, case.data)
    everything = {
        Need.SCORES: {"scores": source[test]},
        Need.TRAINING_SCORES: {"training_scores": {task: source[task] for task in train_tasks}},
        Need.TRAINING_GOLD: {
            "training_gold": {task: some_scores(nodes, 9 + n) for n, task in enumerate(train_tasks)}
        },
        Need.TRAINING_MASKS: {
            "training_masks": {
                task: some_scores(nodes, 19 + n) for n, task in enumerate(train_tasks)
            }
        },
        Need.TARGET: {"target": case.model, "data": data},
    }
    given = {}
    for need in control.needs:
        given |= everything.get(need, {})
    if Need.ALIGNMENT in control.needs:
        trained_on = control.stand_in(SOURCE, train_tasks, 0) if control.stand_in else source
        scores = {task: trained_on[task] for task in train_tasks}
        given["alignment"] = align(scores, case.model, data, CONFIG, progress=False)
    return Inputs(
        **{
            "task": test,
            "train_tasks": train_tasks,
            "nodes": nodes,
            "config": CONFIG,
            **given,
        }
    )


@every_control
def test_scores_are_finite_and_decided_by_the_seed(llama, control):
    inputs = inputs_of(control, llama)
    scores = control.scores(inputs)
    assert scores.nodes == llama.model.nodes
    assert scores.values.isfinite().all()
    assert not scores.unscored
    assert torch.equal(control.scores(inputs).values, scores.values)
    others = [control.scores(changed(inputs, seed=seed)).values for seed in (1, 2, 3)]
    assert any(not torch.equal(other, scores.values) for other in others) == control.is_drawn


@every_control
def test_it_changes_neither_its_inputs_nor_the_model_nor_the_random_state(llama, control):
    inputs = inputs_of(control, llama)

    def state():
        found = [*llama.model.tl.parameters(), torch.get_rng_state()]
        if Need.ALIGNMENT in control.needs:
            found.append(inputs.alignment.W)
        by_task = (inputs.training_scores, inputs.training_gold, inputs.training_masks)
        for given in (*by_task, {"": inputs.scores}):
            found += [each.values for each in (given or {}).values() if each is not None]
        return found

    before = [tensor.clone() for tensor in state()]
    hooks = dict(llama.model.tl._forward_hooks)
    control.scores(inputs)
    assert all(map(torch.equal, before, state()))
    assert dict(llama.model.tl._forward_hooks) == hooks
    assert all(parameter.grad is None for parameter in llama.model.tl.parameters())


@every_control
def test_it_says_what_is_missing(llama, control):
    inputs = inputs_of(control, llama)
    for need in control.needs:
        with pytest.raises(DFAError, match=f"control {control.name} needs .*{need.value}"):
            control.scores(changed(inputs, **{need.value: None}))


@every_control
def test_a_chain_is_one_more_W(llama, control):
    if Need.ALIGNMENT not in control.needs or not control.takes_chains:
        pytest.skip("it knows no chain")
    inputs = inputs_of(control, llama)
    alone = control.scores(inputs).values
    chain = AlignmentChain((inputs.alignment,))
    assert torch.equal(control.scores(changed(inputs, alignment=chain)).values, alone)


@every_control
def test_it_is_described_and_told_apart(control):
    others = [other.style for other in CONTROLS.values() if other is not control]
    assert control.style not in (*others, GOLD_STYLE, *(regime.style for regime in Regime))
    assert re.fullmatch("#[0-9A-F]{6}", control.style.color)
    assert len(control.description) > 20
    assert not control.description.endswith(".")
    assert Regime.CROSS_TASK not in control.regimes, "it has several W for one test task"


def test_what_no_control_can_be():
    def build(inputs):
        return some_scores(SOURCE, 0)

    with pytest.raises(ConfigError, match="'zero-shot' cannot name a control"):
        Control(name="zero-shot", description="", build=build)
    with pytest.raises(ConfigError, match="needs training_gold, so say which tasks these are"):
        Control(name="mine", description="", build=build, needs=(Need.TRAINING_GOLD,))
    with pytest.raises(ConfigError, match="ALIGNMENT belongs to its needs"):
        Control(name="mine", description="", build=build, stand_in=lambda *_: {})
    mine = Control(name="mine", description="", build=build)
    with pytest.raises(ScoresError, match="the target, as control mine must give"):
        mine.scores(Inputs(task="t", nodes=NodeSet(3, 2)))


def test_names_of_controls_in_regimes():
    uniform, mask = CONTROLS["uniform_s"], CONTROLS["target_only"]
    assert uniform.name_in("zero-shot") == "uniform_s"
    assert uniform.name_in("all") == "uniform_s (all)"
    assert mask.name_in("all") == "target_only"
    assert mask.applies_to("cross-task")
    assert not uniform.applies_to("cross-task")
    assert not CONTROLS["mean_gold"].applies_to("all")
    without_method = {name for name, control in CONTROLS.items() if not control.depends_on_method}
    assert {"uniform_s", "random_s", "target_only"} <= without_method
    assert without_method.isdisjoint({"random_W", "scrambled_s", "regression", "mean_gold"})
