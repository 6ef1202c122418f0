"""How well is the right alignment found where it is known, and from how many tasks?

    python benchmarks/planted_pair.py
    python benchmarks/planted_pair.py --draw

The target is `toy-small` widened without changing what it computes (`dfa_tl.models.planted`): 15 of
its 54 nodes are copies of the source's nodes, the others are idle. For each seed (a target, and a
random order of the training tasks), test task and number of training tasks, W is made in several
ways and compared with the truth on the held-out task:

    link_auroc     do true links (i, j) have a larger W_ij than the others?
    source_auroc   the same within the column of each copy j, then averaged: is the right source
                   node found? (Without a source, link_auroc can be high: it is enough that W is
                   larger for copies than for idle nodes.)
    circuit_auroc  do the copies of the source's five best nodes have higher predicted scores than
                   the other nodes?
    cpr, cmd       of the predicted circuit, on test pairs (linear grid)

An AUROC is the probability that a random positive is ranked above a random negative; chance is .5.

With T score vectors per model, s W is known on a space of T dimensions and free on the other
15 - T: `least norm` is the W that fits the vectors exactly and is 0 on the rest. Several vectors
per task, each attributed on a part of its pairs, add dimensions. `--draw` draws the figure from the
results, which needs the extra `export` and Chromium.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pandas as pd
import plotly.graph_objects as go
import torch
from scipy import stats
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from dfa_tl import (
    LINEAR_KS,
    Alignment,
    AlignmentConfig,
    NodeModel,
    NodeScores,
    PairDataset,
    align,
    attribute,
    controls,
    evaluate_many,
    load_model,
    load_task,
)
from dfa_tl.errors import AlignmentWarning
from dfa_tl.io.atomic import write_file
from dfa_tl.models.folder import BUNDLED_FOLDER
from dfa_tl.models.planted import widen
from dfa_tl.tasks import TOY_TASKS
from dfa_tl.viz import save_figure
from dfa_tl.viz.theme import finished, panel_figure, panel_layout, points, style

HERE = Path(__file__).parent
OUT = HERE / "results" / "planted_pair.csv"
IMAGE = HERE.parent / "docs" / "images" / "planted_pair.png"
TASKS = ("ioi", "mcqa", "arithmetic_addition")
SOURCE, HEADS, LAYERS = "toy-small", 8, 6
CIRCUIT = 5
KS = LINEAR_KS[::2]
RAW = AlignmentConfig(normalization="none")
# A step for every pair takes twelve times as long.
PAPER = AlignmentConfig.paper(batch_size=16)
MEASURES = {
    "link_auroc": "AUROC of links",
    "source_auroc": "AUROC of the right source node of a copy",
    "circuit_auroc": "AUROC of the circuit",
    "cpr": "CPR",
}
T = TypeVar("T")


@dataclass(frozen=True)
class Vectors:
    """By name, `task/part`: the pairs of each part, and the score vectors attributed on them.

    `masks` are trained on the target alone; there are some for whole tasks only.
    """

    pairs: dict[str, PairDataset]
    source: dict[str, NodeScores]
    gold: dict[str, NodeScores]
    masks: dict[str, NodeScores]

    def of(self, tasks: tuple[str, ...]) -> Vectors:
        """Those of some tasks."""

        def chosen(values: dict[str, T]) -> dict[str, T]:
            return {name: value for name, value in values.items() if name.split("/")[0] in tasks}

        return Vectors(
            chosen(self.pairs), chosen(self.source), chosen(self.gold), chosen(self.masks)
        )


class Circuit(NamedTuple):
    """Predicted scores of the target's nodes, and the W that gave them, if there is one."""

    scores: NodeScores
    W: Tensor | None = None


Method = Callable[[Vectors, NodeModel, NodeScores, int], Circuit]
"""From training vectors, target, source scores of the test task, and a seed."""


def trained(
    settings: AlignmentConfig, vectors: Vectors, target: NodeModel, test: NodeScores, seed: int
) -> Circuit:
    """DFA: each vector is trained on its own pairs."""
    config = AlignmentConfig(**{**vars(settings), "seed": seed})
    W = align(vectors.source, target, vectors.pairs, config, progress=False)
    return Circuit(W.transfer(test), W.W)


def no_source(vectors: Vectors, target: NodeModel, test: NodeScores, seed: int) -> Circuit:
    """DFA's twin: the same training with constant source scores."""
    one = controls.uniform_s(test.nodes)
    constant = replace(vectors, source=dict.fromkeys(vectors.source, one))
    return trained(AlignmentConfig(), constant, target, one, seed)


def ridge(vectors: Vectors, target: NodeModel, test: NodeScores, seed: int) -> Circuit:
    """Ridge regression from source scores to gold."""
    W = controls.regression(vectors.source, vectors.gold)
    return Circuit(W.transfer(test), W.W)


def regression_mask(vectors: Vectors, target: NodeModel, test: NodeScores, seed: int) -> Circuit:
    """Ridge regression from source scores to the masks trained on each task."""
    W = controls.regression(vectors.source, vectors.masks)
    return Circuit(W.transfer(test), W.W)


def nearest_mask(vectors: Vectors, target: NodeModel, test: NodeScores, seed: int) -> Circuit:
    """The mask of the training task whose source scores are nearest."""
    return Circuit(vectors.masks[controls.nearest_task(test, vectors.source)])


def least_norm(vectors: Vectors, target: NodeModel, test: NodeScores, seed: int) -> Circuit:
    """The smallest W with s W = g for the raw scores of every vector."""
    s, g = (
        torch.stack([scores.values.double() for scores in side.values()])
        for side in (vectors.source, vectors.gold)
    )
    # Vectors that are equal up to rounding are one vector.
    W = Alignment(torch.linalg.pinv(s, rtol=1e-4) @ g, test.nodes, target.nodes, RAW)
    return Circuit(W.transfer(test), W.W)


def mean_gold(vectors: Vectors, target: NodeModel, test: NodeScores, seed: int) -> Circuit:
    """Ridge's twin: the mean gold scores of the training tasks."""
    return Circuit(controls.mean_scores(vectors.gold))


def depth_mean(vectors: Vectors, target: NodeModel, test: NodeScores, seed: int) -> Circuit:
    """DFA's start."""
    W = controls.depth_mean_W(test.nodes, target.nodes)
    return Circuit(W.transfer(test), W.W)


METHODS: dict[str, tuple[Method, int]] = {
    "DFA": (partial(trained, AlignmentConfig()), 1),
    "DFA, paper's settings": (partial(trained, PAPER), 1),
    "no source": (no_source, 1),
    "regression": (ridge, 1),
    "regression, 24 vectors": (ridge, 24),
    "regression on masks": (regression_mask, 1),
    "nearest mask": (nearest_mask, 1),
    "least norm": (least_norm, 1),
    "mean gold": (mean_gold, 1),
    "depth mean": (depth_mean, 1),
}
"""Each method, and how many vectors per task it is given."""
DRAWN = tuple(METHODS)[:7]


def auroc(values: Tensor, positive: Tensor) -> float:
    """The probability that a random positive has a larger value than a random negative.

    Ties count half.
    """
    above: Any = stats.mannwhitneyu(values[positive], values[~positive])
    return float(above.statistic) / (int(positive.sum()) * int((~positive).sum()))


def measured(circuit: Circuit, links: Tensor, best: Tensor) -> dict[str, float]:
    """How a prediction compares with the truth."""
    row = {"circuit_auroc": auroc(circuit.scores.values, best)}
    if circuit.W is not None:
        copies = links.any(0)
        columns = [auroc(circuit.W[:, j], links[:, j]) for j in copies.nonzero()[:, 0].tolist()]
        row["link_auroc"] = auroc(circuit.W.flatten(), links.flatten())
        row["source_auroc"] = sum(columns) / len(columns)
    return row


def planted_target(seed: int) -> tuple[NodeModel, Tensor]:
    """The widened model, saved and loaded as any other, and the true links."""
    folder = BUNDLED_FOLDER / SOURCE
    wide, links = widen(
        AutoModelForCausalLM.from_pretrained(folder), heads=HEADS, layers=LAYERS, seed=seed
    )
    with tempfile.TemporaryDirectory() as saved:
        wide.save_pretrained(saved)
        AutoTokenizer.from_pretrained(folder).save_pretrained(saved)
        return load_model(Path(saved)), links


def score_vectors(
    source: NodeModel, target: NodeModel, data: dict[str, PairDataset], parts: int
) -> Vectors:
    """Scores of both models on each of so many equal parts of the pairs."""
    pairs = {
        f"{task}/{part}": dataset[part::parts]
        for task, dataset in data.items()
        for part in range(parts)
    }
    source_scores, gold = (
        {name: attribute(model, some, progress=False) for name, some in pairs.items()}
        for model in (source, target)
    )
    masks = {}
    if parts == 1:
        masks = {
            name: controls.target_only(target, some, AlignmentConfig(), progress=False)
            for name, some in pairs.items()
        }
    return Vectors(pairs, source_scores, gold, masks)


def rows_of_seed(seed: int, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each test task, number of training tasks and method."""
    source, (target, links) = load_model(SOURCE), planted_target(seed)
    data = {task: load_task(task, n=arguments.pairs, seed=seed) for task in TOY_TASKS}
    vectors = {
        parts: score_vectors(source, target, data, parts)
        for parts in sorted({parts for _, parts in METHODS.values()})
    }
    rows = []
    for task in arguments.task:
        order = [other for other in TOY_TASKS if other != task]
        random.Random(f"{task}/{seed}").shuffle(order)
        scores, gold = (side[f"{task}/0"] for side in (vectors[1].source, vectors[1].gold))
        best = links[[source.nodes.index(node) for node in scores.top(CIRCUIT)]].any(0)
        circuits = {("gold", 0): Circuit(gold)}
        for count in range(1, len(order) + 1):
            for name, (method, parts) in METHODS.items():
                known = vectors[parts].of(tuple(order[:count]))
                circuits[name, count] = method(known, target, scores, seed)
        test = load_task(task, split="test", n=arguments.test_pairs, seed=seed)
        named = {f"{name}/{count}": circuit.scores for (name, count), circuit in circuits.items()}
        curves = evaluate_many(target, test, named, ks=KS, batch_size=48, progress=False)
        for (name, count), circuit in circuits.items():
            curve = curves[f"{name}/{count}"]["logit_diff"]
            rows.append(
                {
                    "method": name,
                    "training_tasks": count,
                    "test_task": task,
                    "seed": seed,
                    "link_auroc": float("nan"),
                    "source_auroc": float("nan"),
                    **measured(circuit, links, best),
                    "cpr": curve.cpr,
                    "cmd": curve.cmd,
                }
            )
        print(f"seed {seed}, {task} done", flush=True)
    return rows


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Means over test tasks and seeds: a row per method, columns by measure and training tasks."""
    measures = ["link_auroc", "source_auroc", "circuit_auroc", "cpr", "cmd"]
    means: Any = table.pivot_table(
        index="method", columns="training_tasks", values=measures, sort=False
    )
    return means[measures]


def drawn(table: pd.DataFrame) -> go.Figure:
    """Each measure against the number of training tasks; bars are standard errors of the means."""
    layout = panel_layout(len(MEASURES), most_columns=2)
    figure = panel_figure(
        layout, list(MEASURES.values()), horizontal=0.08, vertical=0.16, shared_y=False
    )
    for index, name in enumerate(DRAWN):
        groups: Any = table[table.method == name].groupby("training_tasks")[list(MEASURES)]
        means, errors = groups.mean(), groups.sem()
        for panel, measure in enumerate(MEASURES):
            trace = go.Scatter(
                x=means.index,
                y=means[measure],
                error_y={"array": errors[measure], "thickness": 1, "width": 2},
                name=name,
                legendgroup=name,
                showlegend=panel == 0,
                mode="lines+markers",
                line={"color": style(index).color, "dash": style(index).dash},
                marker=points(style(index), 6),
            )
            figure.add_trace(trace, **layout.cell(panel))
    gold = float(table[table.method == "gold"].cpr.mean())
    for panel, measure in enumerate(MEASURES):
        level, text, side = (
            (gold, "gold", "top left") if measure == "cpr" else (0.5, "chance", "bottom right")
        )
        figure.add_hline(
            level,
            line={"dash": "dot", "width": 1},
            annotation={"text": text},
            annotation_position=side,
            **layout.cell(panel),
        )
    figure.update_xaxes(title="training tasks", dtick=1)
    figure.update_layout(legend={"orientation": "h", "y": -0.12})
    last: Any = summary(table).loc[list(DRAWN)]
    most = int(table.training_tasks.max())
    said = ", ".join(
        f"{name} {last['link_auroc', most][name]:.2f} and {last['cpr', most][name]:.2f}"
        for name in DRAWN
    )
    return finished(
        figure,
        alt=f"Recovery of a planted alignment. With {most} training tasks, AUROC of links and CPR: "
        f"{said}. Gold has CPR {gold:.2f}.",
        title="A planted pair: recovery of the right W, zero-shot",
        width=960,
        height=720,
        margin={"b": 110},
    )


def main() -> None:
    """Measure, or draw what was measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--task", nargs="+", default=TASKS, choices=TOY_TASKS, help="test tasks")
    parser.add_argument("--pairs", type=int, default=96, help="per training task")
    parser.add_argument("--test-pairs", type=int, default=48)
    parser.add_argument("--draw", action="store_true", help="only draw the figure")
    arguments = parser.parse_args()
    if not arguments.draw:
        warnings.simplefilter("ignore", AlignmentWarning)  # one task alone has few batches
        rows: list[dict[str, Any]] = []
        for seed in range(arguments.seeds):
            rows += rows_of_seed(seed, arguments)
            text = pd.DataFrame(rows).to_csv(index=False, float_format="%.4f", lineterminator="\n")
            write_file(OUT, text.encode())
    table = pd.read_csv(OUT)
    print(summary(table).to_string(float_format="{:.2f}".format))
    if arguments.draw:
        save_figure(drawn(table), IMAGE, scale=1)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
