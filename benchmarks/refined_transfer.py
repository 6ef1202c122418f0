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

import random
from pathlib import Path
from typing import Any

from transfer_case import QUIET, TransferCase, arguments_of, save

from dfa_tl import NodeScores, PairDataset, align, attribute, controls

OUT = Path(__file__).parent / "results" / "refined_transfer.csv"
SIZES = (1, 2, 4, 8, 16)


def main() -> None:
    """Measure every way on every task."""
    arguments = arguments_of(__doc__ or "", OUT, pairs=64)
    case = TransferCase.load(arguments)
    target, settings = case.target, case.settings
    rows: list[dict[str, Any]] = []
    for task, pairs in case.data.items():
        others, s = case.other_families(task), case.source_scores[task]
        training = {other: case.source_scores[other] for other in others}
        W = align(
            training, target, {other: case.data[other] for other in others}, settings, **QUIET
        )
        dfa, nearest = W.transfer(s), case.masks[controls.nearest_task(s, training)]
        predictions: dict[tuple[str, int, int], NodeScores] = {
            ("refined_dfa", 0, 0): dfa,
            ("refined_nearest", 0, 0): nearest,
        }
        starts: dict[str, Any] = {
            "target_only": 2.0, "refined_dfa": dfa, "refined_nearest": nearest
        }  # fmt: skip
        for draw in range(arguments.draws):
            order = list(range(arguments.pairs))
            random.Random(draw).shuffle(order)
            for size in SIZES:
                few = PairDataset(tuple(pairs.pairs[i] for i in order[:size]), name=task)
                for name, start in starts.items():
                    mask = controls.target_only(target, few, settings, start=start, **QUIET)
                    predictions[name, size, draw] = mask
                direct = attribute(target, few, **QUIET)
                predictions["direct", size, draw] = direct
                both = controls.mean_scores({"direct": direct, "dfa": dfa})
                predictions["direct + dfa", size, draw] = both
        rows += case.measured(task, predictions, "pairs", 64)
        save(rows, arguments.out)


if __name__ == "__main__":
    main()
