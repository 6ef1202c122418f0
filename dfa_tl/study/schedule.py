"""`Schedule`: which jobs of a study can run now, and in which pieces they are handed to workers.

A job is ready when every job that it builds on is done. Ready jobs come in the order of their
models, so that a worker does not load the same model again and again, and within a model in the
order of their critical path:

    critical path of a job = its work + the longest critical path among the jobs that need it

No number of workers finishes a study in less time than its longest critical path takes. Small jobs
that are ready together and run the same model are handed out as one piece.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass

from dfa_tl.study.job import Job

Piece = tuple[Job, ...]


@dataclass(frozen=True)
class Failure:
    """A job that failed twice.

    Attributes:
        job: The job.
        traceback: Where it failed, or which failed job it needs.
        left_out: Whether it was never tried, because it needs a job that failed.
    """

    job: str
    traceback: str
    left_out: bool = False


def critical_paths(jobs: Sequence[Job], work: Mapping[str, float]) -> dict[str, float]:
    """The critical path of each job, by key.

    Args:
        jobs: In an order in which needs come first.
        work: Of each job, by key; 0 for those that are not listed.
    """
    paths = {job.key: 0.0 for job in jobs}
    for job in reversed(jobs):
        paths[job.key] += work.get(job.key, 0.0)
        for need in job.needs:
            paths[need.key] = max(paths[need.key], paths[job.key])
    return paths


class Schedule:
    """The jobs that are left to do.

    Attributes:
        failures: By key, the jobs that failed and those that were left out.

    Args:
        jobs: All jobs of a study, in an order in which needs come first.
        done: Keys of the jobs that are done.
        work: Of each job, by key.
        pieces: About how many pieces to make: jobs are put together until a piece holds this part
            of the work that is left. A larger job is a piece of its own.
    """

    def __init__(
        self, jobs: Sequence[Job], done: Container[str], work: Mapping[str, float], pieces: int
    ) -> None:
        self.failures: dict[str, Failure] = {}
        self._work = work
        self._left = {job.key: job for job in jobs if job.key not in done}
        self._piece_work = sum(work[key] for key in self._left) / pieces
        self._waits_for: dict[str, set[str]] = {}
        for job in jobs:  # also for the needs of a need that is done: a job may read those, too
            direct = {need.key for need in job.needs}
            self._waits_for[job.key] = direct.union(*(self._waits_for[key] for key in direct))
        for needs in self._waits_for.values():
            needs.intersection_update(self._left)
        models = list(dict.fromkeys(job.model_run for job in jobs))
        paths = critical_paths(jobs, work)
        self._order = {
            key: (models.index(job.model_run), -paths[key]) for key, job in self._left.items()
        }

    def __bool__(self) -> bool:
        """Whether there are jobs that have not been handed out."""
        return bool(self._left)

    def next_job(self) -> Job | None:
        """Hand out the first ready job in the order in which jobs were given."""
        for key in self._left:
            if not self._waits_for[key]:
                return self._left.pop(key)
        return None

    def next_pieces(self) -> list[Piece]:
        """Hand out all ready jobs."""
        ready = [key for key in self._left if not self._waits_for[key]]
        pieces: list[list[Job]] = []
        room = 0.0
        for key in sorted(ready, key=self._order.__getitem__):
            job = self._left.pop(key)
            if not pieces or job.model_run != pieces[-1][0].model_run or self._work[key] > room:
                pieces.append([])
                room = self._piece_work
            pieces[-1].append(job)
            room -= self._work[key]
        return [tuple(piece) for piece in pieces]

    def put_back(self, piece: Iterable[Job]) -> None:
        """Take back jobs that a worker has not done."""
        self._left = {job.key: job for job in piece} | self._left

    def end(self, piece: Iterable[Job], tracebacks: Mapping[str, str]) -> list[Job]:
        """Take note of jobs that were tried.

        Args:
            piece: The jobs.
            tracebacks: Of those that failed, by key.

        Returns:
            These jobs, and the jobs that are left out because they need one that failed.
        """
        ended = list(piece)
        for job in tuple(ended):
            if job.key in tracebacks:
                self.failures[job.key] = Failure(str(job), tracebacks[job.key])
            for key, needs in self._waits_for.items():
                if job.key in needs:
                    if job.key not in tracebacks:
                        needs.remove(job.key)
                    elif key in self._left:
                        other = self._left.pop(key)
                        self.failures[key] = Failure(
                            str(other), f"left out: it needs {job}", left_out=True
                        )
                        ended.append(other)
        return ended
