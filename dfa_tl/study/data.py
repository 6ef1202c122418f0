"""What identifies the data of a study that does not come with the package.

A generated task is fixed by the package's version, sample size and seed. Of the benchmark's tasks
and of folders, each split that the study uses is read once before anything runs, and identified by

    sha256 of canonical JSON [[clean, corrupt, answer, wrong_answer, as_long], ..]
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import astuple

from dfa_tl.errors import DataError
from dfa_tl.study.jobs import canonical
from dfa_tl.tasks import TASKS
from dfa_tl.tasks.pairs import PairDataset
from dfa_tl.tasks.registry import load_task


def data_hashes(tasks: Iterable[str], splits: Iterable[str]) -> dict[str, dict[str, str]]:
    """The hash of each split of each task that is not generated.

    Raises:
        DFAError: data that are missing or cannot be read, as `load_task`.
    """
    outside = [task for task in tasks if task not in TASKS]
    used = list(dict.fromkeys(splits))
    return {
        task: {split: _hash_of(load_task(task, split=split)) for split in used} for task in outside
    }


def sample(task: str, split: str, n: int | None, seed: int, expected: str | None) -> PairDataset:
    """A sample of a task whose data are still those that a job was made for.

    Args:
        task, split, n, seed: As `load_task`.
        expected: The hash of the split; None for a generated task.

    Raises:
        DataError: the data have changed.
    """
    if expected is not None and _hash_of(load_task(task, split=split)) != expected:
        raise DataError(
            f"the {split} pairs of {task!r} are no longer those that the study was started with; "
            "start it again, or put them back"
        )
    return load_task(task, split=split, n=n, seed=seed)


def _hash_of(data: PairDataset) -> str:
    pairs = [astuple(pair) for pair in data.pairs]
    return hashlib.sha256(canonical(pairs).encode()).hexdigest()
