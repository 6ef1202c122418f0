r"""How many training tasks does a prediction need?

    python benchmarks/learning_curve.py
    python benchmarks/learning_curve.py --source DIR/qwen2.5-coder-0.5b \
        --target DIR/smollm2-135m --tasks ioi_english sva_simple gender_pronoun antonyms --pairs 16

Each way to predict a circuit is fitted to some tasks, all of other families than the test task's,
with the same pairs and the same number of steps, and measured on test pairs on a grid of eleven
points. Samples of tasks are nested: a larger one contains the smaller.

    gold, target_only     what the target itself gives on the test task
    DFA, no_source        W trained with soft masks, and the same training under constant scores
    regression_mask       ridge regression from source scores to masks trained on each task
    nearest_mask          the mask of the training task with the nearest source scores
    mean_mask             the mean of these masks
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path
from typing import Any

import pandas as pd

from dfa_tl import (
    LINEAR_KS,
    AlignmentConfig,
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

OUT = Path(__file__).parent / "results" / "learning_curve.csv"
SIZES = (1, 2, 3, 4, 6, 8, 12, 16)


def main() -> None:
    """Measure every way on every task, with more and more training tasks."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--source", default="toy-small")
    parser.add_argument("--target", default="toy-large")
    parser.add_argument("--tasks", nargs="+", default=list(TOY_TASKS))
    parser.add_argument("--pairs", type=int, default=48)
    parser.add_argument("--draws", type=int, default=3, help="samples of training tasks")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    settings = AlignmentConfig(steps=arguments.steps, seed=arguments.seed)
    source, target = load_model(arguments.source), load_model(arguments.target)
    seed, n = arguments.seed, arguments.pairs
    data = {task: load_task(task, n=n, seed=seed) for task in arguments.tasks}
    data, left_out = doable_tasks(data, [source, target])
    for task, reason in left_out.items():
        print(f"{task} is left out: {reason}")
    quiet: Any = {"progress": False}
    source_scores = {task: attribute(source, pairs, **quiet) for task, pairs in data.items()}
    masks = {task: controls.target_only(target, data[task], settings, **quiet) for task in data}
    uniform = controls.uniform_s(source.nodes)
    trained: dict[tuple[str, ...], Any] = {}
    rows: list[dict[str, Any]] = []
    for task, pairs in data.items():
        others = [other for other in data if family_of(other) != family_of(task)]
        s = source_scores[task]
        predictions: dict[tuple[str, int, int], Any] = {
            ("gold", 0, 0): attribute(target, pairs, **quiet),
            ("target_only", 0, 0): masks[task],
        }
        for draw in range(arguments.draws):
            order = random.Random(draw).sample(others, len(others))
            for size in [*(size for size in SIZES if size < len(others)), len(others)]:
                chosen = tuple(sorted(order[:size]))
                scores = {other: source_scores[other] for other in chosen}
                their_masks = {other: masks[other] for other in chosen}
                if chosen not in trained:
                    given = {other: data[other] for other in chosen}
                    trained[chosen] = (
                        align(scores, target, given, settings, **quiet),
                        align(dict.fromkeys(chosen, uniform), target, given, settings, **quiet),
                    )
                dfa, no_source = trained[chosen]
                for name, prediction in {
                    "DFA": dfa.transfer(s),
                    "no_source": no_source.transfer(uniform),
                    "regression_mask": controls.regression(scores, their_masks).transfer(s),
                    "nearest_mask": masks[controls.nearest_task(s, scores)],
                    "mean_mask": controls.mean_scores(their_masks),
                }.items():
                    predictions[name, size, draw] = prediction
        test = load_task(task, split="test", n=min(n, 64), seed=seed)
        named = {str(number): scores for number, scores in enumerate(predictions.values())}
        curves = evaluate_many(target, test, named, ks=LINEAR_KS[::2], **quiet)
        for (way, size, draw), by_metric in zip(predictions, curves.values(), strict=True):
            curve = by_metric["logit_diff"]
            where = {"source": source.name, "target": target.name, "task": task}
            rows.append(
                {**where, "family": family_of(task), "way": way, "training_tasks": size}
                | {"draw": draw, "cpr": curve.cpr, "cmd": curve.cmd}
            )
        text = pd.DataFrame(rows).to_csv(index=False, float_format="%.4f", lineterminator="\n")
        write_file(arguments.out, text.encode())
    frame: Any = pd.DataFrame(rows)
    by_family = frame.groupby(["way", "training_tasks", "family"])["cpr"].mean()
    print(by_family.groupby(["way", "training_tasks"]).mean().unstack().round(3))


if __name__ == "__main__":
    main()
