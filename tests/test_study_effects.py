"""What a study says of its controls: which one a regime is compared with, and what is left out."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from dfa_tl import AlignmentConfig, FaithfulnessCurve, NodeScores, analysis
from dfa_tl.analysis.break_even import break_even
from dfa_tl.analysis.effects import overall, source_effect, unbounded_tasks
from dfa_tl.analysis.tables import recovery
from dfa_tl.errors import ConfigError, NumericsError
from dfa_tl.study import PairSpec, StudyResults, evaluate_job, run_study
from dfa_tl.study.keys import CircuitKey
from test_study import PAIR, TASKS, TINY

CONTROLS = ("random_W", "uniform_s", "scrambled_s", "target_only", "depth_mean", "untrained_W")
VARIANTS = {
    "default": AlignmentConfig(epochs=1),
    "other": AlignmentConfig(epochs=1, initialization="random", learning_rate=0.1),
}
CONFIG = replace(
    TINY,
    regimes=("in-distribution", "near-distribution", "zero-shot", "all"),
    controls=CONTROLS,
    draws=1,
    variants=VARIANTS,
    rankings=("signed", "absolute"),
    level=0.9,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> StudyResults:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    results = run_study(CONFIG, tmp_path_factory.mktemp("effects"), progress=False)
    torch.set_num_threads(before)
    assert not results.failures
    return results


def cpr(results: StudyResults, **wanted: object) -> float:
    """CPR of the one row with these values."""
    rows = results.headline()
    for column, value in wanted.items():
        rows = rows[rows[column] == value]
    assert len(rows) == 1, rows
    return float(rows["cpr"].iloc[0])


@pytest.mark.parametrize(
    ("regime", "control", "trained_on"),
    [
        ("zero-shot", "uniform_s", {TASKS[0]: TASKS[1], TASKS[1]: TASKS[0]}),
        ("in-distribution", "uniform_s (in-distribution)", {task: task for task in TASKS}),
        (
            "near-distribution",
            "uniform_s (near-distribution)",
            {TASKS[0]: TASKS[1], TASKS[1]: TASKS[0]},
        ),
        ("all", "uniform_s (all)", dict.fromkeys(TASKS, "+".join(TASKS))),
    ],
)
def test_uniform_s_is_trained_on_what_the_regime_is_trained_on(study, regime, control, trained_on):
    """Else having seen the test task would be credited to the source."""
    table = analysis.source_effect(study, "uniform_s", regime).frame
    table = table[table["variant"] == "default"].set_index("task")
    for task, trained in trained_on.items():
        shared = {"test_task": task, "variant": "default", "train_tasks": trained}
        ours = cpr(study, regime=regime, **shared)
        theirs = cpr(study, regime=control, **shared)
        assert table["difference"][task] == pytest.approx(ours - theirs, abs=1e-9)


def test_controls_of_zero_shot_are_compared_with_it_alone(study):
    rows = analysis.overall(study, "in-distribution").frame
    assert set(rows["against"]) == {"gold", *CONTROLS} - {"scrambled_s"}
    assert "scrambled_s" in set(analysis.overall(study).frame["against"])
    with pytest.raises(ConfigError, match="scrambled_s is a control of zero-shot"):
        analysis.source_effect(study, "scrambled_s", "in-distribution")


def test_no_settings_are_compared_with_the_controls_of_others(study):
    rows = analysis.overall(study).frame
    by_variant = {name: set(rows[rows["variant"] == name]["against"]) for name in VARIANTS}
    assert by_variant["other"] == by_variant["default"] - {"scrambled_s"}
    other = rows[(rows["variant"] == "other") & (rows["against"] == "uniform_s")].iloc[0]
    each = [
        cpr(study, regime="zero-shot", test_task=task, variant="other")
        - cpr(study, regime="uniform_s", test_task=task, variant="other")
        for task in TASKS
    ]
    assert other["difference"] == pytest.approx(np.mean(each), abs=1e-9)


def test_structure_before_and_after_training(study):
    """W as it starts has a row of its own, under each settings."""
    table = analysis.structure(study).frame.set_index(["regime", "variant"])
    assert {("untrained_W", "default"), ("untrained_W", "other")} <= set(table.index)
    for name in ("pearson", "spearman", "profile_pearson", "profile_spearman"):
        values = {
            table.loc[row][name]
            for row in (
                ("untrained_W", "default"),
                ("untrained_W", "other"),
                ("zero-shot", "other"),
            )
        }
        assert len(values) == 3, name
        assert all(-1 <= value <= 1 for value in values)


def test_differences_in_every_way_of_measuring(study):
    table = analysis.effect_by_choice(study).frame
    assert table["ranking"].tolist() == ["signed", "absolute"]
    rows = study.frame()
    for _, line in table.iterrows():
        chosen = rows[(rows["ranking"] == line["ranking"]) & (rows["variant"] == "default")]
        means = chosen.groupby("regime")["cpr"].mean()
        assert line["difference"] == pytest.approx(means["zero-shot"] - means["uniform_s"])


def test_effects_in_another_view(study):
    view = study.view._replace(ranking="absolute")
    table = analysis.source_effect(study, view=view).frame.set_index(["variant", "task"])
    rows = study.headline(view)
    rows = rows[(rows["test_task"] == TASKS[0]) & (rows["variant"] == "default")]
    means = rows.groupby("regime")["cpr"].mean()
    expected = means["zero-shot"] - means["uniform_s"]
    assert table["difference"]["default", TASKS[0]] == pytest.approx(expected, abs=1e-9)


def test_wall_time_is_split_as_costs_are(study):
    times = analysis.wall_time(study)
    row = times[(times["regime"] == "zero-shot") & (times["variant"] == "default")]
    row = row[row["test_task"] == TASKS[0]].iloc[0]
    by_job = analysis.timings(study).set_index("job")["seconds"]
    of_task = by_job[f"attribute(model=toy-small, task={TASKS[0]}, method=nap, seed=0)"]
    other = by_job[f"attribute(model=toy-small, task={TASKS[1]}, method=nap, seed=0)"]
    assert row["seconds_per_task"] == pytest.approx(of_task)
    assert row["seconds_once_per_pair"] > other


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (
            lambda study: analysis.source_effect(study, "nonsense"),
            "unknown control 'nonsense': choose one",
        ),
        (
            lambda study: analysis.source_effect(study, "gold", "zeroshot"),
            "unknown regime 'zeroshot'",
        ),
        (lambda study: analysis.overall(study, "zeroshot"), "unknown regime 'zeroshot'"),
        (lambda study: analysis.break_even(study, "zeroshot"), "unknown regime 'zeroshot'"),
        (lambda study: analysis.effect_by_choice(study, "zeroshot"), "unknown regime 'zeroshot'"),
    ],
)
def test_what_is_not_there_is_no_empty_table(study, ask, message):
    with pytest.raises(ConfigError, match=message):
        ask(study)


def test_a_chain_is_tested_on_the_constant_that_it_was_trained_with(tmp_path):
    chain = PairSpec("toy-small", "toy-large", via=("toy-small",))
    config = replace(TINY, pairs=(chain,), controls=("uniform_s", "random_s"))
    results = run_study(config, tmp_path, progress=False)
    scores = results.scores(chain.name, TASKS[0], "none")
    key = CircuitKey("uniform_s", "default", (TASKS[1],), 8)
    (job,) = [job for job in results.evaluations if (job.method, job.task) == ("none", TASKS[0])]
    for circuit in job.circuits:
        (W,) = circuit.needs
        assert (W.source.name, W.target.name) == ("toy-small", "toy-large")
    plain = run_study(replace(config, pairs=(PAIR,)), tmp_path, progress=False)
    alone = plain.scores(PAIR.name, TASKS[0], "none")
    torch.testing.assert_close(scores[key].values, alone[key].values)


def test_a_metric_without_faithfulness_does_not_cost_the_others(tmp_path, monkeypatch):
    """Accuracy may not tell clean from corrupt prompts where the logit difference does."""

    def constant(logits, batch):
        return torch.ones(len(batch))

    monkeypatch.setitem(evaluate_job.METRICS, "accuracy", constant)
    config = replace(TINY, controls=(), metrics=("logit_diff", "accuracy"))
    results = run_study(config, tmp_path, progress=False)
    assert not results.failures
    assert set(results.frame()["metric"]) == {"logit_diff"}
    first = replace(config, metrics=("accuracy",))
    failed = run_study(first, tmp_path / "first", progress=False)
    assert any(NumericsError.__name__ in failure.traceback for failure in failed.failures)


class Handmade:
    """A study of one pair and method whose curves are given, by (regime, task)."""

    __class__ = StudyResults  # for the checks of arguments

    def __init__(self, levels, *, level=0.95, gap=4.0, noise=0.01, few=(), pairs=12):
        tasks = tuple(dict.fromkeys(task for _, task in levels))
        self.config = SimpleNamespace(
            pairs=(SimpleNamespace(name="a -> b"),), methods=("nap",), tasks=tasks, seeds=(0,),
            variants={"default": None}, default_variant="default",
            controls=("uniform_s",), level=level, resamples=1000,
            few_pairs_methods=("nap",), protocols=("nodes",), rankings=("signed",),
            grids=("linear",),
            test_pairs=pairs,
        )  # fmt: skip
        rng, self.saved, self.rows, self.gaps = np.random.default_rng(0), {}, [], {}
        levels = {**levels, **{("few-pairs", task, n): v for task, by in few for n, v in by}}
        for (regime, task, *size), value in levels.items():
            n = size[0] if size else 16
            some = gap + rng.normal(0, abs(gap), pairs) if gap < 1 else np.full(pairs, gap)
            gaps = self.gaps.setdefault(task, some)
            middle = gaps * value + rng.normal(0, noise, pairs)
            curve = FaithfulnessCurve(
                (0.0, 0.5, 1.0), (0, 4, 8), np.stack([np.zeros(pairs), middle, gaps]), gaps,
                np.zeros(pairs),
            )  # fmt: skip
            variant = "" if regime in ("gold", "few-pairs", "random_W") else "default"
            method = "none" if regime == "uniform_s" else "nap"
            key = CircuitKey(regime, variant, ("x",), n)
            self.saved.setdefault((task, method), {})[key] = curve
            infinite = np.inf if gap < 1 else 1.0
            self.rows.append(
                {
                    "pair": "a -> b", "method": method, "regime": regime, "variant": variant,
                    "train_tasks": "x", "test_task": task, "seed": 0, "draw": 0, "pairs": n,
                    "cpr": curve.cpr, "cpr_low": -infinite, "cpr_high": infinite, "n": pairs,
                    "floor": 0.25,
                }
            )  # fmt: skip

    def headline(self, view=None) -> pd.DataFrame:
        return pd.DataFrame(self.rows)

    def curves(self, pair, task, method, seed=0, *, view=None):
        return self.saved[task, method]


def test_pairs_needed_are_those_from_which_all_larger_numbers_suffice():
    levels = {("gold", "ioi"): 0.9, ("zero-shot", "ioi"): 0.6, ("gold", "mcqa"): 0.5,
              ("zero-shot", "mcqa"): 0.8}  # fmt: skip
    few = [("ioi", [(1, 0.3), (2, 0.7), (4, 0.5), (8, 0.8)]), ("mcqa", [(1, 0.9), (2, 0.4)])]
    table = break_even(Handmade(levels, few=few), "zero-shot").frame.set_index("task")
    assert table["pairs needed"]["ioi"] == 8
    assert table["pairs needed"]["mcqa"] is pd.NA


def test_recovery_compares_the_same_tasks_and_says_what_is_undefined():
    levels = {("gold", "ioi"): 0.8, ("gold", "mcqa"): 0.6, ("gold", "arc_easy"): 0.0,
              ("zero-shot", "ioi"): 0.4, ("zero-shot", "mcqa"): 0.6,
              ("zero-shot", "arc_easy"): 0.1, ("near-distribution", "mcqa"): 0.3}  # fmt: skip
    made = Handmade(levels)
    table = recovery(made).frame.set_index("setting")
    mean = {name: np.mean([row["cpr"] for row in made.rows if (row["regime"], row["test_task"])
            in name]) for name in ((("gold", "mcqa"),),)}  # fmt: skip
    near = table.loc["DFA (near-distribution)"]
    assert near["gold"] == pytest.approx(mean[("gold", "mcqa"),])
    assert near["tasks"] == 1
    zero_shot = table.loc["DFA (zero-shot)"]
    assert zero_shot["undefined"] == 1
    assert "arc_easy: " in zero_shot["why"]
    assert "the floor" in zero_shot["why"]
    assert pd.isna(zero_shot["above floor"])  # random W was not measured
    wide = recovery(Handmade(levels, level=0.999)).frame.set_index("setting").loc["DFA (zero-shot)"]
    assert wide["recovery high"] > zero_shot["recovery high"] + 1
    random = {("random_W", task): 0.1 for task in ("ioi", "mcqa", "arc_easy")}
    measured = recovery(Handmade({**levels, **random})).frame.set_index("setting")
    assert measured.loc["DFA (zero-shot)"]["above floor"] > 0


def test_a_large_table_can_still_reject():
    """Smallest p times the number of tests stays below 1 - level."""
    levels = {}
    for number in range(120):
        levels |= {("zero-shot", f"task {number}"): 0.9, ("uniform_s", f"task {number}"): 0.5}
    table = source_effect(Handmade(levels, pairs=64), "uniform_s", "zero-shot")
    assert len(table.frame) == 120
    assert (table.frame["p (Holm)"] < 0.05).all()
    # No permutation was as extreme, so every p-value is an upper bound, and is shown as one.
    p, adjusted = table.frame["p"].iloc[0], table.frame["p (Holm)"].iloc[0]
    assert set(table.texts()["p"]) == {f"<={p:.2g}"}
    assert set(table.texts()["p (Holm)"]) == {f"<={adjusted:.2g}"}


def test_tasks_without_a_bounded_interval_are_in_no_mean():
    good = {("zero-shot", "ioi"): 0.9, ("uniform_s", "ioi"): 0.5}
    bad = {("zero-shot", "mcqa"): 0.2, ("uniform_s", "mcqa"): 0.9}
    made, lost = Handmade(good), Handmade(bad, gap=0.001)
    made.rows += lost.rows
    made.saved |= lost.saved
    made.config.tasks = ("ioi", "mcqa")
    assert unbounded_tasks(made, "a -> b") == {"mcqa"}
    row = overall(made, "zero-shot").frame.iloc[0]
    assert (row["tasks"], row["left out"]) == (1, 1)
    assert row["difference"] == pytest.approx(made.rows[0]["cpr"] - made.rows[1]["cpr"])


def test_untrained_W_is_where_training_starts():
    from dfa_tl import controls
    from dfa_tl.alignment.depth import depth_mean
    from dfa_tl.nodes import NodeSet

    source, target = NodeSet(2, 3), NodeSet(3, 2)
    config = AlignmentConfig(initialization="random", seed=3, target_bias=True)
    start = controls.untrained_W(source, target, config)
    expected = 0.02 * torch.randn(8, 9, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(start.W, expected)
    assert start.bias is not None
    assert not start.bias.any()
    scores = NodeScores(source, torch.arange(8.0))
    prior = controls.untrained_W(source, target, AlignmentConfig()).transfer(scores).values
    s = scores.values.numpy()
    by_hand = depth_mean(source, target).numpy().T @ ((s - s.mean()) / s.std())
    np.testing.assert_allclose(prior, by_hand, atol=1e-5)
