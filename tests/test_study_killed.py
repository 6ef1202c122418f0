"""Studies whose processes are killed, whose files are damaged, or that run twice at once.

What counts is one thing: the tables at the end are, byte for byte, those of an undisturbed run.
"""

from __future__ import annotations

import errno
import json
import os
import random
import re
import shutil
import signal
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil
import pytest
import torch

import study_killed
from dfa_tl import analysis
from dfa_tl.errors import FileFormatError
from dfa_tl.study import StudyResults, run_study
from dfa_tl.study.store import MANIFEST, TEMPORARY, StorageError, Store
from study_killed import CONTENT, JOB, SERVER
from test_study import TINY

# Two seeds make enough jobs that a process can be killed several times before all are done.
LONGER = replace(TINY, seeds=(0, 1))
# A folder's name may hold anything: no test here has a plain one.
NAME = "étude à 2 tâches 研究"
PATIENCE = 120.0


pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> StudyResults:
    torch.set_num_threads(1)
    return run_study(TINY, tmp_path_factory.mktemp("tiny"), progress=False)


@pytest.fixture(scope="module")
def longer(tmp_path_factory) -> StudyResults:
    torch.set_num_threads(1)
    return run_study(LONGER, tmp_path_factory.mktemp("longer"), progress=False)


def manifests(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"jobs/*/*/{MANIFEST}"))


def tables(results: StudyResults) -> dict[str, bytes]:
    """The tables' files, made from what is in the folder now."""
    again = StudyResults.load(results.folder)
    assert again.missing == []
    folder = results.folder.with_name(f"{results.folder.name} tables")
    shutil.rmtree(folder, ignore_errors=True)
    return {path.name: path.read_bytes() for path in analysis.write_tables(again, folder)}


def copied(results: StudyResults, folder: Path) -> StudyResults:
    shutil.copytree(results.folder, folder)
    return StudyResults.load(folder)


def flip(content: bytes, place: int, bit: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :]


# Damaged files


def test_damaged_results_are_done_again(tiny, tmp_path):
    results = copied(tiny, tmp_path / NAME)
    rng = random.Random(0)
    damaged = 0
    for manifest in manifests(results.folder):
        file = rng.choice(sorted(manifest.parent.iterdir()))
        content = file.read_bytes()
        how = rng.randrange(4)
        if how == 0:
            file.write_bytes(content[: len(content) // 2])
        elif how == 1:
            file.write_bytes(flip(content, rng.randrange(len(content)), rng.randrange(8)))
        elif how == 2:
            file.unlink()
        else:
            continue
        damaged += 1
    assert damaged > 3
    assert len(StudyResults.load(results.folder).missing) == damaged
    run_study(TINY, results.folder, progress=False)
    assert tables(results) == tables(tiny)


def test_no_flipped_bit_of_a_manifest_is_believed(tiny, tmp_path):
    results = copied(tiny, tmp_path / NAME)
    store, rng = Store(results.folder), random.Random(0)
    for job in {job.kind: job for job in results.jobs}.values():
        file = store.path(job) / MANIFEST
        content = file.read_bytes()
        for place in rng.sample(range(len(content)), 100):
            file.write_bytes(flip(content, place, rng.randrange(8)))
            assert not store.has(job), file.read_text(errors="replace")
        # A number may be written otherwise and read the same: that is no result of ours either.
        file.write_bytes(re.sub(rb'("seconds": [\d.]+)', rb"\g<1>0", content))
        assert json.loads(file.read_bytes()) == json.loads(content)
        assert not store.has(job)
        file.write_bytes(content)
        assert store.has(job)


def test_flipped_costs_are_done_again(tiny, tmp_path):
    """A number of passes that is wrong by one bit would stand in the tables."""
    results = copied(tiny, tmp_path / NAME)
    rng, costs = random.Random(0), 0
    for file in manifests(results.folder):
        content = file.read_bytes()
        digit = re.search(rb'"forward": \d*(\d)', content)
        place = digit.start(1) if digit else rng.randrange(len(content))
        costs += digit is not None
        file.write_bytes(flip(content, place, 0))
        if digit:
            assert json.loads(file.read_bytes())["forward"] != json.loads(content)["forward"]
    assert costs > 3
    assert len(StudyResults.load(results.folder).missing) == len(results.jobs)
    run_study(TINY, results.folder, progress=False)
    assert tables(results) == tables(tiny)


def test_a_manifest_without_a_digest_is_not_believed(tiny, tmp_path):
    results = copied(tiny, tmp_path / NAME)
    file = manifests(results.folder)[0]
    content = json.loads(file.read_bytes())
    del content["sha256"]
    file.write_bytes(json.dumps(content, indent=1).encode())
    assert [job.key for job in results.missing] == [content["key"]]


def test_a_damaged_need_is_never_read(tiny, tmp_path):
    results = copied(tiny, tmp_path / NAME)
    job = next(job for job in results.jobs if job.kind == "align")
    store = Store(results.folder)
    file = store.path(job) / "alignment.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(FileFormatError, match=r"missing, truncated or altered; run the study"):
        job.load(store)


def test_a_full_disk_is_said_once(tmp_path, monkeypatch):
    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    store = Store(tmp_path / NAME)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        message = rf"below {re.escape(str(store.folder))}: No space left on device\. Make room or"
        with pytest.raises(StorageError, match=message):
            study_killed.save(store)
    assert not store.has(JOB)
    assert not list((store.folder / TEMPORARY).iterdir())
    study_killed.save(store)
    assert store.has(JOB)


# Killed processes


def wait_for(condition: Callable[[], bool], process: BaseProcess | None = None) -> None:
    """Wait until something is so, or the process is no more."""
    end = time.monotonic() + PATIENCE
    while not condition() and (process is None or process.is_alive()):
        assert time.monotonic() < end, "nothing happens"
        time.sleep(0.0005)


@pytest.mark.slow
def test_killed_at_random_moments(longer, tmp_path):
    """A study is killed again and again while its jobs are under way, then it is left alone.

    Every other kill waits for a result that is being written. DFA_TL_KILLS says how many kills.
    """
    wanted, rng = int(os.environ.get("DFA_TL_KILLS", "20")), random.Random(1)
    kills = studies = left_aside = 0
    while kills < wanted:
        folder = tmp_path / f"{NAME} {studies}"
        studies += 1
        while kills < wanted and killed_at_work(folder, len(longer.jobs), rng, kills % 2 == 1):
            kills += 1
        left_aside += len(list((folder / TEMPORARY).iterdir()))
        process = SERVER.Process(target=study_killed.run, args=(LONGER.to_dict(), str(folder)))
        process.start()
        process.join(PATIENCE)
        assert process.exitcode == 0
        assert tables(StudyResults.load(folder)) == tables(longer)
        assert studies <= wanted  # a kill that comes too late is rare, and does not count
    assert left_aside or wanted < 10  # some came in the middle of a result


def killed_at_work(folder: Path, n_jobs: int, rng: random.Random, while_writing: bool) -> bool:
    """Run the study and kill it at its jobs. False if few are left, or the kill came too late."""
    before = len(manifests(folder))
    if before >= n_jobs - 2:
        return False
    enough = rng.randrange(before + 1, n_jobs - 1)
    process = SERVER.Process(target=study_killed.run, args=(LONGER.to_dict(), str(folder)))
    process.start()
    wait_for(lambda: len(manifests(folder)) >= enough, process)
    if while_writing:
        already = len(os.listdir(folder / TEMPORARY))
        wait_for(lambda: len(os.listdir(folder / TEMPORARY)) > already, process)
    else:
        time.sleep(rng.uniform(0.0, 0.1))
    process.kill()
    process.join()
    done = len(manifests(folder))
    if done == n_jobs:
        return False
    assert process.exitcode == -signal.SIGKILL
    assert before < done < n_jobs
    # What has its place is whole; what was left aside is nothing.
    assert len(list(folder.glob("jobs/*/*"))) == done
    assert len(StudyResults.load(folder).missing) == n_jobs - done
    return True


@pytest.mark.slow
def test_killed_at_every_step_of_a_write(tmp_path):
    """Before each flush and each rename of `save`: there is no result, or the whole of it."""
    seen = set()
    for nth in range(1, 100):
        store = Store(tmp_path / f"{NAME} {nth}")
        process = SERVER.Process(target=study_killed.save_and_die, args=(str(store.folder), nth))
        process.start()
        process.join(PATIENCE)
        seen.add(store.has(JOB))
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        assert store.path(JOB).exists() == store.has(JOB)
        study_killed.save(store)
        assert (store.checked(JOB) / "b.bin").read_bytes() == CONTENT[::-1]
    else:
        pytest.fail("a save makes fewer steps")
    assert nth > 6  # two files, the manifest twice, two folders
    assert seen == {False, True}


def kill_midway(folder: Path, victim: Callable[[], int]) -> int:
    """Kill a worker as soon as results are there; how many there are then."""
    wait_for(lambda: bool(manifests(folder)))
    os.kill(victim(), signal.SIGKILL)
    return len(manifests(folder))


@pytest.mark.slow
def test_a_killed_worker(longer, tmp_path):
    """The pool breaks for good; what it left is done here."""
    folder = tmp_path / NAME
    with ProcessPoolExecutor(1, mp_context=SERVER) as pool, ThreadPoolExecutor(1) as killer:
        worker = pool.submit(os.getpid).result()
        done = killer.submit(kill_midway, folder, lambda: worker)
        results = run_study(LONGER, folder, pool, progress=False)
    assert 0 < done.result() < len(longer.jobs)
    assert not results.failures
    assert tables(results) == tables(longer)


@pytest.mark.slow
def test_a_killed_worker_of_dask(longer, tmp_path, monkeypatch):
    """One of two workers is killed at its jobs: Dask gives them to another."""
    distributed = pytest.importorskip("distributed")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    folder = tmp_path / NAME
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as c,
        distributed.Client(c) as client,
        ThreadPoolExecutor(1) as killer,
    ):
        workers = client.run(os.getpid)

        def at_work() -> int:
            return next(workers[name] for name, tasks in client.processing().items() if tasks)

        done = killer.submit(kill_midway, folder, at_work)
        results = run_study(LONGER, folder, client.get_executor(), progress=False)
    assert 0 < done.result() < len(longer.jobs)
    assert not results.failures
    assert tables(results) == tables(longer)


@pytest.mark.slow
def test_no_worker_outlives_its_study(longer, tmp_path):
    """A study on two workers is killed again and again, and none of them is there 10 s later.

    Every third kill comes while the workers start. DFA_TL_KILLS says how many kills.
    """
    wanted, rng = int(os.environ.get("DFA_TL_KILLS", "20")), random.Random(2)
    config, n_jobs = LONGER.to_dict(), len(longer.jobs)
    kills = studies = 0
    slowest = 0.0
    folders = []
    while kills < wanted:
        folder = tmp_path / f"{NAME} {studies}"
        before = len(manifests(folder))
        if before >= n_jobs - 4:
            studies += 1
            continue
        process = SERVER.Process(target=study_killed.run_on_two, args=(config, str(folder)))
        process.start()
        assert process.pid is not None
        below: list[psutil.Process] = []
        with suppress(psutil.NoSuchProcess):  # it is done already
            parent = psutil.Process(process.pid)
            while len(below) < 2:
                time.sleep(0.05)
                below = parent.children(recursive=True)
        if kills % 3 == 0:
            time.sleep(rng.uniform(0, 3))
        else:
            enough = before + rng.randrange(1, n_jobs - before - 2)
            while len(manifests(folder)) < enough and process.is_alive():
                time.sleep(0.01)
            time.sleep(rng.uniform(0, 0.1))
        process.kill()
        process.join()
        if process.exitcode != -signal.SIGKILL:
            continue  # it was done already
        kills += 1
        began = time.monotonic()
        assert psutil.wait_procs(below, timeout=10)[1] == []
        slowest = max(slowest, time.monotonic() - began)
        print(
            f"kill {kills}: {time.monotonic() - began:.2f} s, {len(manifests(folder))} jobs",
            flush=True,
        )
        folders.append(folder)
    print(f"{kills} kills; the slowest worker ended after {slowest:.1f} s")
    for folder in dict.fromkeys(folders):
        run_study(LONGER, folder, progress=False)
        assert tables(StudyResults.load(folder)) == tables(longer)


# Two runs at once


def test_two_threads_on_one_folder(tiny, tmp_path):
    folder = tmp_path / NAME
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(run_study, TINY, folder, None, False) for _ in range(2)]
        both = [run.result() for run in runs]
    for results in both:
        assert not results.failures
        assert tables(results) == tables(tiny)
    assert not list((folder / TEMPORARY).iterdir())


@pytest.mark.slow
def test_two_processes_on_one_folder(longer, tmp_path):
    """Both do the first job at the same time, and go on from there."""
    folder, barrier = tmp_path / NAME, SERVER.Barrier(2)
    arguments = (LONGER.to_dict(), str(folder), barrier)
    both = [SERVER.Process(target=study_killed.run_together, args=arguments) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(PATIENCE)
    assert [process.exitcode for process in both] == [0, 0]
    assert tables(StudyResults.load(folder)) == tables(longer)
    assert not list((folder / TEMPORARY).iterdir())
