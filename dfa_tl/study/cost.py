"""What a circuit costs, in passes of one pair through a model (a batch of 16 counts 16).

What a method costs stands in its record (`dfa_tl.attribution.registry`), and so does the cost of a
control that is trained on the target. Passes that start above the first layer count as whole ones,
so the numbers are upper limits there.

A cost is split into what is paid *once per pair* of models and what *each new task* costs, which is
every job that uses pairs of the test task. So the in-distribution W is paid per task, the zero-shot
one once (and a study, which leaves each task out in turn, trains it once per test task).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from dfa_tl.study.job import Job, with_needs

COLUMNS = tuple(
    f"{when}_{side}_{direction}"
    for when in ("pair", "task")
    for side in ("source", "target")
    for direction in ("forward", "backward")
)


def paid_per(job: Job, task: str) -> Literal["pair", "task"]:
    """Whether a job is paid once per pair of models, or for the new task `task`."""
    return "task" if task in job.tasks else "pair"


def cost_of(
    jobs: Iterable[Job], manifests: Mapping[str, Mapping[str, Any]], task: str, target: str
) -> dict[str, int | float]:
    """The cost columns of a circuit.

    Args:
        jobs: The jobs that its scores are built from.
        manifests: Of these and all that they need, by key.
        task: The test task.
        target: The target model's name.

    Returns:
        Passes by `COLUMNS`, NaN where those of a method are not known, and `pairs_used`: the number
        of pairs that were used, over all tasks.
    """
    columns: dict[str, int | float] = dict.fromkeys(COLUMNS, 0)
    pairs: dict[str, int] = {}
    for key, job in with_needs(jobs).items():
        side = "target" if job.model_run.name == target else "source"
        for direction in ("forward", "backward"):
            passes = manifests[key][direction]
            name = f"{paid_per(job, task)}_{side}_{direction}"
            columns[name] += math.nan if passes is None else passes
        for name, n in manifests[key]["pairs"].items():
            pairs[name] = max(n, pairs.get(name, 0))
    return columns | {"pairs_used": sum(pairs.values())}
