"""What a result costs, in passes of one pair through a model (a batch of 16 counts 16).

What a method costs stands in its record (`dfa_tl.attribution.registry`), and so does that of a
control that is trained on the target. Passes that start above the first layer count as whole ones:
the numbers are upper limits there.

A cost is split into what is paid *once per pair* of models and what *each new task* costs: a job
that sees the test task is of the second kind. So the in-distribution W is paid per task, the
zero-shot one once (and a study, which leaves each task out in turn, trains it once per test task).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from dfa_tl.study.jobs import Job

COLUMNS = tuple(
    f"{when}_{side}_{direction}"
    for when in ("pair", "task")
    for side in ("source", "target")
    for direction in ("forward", "backward")
)


def closure(jobs: Iterable[Job]) -> dict[str, Job]:
    """Those jobs and all that they need, each once."""
    found: dict[str, Job] = {}
    for job in jobs:
        if job.key not in found:
            found |= {job.key: job} | closure(job.needs.values())
    return found


def paid_per(job: Job, task: str) -> Literal["pair", "task"]:
    """Whether a job is paid once per pair of models, or for the new task `task`."""
    return "task" if task in _tasks(job) else "pair"


def _tasks(job: Job) -> list[str]:
    return job.settings.get("tasks") or [job.settings["task"]]


def cost_of(
    jobs: Iterable[Job], facts: Mapping[str, Mapping[str, Any]], task: str, target: str
) -> dict[str, int | float]:
    """The cost columns of a circuit.

    Args:
        jobs: What it is made from.
        facts: Manifests by key, with the passes of each job.
        task: The test task.
        target: The target model's name.

    Returns:
        Passes by `COLUMNS`, NaN where those of a method are not known, and `pairs_used`: how many
        pairs were looked at, over all tasks.
    """
    columns: dict[str, int | float] = dict.fromkeys(COLUMNS, 0)
    pairs: dict[str, int] = {}
    for key, job in closure(jobs).items():
        settings = job.settings
        tasks, when = _tasks(job), paid_per(job, task)
        side = "target" if settings.get("model", target) == target else "source"
        if "target" in settings and settings["target"] != target:
            side = "source"
        for direction in ("forward", "backward"):
            passes = facts[key][direction]
            columns[f"{when}_{side}_{direction}"] += math.nan if passes is None else passes
        planned = settings["pairs" if "pairs" in settings else "train_pairs"]
        used = facts[key].get("pairs", {})
        pairs |= {name: max(int(used.get(name, planned)), pairs.get(name, 0)) for name in tasks}
    return columns | {"pairs_used": sum(pairs.values())}
