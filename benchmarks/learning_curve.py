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

import random
from pathlib import Path
from typing import Any

from transfer_case import QUIET, TransferCase, arguments_of, save

from dfa_tl import align, attribute, controls

OUT = Path(__file__).parent / "results" / "learning_curve.csv"
SIZES = (1, 2, 3, 4, 6, 8, 12, 16)


def main() -> None:
    """Measure every way on every task, with more and more training tasks."""
    arguments = arguments_of(__doc__ or "", OUT, pairs=48)
    case = TransferCase.load(arguments)
    uniform = controls.uniform_s(case.source.nodes)
    trained: dict[tuple[str, ...], Any] = {}
    rows: list[dict[str, Any]] = []
    for task, pairs in case.data.items():
        others, s = case.other_families(task), case.source_scores[task]
        predictions: dict[tuple[str, int, int], Any] = {
            ("gold", 0, 0): attribute(case.target, pairs, **QUIET),
            ("target_only", 0, 0): case.masks[task],
        }
        for draw in range(arguments.draws):
            order = random.Random(draw).sample(others, len(others))
            for size in [*(size for size in SIZES if size < len(others)), len(others)]:
                chosen = tuple(sorted(order[:size]))
                scores = {other: case.source_scores[other] for other in chosen}
                masks = {other: case.masks[other] for other in chosen}
                if chosen not in trained:
                    given: Any = (
                        case.target,
                        {other: case.data[other] for other in chosen},
                        case.settings,
                    )
                    trained[chosen] = (
                        align(scores, *given, **QUIET),
                        align(dict.fromkeys(chosen, uniform), *given, **QUIET),
                    )
                dfa, no_source = trained[chosen]
                for name, prediction in {
                    "DFA": dfa.transfer(s),
                    "no_source": no_source.transfer(uniform),
                    "regression_mask": controls.regression(scores, masks).transfer(s),
                    "nearest_mask": masks[controls.nearest_task(s, scores)],
                    "mean_mask": controls.mean_scores(masks),
                }.items():
                    predictions[name, size, draw] = prediction
        rows += case.measured(task, predictions, "training_tasks", min(arguments.pairs, 64))
        save(rows, arguments.out)


if __name__ == "__main__":
    main()
