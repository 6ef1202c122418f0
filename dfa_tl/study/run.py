"""`run_study`: do what is missing of a study, on this process or on any executor.

The unit of submitted work is a group: all jobs of one pair, method and seed, so that a worker loads
a pair of models once. A job that fails does not stop the others; what needs it is left out, the
group is tried once more, and what still fails is reported with its traceback. Killed at any moment,
a study loses at most the jobs in flight: run it again on the same folder.

`executor` is anything with `submit(function, *arguments)` whose futures have `done` and `result`:
`local_pool`, any `concurrent.futures` pool, Dask's `Client.get_executor()`, submitit's
`AutoExecutor`. If a pool breaks because a worker died, what is left is done in this process. All
workers must see the folder. An executor is its owner's to end; only `local_pool` is this package's.

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
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from dfa_tl.arguments import checked_arguments
from dfa_tl.io.atomic import user_path, write_file
from dfa_tl.io.strict_json import json_bytes
from dfa_tl.study.config import StudyConfig
from dfa_tl.study.data import data_hashes
from dfa_tl.study.jobs import FORMAT, Failure, Group
from dfa_tl.study.models import model_hashes
from dfa_tl.study.plan import plan
from dfa_tl.study.results import STUDY_FILE, StudyResults
from dfa_tl.study.run_job import do
from dfa_tl.study.store import StorageError, Store, reason
from dfa_tl.study.versions import code_identity

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.05
SHOW_SECONDS = 2.0


@dataclass(frozen=True)
class GroupReport:
    """What became of a group.

    Attributes:
        failures: Jobs that failed, and jobs left out because they need one that did.
    """

    failures: tuple[Failure, ...]


def run_group(
    group: Group, folder: str, tell: Callable[[int], object] = lambda done: None
) -> GroupReport:
    """Do what is missing of a group, in order; runs on a worker.

    Args:
        group: The jobs.
        folder: The study's folder.
        tell: Called with 1 after each job.

    Raises:
        StorageError: results cannot be written; nothing else could be.
    """
    store = Store(folder)
    failures: dict[str, Failure] = {}
    for job in group.jobs:
        lacking = [str(need) for need in job.needs.values() if need.key in failures]
        if lacking:
            why = f"left out: it needs {lacking[0]}"
            failures[job.key] = Failure(str(group), str(job), why, left_out=True)
        elif not store.has(job):
            try:
                do(job, store)
            except StorageError:
                raise
            except Exception:
                failures[job.key] = Failure(str(group), str(job), traceback.format_exc())
        tell(1)
    return GroupReport(tuple(failures.values()))


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
        ModelError: a model that is not there.
        DataError: data of a task that are not there, or not what they should be.
        StorageError: the folder cannot be written or the disk is full; what is done is kept.

    Example:
        >>> config = StudyConfig(
        ...     pairs=(PairSpec("toy-small", "toy-large"),),
        ...     tasks=("arc_easy", "arc_challenge"),
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
    hashes = model_hashes(
        name for pair in config.pairs for name in (pair.source, *pair.via, pair.target)
    )
    of_data = data_hashes(config)
    code = code_identity()
    groups = plan(config, hashes, of_data, code)
    content = {
        "format": FORMAT,
        "code": code,
        "config": config.to_dict(),
        "models": hashes,
        "data": of_data,
    }
    _write_study_file(folder, content)
    store = Store(folder)
    store.clear_aside()
    missing = [group for group in groups if not all(map(store.has, group.jobs))]
    n_jobs = sum(len(group.jobs) for group in groups)
    n_left = sum(len(group.jobs) for group in missing)
    with tqdm(total=n_jobs, initial=n_jobs - n_left, desc="study", disable=not progress) as bar:
        failed = _run_all(missing, folder, executor, bar)
        if failed:
            bar.write(f"{len(failed)} groups with failed jobs are tried once more")
            bar.update(-sum(len(group.jobs) for group in failed))
            failed = _run_all(list(failed), folder, executor, bar)
    failures = [failure for failures in failed.values() for failure in failures]
    _log(failures)
    return StudyResults(folder, config, hashes, of_data, code, tuple(failures))


def _log(failures: Sequence[Failure]) -> None:
    """Log each cause of failure once."""
    by_cause: dict[str, list[Failure]] = {}
    for failure in failures:
        if not failure.left_out:
            by_cause.setdefault(failure.traceback.strip().splitlines()[-1], []).append(failure)
    for alike in by_cause.values():
        first, others = alike[0], len(alike) - 1
        also = f" ({others} other jobs failed for the same reason)" if others else ""
        logger.error("%s of %s failed%s:\n%s", first.job, first.group, also, first.traceback)
    if n := sum(failure.left_out for failure in failures):
        logger.error("%d jobs were left out because they need a job that failed", n)


def _run_all(
    groups: Sequence[Group], folder: Path, executor: Any, bar: Any
) -> dict[Group, tuple[Failure, ...]]:
    """Do the groups; those with failures."""
    failed: dict[Group, tuple[Failure, ...]] = {}
    n_failures = 0
    for group, failures in _reports(groups, folder, executor, bar):
        if failures:
            failed[group] = failures
            n_failures += len(failures)
        bar.set_postfix(failed=n_failures)
    return failed


def _reports(
    groups: Sequence[Group], folder: Path, executor: Any, bar: Any
) -> Iterator[tuple[Group, tuple[Failure, ...]]]:
    here = list(groups)
    if executor is not None:
        here = yield from _elsewhere(groups, folder, executor, bar)
    for group in here:
        yield group, run_group(group, str(folder), bar.update).failures


def _elsewhere(groups: Sequence[Group], folder: Path, executor: Any, bar: Any) -> Any:
    """Reports of groups done by the executor; returns those that a broken one left."""
    left: list[Group] = []
    pending: dict[Any, Group] = {}
    store, before, seen = Store(folder), bar.n, 0.0
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
                seen = _show(bar, before, pending.values(), store, seen)
            for future in finished:
                group = pending.pop(future)
                try:
                    failures = future.result().failures
                except BrokenExecutor:
                    left.append(group)
                    continue
                except StorageError:
                    raise
                except Exception:
                    failures = (Failure(str(group), "the worker", traceback.format_exc()),)
                before += len(group.jobs)
                yield group, failures
        bar.update(before - bar.n)
    finally:
        for future in pending:
            if isinstance(future, Future) or hasattr(future, "cancel"):
                future.cancel()
    if left:
        logger.warning("the executor broke; %d groups are done in this process", len(left))
    return left


def _show(bar: Any, before: int, groups: Iterable[Group], store: Store, seen: float) -> float:
    """Move the bar to the jobs whose results have appeared, once in a while."""
    now = time.monotonic()
    if now - seen < SHOW_SECONDS:
        return seen
    appeared = sum(store.path(job).exists() for group in groups for job in group.jobs)
    bar.update(before + appeared - bar.n)
    return now


def _write_study_file(folder: Path, content: dict[str, Any]) -> None:
    try:
        text = json_bytes(content, "the study", indent=1, sort_keys=False)
        write_file(folder / STUDY_FILE, text)
    except OSError as error:
        raise StorageError(
            f"{folder} cannot be written: {reason(error)}. Make room or choose another"
        ) from error
