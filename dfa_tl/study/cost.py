"""What a result costs, in passes of one pair through a model (a batch of 16 counts 16).

    nap                  2 forward (corrupt, clean), 1 backward
    nap-ig-inputs        m + 1 forward, m backward
    nap-ig-activations   2 + (m - 1) (2 L + 1) forward, 1 + (m - 1) (2 L + 1) backward, for L layers
    exact                3 + n forward (n nodes), none backward
    align, target-only   1 + epochs forward, epochs backward (clean activations kept)

Passes that start above the first layer count as whole ones: the numbers are upper limits there.
Other ablations than `counterfactual` run the corrupt prompts once more.

A cost is split into what is paid *once per pair* of models and what *each new task* costs: a job
that sees the test task is of the second kind. So the in-distribution W is paid per task, the
zero-shot one once (and a study, which leaves each task out in turn, trains it once per test task).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

from dfa_tl.nodes import NodeSet
from dfa_tl.study.jobs import Job

COLUMNS = tuple(
    f"{when}_{side}_{direction}"
    for when in ("pair", "task")
    for side in ("source", "target")
    for direction in ("forward", "backward")
)


class Passes(NamedTuple):
    """Forward and backward passes of one pair; None where they are not known."""

    forward: int | None
    backward: int | None

    def times(self, n: int) -> dict[str, int | None]:
        """The same for `n` pairs, as a manifest says it."""
        return {name: None if one is None else n * one for name, one in self._asdict().items()}


def attribution_passes(method: str, nodes: NodeSet, ig_steps: int, ablation: str) -> Passes:
    """Passes of one pair through the model that is attributed on; None for another's method."""
    interpolated = (ig_steps - 1) * (2 * nodes.n_layers + 1)
    known = {
        "nap": (2, 1),
        "nap-ig-inputs": (ig_steps + 1, ig_steps),
        "nap-ig-activations": (2 + interpolated, 1 + interpolated),
        "exact": (3 + len(nodes), 0),
    }
    if method not in known:
        return Passes(None, None)
    forward, backward = known[method]
    extra = {"counterfactual": 0, "zero": -1}.get(ablation, 0)
    return Passes(forward + extra, backward)


def training_passes(epochs: int) -> Passes:
    """Passes of one pair through the target."""
    return Passes(1 + epochs, epochs)


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
