"""`estimate_study`: what a study will cost, before it is run.

Passes follow from the plan. Seconds are those passes at the speed of each model here, measured on
one pair and on one batch of the task with the longest prompts:

    seconds of a pass = a per batch + b per token      (once forward, once backward)

where the tokens are those that a job runs (`dfa_tl.models.shared_prefix`).

To these are added loading the models, and the bootstrap of every row of the results. Memory is what
the process holds with its models loaded, and the peak of the largest job (`estimate_memory`).
"""

from __future__ import annotations

import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from dfa_tl.arguments import checked_arguments
from dfa_tl.attribution.attribute import attribute
from dfa_tl.evaluation.curve import LINEAR_KS, FaithfulnessCurve
from dfa_tl.evaluation.intervals import Bootstrap, cmd_interval, cpr_interval
from dfa_tl.memory import estimate_memory
from dfa_tl.models.node_model import NodeModel
from dfa_tl.models.shared_prefix import prefix_length
from dfa_tl.study.config import StudyConfig
from dfa_tl.study.evaluate_job import JOB_VERSIONS
from dfa_tl.study.inputs import data_hashes, model_hashes
from dfa_tl.study.job import Job, Workload
from dfa_tl.study.jobs import AttributeJob, TrainingJob
from dfa_tl.study.plan import plan
from dfa_tl.study.schedule import critical_paths
from dfa_tl.study.store import Store
from dfa_tl.tasks.batches import TokenPairs
from dfa_tl.tasks.pairs import PairDataset

JOB_BYTES = 1800
"""Of a manifest, and of what a result holds besides its numbers."""
ROW_BYTES = 1200
"""Of a row of results as JSON, and of what a manifest says of its circuit."""
RUNS = 2
"""Of each measurement of speed."""


@dataclass(frozen=True)
class ModelCost:
    """Passes of one pair through a model, in whole passes, and the seconds that they take."""

    forward: float
    backward: float
    seconds: float


@dataclass(frozen=True)
class StudyEstimate:
    """What a study, or the rest of it, will cost.

    Attributes:
        jobs: Jobs of each kind that have no result yet.
        models: Cost by model.
        seconds: Wall time of one process.
        critical_path: Seconds of the longest chain of jobs that need each other: no number of
            workers takes less.
        memory: Bytes of one process at its peak; on a GPU, only those of the GPU.
        disk: Bytes of the study's folder.
    """

    jobs: dict[str, int]
    models: dict[str, ModelCost]
    seconds: float
    critical_path: float
    memory: int
    disk: int

    def __str__(self) -> str:
        lines = [
            f"{sum(self.jobs.values())} jobs: "
            + ", ".join(f"{n} {kind}" for kind, n in self.jobs.items())
        ]
        for name, cost in self.models.items():
            lines.append(
                f"{name}: {cost.forward:,.0f} forward and {cost.backward:,.0f} backward passes of "
                f"one pair, {_duration(cost.seconds)}"
            )
        lines += [
            f"time: {_duration(self.seconds)} in one process; at least "
            f"{_duration(self.critical_path)} with any number of workers",
            f"memory: {self.memory / 2**30:.1f} GB in each process",
            f"disk: {self.disk / 2**20:,.0f} MB",
        ]
        return "\n".join(lines)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@dataclass(frozen=True)
class Speed:
    """Seconds per batch and per token, of forward and of backward passes."""

    forward: tuple[float, float]
    backward: tuple[float, float]

    def seconds(self, work: Workload, pairs: int, length: float) -> float:
        """The time of a job whose pairs have so many tokens."""
        rows = min(work.batch_size, pairs)
        return sum(
            passes * (per_batch / rows + per_token * length)
            for passes, (per_batch, per_token) in (
                (work.forward, self.forward),
                (work.backward, self.backward),
            )
        )


@checked_arguments
def estimate_study(config: StudyConfig, out_dir: str | Path | None = None) -> StudyEstimate:
    """What a study will cost here. It loads each model and runs a few batches.

    Args:
        config: The study.
        out_dir: Its folder, where it was begun: only what is missing is counted.

    Raises:
        ModelError, DataError, ConfigError: as `run_study`.
    """
    planned = plan(config, model_hashes(config.models), data_hashes(config), JOB_VERSIONS)
    jobs = {job.key: job for job in planned}
    if out_dir is not None:
        store = Store(out_dir)
        jobs = {key: job for key, job in jobs.items() if not store.has(job)}
    began = time.perf_counter()
    specs = dict.fromkeys(job.model_run for job in jobs.values())
    for spec in specs:
        spec.load()
    loading = time.perf_counter() - began
    held = max((_held_on(spec.load().device) for spec in specs), default=0)
    works = {key: job.workload(job.model_run.shape.nodes) for key, job in jobs.items()}
    per_row = _seconds_of_row(config)
    taken: dict[str, float] = {}
    models: dict[str, ModelCost] = {}
    peak = 0
    for spec in specs:
        here = {key: works[key] for key, job in jobs.items() if job.model_run == spec}
        tokens = {
            sample: sample.tokens(spec)
            for sample in dict.fromkeys(sample for work in here.values() for sample in work.data)
        }
        lengths = {sample: _lengths(data) for sample, data in tokens.items()}
        continued = {
            sample: _lengths_run(data, config.batch_size) for sample, data in tokens.items()
        }
        longest = tokens[max(lengths, key=lambda sample: lengths[sample])]
        speed = measured_speed(spec.load(), longest, config.batch_size)
        for key, work in here.items():
            whole, run = (
                sum(tokens_of[sample] * sample.size for sample in work.data) / work.pairs
                for tokens_of in (lengths, continued if jobs[key].shares_prefixes else lengths)
            )
            length = mean_length(whole, run, (work.forward + work.backward) / work.pairs)
            taken[key] = speed.seconds(work, work.pairs, length)
            taken[key] += work.rows * per_row
        models[spec.name] = ModelCost(
            forward=sum(work.forward for work in here.values()),
            backward=sum(work.backward for work in here.values()),
            seconds=sum(taken[key] for key in here),
        )
        peak = max(peak, _peak(spec.load(), longest, [jobs[key] for key in here], works))
    return StudyEstimate(
        jobs=dict(Counter(job.kind for job in jobs.values())),
        models=models,
        seconds=loading + sum(taken.values()),
        critical_path=max(critical_paths(planned, taken).values()),
        memory=held + peak,
        disk=sum(JOB_BYTES + 4 * work.numbers + ROW_BYTES * work.rows for work in works.values()),
    )


def _held_on(device: torch.device) -> int:
    """Bytes that this process holds on a GPU, or the most that it has held of the host's memory."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


def measured_speed(model: NodeModel, data: PairDataset, batch_size: int) -> Speed:
    """The speed of a model on one pair, and on as many as take a second, at most a batch."""
    pairs = data.tokenize(model)
    longest = int(pairs.lengths.argmax())

    def times(rows: int) -> tuple[float, float]:
        few = _rows(pairs, [longest] * rows)
        batch = few.tokenize(model).select(torch.arange(rows), model.device)

        def forward() -> None:
            with model.unchanged(), torch.no_grad():
                for _ in range(RUNS):
                    model.last_logits(batch.clean, batch.mask, batch.last)

        def forward_and_backward() -> None:
            # Under zero ablation there is no corrupt run, and runs are whole.
            for _ in range(RUNS):
                attribute(model, few, "nap", ablation="zero", batch_size=rows, progress=False)

        one_forward = _seconds(forward, model.device) / RUNS
        both = _seconds(forward_and_backward, model.device) / RUNS
        return one_forward, max(both - one_forward, 0.5 * one_forward)

    times(1)  # the first run is slower
    small = times(1)
    rows = min(batch_size, max(2, int(1 / sum(small))))
    large = times(rows)
    length = int(pairs.lengths[longest])
    fits = []
    for one, many in zip(small, large, strict=True):
        per_token = max(0.0, many - one) / ((rows - 1) * length)
        fits.append((max(0.0, one - per_token * length), per_token))
    return Speed(*fits)


def _seconds(run: Callable[[], None], device: torch.device) -> float:
    began = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def _rows(pairs: TokenPairs, rows: list[int]) -> PairDataset:
    return PairDataset((), name=pairs.name, tokens=pairs.rows(rows))


def _lengths(data: PairDataset) -> float:
    assert data.tokens is not None
    return float(data.tokens.lengths.float().mean())


def mean_length(whole: float, after: float, passes: float) -> float:
    """Mean tokens of a pass, where those before the last `after` are run once for all passes."""
    return after + (whole - after) / max(1.0, passes)


def _lengths_run(data: PairDataset, batch_size: int) -> float:
    """Mean tokens after the shared prefixes of batches."""
    pairs = data.tokens
    assert pairs is not None
    batches = [pairs.select(rows, "cpu") for rows in pairs.row_batches(batch_size)]
    saved = sum(len(batch) * prefix_length(batch) for batch in batches)
    return _lengths(data) - saved / len(pairs)


def _peak(
    model: NodeModel, data: PairDataset, jobs: Iterable[Job], works: Mapping[str, Workload]
) -> int:
    """Bytes of the largest job on top of the weights, on pairs as long as the longest."""
    largest: dict[tuple[str, str], Workload] = {}
    for job in jobs:
        kind, ablation = "evaluate", getattr(job, "ablation", "counterfactual")
        if isinstance(job, AttributeJob) and job.method != "exact":  # which needs no gradients
            kind = job.method
        elif isinstance(job, TrainingJob):
            kind = "align"
        key, work = (kind, ablation), works[job.key]
        if key not in largest or work.pairs > largest[key].pairs:
            largest[key] = work
    pairs = data.tokenize(model)
    longest = int(pairs.lengths.argmax())
    # A batch shares no more than the pair that shares the least.
    least = min(range(len(pairs)), key=lambda row: pairs.select([row], "cpu").n_shared)
    return max(
        estimate_memory(
            model,
            _rows(pairs, [*[longest] * (work.pairs - 1), least if work.pairs > 1 else longest]),
            kind,
            ablation=ablation,
            batch_size=work.batch_size,
        )
        for (kind, ablation), work in largest.items()
    )


def _seconds_of_row(config: StudyConfig) -> float:
    """The time that the intervals of one row take."""
    ks = LINEAR_KS
    values = np.random.default_rng(0).normal(size=(len(ks), config.test_pairs))
    curve = FaithfulnessCurve(
        ks=ks,
        n_kept=tuple(range(len(ks))),
        pair_values=values,
        clean=values[0] + 1,
        corrupt=values[1] - 1,
        protocol="nodes",
        metric="logit_diff",
    )
    bootstrap = Bootstrap(config.level, config.resamples)
    began = time.perf_counter()
    cpr_interval(curve, bootstrap)
    cmd_interval(curve, bootstrap)
    return time.perf_counter() - began
