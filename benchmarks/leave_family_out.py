r"""Ways to predict a target's circuit of a task from other families, side by side.

    python benchmarks/leave_family_out.py
    python benchmarks/leave_family_out.py --source DIR/qwen2.5-coder-0.5b \
        --target DIR/smollm2-135m --tasks ioi_english sva_simple gender_pronoun antonyms --pairs 16

Everything is fitted to the tasks of the other families, with the same pairs and the same number of
steps, and measured on validation pairs of the test task (`--test`: on test pairs), on the linear
grid. A task that one of the models cannot do is left out. Rows are written as they are measured,
and those that the file holds already are kept.

    gold, target_only        what the target itself gives on the test task
    DFA                      W and b, trained with soft masks
    no_source                b alone: the same training under constant source scores
    task_identity            W and b under one-hot scores; the nearest training task's at test time
    ridge_gold, ridge_mask   ridge regression from source scores to gold, or to trained masks
    nearest_gold, .._mask    gold, or the mask, of the training task with the nearest source scores
    mean_gold, mean_mask     means over the training tasks
    ridge_mask + nearest     the mean of two standardised predictions
    random                   20 random rankings
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch

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
from dfa_tl.evaluation.doable import doable_tasks
from dfa_tl.io.atomic import write_file
from dfa_tl.tasks import TOY_TASKS
from dfa_tl.tasks.registry import family_of

OUT = Path(__file__).parent / "results" / "leave_family_out.csv"
N_RANDOM = 20


def main() -> None:
    """Measure every way on every task."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--source", default="toy-small")
    parser.add_argument("--target", default="toy-large")
    parser.add_argument("--tasks", nargs="+", default=list(TOY_TASKS))
    parser.add_argument("--pairs", type=int, default=96)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--test", action="store_true", help="measure on test pairs")
    parser.add_argument("--set", nargs="*", default=[], help="settings of align, name=value")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    changes = {name: _value(value) for name, value in (one.split("=") for one in arguments.set)}
    settings = AlignmentConfig(**changes, seed=arguments.seed)
    source, target = load_model(arguments.source), load_model(arguments.target)
    seed, n = arguments.seed, arguments.pairs
    data = {task: load_task(task, n=n, seed=seed) for task in arguments.tasks}
    data, left_out = doable_tasks(data, [source, target])
    for task, reason in left_out.items():
        print(f"{task} is left out: {reason}")
    source_scores = {task: attribute(source, pairs) for task, pairs in data.items()}
    gold = {task: attribute(target, pairs) for task, pairs in data.items()}
    masks = {task: controls.target_only(target, data[task], settings) for task in data}
    split = "test" if arguments.test else "validation"
    trained: dict[tuple[str, ...], Trained] = {}
    rows = []
    for task in data:
        others = tuple(other for other in data if family_of(other) != family_of(task))
        if others not in trained:
            trained[others] = _train(others, source_scores, target, data, settings)
        W = trained[others]
        s, training = source_scores[task], {other: source_scores[other] for other in others}
        near = controls.nearest_task(s, training)
        their_gold = {other: gold[other] for other in others}
        their_masks = {other: masks[other] for other in others}
        uniform = controls.uniform_s(source.nodes)
        ridge_mask = controls.regression(training, their_masks).transfer(s)
        predictions = {
            "gold": gold[task],
            "target_only": masks[task],
            "DFA": W.dfa.transfer(s),
            "no_source": W.no_source.transfer(uniform),
            "task_identity": W.task_identity.transfer(W.one_hot[near]),
            "ridge_gold": controls.regression(training, their_gold).transfer(s),
            "ridge_mask": ridge_mask,
            "nearest_gold": gold[near],
            "nearest_mask": masks[near],
            "mean_gold": controls.mean_scores(their_gold),
            "mean_mask": controls.mean_scores(their_masks),
            "ridge_mask + nearest": controls.mean_scores({"a": ridge_mask, "b": masks[near]}),
        }
        for draw in range(N_RANDOM):
            predictions[f"random {draw}"] = controls.random_s(target.nodes, draw)
        test = load_task(task, split=split, n=min(n, 64), seed=seed)
        curves = evaluate_many(target, test, predictions, ks=LINEAR_KS[::2])
        for name, by_metric in curves.items():
            curve = by_metric["logit_diff"]
            rows.append(
                {
                    "source": source.name,
                    "target": target.name,
                    "settings": " ".join(arguments.set) or "default",
                    "split": split,
                    "seed": seed,
                    "task": task,
                    "family": family_of(task),
                    "nearest": near,
                    "way": name.split(" ")[0] if name.startswith("random") else name,
                    "cpr": curve.cpr,
                    "cmd": curve.cmd,
                }
            )
        _save(rows, arguments.out)
    frame: Any = pd.DataFrame(rows)
    by_family = frame.groupby(["family", "way"])[["cpr", "cmd"]].mean()
    print(by_family.groupby("way").mean().sort_values("cpr").round(3).to_string())


class Trained(NamedTuple):
    """What is trained on the tasks of the other families."""

    dfa: Alignment
    no_source: Alignment
    task_identity: Alignment
    one_hot: dict[str, NodeScores]


def _train(
    tasks: tuple[str, ...],
    source_scores: Mapping[str, NodeScores],
    target: NodeModel,
    data: Mapping[str, PairDataset],
    settings: AlignmentConfig,
) -> Trained:
    nodes = source_scores[tasks[0]].nodes
    one_hot = {
        task: NodeScores(nodes, values)
        for task, values in zip(tasks, torch.eye(len(nodes)), strict=False)
    }
    uniform = dict.fromkeys(tasks, controls.uniform_s(nodes))
    pairs = {task: data[task] for task in tasks}
    raw = replace(settings, normalization="none", initialization="zero")
    return Trained(
        align({task: source_scores[task] for task in tasks}, target, pairs, settings),
        align(uniform, target, pairs, settings),
        align(one_hot, target, pairs, raw),
        one_hot,
    )


def _value(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _save(rows: list[dict[str, object]], path: Path) -> None:
    """Write the rows, in place of earlier ones of the same measurement."""
    frame = pd.DataFrame(rows)
    keys = ["source", "target", "settings", "split", "seed", "task"]
    if path.exists():
        before = pd.read_csv(path)
        new = set(frame[keys].itertuples(index=False, name=None))
        old = [row not in new for row in before[keys].itertuples(index=False, name=None)]
        frame = pd.concat([before[old], frame])
    text = frame.to_csv(index=False, float_format="%.4f", lineterminator="\n")
    write_file(path, text.encode())


if __name__ == "__main__":
    main()
