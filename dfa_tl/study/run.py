"""`run_study`: do the missing jobs of a study, in this process or on any executor.

A worker is given a group at a time: all jobs of one pair of models, method and seed, so that it
loads the models once. A job that fails does not stop the others; jobs that need it are left out,
the group is tried once more, and what still fails is reported with its traceback. A study that is
killed loses at most the jobs in flight: run it again on the same folder.

`executor` is anything with `submit(function, *arguments)` whose futures have `done` and `result`:
`local_pool`, any `concurrent.futures` pool, Dask's `Client.get_executor()`, submitit's
`AutoExecutor`. If a pool breaks because a worker died, the rest is done in this process. All
workers must see the folder. The caller shuts the executor down.

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
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Future
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dfa_tl.arguments import checked_arguments
from dfa_tl.errors import ConfigError
from dfa_tl.io.atomic import user_path
from dfa_tl.study.config import StudyConfig
from dfa_tl.study.evaluate_job import JOB_VERSIONS
from dfa_tl.study.folder import StudyDescription, write_description
from dfa_tl.study.inputs import data_hashes, model_hashes
from dfa_tl.study.job import Failure, Group, Job
from dfa_tl.study.plan import plan
from dfa_tl.study.progress import StudyProgress
from dfa_tl.study.results import StudyResults
from dfa_tl.study.store import StorageError, Store

logger = logging.getLogger(__name__)

PACKAGES = ("torch", "transformer-lens", "transformers", "numpy", "scipy")
POLL_SECONDS = 0.05
SHOW_SECONDS = 2.0


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
    facts = {**result.facts, "versions": _package_versions()}
    store.save(job, result.write, facts, time.perf_counter() - began)


@cache
def _package_versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def run_group(
    group: Group, folder: str, progress: StudyProgress | None = None
) -> tuple[Failure, ...]:
    """Do the missing jobs of a group, in order; runs on a worker.

    Args:
        group: The jobs.
        folder: The study's folder.
        progress: Is told of jobs that start and end.

    Returns:
        The jobs that failed, and those left out because they need one that did.

    Raises:
        StorageError: results cannot be written, so no other job could be stored either.
    """
    store = Store(folder)
    failures: dict[str, Failure] = {}
    for job in group.jobs:
        if missing := [str(need) for need in job.needs if need.key in failures]:
            why = f"left out: it needs {missing[0]}"
            failures[job.key] = Failure(str(group), str(job), why, left_out=True)
        elif not store.has(job):
            if progress is not None:
                progress.start(job)
            try:
                run_job(job, store)
            except StorageError:
                raise
            except Exception:
                failures[job.key] = Failure(str(group), str(job), traceback.format_exc())
        if progress is not None:
            progress.end([job])
    return tuple(failures.values())


@checked_arguments
def run_study(
    config: StudyConfig, out_dir: str | Path, executor: Any = None, progress: bool = True
) -> StudyResults:
    """Run a study, or what is missing of it.

    Args:
        config: The study.
        out_dir: Its folder; several runs may share one.
        executor: Where groups of jobs are done; None for this process.
        progress: Show a progress bar.

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
    folder = user_path(out_dir)
    study = StudyDescription(
        config, model_hashes(config.models), data_hashes(config), dict(JOB_VERSIONS)
    )
    groups = plan(*study)
    write_description(folder, study)
    store = Store(folder)
    store.clear_temporary()
    shown = StudyProgress(groups, store, show=progress)
    missing = [group for group in groups if not shown.done.issuperset(j.key for j in group.jobs)]
    try:
        failed = _run_all(missing, folder, executor, shown)
        if failed:
            shown.bar.write(f"{len(failed)} groups with failed jobs are tried once more")
            shown.again(job for group in failed for job in group.jobs if not store.has(job))
            failed = _run_all(list(failed), folder, executor, shown)
    finally:
        shown.close()
    failures = [failure for failures in failed.values() for failure in failures]
    _log_failures(failures)
    return StudyResults(folder, *study, tuple(failures))


def _log_failures(failures: Sequence[Failure]) -> None:
    """Log each cause of failure once."""
    by_cause: dict[str, list[Failure]] = {}
    for failure in failures:
        if not failure.left_out:
            by_cause.setdefault(failure.traceback.strip().splitlines()[-1], []).append(failure)
    for same in by_cause.values():
        first, others = same[0], len(same) - 1
        also = f" ({others} other jobs failed for the same reason)" if others else ""
        logger.error("%s of %s failed%s:\n%s", first.job, first.group, also, first.traceback)
    if n := sum(failure.left_out for failure in failures):
        logger.error("%d jobs were left out because they need a job that failed", n)


def _run_all(
    groups: Sequence[Group], folder: Path, executor: Any, progress: StudyProgress
) -> dict[Group, tuple[Failure, ...]]:
    """Do the groups; those with failures."""
    failed: dict[Group, tuple[Failure, ...]] = {}
    progress.n_failures = 0
    for group, failures in _run_groups(groups, folder, executor, progress):
        if failures:
            failed[group] = failures
            progress.n_failures += len(failures)
    return failed


def _run_groups(
    groups: Sequence[Group], folder: Path, executor: Any, progress: StudyProgress
) -> Iterator[tuple[Group, tuple[Failure, ...]]]:
    here = list(groups)
    if executor is not None:
        here = yield from _on_executor(groups, folder, executor, progress)
    for group in here:
        yield group, run_group(group, str(folder), progress)


def _on_executor(
    groups: Sequence[Group], folder: Path, executor: Any, progress: StudyProgress
) -> Any:
    """Reports of groups done by the executor; returns those that a broken one left."""
    left: list[Group] = []
    pending: dict[Any, Group] = {}
    store, looked = Store(folder), 0.0
    try:
        for group in groups:
            try:
                pending[executor.submit(run_group, group, str(folder.absolute()))] = group
            except BrokenExecutor:
                left.append(group)
        while pending:
            finished = [future for future in pending if future.done()]
            if not finished:
                time.sleep(POLL_SECONDS)
                if time.monotonic() - looked > SHOW_SECONDS:
                    looked = time.monotonic()
                    _show(progress, pending.values(), store)
            for future in finished:
                group = pending.pop(future)
                try:
                    failures = future.result()
                except BrokenExecutor:
                    left.append(group)
                    continue
                except StorageError:
                    raise
                except Exception:
                    failures = (Failure(str(group), "the worker", traceback.format_exc()),)
                progress.end(group.jobs)
                yield group, failures
    finally:
        for future in pending:
            if isinstance(future, Future) or hasattr(future, "cancel"):
                future.cancel()
    if left:
        logger.warning("the executor broke; %d groups are done in this process", len(left))
    return left


def _show(progress: StudyProgress, groups: Iterable[Group], store: Store) -> None:
    """Count the jobs whose results have appeared."""
    jobs = [job for group in groups for job in group.jobs]
    progress.end(job for job in jobs if store.path(job).exists())
    progress.running(f"{len(list(groups))} groups left")
