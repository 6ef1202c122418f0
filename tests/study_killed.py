"""What the processes do that `test_study_killed.py` starts, kills, and lets run side by side.

They are forks of a server that has imported the package once, so that a process is at its jobs
within a second. It imports it plainly, without the run-time type checks of the tests.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Mapping
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import torch

from dfa_tl.io.atomic import write_file
from dfa_tl.study import StudyConfig, local_pool, run_study
from dfa_tl.study import run as run_module
from dfa_tl.study.inputs import ModelSpec, Sample
from dfa_tl.study.job import Job
from dfa_tl.study.jobs import AttributeJob
from dfa_tl.study.store import Store

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["dfa_tl.study"])

JOB = AttributeJob(
    version=1,
    model=ModelSpec("toy-small", "", "float32", None, None),
    data=Sample("ioi", "train", 8, 0, None),
    method="nap",
    ig_steps=5,
    ablation="counterfactual",
    batch_size=8,
)
CONTENT = bytes(range(256)) * 64


def run(config: Mapping[str, Any], folder: str) -> None:
    """Run a study, or what is missing of it."""
    torch.set_num_threads(1)
    assert not run_study(StudyConfig.from_dict(config), folder, progress=False).failures


def run_on_two(config: Mapping[str, Any], folder: str) -> None:
    """Run a study on two workers, which are processes of their own."""
    with local_pool(2) as pool:
        run_study(StudyConfig.from_dict(config), folder, pool, progress=False)


def run_together(config: Mapping[str, Any], folder: str, barrier: Barrier) -> None:
    """The same, with others: each is at its first job when all go on."""
    plain, begun = run_module.run_job, []

    def run_job(job: Job, store: Store) -> None:
        if not begun:
            begun.append(job)
            barrier.wait(60)
        plain(job, store)

    run_module.run_job = run_job
    run(config, folder)


def save(store: Store) -> None:
    """Store a result of two files."""

    def write(folder: Path) -> None:
        write_file(folder / "a.bin", CONTENT)
        (folder / "b.bin").write_bytes(CONTENT[::-1])

    store.save(JOB, write, {"forward": 8}, 0.5)


def save_and_die(folder: str, nth: int) -> None:
    """The same, killed before the nth time that something is flushed or renamed."""
    left = [nth]

    def deadly(call: Any) -> Any:
        def counted(*arguments: Any, **options: Any) -> Any:
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **options)

        return counted

    for name in ("fsync", "rename", "replace"):
        setattr(os, name, deadly(getattr(os, name)))
    save(Store(folder))
