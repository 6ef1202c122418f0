r"""The paper's whole study on the bundled pair of models, with every control.

    python examples/study_bundled.py --out out/study
    python examples/study_bundled.py --quick --out out/quick

Three attribution methods, six tasks, every regime and control, and three seeds, on two processes;
`--quick` takes one method and one seed, `--zero-shot` zero-shot alone, `--methods` and `--seeds`
others. Stopped at any moment, the same command goes on where it was. Tables are written into the
folder as .csv, .md and .tex, the tidy table as results.csv; jobs stand below `jobs/`.
"""

from __future__ import annotations

import argparse
import logging
import os
import time
from dataclasses import replace
from pathlib import Path

from dfa_tl import AlignmentConfig, DFAError, analysis
from dfa_tl.io.output import output_folder
from dfa_tl.study import PairSpec, StudyConfig, local_pool, run_study

PAIR = PairSpec("toy-small", "toy-large")
# The paper's batches hold one pair; 16 make the same passes, in a sixteenth of the steps.
VARIANTS = {"default": AlignmentConfig(), "paper": AlignmentConfig.paper(batch_size=16)}


def full() -> StudyConfig:
    """Everything."""
    return StudyConfig(
        pairs=(PAIR,),
        methods=("nap-ig-inputs", "nap", "nap-ig-activations"),
        seeds=(0, 1, 2),
        draws=1,
        few_pairs_methods=("nap", "nap-ig-inputs"),
        few_pairs_draws=1,  # a seed
        variants=VARIANTS,
        protocols=("nodes", "mib"),
        metrics=("logit_diff", "prob_diff", "log_prob", "kl", "accuracy"),
        batch_size=64,
    )


def quick() -> StudyConfig:
    """One method and one seed, measured in one way."""
    return StudyConfig(
        pairs=(PAIR,),
        draws=1,
        few_pairs_methods=("nap-ig-inputs",),
        few_pairs_draws=1,
        variants=VARIANTS,
        metrics=("logit_diff", "prob_diff", "log_prob", "kl", "accuracy"),
        batch_size=64,
    )


def zero_shot() -> StudyConfig:
    """Zero-shot with every control and three seeds, under the default settings."""
    return StudyConfig(
        pairs=(PAIR,), regimes=("zero-shot",), seeds=(0, 1, 2), draws=1, grids=("coarse",),
        batch_size=64,
    )  # fmt: skip


def main() -> None:
    """Run the study and write its tables."""
    parser = argparse.ArgumentParser(description="The whole study on the bundled pair.")
    parser.add_argument("--quick", action="store_true", help="one method, one seed")
    parser.add_argument("--zero-shot", action="store_true", help="that regime alone")
    parser.add_argument("--methods", nargs="+", help="attribution methods")
    parser.add_argument("--seeds", type=int, nargs="+")
    parser.add_argument("--out", type=Path, default=Path("out/study"))
    parser.add_argument("--workers", type=int, default=2, help="processes")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    out = output_folder(arguments.out)
    began = time.perf_counter()
    # One thread each: so small a model gains nothing from more, and results do not depend on them.
    os.environ["OMP_NUM_THREADS"] = "1"
    config = zero_shot() if arguments.zero_shot else quick() if arguments.quick else full()
    if arguments.methods:
        methods = tuple(arguments.methods)
        few = methods if config.few_pairs_methods else ()
        config = replace(config, methods=methods, few_pairs_methods=few)
    if arguments.seeds:
        config = replace(config, seeds=tuple(arguments.seeds))
    with local_pool(arguments.workers) as pool:
        results = run_study(config, out, pool)
    written = analysis.write_tables(results, out)
    for name, table in analysis.all_tables(results).items():
        if name in ("leaderboard", "control_levels", "source_effect", "break_even"):
            print(f"\n{table.to_markdown()}")
    print(f"{len(written)} files in {out}, {time.perf_counter() - began:.0f} s in all")
    if results.failures:
        raise SystemExit(f"error: {len(results.failures)} jobs failed; see the log above")


if __name__ == "__main__":
    try:
        main()
    except DFAError as error:
        raise SystemExit(f"error: {error}") from error
