"""The wall time of each job and of each circuit of a study.

Times depend on the machine and its load, so no table of the study has them: its files are the same
however often it was interrupted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from dfa_tl.arguments import checked_arguments
from dfa_tl.study.cost import paid_per
from dfa_tl.study.job import with_needs
from dfa_tl.study.results import StudyResults


@checked_arguments
def timings(results: StudyResults) -> pd.DataFrame:
    """One row per finished job: `kind`, `model`, `job`, `key`, `seconds`."""
    rows = [
        {
            "kind": job.kind,
            "model": job.model_run.name,
            "job": str(job),
            "key": job.key,
            "seconds": manifest["seconds"],
        }
        for job in results.jobs
        if (manifest := results.manifest(job))
    ]
    return pd.DataFrame(rows, columns=["kind", "model", "job", "key", "seconds"])


@checked_arguments
def wall_time(results: StudyResults) -> pd.DataFrame:
    """One row per circuit: the seconds spent once per pair of models, and for the new task."""
    return pd.DataFrame(list(_of_circuits(results)))


def _of_circuits(results: StudyResults) -> Iterator[dict[str, Any]]:
    for job in results.evaluations:
        for circuit in job.circuits:
            seconds = {"pair": 0.0, "task": 0.0}
            for need in with_needs(circuit.needs).values():
                manifest = results.manifest(need) or {"seconds": float("nan")}
                seconds[paid_per(need, job.task)] += manifest["seconds"]
            yield {
                **job.columns(circuit.key),
                "seconds_once_per_pair": seconds["pair"],
                "seconds_per_task": seconds["task"],
            }
