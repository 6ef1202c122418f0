"""`run_study`: do the missing jobs of a study, in this process or on any executor.

A job is handed out as soon as the jobs that it needs are done (`dfa_tl.study.schedule`), so that a
study of one pair of models keeps many workers busy. A worker keeps the models that it has loaded.
A job that fails does not stop the others; jobs that need it are left out. Both are tried once more,
and what still fails is reported with its traceback. A study that is killed loses at most the jobs
in flight: run it again on the same folder.

`executor` is anything with `submit(function, *arguments)` whose futures have `done` and `result`:
`local_pool`, any `concurrent.futures` pool, Dask's `Client.get_executor()`, submitit's
`AutoExecutor`, which gets the jobs that are ready together as one array. If a pool breaks because a
worker died, the rest is done in this process. All workers must see the folder. The caller shuts the
executor down.

    with local_pool(2) as pool:
        run_study(config, "runs/llama", pool)

    with dask.distributed.Client("scheduler:8786") as client:
        run_study(config, "runs/llama", client.get_executor())

    executor = submitit.AutoExecutor("runs/logs")  # on a SLURM login node
    executor.update_parameters(slurm_partition="gpu", gpus_per_node=1, timeout_min=720)
    run_study(config, "runs/llama", executor)
"""

from __future__ import annotations

import logging
import platform
import time
import traceback
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import nullcontext
from datetime import datetime, timezone
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import dfa_tl
from dfa_tl.arguments import checked_arguments
from dfa_tl.errors import ConfigError
from dfa_tl.io.atomic import user_path
from dfa_tl.pool import LocalPool
from dfa_tl.settings import check_whole
from dfa_tl.study.config import StudyConfig
from dfa_tl.study.evaluate_job import JOB_VERSIONS
from dfa_tl.study.folder import StudyDescription, write_description
from dfa_tl.study.inputs import data_hashes, model_hashes
from dfa_tl.study.job import Job
from dfa_tl.study.plan import plan
from dfa_tl.study.progress import StudyProgress
from dfa_tl.study.results import StudyResults
from dfa_tl.study.schedule import Failure, Piece, Schedule
from dfa_tl.study.store import StorageError, Store

logger = logging.getLogger(__name__)

PACKAGES = ("torch", "transformer-lens", "transformers", "numpy", "scipy")
POLL_SECONDS = 0.05
SHOW_SECONDS = 2.0
PIECES = 500
"""About how many pieces an executor gets: several for each of 64 workers."""


def run_job(job: Job, store: Store) -> None:
    """Do a job and store its result.

    Raises:
        ConfigError: this process has another version of the kind of job than the one that planned
            the study.
    """
    if job.version != job.code_version:
        raise ConfigError(
            f"{job} was planned with version {job.version} of {job.kind} jobs, and this process "
            f"has version {job.code_version}: install the same dfa_tl wherever a study works"
        )
    began = time.perf_counter()
    result = job.run(store)
    today = datetime.now(timezone.utc).date().isoformat()
    facts = {**result.facts, "versions": _versions(), "date": today}
    store.save(job, result.write, facts, time.perf_counter() - began)


@cache
def _versions() -> dict[str, str]:
    """What numbers may depend on in their last digits: packages, processor and graphics cards."""
    processors = [platform.machine(), torch.backends.cpu.get_cpu_capability()]
    if torch.cuda.is_available():
        processors += sorted(
            {torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())}
        )
    return {
        "dfa_tl": dfa_tl.__version__,
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
        "hardware": " ".join(processors),
    }


def run_jobs(jobs: Iterable[Job], folder: str) -> dict[str, str]:
    """Do jobs that have no result yet; runs on a worker.

    Args:
        jobs: Jobs whose needs are done.
        folder: The study's folder.

    Returns:
        The traceback of each job that failed, by key.

    Raises:
        StorageError: results cannot be written, so no other job could be stored either.
    """
    store = Store(folder)
    tracebacks: dict[str, str] = {}
    for job in jobs:
        try:
            if not store.has(job):
                run_job(job, store)
        except StorageError:
            raise
        except Exception:
            tracebacks[job.key] = traceback.format_exc()
    return tracebacks


@checked_arguments
def run_study(
    config: StudyConfig,
    out_dir: str | Path,
    executor: Any = None,
    progress: bool = True,
    *,
    pieces: int = PIECES,
) -> StudyResults:
    """Run a study, or what is missing of it.

    Args:
        config: The study.
        out_dir: Its folder; several runs may share one.
        executor: Where jobs are done; None for this process.
        progress: Show a progress bar.
        pieces: About how many pieces an executor gets: small jobs that can run at the same time on
            the same model are put together. Take fewer where every piece has to wait or to load
            its models, as on a cluster, but several for each worker.

    Returns:
        The results of all jobs that succeeded; `failures` has the others.

    Raises:
        ModelError: there is no such model.
        DataError: data of a task are missing or invalid.
        StorageError: the folder cannot be written or the disk is full; finished results are kept.

    Example:
        >>> config = StudyConfig(
        ...     pairs=(PairSpec("toy-small", "toy-large"),),
        ...     tasks=("ioi", "arc_easy"),
        ...     methods=("nap",),
        ...     regimes=("zero-shot",),
        ...     controls=("uniform_s",),
        ...     train_pairs=4,
        ...     test_pairs=4,
        ...     few_pairs_methods=(),
        ...     grids=("mib",),
        ...     variants={"default": AlignmentConfig(epochs=1)},
        ...     resamples=100,
        ... )
        >>> results = run_study(config, "study", progress=False)
        >>> list(analysis.leaderboard(results).frame["setting"])
        ['Gold', 'DFA (zero-shot)']
    """
    check_whole("pieces", pieces, 1)
    folder = user_path(out_dir)
    study = StudyDescription(
        config, model_hashes(config.models), data_hashes(config), dict(JOB_VERSIONS)
    )
    jobs = plan(*study)
    write_description(folder, study)
    store = Store(folder)
    store.clear_temporary()
    shown = StudyProgress(jobs, store, show=progress)
    try:
        failures = _run_all(jobs, folder, executor, shown, pieces)
        if failures:
            shown.bar.write(
                f"{len(failures)} jobs that failed or were left out are tried once more"
            )
            shown.again(job for job in jobs if job.key in failures)
            failures = _run_all(jobs, folder, executor, shown, pieces)
    finally:
        shown.close()
    _log_failures(tuple(failures.values()))
    return StudyResults(folder, *study, tuple(failures.values()))


def _log_failures(failures: Sequence[Failure]) -> None:
    """Log each cause of failure once."""
    by_cause: dict[str, list[Failure]] = {}
    for failure in failures:
        if not failure.left_out:
            by_cause.setdefault(failure.traceback.strip().splitlines()[-1], []).append(failure)
    for same in by_cause.values():
        first, others = same[0], len(same) - 1
        also = f" ({others} other jobs failed for the same reason)" if others else ""
        logger.error("%s failed%s:\n%s", first.job, also, first.traceback)
    if n := sum(failure.left_out for failure in failures):
        logger.error("%d jobs were left out because they need a job that failed", n)


def _run_all(
    jobs: Sequence[Job], folder: Path, executor: Any, progress: StudyProgress, pieces: int
) -> dict[str, Failure]:
    """Do the missing jobs; by key, those that failed or were left out."""
    store, where, shown = Store(folder), str(folder.absolute()), time.monotonic()
    schedule = Schedule(jobs, progress.done, progress.work, pieces)
    running: list[tuple[Any, Piece]] = []

    def end(piece: Piece, tracebacks: Mapping[str, str]) -> None:
        progress.end(schedule.end(piece, tracebacks))
        progress.n_failures = len(schedule.failures)

    try:
        while schedule or running:
            broken = executor is not None and not _submit(executor, schedule, where, running)
            if executor is None and (job := schedule.next_job()) is not None:
                progress.start(job)
                end((job,), run_jobs([job], where))
            finished = [each for each in running if each[0].done()]
            for each in finished:
                running.remove(each)
                tracebacks = _tracebacks(*each, store)
                if tracebacks is None:
                    broken = True
                    schedule.put_back(each[1])
                else:
                    end(each[1], tracebacks)
            if broken and executor is not None:
                executor = None
                logger.warning("the executor broke; the rest is done in this process")
            if running and not finished:
                time.sleep(POLL_SECONDS)
                if time.monotonic() - shown > SHOW_SECONDS:
                    shown = time.monotonic()
                    _show(progress, [job for _, piece in running for job in piece], store)
    finally:
        for future, _ in running:
            if hasattr(future, "cancel") and not isinstance(executor, LocalPool):
                future.cancel()
    return schedule.failures


def _submit(
    executor: Any, schedule: Schedule, folder: str, running: list[tuple[Any, Piece]]
) -> bool:
    """Submit all jobs that are ready; False if the executor is broken."""
    pieces = schedule.next_pieces()
    with getattr(executor, "batch", nullcontext)() if pieces else nullcontext():
        for n, piece in enumerate(pieces):
            try:
                running.append((executor.submit(run_jobs, piece, folder), piece))
            except BrokenExecutor:
                schedule.put_back(job for left in pieces[n:] for job in left)
                return False
    return True


def _tracebacks(future: Any, piece: Piece, store: Store) -> dict[str, str] | None:
    """The tracebacks of a piece that has ended; None if its executor broke."""
    try:
        return future.result()
    except BrokenExecutor:
        return None
    except StorageError:
        raise
    except Exception:
        why = traceback.format_exc()
        return {job.key: why for job in piece if not store.has(job)}


def _show(progress: StudyProgress, jobs: Sequence[Job], store: Store) -> None:
    """Count the jobs whose results have appeared, and show the one that was handed out first."""
    left = [job for job in jobs if not store.path(job).exists()]
    progress.end(job for job in jobs if store.path(job).exists())
    if left:
        progress.running(f"{left[0]}" + (f" and {len(left) - 1} more" if len(left) > 1 else ""))
