r"""Is a transferred circuit worth anything to somebody who has a few target pairs of the task?

    python benchmarks/refined_transfer.py
    python benchmarks/refined_transfer.py --source DIR/qwen2.5-coder-0.5b \
        --target DIR/smollm2-135m --tasks ioi_english sva_simple gender_pronoun days --pairs 16

From n pairs of the test task on the target, circuits are made in these ways, and measured on test
pairs on the linear grid. W, and the masks of other tasks, come from other families alone.

    direct            gold scores attributed on the n pairs
    target_only       a mask trained on the n pairs, from equal logits
    refined_dfa       the same, from the logits that W predicts
    refined_nearest   the same, from the mask of the training task with the nearest source scores
    direct + dfa      the mean of the standardised scores of `direct` and of W's prediction

With n = 0: W's prediction and the nearest mask as they are. All masks take the same steps.
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

OUT = Path(__file__).parent / "results" / "refined_transfer.csv"
SIZES = (1, 2, 4, 8, 16)


def main() -> None:
    """Measure every way on every task."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--source", default="toy-small")
    parser.add_argument("--target", default="toy-large")
    parser.add_argument("--tasks", nargs="+", default=list(TOY_TASKS))
    parser.add_argument("--pairs", type=int, default=64, help="of each training task")
    parser.add_argument("--draws", type=int, default=3, help="samples of the n pairs")
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
    rows: list[dict[str, Any]] = []
    for task, pairs in data.items():
        others = [other for other in data if family_of(other) != family_of(task)]
        s, training = source_scores[task], {other: source_scores[other] for other in others}
        W = align(training, target, {other: data[other] for other in others}, settings, **quiet)
        dfa, nearest = W.transfer(s), masks[controls.nearest_task(s, training)]
        predictions: dict[tuple[str, int, int], NodeScores] = {
            ("refined_dfa", 0, 0): dfa,
            ("refined_nearest", 0, 0): nearest,
        }
        for draw in range(arguments.draws):
            order = list(range(n))
            random.Random(draw).shuffle(order)
            for size in SIZES:
                few = PairDataset(tuple(pairs.pairs[i] for i in order[:size]), name=task)
                direct = attribute(target, few, **quiet)
                starts: dict[str, Any] = {
                    "target_only": 2.0, "refined_dfa": dfa, "refined_nearest": nearest
                }  # fmt: skip
                for name, start in starts.items():
                    mask = controls.target_only(target, few, settings, start=start, **quiet)
                    predictions[name, size, draw] = mask
                predictions["direct", size, draw] = direct
                both = controls.mean_scores({"direct": direct, "dfa": dfa})
                predictions["direct + dfa", size, draw] = both
        test = load_task(task, split="test", n=64, seed=seed)
        named = {str(number): scores for number, scores in enumerate(predictions.values())}
        curves = evaluate_many(target, test, named, ks=LINEAR_KS[::2], **quiet)
        for (way, size, draw), by_metric in zip(predictions, curves.values(), strict=True):
            curve = by_metric["logit_diff"]
            where = {"source": source.name, "target": target.name, "task": task}
            rows.append(
                {**where, "family": family_of(task), "way": way, "pairs": size, "draw": draw}
                | {"cpr": curve.cpr, "cmd": curve.cmd}
            )
        text = pd.DataFrame(rows).to_csv(index=False, float_format="%.4f", lineterminator="\n")
        write_file(arguments.out, text.encode())
    frame: Any = pd.DataFrame(rows)
    for measure in ("cpr", "cmd"):
        means = frame.groupby(["way", "pairs", "family"])[measure].mean()
        print(f"\n{measure}\n{means.groupby(['way', 'pairs']).mean().unstack().round(3)}")


if __name__ == "__main__":
    main()
