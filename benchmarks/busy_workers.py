r"""How busy the workers of a Dask cluster are on one pair of models, one method and one seed.

    python benchmarks/busy_workers.py --workers 2 8

The study is that of `examples/study_real.py` on the bundled pair and its tasks, with 30 training
steps. Workers are processes of this machine, each with its models loaded before the clock starts.

    busy        seconds that workers spent in jobs / (workers x seconds of the study)
    simulated   the same by `benchmarks/scheduling.py`, from the seconds that the jobs took in the
                first run, so start with no more workers than there are cores

With more workers than cores, a worker that waits for a core is busy, and jobs take less time once
few are left: the last ones then keep others waiting for less time than on a machine with a core
for each worker. `simulated` does not have this error.
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

from dfa_tl.io.atomic import write_file
from dfa_tl.study import StudyConfig, StudyResults, run_study
from dfa_tl.study.evaluate_job import JOB_VERSIONS
from dfa_tl.study.inputs import ModelSpec, data_hashes, model_hashes
from dfa_tl.study.plan import plan
from dfa_tl.study.run import PIECES
from dfa_tl.tasks import TASKS

OUT = Path(__file__).parent / "results" / "busy_workers.csv"
SOURCE, TARGET = "toy-small", "toy-large"
WITHOUT_DASHBOARD: dict[str, Any] = {"dashboard_address": None}


def warm_up(models: list[ModelSpec]) -> None:
    """Load the models where the jobs of this worker find them."""
    for model in models:
        model.load()


def run(config: StudyConfig, n_workers: int) -> tuple[StudyResults, float, dict[str, float]]:
    """Results of the study, the seconds that it took, and those of each job."""
    from distributed import Client, LocalCluster

    jobs = plan(config, model_hashes(config.models), data_hashes(config), JOB_VERSIONS)
    models = list(dict.fromkeys(job.model_run for job in jobs))
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalCluster(n_workers=n_workers, threads_per_worker=1, **WITHOUT_DASHBOARD) as cluster,
        Client(cluster) as client,
    ):
        client.run(warm_up, models)
        began = time.perf_counter()
        results = run_study(config, folder, client.get_executor(), progress=False)
        taken = time.perf_counter() - began
        if results.failures:
            raise SystemExit(results.failures[0].traceback)
        return results, taken, {j.key: (results.manifest(j) or {})["seconds"] for j in results.jobs}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workers", type=int, nargs="+", default=[2, 8])
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # of every worker
    tasks = tuple(name for name, task in TASKS.items() if task.is_toy)
    config = study_of(SOURCE, TARGET, n_seeds=1, tasks=tasks, dtype="float32", steps=30)
    rows, first = [], {}
    for n_workers in arguments.workers:
        results, taken, seconds = run(config, n_workers)
        first = first or seconds
        work = planned_work(results.jobs)
        makespan, pieces = simulate(results.jobs, work, first, n_workers, PIECES)
        row = {"workers": n_workers, "jobs": len(seconds), "pieces": pieces, "seconds": taken}
        row["busy"] = sum(seconds.values()) / (n_workers * taken)
        row["simulated"] = sum(first.values()) / (n_workers * makespan)
        rows.append(row)
        print(row, flush=True)
        write_file(arguments.out, pd.DataFrame(rows).round(3).to_csv(index=False).encode())


if __name__ == "__main__":
    main()
