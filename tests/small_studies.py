"""Studies for the tests of reports, two tasks, eight pairs, one epoch, and their reports.

    python small_studies.py FOLDER

A process of its own is not slowed down by the run-time type checks of the tests.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import torch

from dfa_tl import AlignmentConfig, load_model, load_task
from dfa_tl.models.attention import attention_patterns
from dfa_tl.models.folder import BUNDLED_FOLDER
from dfa_tl.report import write_report
from dfa_tl.study import PairSpec, StudyConfig, run_study

TASKS = ("ioi", "arithmetic_addition")
SMALL = StudyConfig(
    pairs=(PairSpec("toy-small", "toy-large"),),
    tasks=TASKS,
    methods=("nap",),
    regimes=("in-distribution", "zero-shot", "cross-task"),
    controls=("random_W", "uniform_s", "target_only", "depth_mean"),
    train_pairs=8,
    test_pairs=6,
    draws=1,
    few_pairs_methods=("nap",),
    few_pairs_sizes=(1, 4),
    few_pairs_draws=1,
    variants={"default": AlignmentConfig(epochs=1)},
    grids=("linear",),
    resamples=100,
)
HEADS = ("a2.h2", "a0.h0")
MARKUP = "</script><img src=x onerror=document.title='taken'>"


def main(folder: Path) -> None:
    """Run `small` and `hostile`, whose source has markup for a name, and write their reports."""
    source = folder / MARKUP
    source.parent.mkdir(parents=True)
    source.symlink_to(BUNDLED_FOLDER / "toy-small", target_is_directory=True)
    hostile = replace(
        SMALL,
        pairs=(PairSpec(str(source), "toy-large"),),
        methods=("nap", "exact"),
        regimes=("zero-shot",),
        controls=("uniform_s",),
        few_pairs_methods=(),
    )
    torch.set_num_threads(1)  # faster for models so small
    pair = load_task("ioi", n=1, split="test").pairs[0]
    patterns = attention_patterns(load_model("toy-small"), pair, HEADS)
    for name, config in {"small": SMALL, "hostile": hostile}.items():
        results = run_study(config, folder / name, progress=False)
        assert not results.failures
        attention = {"heads of toy-small": patterns} if name == "small" else {}
        write_report(results, folder / f"{name}.html", attention=attention)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
