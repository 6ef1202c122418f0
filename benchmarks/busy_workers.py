r"""How busy the workers of a Dask cluster are on one pair of models, one method and one seed.

    python benchmarks/busy_workers.py --workers 4 8

The study is that of `examples/study_real.py` on the bundled pair and its tasks. Workers are
processes of this machine, each with its models loaded before the clock starts. Where there are
fewer cores than workers, every job takes longer, but a worker that waits for a core is busy.

    busy        seconds that workers spent in jobs / (workers x seconds of the study)
    simulated   the same by `benchmarks/scheduling.py`, from the seconds that these jobs took
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
from scheduling import planned_work, simulate, study_of

from dfa_tl import load_model
from dfa_tl.io.atomic import write_file
from dfa_tl.study import StudyConfig, run_study
from dfa_tl.study.run import PIECES
from dfa_tl.tasks import TASKS

OUT = Path(__file__).parent / "results" / "busy_workers.csv"
SOURCE, TARGET = "toy-small", "toy-large"
WITHOUT_DASHBOARD: dict[str, Any] = {"dashboard_address": None}


def warm_up() -> None:
    """Load both models once, in a worker."""
    for name in (SOURCE, TARGET):
        load_model(name)


def measured(config: StudyConfig, n_workers: int) -> dict[str, object]:
    """A row for one number of workers."""
    from distributed import Client, LocalCluster

    with (
        tempfile.TemporaryDirectory() as folder,
        LocalCluster(n_workers=n_workers, threads_per_worker=1, **WITHOUT_DASHBOARD) as cluster,
        Client(cluster) as client,
    ):
        client.run(warm_up)
        began = time.perf_counter()
        results = run_study(config, folder, client.get_executor(), progress=False)
        taken = time.perf_counter() - began
        if results.failures:
            raise SystemExit(results.failures[0].traceback)
        seconds = {job.key: (results.manifest(job) or {})["seconds"] for job in results.jobs}
    work = sum(seconds.values())
    makespan, pieces = simulate(
        results.jobs, planned_work(results.jobs), seconds, n_workers, PIECES
    )
    return {
        "workers": n_workers,
        "jobs": len(seconds),
        "pieces": pieces,
        "seconds": taken,
        "busy": work / (n_workers * taken),
        "simulated": work / (n_workers * makespan),
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workers", type=int, nargs="+", default=[4, 8])
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # of every worker
    tasks = tuple(name for name, task in TASKS.items() if task.is_toy)
    config = study_of(SOURCE, TARGET, n_seeds=1, tasks=tasks, dtype="float32")
    rows = []
    for n_workers in arguments.workers:
        rows.append(measured(config, n_workers))
        print(rows[-1], flush=True)
        write_file(arguments.out, pd.DataFrame(rows).round(3).to_csv(index=False).encode())


if __name__ == "__main__":
    main()
