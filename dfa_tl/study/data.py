"""What identifies the data of a study that does not come with the package.

A generated task is fixed by the package's version, sample size and seed. Of the benchmark's tasks
and of folders, each split that the study uses is read once before anything runs, and identified by

    sha256 of canonical JSON [[clean, corrupt, answer, wrong_answer, as_long], ..]
"""

from __future__ import annotations

import hashlib
from dataclasses import astuple

from dfa_tl.errors import ConfigError, DataError
from dfa_tl.study.config import StudyConfig
from dfa_tl.study.jobs import canonical
from dfa_tl.tasks import TASKS
from dfa_tl.tasks.pairs import PairDataset
from dfa_tl.tasks.registry import load_task


def data_hashes(config: StudyConfig) -> dict[str, dict[str, str]]:
    """The hash of each split of each task that is not generated.

    Raises:
        DataError: data that are missing or cannot be read, as `load_task`.
        ConfigError: a split has fewer pairs than the study takes of it.
    """
    train = [n for n in (config.train_pairs, config.n_attribution_pairs) if isinstance(n, int)]
    wanted = {"train": max(train, default=0), config.test_split: config.test_pairs}
    hashes: dict[str, dict[str, str]] = {}
    for task in config.tasks:
        if task in TASKS:
            continue
        for split, n in wanted.items():
            data = load_task(task, split=split)
            if len(data) < n:
                setting = "train_pairs and attribution_pairs" if split == "train" else "test_pairs"
                raise ConfigError(
                    f"task {task!r} has {len(data)} {split} pairs, and the study takes {n}: set "
                    f"{setting} to at most {len(data)}"
                )
            hashes.setdefault(task, {})[split] = _hash_of(data)
    return hashes


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
