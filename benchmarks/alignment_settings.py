"""Compare settings and variants of W, and the controls: zero-shot CPR on validation pairs.

    python benchmarks/alignment_settings.py
    python benchmarks/alignment_settings.py --test

A study of the bundled pair in which every setting is a variant of W, measured on the validation
split, so that nothing here touches a test split. Killed, it goes on where it was. The controls
train with each variant's own settings; `over uniform s` in the table compares a variant with the
best of all uniform-s masks, task by task, with a 95 % interval over tasks. An hour on one core.

`--test` measures what was best there, and the default, on test pairs, each against uniform s
trained with its own settings.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from dfa_tl import AlignmentConfig, PairSpec, StudyConfig, StudyResults, analysis, run_study
from dfa_tl.evaluation.intervals import seed_spread
from dfa_tl.io.atomic import write_file
from dfa_tl.io.output import output_folder

SWEEP = [
    AlignmentConfig(normalization=normalization, initialization=initialization, learning_rate=rate)
    for normalization, initialization, rate in itertools.product(
        ("none", "max", "centered"), ("random", "depth-mean"), (0.1, 0.01)
    )
]
RESULTS = Path(__file__).parent / "results"
VARIANTS = {
    "default": AlignmentConfig(),
    **{
        f"{config.normalization}, {config.initialization}, rate {config.learning_rate}": config
        for config in SWEEP
        if config != AlignmentConfig()
    },
    "target bias": AlignmentConfig(target_bias=True),
    "scale + target bias": AlignmentConfig(learned="scale", target_bias=True),
    "scale + target bias, rate 0.1": AlignmentConfig(
        learned="scale", target_bias=True, learning_rate=0.1
    ),
    "rank 4": AlignmentConfig(rank=4),
    "profile penalty 1": AlignmentConfig(profile_penalty=1.0),
    "8 bootstrapped source vectors": AlignmentConfig(source_vectors=8),
}


def study(seeds: int) -> StudyConfig:
    """Every setting as a variant, zero-shot, on the validation split."""
    return StudyConfig(
        pairs=(PairSpec("toy-small", "toy-large"),),
        regimes=("zero-shot",),
        controls=(
            "random_W", "depth_mean", "uniform_s", "target_only", "regression", "mean_gold",
        ),
        seeds=tuple(range(seeds)),
        test_pairs=96,
        test_split="validation",
        few_pairs_methods=(),
        variants=VARIANTS,
        batch_size=96,
        resamples=100,
    )  # fmt: skip


def confirmation(seeds: int) -> StudyConfig:
    """The best of the settings, and the default, on the test split."""
    best = "8 bootstrapped source vectors"
    return StudyConfig(
        pairs=(PairSpec("toy-small", "toy-large"),),
        regimes=("zero-shot",),
        controls=("uniform_s",),
        seeds=tuple(range(seeds)),
        few_pairs_methods=(),
        variants={name: VARIANTS[name] for name in ("default", best)},
        batch_size=64,
    )


def summary(results: StudyResults) -> pd.DataFrame:
    """One row per setting and control, best first."""
    rows: Any = results.headline()
    names = {"zero-shot": "DFA", "uniform_s": "uniform s"}
    setting = [
        f"{names[regime]}, {variant}" if regime in names else str(regime)
        for regime, variant in zip(rows["regime"], rows["variant"], strict=True)
    ]
    rows = rows.assign(setting=setting)
    by_task = rows.pivot_table(index="setting", columns="test_task", values="cpr")
    by_seed = rows.pivot_table(index="setting", columns="seed", values="cpr")
    uniform = by_task[by_task.index.str.startswith("uniform s")]
    over = by_task - by_task.loc[uniform.mean(axis=1).idxmax()]
    spreads = [seed_spread(row) for row in over.to_numpy()]
    table = by_task.assign(
        mean=by_task.mean(axis=1),
        sd=by_seed.std(axis=1),
        **{
            "over uniform s": [spread.mean for spread in spreads],
            "low": [spread.interval.low for spread in spreads if spread.interval],
            "high": [spread.interval.high for spread in spreads if spread.interval],
        },
    )
    return table.sort_values("mean", ascending=False).rename_axis(columns=None).reset_index()


def main() -> None:
    """Run the study, print its table and write it."""
    parser = argparse.ArgumentParser(description="Zero-shot CPR of alignment settings.")
    parser.add_argument("--test", action="store_true", help="the best settings, on test pairs")
    parser.add_argument("--seeds", type=int, help="default: 2, and 3 with --test")
    parser.add_argument("--out", type=Path, default=Path("out/settings"), help="of the study")
    arguments = parser.parse_args()
    out = output_folder(arguments.out)
    if arguments.test:
        results = run_study(confirmation(arguments.seeds or 3), out / "test")
        table, name = analysis.overall(results).frame, "alignment_settings_test"
    else:
        results = run_study(study(arguments.seeds or 2), out / "validation")
        table, name = summary(results), "alignment_settings"
    content = table.to_csv(index=False, float_format="%.4g", lineterminator="\n")
    write_file(RESULTS / f"{name}.csv", content.encode())
    print(table.to_string(index=False, float_format="{:.3f}".format))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
