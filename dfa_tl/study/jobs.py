"""Jobs: the small pieces of work of a study, each named by the hash of all that decides its result.

    attribute     model, task, method, seed                       -> scores
    few-pairs     the same from 1, 2, 4, .. pairs, one draw       -> scores of each size
    align         step of a pair, train tasks, settings, seed     -> an alignment
    control       what is trained on the target, tasks, seed      -> scores
    evaluate      pair, test task, method, seed, its circuits     -> curves and rows

    key = sha256 of canonical JSON {format, code, kind, settings, keys of what it needs}

A changed setting, model or code (`dfa_tl.study.versions`) gives another key, here and in everything
that needs it; what does not change a result (batch sizes of the machine, the device) is left out of
`settings`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

FORMAT = 2


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


@dataclass(frozen=True, eq=False)
class Job:
    """One piece of work.

    Attributes:
        kind: What is done.
        settings: JSON-able values that decide the result.
        needs: Jobs whose results it reads, by role.
        machine: Values that do not decide the result: device, batch size.
        code: What identifies the code that does it.
    """

    kind: str
    settings: Mapping[str, Any]
    needs: Mapping[str, Job] = field(default_factory=dict)
    machine: Mapping[str, Any] = field(default_factory=dict)
    code: str = ""

    @cached_property
    def key(self) -> str:
        """The content address."""
        content = {
            "format": FORMAT,
            "code": self.code,
            "kind": self.kind,
            "settings": self.settings,
            "needs": {role: job.key for role, job in self.needs.items()},
        }
        return hashlib.sha256(canonical(content).encode()).hexdigest()

    def __str__(self) -> str:
        shown = (
            "control",
            "pair",
            "model",
            "source",
            "target",
            "task",
            "tasks",
            "method",
            "seed",
            "draw",
        )
        parts = [f"{name}={self.settings[name]}" for name in shown if name in self.settings]
        return f"{self.kind}({', '.join(parts)})"


@dataclass(frozen=True, eq=False)
class Group:
    """Jobs that one worker does in order; they need no job of another group.

    Attributes:
        pair: Name of the pair of models.
        method: Attribution method, or `none` for what needs no source scores.
        seed: The seed.
        jobs: In an order in which needs come first.
    """

    pair: str
    method: str
    seed: int
    jobs: tuple[Job, ...]

    def __str__(self) -> str:
        return f"{self.pair}, {self.method}, seed {self.seed}"


@dataclass(frozen=True)
class Failure:
    """A job that failed twice.

    Attributes:
        group: Pair, method and seed.
        job: The job.
        traceback: Where it failed, or which failed job it needs.
        left_out: Whether it was never tried, because it needs a job that failed.
    """

    group: str
    job: str
    traceback: str
    left_out: bool = False
