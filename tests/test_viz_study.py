"""Figures of a study: their numbers against plain loops over the study's rows and curves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from dfa_tl import AlignmentConfig, PairSpec, StudyConfig, analysis, run_study
from dfa_tl.controls.regimes import Regime
from dfa_tl.errors import ConfigError
from dfa_tl.evaluation.intervals import Bootstrap, cpr_interval
from dfa_tl.study.keys import CircuitKey
from dfa_tl.viz import (
    controls_by_task,
    cost_frontier,
    cross_task_heatmap,
    recovery_bars,
    recovery_by_gap,
    study_curves,
)
from dfa_tl.viz.cost_frontier import frontier
from stand_in import FLOOR, KS, TASKS, StandIn

FIGURES = (study_curves, cross_task_heatmap, recovery_bars, controls_by_task, cost_frontier)


@pytest.fixture(scope="module")
def results() -> StandIn:
    return StandIn()


@pytest.fixture(scope="module")
def two_pairs() -> StandIn:
    return StandIn(pairs=("a -> b", "b -> a"))


def mean_values(results: StandIn, name: str, task="ioi", method="nap", seeds=(0, 1)):
    """Pair values averaged over the seeds and draws of circuits of this name."""
    found = [
        curve.pair_values
        for seed in seeds
        for key, curve in results.saved["a -> b", task, method, seed].items()
        if key.name == name and key.variant in ("", "default")
    ]
    assert found
    return sum(found) / len(found)


@pytest.mark.parametrize("draw", FIGURES)
def test_every_figure_speaks_and_is_sized(results, draw):
    figure = draw(results)
    alt = figure.layout.meta["alt"]
    assert alt.endswith(".")
    assert any(character.isdigit() for character in alt)
    assert 300 < figure.layout.width < 1300
    assert 200 < figure.layout.height < 1300
    assert figure.layout.template.layout.paper_bgcolor == "white"


def test_k_is_logarithmic_where_asked(two_pairs):
    def scales(**options):
        layout = study_curves(two_pairs, bands=False, **options).layout.to_plotly_json()
        return {axis["type"] for name, axis in layout.items() if name.startswith("xaxis")}

    assert scales() == scales(log_k=False) == {"linear"}  # the grid begins at 0
    assert scales(log_k=True) == {"log"}


def test_curves_are_means_over_seeds(results):
    figure = study_curves(results, bands=False)
    gold = next(trace for trace in figure.data if trace.name.startswith("gold"))
    f = (mean_values(results, "gold").mean(axis=1) - 1) / 4
    np.testing.assert_allclose(gold.y, f, atol=1e-12)
    mean = np.mean([results.cpr(regime="gold", method="nap", test_task=task) for task in TASKS])
    assert gold.name == f"gold (mean CPR {mean:.2f})"
    own = results.cpr(regime="gold", method="nap", test_task="ioi")
    assert f"CPR {own:.3f}<extra>ioi" in gold.hovertemplate
    # ioi has no relatives, and the variant that is not the first is left out.
    labels = ["gold", "DFA (in-distribution)", "DFA (zero-shot)", "no source", "random W", "floor"]
    of_ioi = [trace.legendgroup for trace in figure.data if trace.xaxis == "x"]
    assert sorted(of_ioi) == sorted(labels)
    # One legend for all panels, in which everything stands once.
    shown = [trace for trace in figure.data if trace.showlegend]
    assert len({trace.legendrank for trace in shown}) == len(shown) == 7
    assert len(figure.data) == 6 + 7 + 7
    near = next(trace.name for trace in shown if "near" in trace.name)
    assert near.endswith(", 2 of 3)")


def test_curves_of_one_seed_with_bands(results):
    figure = study_curves(results, seed=1, regimes=["zero-shot", "random_W"], method="exact")
    zero_shot = next(
        trace for trace in figure.data if trace.name.startswith("DFA (zero-shot) (mean CPR")
    )
    f = (mean_values(results, "zero-shot", method="exact", seeds=(1,)).mean(axis=1) - 1) / 4
    np.testing.assert_allclose(zero_shot.y, f, atol=1e-12)
    # The band of random W is the range of f over its draws.
    drawn = next(trace for trace in figure.data if trace.legendgroup == "random W")
    saved = results.saved["a -> b", "ioi", "exact", 1]
    draws = [(c.pair_values.mean(1) - 1) / 4 for key, c in saved.items() if key.name == "random_W"]
    assert len(draws) == 2
    np.testing.assert_allclose(drawn.y[: len(KS)], np.min(draws, axis=0), atol=1e-12)
    np.testing.assert_allclose(drawn.y[len(KS) :][::-1], np.max(draws, axis=0), atol=1e-12)
    assert drawn.name.startswith("random W, 2 draws (mean CPR")
    bands = [trace for trace in figure.data if "over pairs" in trace.name]
    assert len(bands) == len(TASKS)
    assert bands[0].name == "DFA (zero-shot), 90% over pairs"
    low, high = np.array(bands[0].y[: len(KS)]), np.array(bands[0].y[len(KS) :])[::-1]
    assert (low <= f + 1e-12).all()
    assert (f <= high + 1e-12).all()
    assert (high - low)[2] > 0.005


def test_curves_of_several_pairs(two_pairs):
    figure = study_curves(two_pairs, bands=False)
    headings = [note.text for note in figure.layout.annotations]
    assert sum("b -> a" in text for text in headings) == len(TASKS)
    only = study_curves(two_pairs, pair="b -> a", bands=False)
    assert len(only.data) * 2 == len(figure.data)


def test_cross_task(two_pairs):
    figure = cross_task_heatmap(two_pairs)
    maps = [trace for trace in figure.data if trace.type == "heatmap"]
    assert len(maps) == 2 * 2 * 2  # pairs, methods, matrix and gold
    for place, (pair, method) in enumerate(
        (pair, method) for pair in ("a -> b", "b -> a") for method in ("nap", "exact")
    ):
        where = {"pair": pair, "method": method}
        for row, train in enumerate(TASKS):
            for column, test in enumerate(TASKS):
                expected = two_pairs.cpr(
                    **where, regime="cross-task", train_tasks=train, test_task=test
                )
                assert maps[2 * place].z[row][column] == pytest.approx(expected)
        gold = [two_pairs.cpr(**where, regime="gold", test_task=test) for test in TASKS]
        assert maps[2 * place + 1].z[0] == pytest.approx(gold)
    # Framed cells: the three of the diagonal in each matrix, in that matrix's own axes.
    frames = [(shape.x0 + 0.48, shape.y0 + 0.48, shape.xref) for shape in figure.layout.shapes]
    assert len(frames) == 3 * 4
    assert all(x == pytest.approx(y) for x, y, _ in frames)
    assert len({axis for _, _, axis in frames}) == 4
    texts = [trace for trace in figure.data if trace.type == "scatter"]
    assert texts[0].text[0] == f"{maps[0].z[0][0]:.2f}"
    # Rows run downwards, so that train and test tasks stand in the same order.
    assert figure.layout.yaxis.range[0] > figure.layout.yaxis.range[1]


def ratios(results: StandIn, regime: str, method: str, **more) -> dict[str, float]:
    found = {}
    for task in TASKS:
        wanted = {"method": method, "test_task": task, **more}
        gold = results.cpr(regime="gold", **wanted)
        dead = method == "exact" and task == "ioi"
        if not dead and not (regime == "near-distribution" and task == "ioi"):
            found[task] = results.cpr(regime=regime, variant="default", **wanted) / gold
    return found


def test_recovery(results):
    figure = recovery_bars(results)
    bars = {trace.name: trace for trace in figure.data if trace.type == "bar"}
    assert list(bars) == [
        "DFA (in-distribution)", "DFA (near-distribution)", "DFA (zero-shot)", "DFA (all tasks)",
    ]  # fmt: skip
    for regime in ("in-distribution", "near-distribution", "zero-shot", "all"):
        bar = bars[Regime(regime).label]
        for place, method in enumerate(("nap", "exact")):
            expected = ratios(results, regime, method)
            assert bar.y[place] == pytest.approx(np.mean(list(expected.values())))
            by_seed = [
                np.mean(list(ratios(results, regime, method, seed=seed).values()))
                for seed in (0, 1)
            ]
            assert bar.error_y.array[place] == pytest.approx(np.std(by_seed, ddof=1))
    dots = [trace for trace in figure.data if trace.name == "one task"]
    expected = [*ratios(results, "all", "nap").values(), *ratios(results, "all", "exact").values()]
    assert dots[-1].y == pytest.approx(expected)
    assert [shape.y0 for shape in figure.layout.shapes] == [1]  # parity
    # Gold of ioi is at the floor under `exact`: no ratio, and the bar says so.
    notes = [note.text for note in figure.layout.annotations if "/" in note.text]
    assert notes == ["2/3"] * 3
    assert "3 ratios are undefined" in figure.layout.meta["alt"]
    low, high = figure.layout.yaxis.range
    assert low == 0
    assert high > 1


def test_recovery_by_the_gap_between_models():
    results = StandIn(pairs=("a -> b", "a -> c"))
    for spec, target in zip(results.config.pairs, "bc", strict=True):
        spec.source, spec.target = "a", target
    figure = recovery_by_gap(results, sizes={"a": 2, "b": 6, "c": 20})
    lines = {trace.name: trace for trace in figure.data}
    zero_shot = lines["DFA (zero-shot)"]
    assert [data[:2] for data in map(list, zero_shot.customdata)] == [["a -> b", 3], ["a -> c", 10]]
    for place, pair in enumerate(("a -> b", "a -> c")):
        expected = list(ratios(results, "zero-shot", "nap", pair=pair).values())
        assert zero_shot.y[place] == pytest.approx(np.mean(expected))
        assert zero_shot.error_y.array[place] == pytest.approx(np.std(expected, ddof=1))
        assert 0.9 < zero_shot.x[place] / (3, 10)[place] < 1.1
    assert "DFA (zero-shot)" in figure.layout.meta["alt"]
    with pytest.raises(ConfigError, match="sizes lacks the model 'c'"):
        recovery_by_gap(results, sizes={"a": 2, "b": 6})
    with pytest.raises(ConfigError, match="sizes"):
        recovery_by_gap(results, sizes={"a": 0, "b": 6, "c": 20})
    with pytest.raises(ConfigError, match="nap, exact"):
        recovery_by_gap(results, sizes={}, method="magic")


def test_controls(results):
    figure = controls_by_task(results, method="exact")
    gold = [trace for trace in figure.data if trace.name == "gold" and trace.mode == "markers"]
    assert len(gold) == len(TASKS)
    uniform = next(trace for trace in figure.data if trace.name == "no source")
    values = mean_values(results, "uniform_s", method="none")
    any_curve = results.saved["a -> b", "ioi", "none", 0][
        CircuitKey("uniform_s", "default", ("arithmetic_addition", "arithmetic_subtraction"), 16)
    ]
    interval = cpr_interval(replace(any_curve, pair_values=values), Bootstrap(0.9, 60))
    assert uniform.x[0] == pytest.approx(results.cpr(regime="uniform_s", test_task="ioi"))
    assert uniform.x[0] + uniform.error_x.array[0] == pytest.approx(interval.high)
    assert uniform.x[0] - uniform.error_x.arrayminus[0] == pytest.approx(interval.low)
    seeds = figure.data[list(figure.data).index(uniform) - 1]
    by_seed = [results.cpr(regime="uniform_s", test_task="ioi", seed=seed) for seed in (0, 1)]
    assert list(seeds.x) == pytest.approx(by_seed)
    labels = list(figure.layout.yaxis.ticktext)
    controls = ["random W", "no source", "target only"]
    assert labels == ["gold", "DFA (in-distribution)", "DFA (zero-shot)", *controls]
    keys = [trace.name for trace in figure.data if trace.x == (None,)]
    assert keys[0] == "mean over seeds, 90% interval over pairs"
    assert keys[1:3] == ["one seed", "gold"]
    at = [shape.x0 for shape in figure.layout.shapes]
    assert at[:2] == pytest.approx(
        [results.cpr(regime="gold", method="exact", test_task="ioi"), FLOOR]
    )


def test_cost(results):
    figure = cost_frontier(results, task="ioi")
    named = {trace.name: trace for trace in figure.data}
    few = named["gold, nap, n pairs"]
    # 3 n passes forward and half as many (rounded down) backward, then gold itself: 20 and 10.
    assert list(few.x) == [3 + 1, 6 + 3, 12 + 6, 20 + 10]
    assert list(few.text) == ["1", "2", "4", "gold, nap: 16 pairs"]
    sizes = [results.cpr(regime="few-pairs", pairs=n, test_task="ioi") for n in (1, 2, 4)]
    assert list(few.y[:3]) == pytest.approx(sizes)
    assert list(named["DFA (zero-shot)"].x) == [300 + 150]
    assert list(named["DFA (zero-shot)"].customdata[0]) == [450, 0, 66, "DFA (zero-shot)"]
    assert list(named["DFA (in-distribution)"].customdata[0][:3]) == [90, 90, 66]
    assert named["DFA (zero-shot)"].text == ("DFA (zero-shot)  ",)  # labelled in place
    # No target passes at all: on the axis's own place for zero.
    place = figure.layout.xaxis.tickvals[figure.layout.xaxis.ticktext.index("0")]
    others = {
        data[3]: x
        for data, x in zip(
            *map(list, (named["other circuits"].customdata, named["other circuits"].x)), strict=True
        )
    }
    assert others == {"random W": place, "DFA (all tasks)": 450}
    corners = set(zip(named["frontier"].x, named["frontier"].y, strict=True))
    points = [
        (x, y)
        for trace in figure.data
        if trace.name != "frontier"
        for x, y in zip(trace.x, trace.y, strict=True)
    ]
    best = {
        (x, y)
        for x, y in points
        if not any(a <= x and b >= y and (a, b) != (x, y) for a, b in points)
    }
    assert best <= corners
    assert max(y for _, y in points) == max(y for _, y in corners)
    assert len(cost_frontier(results).layout.annotations) == len(TASKS)


def test_the_frontier_against_a_plain_search():
    rng = np.random.default_rng(0)
    for _ in range(50):
        points = [(float(x), float(y)) for x, y in rng.integers(0, 6, (8, 2))]
        best = {
            (x, y)
            for x, y in points
            if not any((a <= x and b >= y) and (a, b) != (x, y) for a, b in points)
        }
        assert set(frontier(points)) == best


@pytest.mark.parametrize("draw", FIGURES)
@pytest.mark.parametrize(
    ("wrong", "known"),
    [
        ({"pair": "a -> c"}, "a -> b"),
        ({"method": "magic"}, "nap, exact"),
        ({"task": "chess"}, "arithmetic_addition"),
        ({"seed": 7}, r"\[0, 1\]"),
        ({"grid": "log"}, "linear, mib"),
    ],
)
def test_unknown_names_are_answered_with_those_known(results, draw, wrong, known):
    name = next(iter(wrong))
    if name not in draw.__annotations__:
        with pytest.raises(TypeError):
            draw(results, **wrong)
        return
    with pytest.raises(ConfigError, match=f"no {name} .* it has .*{known}"):
        draw(results, **wrong)


def test_circuits_that_are_no_curve_are_refused(results):
    with pytest.raises(ConfigError, match=r"regimes=.*expected a list of str"):
        study_curves(results, regimes="gold")
    with pytest.raises(ConfigError, match=r"cross-task is several circuits.*cross_task_heatmap"):
        study_curves(results, regimes=["gold", "cross-task"])
    with pytest.raises(ConfigError, match=r"no measured circuits of nowhere.*it has .*zero-shot"):
        study_curves(results, regimes=["nowhere"])


@pytest.mark.parametrize("draw", FIGURES)
def test_a_study_without_the_rows(results, draw):
    bare = StandIn()
    bare.rows = [row for row in bare.rows if row["regime"] == "few-pairs" and row["method"] == "x"]
    columns = results.headline().columns
    bare.headline = lambda: results.headline()[0:0][columns]
    with pytest.raises(ConfigError, match="nothing to draw"):
        draw(bare)


@pytest.mark.slow
def test_a_real_study(tmp_path):
    """The stand-in's shape is that of a study: all figures of one that was run."""
    torch.set_num_threads(1)
    tasks = ("arithmetic_addition", "arithmetic_subtraction")
    config = StudyConfig(
        pairs=(PairSpec("toy-small", "toy-small"),), tasks=tasks, methods=("nap",),
        regimes=("in-distribution", "zero-shot", "cross-task"),
        controls=("random_W", "uniform_s"), train_pairs=4, test_pairs=3, draws=1,
        few_pairs_methods=("nap",), few_pairs_sizes=(1,), few_pairs_draws=1,
        variants={"default": AlignmentConfig(epochs=1)}, resamples=60,
    )  # fmt: skip
    real = run_study(config, tmp_path, progress=False)
    rows = real.headline()
    for draw in FIGURES:
        assert draw(real).layout.meta["alt"]
    assert recovery_by_gap(real).data[0].customdata[0][1] == 1  # as many nodes in both models
    gold = rows[(rows["regime"] == "gold") & (rows["test_task"] == tasks[0])]["cpr"].iloc[0]
    drawn = [trace for trace in study_curves(real).data if trace.legendgroup == "gold"]
    assert f"CPR {gold:.3f}<extra>{tasks[0]}" in drawn[1].hovertemplate
    assert float(np.trapezoid(drawn[1].y, drawn[1].x)) == pytest.approx(gold)
    mib = study_curves(real, grid="mib", bands=False)
    assert mib.data[0].x[0] == 0.001
    scaling = analysis.recovery(real).frame.set_index("setting")["recovery"]
    bars = [trace for trace in recovery_bars(real).data if trace.type == "bar"]
    assert {bar.name: bar.y[0] for bar in bars} == pytest.approx(scaling.to_dict())
