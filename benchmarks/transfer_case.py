"""What the benchmarks of transfers share: two models, tasks that both can do, scores, and masks."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from dfa_tl import (
    LINEAR_KS,
    AlignmentConfig,
    NodeModel,
    NodeScores,
    PairDataset,
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

QUIET: Any = {"progress": False}
Predictions = Mapping[tuple[str, int, int], NodeScores]
"""Scores of the target by way, size and draw."""


def arguments_of(description: str, out: Path, *, pairs: int) -> argparse.Namespace:
    """The command line of a benchmark of transfers."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--source", default="toy-small")
    parser.add_argument("--target", default="toy-large")
    parser.add_argument("--tasks", nargs="+", default=list(TOY_TASKS))
    parser.add_argument("--pairs", type=int, default=pairs, help="of each training task")
    parser.add_argument("--draws", type=int, default=3, help="samples of what varies")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=out)
    return parser.parse_args()


@dataclass(frozen=True, eq=False)
class TransferCase:
    """Models, and the pairs, source scores and trained masks of each task.

    Attributes:
        data: Pairs of the tasks that both models can do.
        source_scores: Of the source, by task.
        masks: Trained on the target alone, by task.
    """

    source: NodeModel
    target: NodeModel
    settings: AlignmentConfig
    data: Mapping[str, PairDataset]
    source_scores: Mapping[str, NodeScores]
    masks: Mapping[str, NodeScores]

    @classmethod
    def load(cls, arguments: argparse.Namespace) -> TransferCase:
        """Load the models, and make the scores and masks."""
        settings = AlignmentConfig(steps=arguments.steps, seed=arguments.seed)
        source, target = load_model(arguments.source), load_model(arguments.target)
        asked = {
            task: load_task(task, n=arguments.pairs, seed=arguments.seed)
            for task in arguments.tasks
        }
        data, left_out = doable_tasks(asked, [source, target])
        for task, reason in left_out.items():
            print(f"{task} is left out: {reason}")
        scores = {task: attribute(source, pairs, **QUIET) for task, pairs in data.items()}
        masks = {task: controls.target_only(target, data[task], settings, **QUIET) for task in data}
        return cls(source, target, settings, data, scores, masks)

    def other_families(self, task: str) -> list[str]:
        """The tasks of other families than that of `task`."""
        return [other for other in self.data if family_of(other) != family_of(task)]

    def measured(
        self, task: str, predictions: Predictions, size: str, n: int
    ) -> Iterator[dict[str, Any]]:
        """A row for each prediction, measured on `n` test pairs; `size` names its column."""
        test = load_task(task, split="test", n=n, seed=self.settings.seed)
        named = {str(number): scores for number, scores in enumerate(predictions.values())}
        curves = evaluate_many(self.target, test, named, ks=LINEAR_KS[::2], **QUIET)
        for (way, value, draw), by_metric in zip(predictions, curves.values(), strict=True):
            curve = by_metric["logit_diff"]
            yield {
                "source": self.source.name,
                "target": self.target.name,
                "task": task,
                "family": family_of(task),
                "way": way,
                size: value,
                "draw": draw,
                "cpr": curve.cpr,
                "cmd": curve.cmd,
            }


def save(rows: list[dict[str, Any]], path: Path) -> None:
    """Write the rows that there are so far."""
    text = pd.DataFrame(rows).to_csv(index=False, float_format="%.4f", lineterminator="\n")
    write_file(path, text.encode())
