"""Compare variants of W and the controls: mean zero-shot CPR on the validation splits.

    python benchmarks/alignment_variants.py

For each seed and held-out task: W is trained on the train pairs of the other five tasks of the
bundled pair, transfers the held-out task's source scores, and the predicted circuit is measured on
that task's validation pairs (protocol `nodes`, linear grid). Target-only and gold see the held-out
task's own train pairs; regression and mean gold see the other tasks' gold scores. Nothing here
touches a test split. The seed draws the pairs, the initialisation and the order of the batches.
`over uniform s` is the difference, task by task, from the better of the two uniform-s controls,
with a 95 % interval (t distribution over tasks, seeds averaged): six tasks only, so it is wide.
A seed takes about 4 minutes on one core.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import torch
from scipy import stats

from dfa_tl import (
    LINEAR_KS,
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
from dfa_tl.tasks import TASKS

VARIANTS: dict[str, dict] = {
    "default": {},
    "default + target bias": {"target_bias": True},
    "scale + target bias": {"learned": "scale", "target_bias": True},
    "scale + target bias, rate 0.1": {
        "learned": "scale",
        "target_bias": True,
        "learning_rate": 0.1,
    },
    "rank 4": {"rank": 4},
    "profile penalty 0.1": {"profile_penalty": 0.1},
    "profile penalty 1": {"profile_penalty": 1.0},
}
UNIFORM = ("control: uniform s, default settings", "control: uniform s, paper's settings")


def circuits_of(
    task: str,
    target: NodeModel,
    train: Mapping[str, PairDataset],
    scores: Mapping[str, NodeScores],
    gold: Mapping[str, NodeScores],
    seed: int,
) -> dict[str, NodeScores]:
    """Every variant's and control's circuit of the held-out task."""
    source = scores[task].nodes
    others = {other: train[other] for other in train if other != task}
    known = {other: scores[other] for other in others}
    known_gold = {other: gold[other] for other in others}
    circuits = {"gold": gold[task]}
    for name, settings in VARIANTS.items():
        config = AlignmentConfig(seed=seed, **settings)
        alignment = align(known, target, others, config, progress=False)
        circuits[name] = alignment.transfer(scores[task])
    constant = controls.uniform_s(source)
    default, paper = AlignmentConfig(seed=seed), AlignmentConfig.paper(seed=seed)
    for name, config in zip(UNIFORM, (default, paper), strict=True):
        alignment = align(dict.fromkeys(others, constant), target, others, config, progress=False)
        circuits[name] = alignment.transfer(constant)
    untrained = {
        "control: depth-mean alone": controls.depth_mean_W(source, target.nodes),
        "control: depth-mean alone, centered": controls.depth_mean_W(source, target.nodes, default),
        "control: random W": controls.random_W(source, target.nodes, paper),
        "supervised: regression": controls.regression(known, known_gold),
    }
    circuits |= {name: W.transfer(scores[task]) for name, W in untrained.items()}
    circuits["supervised: mean gold"] = controls.mean_gold(known_gold)
    own = {task: train[task]}
    circuits["own task: target only"] = controls.target_only(target, own, paper, progress=False)
    return circuits


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Mean CPR by task, over all, its deviation over seeds, and the difference from uniform s."""
    by_task = table.pivot_table(index="setting", columns="task", values="linear")
    by_seed = table.pivot_table(index="setting", columns="seed", values="linear")
    best = by_task.loc[list(UNIFORM)].mean(axis=1).idxmax()
    over = by_task - by_task.loc[best]
    t = float(stats.t.ppf(0.975, over.shape[1] - 1))
    return by_task.assign(
        mean=by_task.mean(axis=1),
        deviation=by_seed.std(axis=1),
        over_uniform_s=over.mean(axis=1),
        half_interval=t * over.sem(axis=1),
    ).sort_values("mean", ascending=False)


def main() -> None:
    """Measure every variant and print the table, best first."""
    parser = argparse.ArgumentParser(description="Zero-shot CPR of variants and controls.")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=96)
    parser.add_argument("--method", default="nap-ig-inputs")
    parser.add_argument(
        "--out", type=Path, default=Path("benchmarks/results/alignment_variants.csv")
    )
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    source, target = load_model("toy-small"), load_model("toy-large")
    rows = []
    for seed in range(arguments.seeds):
        train = {task: load_task(task, n=arguments.pairs, seed=seed) for task in TASKS}
        held = {task: load_task(task, split="validation", n=96, seed=seed) for task in TASKS}
        options = {"method": arguments.method, "progress": False}
        scores = {task: attribute(source, train[task], **options) for task in TASKS}
        gold = {task: attribute(target, train[task], **options) for task in TASKS}
        for task in TASKS:
            circuits = circuits_of(task, target, train, scores, gold, seed)
            curves = evaluate_many(
                target, held[task], circuits, ks=LINEAR_KS, batch_size=96, progress=False
            )
            for name in circuits:
                cpr = curves[name]["logit_diff"].cpr
                rows.append({"setting": name, "task": task, "seed": seed, "linear": cpr})
        pd.DataFrame(rows).to_csv(arguments.out, index=False)
        print(f"seed {seed} done", flush=True)
    print(summary(pd.DataFrame(rows)).to_string(float_format="{:.3f}".format))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
