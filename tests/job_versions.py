"""Results of a small fixed study, recorded with the versions of the kinds of job they come from.

    python tests/job_versions.py

Run it from the repository after raising the `code_version` of a kind of job whose results changed;
`test_job_versions.py` compares with what it records in `data/job_versions.json`.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable
from pathlib import Path

import torch

from dfa_tl import AlignmentConfig
from dfa_tl.study import PairSpec, StudyConfig, StudyResults, run_study
from dfa_tl.study.evaluate_job import JOB_VERSIONS, EvaluateJob
from dfa_tl.study.job import Job, with_needs
from dfa_tl.study.jobs import AlignJob, ScoresJob

RECORD = Path(__file__).parent / "data" / "job_versions.json"
CONFIG = StudyConfig(
    pairs=(PairSpec("toy-small", "toy-large"),),
    tasks=("ioi", "arithmetic_addition"),
    methods=("nap",),
    regimes=("zero-shot",),
    controls=("uniform_s", "scrambled_s", "target_only", "mean_gold"),
    train_pairs=6,
    test_pairs=6,
    draws=1,
    few_pairs_methods=("nap",),
    few_pairs_sizes=(2,),
    few_pairs_draws=1,
    variants={
        "default": AlignmentConfig(epochs=2),
        "two": AlignmentConfig(epochs=4, source_vectors=2, learning_rate=0.1),
    },
    rankings=("signed", "absolute"),
    metrics=("logit_diff", "kl"),
    grids=("mib",),
    resamples=100,
)
"""Every kind of job, with all pairs, some pairs and bootstrapped ones."""

Numbers = dict[str, dict[str, float]]


def numbers_of(results: StudyResults) -> dict[str, Numbers]:
    """For each kind of job, numbers that change with any part of a job's result."""
    found: dict[str, Numbers] = {}
    frame = results.frame()
    for job in results.jobs:
        if isinstance(job, ScoresJob):
            numbers = _digest(job.load(results._store).values)
        elif isinstance(job, AlignJob):
            numbers = _digest(job.load(results._store).W)
        elif isinstance(job, EvaluateJob):
            rows = frame[(frame["test_task"] == job.task) & (frame["method"] == job.method)]
            columns = rows.select_dtypes("number").replace([float("inf"), -float("inf")], 1e3)
            values = {name: torch.tensor(column.to_numpy()) for name, column in columns.items()}
            numbers = {
                name: _digest(each.nan_to_num(-1))["weighted"] for name, each in values.items()
            }
        else:
            raise AssertionError(f"say what the result of a {job.kind} job is")
        of_kind = found.setdefault(job.kind, {})
        of_kind[f"{len(of_kind)}: {job}"] = numbers
    return found


def _digest(values: torch.Tensor) -> dict[str, float]:
    flat = values.double().flatten()
    weights = torch.cos(torch.arange(len(flat), dtype=torch.double))
    numbers = {"norm": flat.norm(), "weighted": flat @ weights}
    return {name: float(f"{number.item():.6g}") for name, number in numbers.items()}


def versions_behind(jobs: Iterable[Job]) -> dict[str, dict[str, int]]:
    """For each kind of job, the versions of the kinds that its results follow from."""
    found: dict[str, dict[str, int]] = {}
    for job in jobs:
        for need in with_needs([job]).values():
            found.setdefault(job.kind, {})[need.kind] = JOB_VERSIONS[need.kind]
    return found


def record(folder: str | Path) -> dict[str, dict]:
    """Run the study; for each kind of job, the versions behind its results and the numbers."""
    torch.set_num_threads(1)
    results = run_study(CONFIG, folder, progress=False)
    assert not results.failures, results.failures[0].traceback
    numbers, versions = numbers_of(results), versions_behind(results.jobs)
    return {kind: {"versions": versions[kind], "numbers": numbers[kind]} for kind in JOB_VERSIONS}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        RECORD.write_text(json.dumps(record(temporary), indent=1, sort_keys=True) + "\n")
