"""Draw the figures that README and docs show.

    python docs/make_images.py                       the main example, and one circuit carried over
    python docs/make_images.py --study out/study     and those of a finished study

Needs the extra `export` and Chromium. The main example draws its own figure; the others are drawn
here, from the bundled pair of models and from the study's folder.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import plotly.graph_objects as go

from dfa_tl import StudyResults, align, attribute, evaluate, load_model, load_task, viz
from dfa_tl.tasks import TOY_TASKS

HERE = Path(__file__).parent
IMAGES = HERE / "images"
TASK, METHOD, TRAIN_PAIRS, TEST_PAIRS = "ioi", "nap-ig-inputs", 96, 96


def circuit_figures() -> Iterator[tuple[str, go.Figure]]:
    """Figures of one circuit carried over zero-shot, by name."""
    source, target = load_model("toy-small"), load_model("toy-large")
    train = {task: load_task(task, n=TRAIN_PAIRS) for task in TOY_TASKS}
    scores = {task: attribute(source, pairs, METHOD) for task, pairs in train.items()}
    others = [task for task in TOY_TASKS if task != TASK]
    alignment = align(
        {task: scores[task] for task in others}, target, {task: train[task] for task in others}
    )
    aligned, gold = alignment.transfer(scores[TASK]), attribute(target, train[TASK], METHOD)
    curve = evaluate(target, load_task(TASK, split="test", n=TEST_PAIRS), aligned)
    maps = {"source": scores[TASK], "gold": gold, "aligned, zero-shot": aligned}
    yield "score_map", viz.score_map(maps, title=f"{TASK}: node scores")
    yield "rank_scatter", viz.rank_scatter(aligned, gold)
    yield "alignment_map", viz.alignment_map(alignment)
    yield "transfer_flow", viz.transfer_flow(alignment, scores[TASK], n=5)
    yield "training_history", viz.training_history(alignment)
    yield (
        "circuit_graph",
        viz.circuit_graph(scores[TASK], aligned, alignment, curve=curve, k=0.2),
    )


def study_figures(folder: Path) -> Iterator[tuple[str, go.Figure]]:
    """Figures of a study, by name."""
    results = StudyResults.load(folder)
    yield "study_curves", viz.study_curves(results)
    yield "cross_task_heatmap", viz.cross_task_heatmap(results)
    yield "recovery_bars", viz.recovery_bars(results)
    yield "controls_by_task", viz.controls_by_task(results)
    yield "cost_frontier", viz.cost_frontier(results)


def main() -> None:
    """Draw and save them all."""
    parser = argparse.ArgumentParser(description="Draw the figures of README and docs.")
    parser.add_argument("--study", type=Path, help="folder of a finished study")
    arguments = parser.parse_args()
    example = HERE.parent / "examples" / "transfer_ioi.py"
    subprocess.run([sys.executable, example, "--out", IMAGES / "transfer_ioi.png"], check=True)
    for name, figure in circuit_figures():
        viz.save_figure(figure, IMAGES / f"{name}.png", scale=1)
    if arguments.study is not None:
        for name, figure in study_figures(arguments.study):
            viz.save_figure(figure, IMAGES / f"{name}.png", scale=1)


if __name__ == "__main__":
    main()
