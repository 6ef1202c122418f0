r"""Are the settings that were chosen on the bundled pair good ones on a pretrained pair?

    python benchmarks/real_settings.py --source DIR/qwen2.5-coder-0.5b --target DIR/smollm2-135m \
        --out out/settings
    python benchmarks/real_settings.py --source DIR/qwen2.5-coder-0.5b --target DIR/smollm2-135m \
        --changes default "trained bias, logits from 2" --tasks other --out out/confirm

Zero-shot DFA with the default settings, and with one of them changed at a time, on six tasks of six
families, with the sizes of `docs/results_real.md` and one seed. The second command repeats the
comparison on the six other families that both models do, with the same training without a source
beside it: a setting picked on the first six tasks is judged on others. Rows are means over tasks.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from dfa_tl import AlignmentConfig
from dfa_tl.analysis.render import Table
from dfa_tl.io.atomic import write_file
from dfa_tl.study import PairSpec, StudyConfig, local_pool, run_study

RESULTS = Path(__file__).parent / "results"
TASKS = {
    "first": (
        "ioi_english", "sva_simple", "gender_pronoun", "days", "past_tense", "country_language",
    ),
    "other": (
        "antonyms", "person_country", "acronyms", "docstring_arguments", "closing_bracket",
        "sentiment",
    ),
}  # fmt: skip
STEPS, BATCH = 50, 6
CHANGES = {
    "default": {},
    "sparsity / 3": {"sparsity": AlignmentConfig().sparsity / 3},
    "sparsity x 3": {"sparsity": AlignmentConfig().sparsity * 3},
    "rate / 3": {"learning_rate": AlignmentConfig().learning_rate / 3},
    "rate x 3": {"learning_rate": AlignmentConfig().learning_rate * 3},
    "trained bias, logits from 2": {"target_bias": True, "initial_logit": 2.0},
    "injection": {"objective": "injection"},
}


def main() -> None:
    """Run the study, and write the mean CPR and CMD for each setting."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--source", required=True)
    parser.add_argument("--target", required=True)
    parser.add_argument("--changes", nargs="+", default=list(CHANGES), choices=list(CHANGES))
    parser.add_argument("--tasks", default="first", choices=list(TASKS), help="which six")
    parser.add_argument("--workers", type=int, default=0, help="processes; 0 for this one")
    parser.add_argument("--out", type=Path, default=Path("out/settings"))
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    config = StudyConfig(
        pairs=(PairSpec(arguments.source, arguments.target),),
        tasks=TASKS[arguments.tasks],
        regimes=("zero-shot",),
        controls=("uniform_s",) if arguments.tasks == "other" else (),
        train_pairs=16,
        test_pairs=12,
        variants={
            name: AlignmentConfig(steps=STEPS, batch_size=BATCH, **CHANGES[name])
            for name in arguments.changes
        },
        grids=("coarse",),
        batch_size=BATCH,
    )
    if arguments.workers:
        with local_pool(arguments.workers) as pool:
            results = run_study(config, arguments.out, pool)
    else:
        results = run_study(config, arguments.out)
    rows = results.headline()
    rows = rows[rows["regime"].isin(["zero-shot", "uniform_s"])]
    means = rows.groupby(["variant", "regime"], sort=False)[["cpr", "cmd"]].mean().reset_index()
    text = means.to_csv(index=False, float_format="%.4f", lineterminator="\n")
    name = "real_settings.csv" if arguments.tasks == "first" else "real_settings_other.csv"
    write_file(RESULTS / name, text.encode())
    print(Table(means).to_markdown())


if __name__ == "__main__":
    main()
