r"""Zero-shot transfer between pretrained models, with every way to predict a circuit beside it.

    python examples/study_real.py --pair DIR/smollm2-135m DIR/qwen2.5-coder-0.5b --out out/real
    python examples/study_real.py --pair Qwen/Qwen2.5-0.5B Qwen/Qwen2.5-1.5B \
        --pair Qwen/Qwen2.5-1.5B Qwen/Qwen2.5-0.5B --tasks all --out out/qwen

A pair is a source, whose circuits are known, and a target. Models are folders or names on the hub.
What several pairs need, such as the gold circuits of a target, is computed once. A task that one of
the models cannot do is left out. Zero-shot leaves out the test task's whole family. `--dry-run`
says what the study will cost. Stopped at any moment, the same command goes on where it was. Tables
and report.html are written into the folder.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from dfa_tl import AlignmentConfig, DFAError, analysis, load_model, load_task
from dfa_tl.evaluation.doable import doable_tasks
from dfa_tl.io.atomic import write_file
from dfa_tl.io.output import output_folder
from dfa_tl.io.strict_json import json_bytes, parse_json
from dfa_tl.report import write_report
from dfa_tl.study import PairSpec, StudyConfig, estimate_study, local_pool, run_study
from dfa_tl.tasks import TASKS

SHORT = (
    "ioi_english", "gender_pronoun", "sva_simple", "sva_prepositional", "days", "letters",
    "closing_bracket", "country_language",
)  # fmt: skip
"""Six families whose prompts are short, so that the study takes hours on a laptop."""
ALL = tuple(name for name, task in TASKS.items() if not task.is_toy)
CONTROLS = (
    "random_W", "depth_mean", "uniform_s", "task_identity", "target_only", "regression",
    "mean_gold", "nearest_gold", "regression_mask", "mean_mask", "nearest_mask", "ensemble",
)  # fmt: skip


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="A study of pairs of pretrained models.")
    parser.add_argument(
        "--pair",
        nargs=2,
        action="append",
        required=True,
        metavar=("SOURCE", "TARGET"),
        help="two models; several --pair are studied together",
    )
    parser.add_argument("--tasks", nargs="+", default=list(SHORT), help="names, or all")
    parser.add_argument("--pairs", type=int, default=32, help="per task, for W and for scores")
    parser.add_argument("--test-pairs", type=int, default=32)
    parser.add_argument("--steps", type=int, default=100, help="of each training")
    parser.add_argument("--batch-size", type=int, default=16, help="pairs in each step")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--random-draws", type=int, default=20, help="of the band of chance")
    parser.add_argument("--controls", nargs="+", default=list(CONTROLS))
    parser.add_argument("--regimes", nargs="+", default=["zero-shot", "in-distribution"])
    parser.add_argument("--dtype", default="auto", help="precision of all models")
    parser.add_argument("--workers", type=int, default=0, help="processes; 0 for this one")
    parser.add_argument("--dry-run", action="store_true", help="only say what it will cost")
    parser.add_argument("--out", type=Path, default=Path("out/real"))
    return parser.parse_args()


def all_can_do(arguments: argparse.Namespace, out: Path) -> list[str]:
    """The tasks that all models can do; measured once, and kept in the study's folder."""
    file = out / "doable.json"
    names = list(ALL) if arguments.tasks == ["all"] else arguments.tasks
    model_names = list(dict.fromkeys(name for pair in arguments.pair for name in pair))
    if file.exists():
        known = parse_json(file.read_bytes(), str(file))
        if (known["asked"], known.get("models")) == (names, model_names):
            return known["doable"]
    models = (load_model(name, dtype=arguments.dtype) for name in model_names)  # one at a time
    data = {name: load_task(name, n=24) for name in names}
    doable, left_out = doable_tasks(data, models)
    for name, reason in left_out.items():
        print(f"{name} is left out: {reason}")
    content = {
        "asked": names,
        "models": model_names,
        "doable": list(doable),
        "left out": left_out,
    }
    write_file(file, json_bytes(content, "the tasks", indent=1))
    return list(doable)


def main() -> None:
    """Run the study, or say what it will cost."""
    arguments = parse_arguments()
    logging.basicConfig(level=logging.ERROR)
    out = output_folder(arguments.out)
    config = StudyConfig(
        pairs=tuple(PairSpec(source, target) for source, target in arguments.pair),
        tasks=tuple(all_can_do(arguments, out)),
        regimes=tuple(arguments.regimes),
        controls=tuple(arguments.controls),
        seeds=tuple(arguments.seeds),
        train_pairs=arguments.pairs,
        test_pairs=arguments.test_pairs,
        random_draws=arguments.random_draws,
        variants={
            "default": AlignmentConfig(steps=arguments.steps, batch_size=arguments.batch_size)
        },
        grids=("coarse",),
        dtype=arguments.dtype,
    )
    if arguments.dry_run:
        print(estimate_study(config, out))
        return
    if arguments.workers:
        with local_pool(arguments.workers) as pool:
            results = run_study(config, out, pool)
    else:
        results = run_study(config, out)
    analysis.write_tables(results, out)
    write_report(results, out / "report.html")
    tables = analysis.all_tables(results)
    for name in ("leaderboard", "control_levels", "overall"):
        print(f"\n{tables[name].to_markdown()}")
    if results.failures:
        raise SystemExit(f"error: {len(results.failures)} jobs failed; see the log above")


if __name__ == "__main__":
    try:
        main()
    except DFAError as error:
        raise SystemExit(f"error: {error}") from error
