"""Studies for the tests of reports: two tasks, eight pairs, one epoch.

Run in a process of its own, where no run-time type checks slow it down.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import torch

from dfa_tl import AlignmentConfig
from dfa_tl.models.loading import BUNDLED_FOLDER
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
    worth_methods=("nap",),
    worth_pairs=(1, 4),
    worth_draws=1,
    variants={"default": AlignmentConfig(epochs=1)},
    grids=("linear",),
    resamples=100,
)
MARKUP = "</script><img src=x onerror=document.title='taken'>"


def main(folder: Path) -> None:
    """Run both studies, `small` and `hostile`: the source of the second has markup for a name."""
    source = folder / MARKUP
    source.parent.mkdir(parents=True)
    source.symlink_to(BUNDLED_FOLDER / "toy-small", target_is_directory=True)
    hostile = replace(
        SMALL,
        pairs=(PairSpec(str(source), "toy-large"),),
        regimes=("zero-shot",),
        controls=("uniform_s",),
        worth_methods=(),
    )
    torch.set_num_threads(1)  # faster for models so small
    for name, config in {"small": SMALL, "hostile": hostile}.items():
        assert not run_study(config, folder / name, progress=False).failures


if __name__ == "__main__":
    main(Path(sys.argv[1]))
