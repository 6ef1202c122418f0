"""Names are given once, and what is registered from outside works everywhere."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest

from dfa_tl import NodeScores, analysis, controls, load_task, run_study, viz
from dfa_tl.attribution.registry import METHODS, register_method
from dfa_tl.controls import CONTROLS, Control, Need, register_control
from dfa_tl.controls.regimes import COMPARED, Regime, Style
from dfa_tl.errors import ConfigError
from dfa_tl.report import write_report
from dfa_tl.study.keys import CircuitKey
from dfa_tl.tasks import TASKS
from dfa_tl.tasks.registry import register_task
from small_studies import SMALL


@pytest.mark.parametrize(
    ("registry", "register_record"),
    [(CONTROLS, register_control), (METHODS, register_method), (TASKS, register_task)],
    ids=["control", "method", "task"],
)
def test_a_name_is_given_once(registry, register_record):
    name, record = next(iter(registry.items()))
    with pytest.raises(ConfigError, match=f"there is already a {registry.kind} '{name}'"):
        register_record(record)
    with pytest.raises(ConfigError, match="use letters, digits"):
        register_record(replace(record, name="mine|yours"))
    with pytest.raises(ConfigError, match=f"unknown {registry.kind} 'mine': choose one of {name}"):
        registry.find("mine")
    count = len(registry)
    mine = register_record(replace(record, name="mine"))
    assert registry["mine"] is mine
    registry.remove("mine")
    assert len(registry) == count
    assert "mine" not in registry


def test_a_task_of_your_own(register):
    register(TASKS, replace(TASKS["ioi"], name="mine", family="mine"))
    assert len(load_task("mine", n=5).pairs) == 5


def test_regimes_are_their_names():
    assert Regime.ZERO_SHOT == "zero-shot"
    assert f"{Regime.ZERO_SHOT}" == str(Regime.ZERO_SHOT) == "zero-shot"
    assert pickle.loads(pickle.dumps(Regime.ALL)) is Regime.ALL
    assert Regime.CROSS_TASK not in COMPARED


@pytest.mark.parametrize(
    ("regime", "expected"),
    [
        ("in-distribution", [("b",)]),
        ("near-distribution", [("c",)]),
        ("zero-shot", [("a", "c")]),
        ("leave-task-out", [("a", "c")]),
        ("all", [("a", "b", "c")]),
        ("cross-task", [("a",), ("b",), ("c",)]),
    ],
)
def test_what_W_is_trained_on(regime, expected):
    related = {"a": (), "b": ("c",), "c": ("b",)}
    assert Regime(regime).train_tasks("b", ("a", "b", "c"), related) == expected
    assert Regime.NEAR_DISTRIBUTION.train_tasks("a", ("a", "b", "c"), related) == []
    assert Regime.ZERO_SHOT.train_tasks("a", ("a",), {}) == []


def test_zero_shot_never_trains_on_the_test_tasks_family():
    tasks = ("ioi", "arc_easy", "mib/arc_challenge", "sva_simple", "sva_relative", "./mine")
    (trained,) = Regime.ZERO_SHOT.train_tasks("arc_easy", tasks, {})
    assert trained == ("ioi", "sva_simple", "sva_relative", "./mine")
    (trained,) = Regime.LEAVE_TASK_OUT.train_tasks("arc_easy", tasks, {})
    assert trained == ("ioi", "mib/arc_challenge", "sva_simple", "sva_relative", "./mine")
    (trained,) = Regime.ZERO_SHOT.train_tasks("./mine", tasks, {})
    assert trained == tasks[:-1]
    assert Regime.ZERO_SHOT.train_tasks("arc_easy", ("arc_easy", "arc_challenge"), {}) == []


NEAREST = Control(
    name="nearest_task",
    description="the gold circuit of the training task whose source scores are most like these",
    build=lambda given: max(
        given.training_gold.items(),
        key=lambda item: float(given.training_scores[item[0]].values @ given.scores.values),
    )[1],
    needs=(Need.SCORES, Need.TRAINING_SCORES, Need.TRAINING_GOLD),
    regimes=(Regime.ZERO_SHOT,),
    is_main=True,
    style=Style("#123456", "dot", "star-square"),
)


def by_name(source, tasks, seed) -> dict[str, NodeScores]:
    """One number for each task, the same at every node."""
    one = controls.uniform_s(source)
    return {task: replace(one, values=one.values * (1 + n)) for n, task in enumerate(sorted(tasks))}


TASK_ALONE = Control(
    name="task_alone",
    description="trained from scores that say which task it is, and nothing about the source",
    build=lambda given: given.alignment.transfer(by_name(given.alignment.source, ("x",), 0)["x"]),
    needs=(Need.ALIGNMENT,),
    regimes=(Regime.ZERO_SHOT, Regime.IN_DISTRIBUTION),
    stand_in=by_name,
)
TRAINED = Control(
    name="trained_outside",
    description="trained on the target, for which it has a function of its own",
    build=lambda given: controls.target_only(
        given.target, given.data, given.config, progress=False
    ),
    needs=(Need.TARGET,),
)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_controls_of_your_own_work_in_a_study_its_tables_figures_and_report(tmp_path, register):
    mine = (NEAREST, TASK_ALONE, TRAINED)
    names = tuple(control.name for control in mine)
    with pytest.raises(ConfigError, match="controls: 'nearest_task' is unknown"):
        replace(SMALL, controls=names)
    for control in mine:
        register(CONTROLS, control)
    config = replace(
        SMALL, methods=("nap",), regimes=("zero-shot", "in-distribution"), seeds=(0,),
        controls=("uniform_s", *names), few_pairs_methods=(),
    )  # fmt: skip
    results = run_study(config, tmp_path, progress=False)
    assert not results.failures
    rows = results.frame()
    assert set(rows["regime"]) == {
        "gold", "zero-shot", "in-distribution", "uniform_s", "uniform_s (in-distribution)",
        "nearest_task", "task_alone", "task_alone (in-distribution)", "trained_outside",
    }  # fmt: skip
    task, other = config.tasks
    scores = results.scores(config.pairs[0].name, task, "nap")
    gold = results.scores(config.pairs[0].name, other, "nap")
    n = config.train_pairs
    nearest = scores[CircuitKey("nearest_task", "", (other,), n)]
    assert nearest.values.tolist() == gold[CircuitKey("gold", "", (other,), n)].values.tolist()
    assert set(analysis.overall(results).frame["against"]) >= {"gold", "uniform_s", *names}
    assert len(analysis.source_effect(results, "task_alone", "in-distribution").frame) == len(
        config.tasks
    )
    with pytest.raises(ConfigError, match="nearest_task is a control of zero-shot"):
        analysis.source_effect(results, "nearest_task", "in-distribution")
    assert set(analysis.control_levels(results).frame["setting"]) >= set(names)
    labels = viz.controls_by_task(results).layout.yaxis.ticktext
    assert set(labels) >= {control.label for control in mine}
    colors = [trace.line.color for trace in viz.study_curves(results, regimes=names).data]
    assert "#123456" in colors
    cost = {trace.name for trace in viz.cost_frontier(results).data}
    assert "other circuits" in cost  # beside the five that are coloured
    assert "trained_outside" not in cost  # its passes are not known
    page = write_report(results, tmp_path / "report.html").read_text(encoding="utf-8")
    for control in mine:
        assert f"<dt>{control.name}</dt><dd>{control.description}</dd>" in page
    for control in mine:
        if control.applies_to(Regime.ZERO_SHOT):
            assert f'<th scope="row">{control.label}</th>' in page
