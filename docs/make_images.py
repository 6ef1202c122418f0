"""Draw the figures that README and docs show.

    python docs/make_images.py                       the main example, and one circuit carried over
    python docs/make_images.py --study out/study     and those of a finished study
    python docs/make_images.py --only hero method    some of them

Needs the extra `export` and Chromium. The main example draws its own figure; the others are drawn
here, from the bundled pair of models and from the study's folder.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import plotly.graph_objects as go
from draw_hero import Circuits, hero
from draw_method import method

from dfa_tl import (
    LINEAR_KS,
    Alignment,
    AlignmentConfig,
    NodeScores,
    StudyResults,
    align,
    attribute,
    controls,
    evaluate_many,
    load_model,
    load_task,
    viz,
)
from dfa_tl.evaluation.curve import FaithfulnessCurve
from dfa_tl.tasks.registry import training_tasks

HERE = Path(__file__).parent
IMAGES = HERE / "images"
SOURCE, TARGET, TASK, PAIRS, DRAWS = "toy-small", "toy-large", "ioi", 64, 20


class Transfer(NamedTuple):
    """One circuit carried over zero-shot, and what it is compared with."""

    alignment: Alignment
    source: NodeScores
    gold: NodeScores
    transferred: NodeScores
    curves: dict[str, FaithfulnessCurve]


@cache
def transfer() -> Transfer:
    """Carry the circuit over with the default settings; W is trained on tasks of other families."""
    source, target = load_model(SOURCE), load_model(TARGET)
    others = {name: load_task(name, n=PAIRS) for name in training_tasks(TASK)}
    own = load_task(TASK, n=PAIRS)
    scores, gold = attribute(source, own), attribute(target, own)
    alignment = align(
        {name: attribute(source, pairs) for name, pairs in others.items()}, target, others
    )
    constant = controls.uniform_s(source.nodes)
    no_source = align(dict.fromkeys(others, constant), target, others)
    circuits = {
        "gold": gold,
        "transferred": alignment.transfer(scores),
        "no source": no_source.transfer(constant),
    }
    for seed in range(DRAWS):
        W = controls.random_W(source.nodes, target.nodes, AlignmentConfig(seed=seed))
        circuits[f"random {seed}"] = W.transfer(scores)
    test = load_task(TASK, split="test", n=PAIRS)
    measured = evaluate_many(target, test, circuits, ks=LINEAR_KS)
    curves = {name: by_metric["logit_diff"] for name, by_metric in measured.items()}
    return Transfer(alignment, scores, gold, circuits["transferred"], curves)


def draw_hero() -> go.Figure:
    """The picture at the top of README."""
    curves = transfer().curves
    draws = [curves[f"random {seed}"] for seed in range(DRAWS)]
    named = Circuits(curves["gold"], curves["transferred"], curves["no source"], draws)
    return hero(named, source=SOURCE, target=TARGET, task=TASK.upper())


def draw_score_map() -> go.Figure:
    """Scores of source, gold and transferred circuit."""
    one = transfer()
    maps = {"source": one.source, "gold": one.gold, "transferred, zero-shot": one.transferred}
    return viz.score_map(maps, title=f"{TASK}: node scores")


def draw_circuit_graph() -> go.Figure:
    """Both circuits side by side."""
    one = transfer()
    curve = one.curves["transferred"]
    return viz.circuit_graph(one.source, one.transferred, one.alignment, curve=curve)


def draw_circuit_overlap() -> go.Figure:
    """Gold and transferred circuit on one diagram."""
    one = transfer()
    return viz.circuit_overlap(one.gold, one.transferred, curve=one.curves["transferred"])


CIRCUIT: dict[str, Callable[[], go.Figure]] = {
    "method": method,
    "hero": draw_hero,
    "score_map": draw_score_map,
    "circuit_graph": draw_circuit_graph,
    "circuit_overlap": draw_circuit_overlap,
    "rank_scatter": lambda: viz.rank_scatter(transfer().transferred, transfer().gold),
    "alignment_map": lambda: viz.alignment_map(transfer().alignment),
    "transfer_flow": lambda: viz.transfer_flow(transfer().alignment, transfer().source, n=5),
    "training_history": lambda: viz.training_history(transfer().alignment),
}
STUDY: dict[str, Callable[[StudyResults], go.Figure]] = {
    "study_curves": viz.study_curves,
    "cross_task_heatmap": viz.cross_task_heatmap,
    "recovery_bars": viz.recovery_bars,
    "controls_by_task": viz.controls_by_task,
    "cost_frontier": viz.cost_frontier,
}
EXAMPLE = "transfer_ioi"


def main() -> None:
    """Draw and save them all, or those that are asked for."""
    parser = argparse.ArgumentParser(description="Draw the figures of README and docs.")
    parser.add_argument("--study", type=Path, help="folder of a finished study")
    names = (EXAMPLE, *CIRCUIT, *STUDY)
    parser.add_argument("--only", nargs="+", choices=names, help="names of figures")
    arguments = parser.parse_args()
    wanted = arguments.only or names
    if EXAMPLE in wanted:
        example = HERE.parent / "examples" / f"{EXAMPLE}.py"
        subprocess.run([sys.executable, example, "--out", IMAGES / f"{EXAMPLE}.png"], check=True)
    for name, draw in CIRCUIT.items():
        if name in wanted:
            viz.save_figure(draw(), IMAGES / f"{name}.png")
    if arguments.study is not None:
        results = StudyResults.load(arguments.study)
        for name, draw_study in STUDY.items():
            if name in wanted:
                viz.save_figure(draw_study(results), IMAGES / f"{name}.png")


if __name__ == "__main__":
    main()
