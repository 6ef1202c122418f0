"""`Job`: one piece of work of a study, identified by a hash of everything that decides its result.

    key = sha256 of JSON {kind, version of the kind, settings, keys of the jobs that it needs}

A changed setting, model or data set gives another key, here and in every job that needs this one.
So does another version of the kind: a number that is raised whenever the kind's results change.
Fields that do not change a result (the device, the batch size) are left out.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from dfa_tl.io.strict_json import json_bytes
from dfa_tl.nodes import NodeSet
from dfa_tl.study.inputs import ModelSpec, Sample
from dfa_tl.study.store import Store


class Result(NamedTuple):
    """What a job computed: a function that writes its files, and facts for its manifest."""

    write: Callable[[Path], None]
    facts: dict[str, Any]


class Workload(NamedTuple):
    """What a job will cost, known before it runs.

    Attributes:
        forward, backward: Passes of one pair through `model_run`, all pairs together, in whole
            passes: a run that starts at a middle layer counts as half of one.
        data: The pairs.
        batch_size: Pairs per run.
        rows: Rows of the table of results, each with bootstrapped intervals.
        numbers: Numbers that are stored.
    """

    forward: float
    backward: float
    data: tuple[Sample, ...]
    batch_size: int
    rows: int = 0
    numbers: int = 0

    @property
    def pairs(self) -> int:
        """How many pairs there are."""
        return sum(sample.size for sample in self.data)


@dataclass(frozen=True, eq=False, kw_only=True)
class Job(ABC):
    """One piece of work.

    Attributes:
        version: Version of the kind that the job was planned for.
    """

    kind: ClassVar[str]
    code_version: ClassVar[int]
    """The version of the kind in this package. Raise it when the kind's results change."""

    version: int

    @abstractmethod
    def run(self, store: Store) -> Result:
        """Compute the result, with the results of other jobs from the store."""

    @property
    def shares_prefixes(self) -> bool:
        """Whether it runs prompts from where those of a pair differ, not from the first token."""
        return False

    @property
    @abstractmethod
    def model_run(self) -> ModelSpec:
        """The model that its passes go through."""

    @abstractmethod
    def workload(self, nodes: NodeSet) -> Workload:
        """What it will cost on a model with these nodes."""

    @property
    @abstractmethod
    def tasks(self) -> tuple[str, ...]:
        """The tasks whose pairs it uses."""

    @property
    @abstractmethod
    def summary(self) -> dict[str, object]:
        """What messages say about it."""

    @property
    def settings(self) -> dict[str, Any]:
        """The fields that decide the result, as JSON can hold them; a job stands as its key."""
        return self._settings

    @property
    def key(self) -> str:
        """The content address of its result."""
        return self._key

    @cached_property
    def _settings(self) -> dict[str, Any]:
        return _fields(self)

    @cached_property
    def _key(self) -> str:
        content = json_bytes({"kind": self.kind, **self.settings}, "a job")
        return hashlib.sha256(content).hexdigest()

    @cached_property
    def needs(self) -> tuple[Job, ...]:
        """The jobs whose results it reads, each once."""
        return tuple(
            {job.key: job for f in fields(self) for job in jobs_in(getattr(self, f.name))}.values()
        )

    def __str__(self) -> str:
        return (
            f"{self.kind}({', '.join(f'{name}={value}' for name, value in self.summary.items())})"
        )


def _fields(value: Any) -> dict[str, Any]:
    return {
        f.name: _plain(getattr(value, f.name))
        for f in fields(value)
        if f.metadata.get("decides", True)
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Job):
        return value.key
    if is_dataclass(value):
        return _fields(value)
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return value


def jobs_in(value: Any) -> Iterator[Job]:
    """The jobs within a value: itself, or in its fields, items or values."""
    if isinstance(value, Job):
        yield value
        return
    if is_dataclass(value):
        value = [getattr(value, f.name) for f in fields(value)]
    elif isinstance(value, Mapping):
        value = value.values()
    elif not isinstance(value, tuple):
        return
    for each in value:
        yield from jobs_in(each)


def with_needs(jobs: Iterable[Job]) -> dict[str, Job]:
    """These jobs and all that they need, by key, in an order in which needs come first."""
    found: dict[str, Job] = {}
    for job in jobs:
        if job.key not in found:
            found |= with_needs(job.needs) | {job.key: job}
    return found
