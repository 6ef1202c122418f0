"""The progress bar of a study: passes done of all passes, time left, and what is running.

A job counts as its forward and backward passes, each weighted by the size of its model: one pass of
one pair through the largest model counts 1.
"""

from __future__ import annotations

from collections.abc import Iterable

from tqdm.auto import tqdm

from dfa_tl.study.job import Job
from dfa_tl.study.store import Store

FORMAT = (
    "{desc}: {percentage:3.0f}% |{bar:20}| {n:,.0f}/{total:,.0f} passes, {remaining} left{postfix}"
)


class StudyProgress:
    """Counts the jobs of a study as they end."""

    def __init__(self, jobs: Iterable[Job], store: Store, *, show: bool) -> None:
        jobs = tuple(jobs)
        largest = max((job.model_run.shape.work for job in jobs), default=1.0)
        self.work = {job.key: _work(job) / largest for job in jobs}
        self.done = {job.key for job in jobs if store.has(job)}
        self.n_failures = 0
        self.bar = tqdm(
            total=sum(self.work.values()),
            initial=self._work_done(),
            desc="study",
            bar_format=FORMAT,
            smoothing=0,  # the average speed: jobs differ too much for the last ones to tell
            disable=not show,
        )

    def start(self, job: Job) -> None:
        """Say what is running."""
        self.running(str(job))

    def running(self, what: str) -> None:
        """Say what is running."""
        failed = f", {self.n_failures} failed" if self.n_failures else ""
        self.bar.set_postfix_str(f"{what}{failed}")

    def end(self, jobs: Iterable[Job]) -> None:
        """Count jobs that have ended, each once."""
        self.done |= {job.key for job in jobs}
        self.bar.update(self._work_done() - self.bar.n)

    def again(self, jobs: Iterable[Job]) -> None:
        """Count jobs that are tried once more as not done."""
        self.done -= {job.key for job in jobs}
        self.bar.update(self._work_done() - self.bar.n)

    def close(self) -> None:
        """Leave the bar as it is."""
        self.bar.close()

    def _work_done(self) -> float:
        return sum(self.work[key] for key in self.done)


def _work(job: Job) -> float:
    shape = job.model_run.shape
    load = job.workload(shape.nodes)
    return shape.work * (load.forward + load.backward)
