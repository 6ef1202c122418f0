"""Jobs are handed out when what they need is done, and every fault of an executor is survived."""

from __future__ import annotations

import random
import re
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from dfa_tl.errors import ConfigError
from dfa_tl.models.node_model import NodeSet
from dfa_tl.study import run as run_module
from dfa_tl.study import run_study
from dfa_tl.study.evaluate_job import EvaluateJob
from dfa_tl.study.inputs import ModelSpec
from dfa_tl.study.job import Job, Result, Workload, with_needs
from dfa_tl.study.plan import plan
from dfa_tl.study.schedule import Schedule, critical_paths
from dfa_tl.study.store import StorageError, Store

SMALL, LARGE = (ModelSpec(name, "", "float32", None, None) for name in ("small", "large"))


@dataclass(frozen=True, eq=False, kw_only=True)
class Stub(Job):
    """A job that does nothing."""

    kind: ClassVar[str] = "stub"
    code_version: ClassVar[int] = 1
    version: int = 1
    name: str
    builds_on: tuple[Job, ...] = ()
    model: ModelSpec = LARGE

    def run(self, store: Store) -> Result:
        return Result(lambda folder: None, {})

    @property
    def model_run(self) -> ModelSpec:
        return self.model

    def workload(self, nodes: NodeSet) -> Workload:
        return Workload(0, 0, (), 1)

    @property
    def tasks(self) -> tuple[str, ...]:
        return ()

    @property
    def summary(self) -> dict[str, object]:
        return {"name": self.name}


def names(jobs: Any) -> str:
    return " ".join(job.name for job in jobs)


# a and b are small jobs on the small model; d needs c, which needs both; e needs b; f nothing.
A, B = (Stub(name=name, model=SMALL) for name in "ab")
C = Stub(name="c", builds_on=(A, B))
D = Stub(name="d", builds_on=(C,))
E = Stub(name="e", builds_on=(B,))
F = Stub(name="f")
JOBS = (A, B, C, D, E, F)
WORK = {job.key: work for job, work in zip(JOBS, (1, 2, 20, 10, 5, 12), strict=True)}


def schedule(done: tuple[Job, ...] = (), pieces: int = 10) -> Schedule:
    return Schedule(JOBS, {job.key for job in done}, WORK, pieces)


def test_critical_paths_by_hand():
    paths = critical_paths(JOBS, WORK)
    assert [paths[job.key] for job in JOBS] == [31, 32, 30, 10, 5, 12]
    rest = {key: work for key, work in WORK.items() if key not in (A.key, C.key)}
    assert critical_paths(JOBS, rest)[A.key] == 10


def test_small_jobs_of_one_model_are_one_piece():
    """A piece holds a tenth of the work of 50, so a and b go together, and f alone."""
    left = schedule()
    assert [names(piece) for piece in left.next_pieces()] == ["b a", "f"]
    assert left.next_pieces() == []
    left.end((B,), {})
    assert [names(piece) for piece in left.next_pieces()] == ["e"]
    left.end((F, A), {})
    assert [names(piece) for piece in left.next_pieces()] == ["c"]
    assert left
    left.end((C, E), {})
    assert [names(piece) for piece in left.next_pieces()] == ["d"]
    assert not left


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [(1, ["b a", "c f e"]), (2, ["b a", "c", "f e"]), (50, ["b", "a", "c", "f", "e"])],
)
def test_long_paths_come_first_and_pieces_are_as_small_as_asked_for(pieces, expected):
    free = tuple(Stub(name=job.name, model=job.model) for job in (A, B, C, E, F))
    work = {new.key: WORK[old.key] for new, old in zip(free, (A, B, C, E, F), strict=True)}
    found = Schedule(free, (), work, pieces).next_pieces()
    assert [names(piece) for piece in found] == expected


def test_one_at_a_time_is_the_order_of_the_plan():
    left, order = schedule(), []
    while (job := left.next_job()) is not None:
        order.append(job)
        left.end((job,), {})
    assert order == list(JOBS)


def test_what_needs_a_failed_job_is_left_out():
    left = schedule()
    left.next_pieces()
    ended = left.end((A, B), {A.key: "lights out"})
    assert names(ended) == "a b c d"
    assert {failure.job: failure.traceback for failure in left.failures.values()} == {
        "stub(name=a)": "lights out",
        "stub(name=c)": "left out: it needs stub(name=a)",
        "stub(name=d)": "left out: it needs stub(name=a)",
    }
    assert [failure.left_out for failure in left.failures.values()] == [False, True, True]
    assert [names(piece) for piece in left.next_pieces()] == ["e"]
    assert not left


def test_jobs_that_were_not_done_are_handed_out_again():
    left = schedule()
    piece = left.next_pieces()[0]
    left.put_back(piece)
    assert [names(each) for each in left.next_pieces()] == ["b a"]


def test_a_lost_need_of_a_need_is_done_first():
    """d reads what c was built from, too, and that is gone although c is there."""
    left = schedule(done=(B, C, E, F))
    assert left.next_job() is A
    assert left.next_job() is None
    left.end((A,), {})
    assert left.next_job() is D


# Executors


class Promise:
    """A future of `Shuffled`."""

    def __init__(self, owner: Shuffled, call: Any) -> None:
        self.owner, self.call, self.cancelled = owner, call, False
        self.outcome: Any = None

    def done(self) -> bool:
        self.owner.work()
        return self.outcome is not None

    def result(self) -> Any:
        assert self.outcome is not None
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome

    def cancel(self) -> None:
        self.cancelled = True


class Shuffled:
    """Does what was submitted in random order, often one piece when it is asked for a result.

    `faults` are raised in place of the n-th piece's result, and `ends` by the n-th submission.
    """

    def __init__(self, faults: dict[int, BaseException] | None = None, ends: int = 10**9) -> None:
        self.faults, self.ends = faults or {}, ends
        self.rng = random.Random(0)
        self.promises: list[Promise] = []
        self.waiting: list[Promise] = []
        self.n_done = 0
        self.pieces: list[tuple[Job, ...]] = []

    def submit(self, function: Any, piece: Any, folder: str) -> Promise:
        if len(self.pieces) >= self.ends:
            raise BrokenExecutor
        self.pieces.append(piece)
        self.promises.append(Promise(self, lambda: function(piece, folder)))
        self.waiting.append(self.promises[-1])
        return self.promises[-1]

    def work(self) -> None:
        if self.waiting and self.rng.random() < 0.3:
            promise = self.waiting.pop(self.rng.randrange(len(self.waiting)))
            fault = self.faults.get(self.n_done)
            self.n_done += 1
            if isinstance(fault, KeyboardInterrupt):
                raise fault
            promise.outcome = fault or promise.call()


class Arrays(Shuffled):
    """With submitit's `batch`."""

    waves: tuple[int, ...] = ()

    @contextmanager
    def batch(self):
        before = len(self.pieces)
        yield
        self.waves += (len(self.pieces) - before,)


@pytest.fixture
def order(monkeypatch) -> list[Job]:
    """Jobs that were run, in order; they store nothing but that they were run."""
    done: list[Job] = []

    def run_job(job: Job, store: Store) -> None:
        assert all(store.has(need) for need in with_needs(job.needs).values())
        store.save(job, lambda folder: None, {}, 0.0)
        done.append(job)

    monkeypatch.setattr(run_module, "run_job", run_job)
    monkeypatch.setattr(run_module, "POLL_SECONDS", 0.0)
    return done


@pytest.fixture(scope="module")
def config():
    from test_study import TINY

    return TINY


def run(config: Any, folder: Path, executor: Any, pieces: int = 500) -> Any:
    return run_study(config, folder, executor, progress=False, pieces=pieces)


@pytest.mark.parametrize("pieces", [1, 20, 500])
def test_every_job_is_done_once_after_its_needs(config, order, tmp_path, pieces):
    executor = Shuffled()
    results = run(config, tmp_path, executor, pieces)
    assert not results.failures
    assert results.missing == []
    assert sorted(job.key for job in order) == sorted(job.key for job in results.jobs)
    for piece in executor.pieces:
        assert len({job.model_run for job in piece}) == 1
        assert {job.key for job in piece}.isdisjoint(
            with_needs(need for job in piece for need in job.needs)
        )
    run(config, tmp_path, executor, pieces)
    assert len(order) == len(results.jobs)


def test_a_job_that_several_methods_need_is_planned_once(config):
    several = replace(config, methods=("nap", "exact"), controls=("target_only", "regression_mask"))
    jobs = plan(several, {"toy-small": "", "toy-large": ""}, {})
    assert len({job.key for job in jobs}) == len(jobs)
    masks = {job.key for job in jobs if job.kind == "control"}
    assert len(masks) == len(several.tasks)
    users = {
        job.method
        for job in jobs
        if isinstance(job, EvaluateJob) and not masks.isdisjoint(need.key for need in job.needs)
    }
    assert users == {"none", "nap", "exact"}


def test_failures_on_an_executor(config, order, tmp_path, monkeypatch):
    plain, tried = run_module.run_job, []

    def failing(job: Job, store: Store) -> None:
        if job.kind == "align":
            tried.append(job)
            raise RuntimeError("lights out")
        plain(job, store)

    monkeypatch.setattr(run_module, "run_job", failing)
    results = run(config, tmp_path, Shuffled())
    failed = [failure for failure in results.failures if not failure.left_out]
    assert len(tried) == 2 * len(failed) > 0
    assert all("lights out" in failure.traceback for failure in failed)
    left_out = [failure for failure in results.failures if failure.left_out]
    assert left_out
    assert {failure.job for failure in results.failures} == set(map(str, results.missing))
    assert {job.kind for job in order} >= {"attribute"}


def test_a_piece_that_a_worker_lost_is_tried_once_more(config, order, tmp_path):
    results = run(config, tmp_path, Shuffled({0: RuntimeError("timed out"), 3: OSError("gone")}))
    assert not results.failures
    assert results.missing == []


@pytest.mark.parametrize(
    "executor", [Shuffled(ends=0), Shuffled(ends=3), Shuffled({2: BrokenExecutor()})]
)
def test_the_rest_of_a_broken_executor_is_done_here(config, order, tmp_path, caplog, executor):
    results = run(config, tmp_path, executor)
    assert not results.failures
    assert results.missing == []
    assert len(order) == len(results.jobs)
    assert caplog.text.count("the rest is done in this process") == 1


@pytest.mark.parametrize("fault", [StorageError("full"), KeyboardInterrupt()])
def test_a_full_disk_or_ctrl_c_ends_the_study(config, order, tmp_path, fault):
    executor = Shuffled({1: fault})
    with pytest.raises(type(fault)):
        run(config, tmp_path, executor)
    assert len(order) < 10
    left = [promise for promise in executor.promises if promise.outcome is None]
    assert left
    assert all(promise.cancelled for promise in left)


def test_jobs_that_are_ready_together_are_one_array(config, order, tmp_path):
    executor = Arrays()
    results = run(config, tmp_path, executor)
    assert results.missing == []
    assert sum(executor.waves) == len(executor.pieces)
    assert executor.waves[0] > 1
    assert min(executor.waves) > 0


def test_the_bar_says_what_workers_do(config, order, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(run_module, "SHOW_SECONDS", 0.0)
    run_study(config, tmp_path, Shuffled())
    shown = capsys.readouterr().err
    assert re.search(r"passes, .* left, \w+\(.*\) and \d+ more", shown)
    assert "100%" in shown


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("pieces", [0, 1.5, True])
def test_a_number_of_pieces_that_makes_no_sense(config, tmp_path, pieces):
    with pytest.raises(ConfigError, match="pieces"):
        run(config, tmp_path, None, pieces)
