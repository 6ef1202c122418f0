"""The jobs that make scores and alignments.

AttributeJob   scores of a model's nodes for a task, on all pairs or some of them
AlignJob       W of one step of a pair of models, trained on some tasks
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from dfa_tl.alignment.align import align
from dfa_tl.alignment.alignment import Alignment, AlignmentChain
from dfa_tl.alignment.config import AlignmentConfig
from dfa_tl.attribution.attribute import attribute
from dfa_tl.attribution.registry import METHODS
from dfa_tl.controls.registry import CONTROLS
from dfa_tl.nodes import NodeSet
from dfa_tl.passes import Passes
from dfa_tl.scores import NodeScores
from dfa_tl.seeds import seed_of
from dfa_tl.study.inputs import ModelSpec, Sample
from dfa_tl.study.job import Job, Result, Workload
from dfa_tl.study.keys import machine_field
from dfa_tl.study.store import Store
from dfa_tl.tasks.pairs import PairDataset

SCORES_FILE = "scores.safetensors"
ALIGNMENT_FILE = "alignment.safetensors"


@dataclass(frozen=True)
class FewPairs:
    """The first `n` pairs in a random order, so that a larger `n` contains the smaller ones."""

    draw: int
    n: int

    def size(self, available: int) -> int:
        """How many pairs are drawn from so many."""
        return min(self.n, available)

    def indices(self, available: int, seed: int) -> list[int]:
        """The pairs that are drawn from so many."""
        order = list(range(available))
        random.Random(seed_of("draw", seed, self.draw)).shuffle(order)
        return order[: self.n]


@dataclass(frozen=True)
class Bootstrapped:
    """As many pairs as there are, drawn with replacement."""

    vector: int

    def size(self, available: int) -> int:
        """How many pairs are drawn from so many."""
        return available

    def indices(self, available: int, seed: int) -> list[int]:
        """The pairs that are drawn from so many."""
        return random.Random(seed_of("vector", seed, self.vector)).choices(
            range(available), k=available
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class TrainingJob(Job):
    """A job that trains on the target.

    Attributes:
        target: The target model.
        data: The pairs of each task that are used.
    """

    target: ModelSpec
    data: tuple[Sample, ...]

    @property
    def shares_prefixes(self) -> bool:
        """See `Job`."""
        return True

    @property
    def model_run(self) -> ModelSpec:
        """The target."""
        return self.target

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks of the pairs."""
        return tuple(sample.task for sample in self.data)

    def _training(self, passes: Passes, batch_size: int, numbers: int) -> Workload:
        forward, backward = (one or 0 for one in passes)
        return Workload(forward, backward, self.data, batch_size, numbers=numbers)

    def tokens(self) -> dict[str, PairDataset]:
        """The pairs of each task as the target's tokens."""
        return {sample.task: sample.tokens(self.target) for sample in self.data}


class ScoresJob(Job):
    """A job whose result is one score vector."""

    def load(self, store: Store) -> NodeScores:
        """Its result. Raises `FileFormatError` where that is missing or altered."""
        return NodeScores.load(store.checked(self) / SCORES_FILE)


@dataclass(frozen=True, eq=False, kw_only=True)
class AttributeJob(ScoresJob):
    """Scores of a model's nodes for a task.

    Attributes:
        model: The model.
        data: The pairs for attribution.
        drawn: Which of them are used; None for all.
        method: Attribution method.
        ig_steps: Steps of integrated gradients.
        ablation: What a left-out node becomes.
        batch_size: Pairs per run; does not decide results.
    """

    kind: ClassVar[str] = "attribute"
    code_version: ClassVar[int] = 1

    model: ModelSpec
    data: Sample
    drawn: FewPairs | Bootstrapped | None = None
    method: str
    ig_steps: int
    ablation: str
    batch_size: int = machine_field()

    @property
    def shares_prefixes(self) -> bool:
        """See `Job`."""
        return METHODS[self.method].shares_prefix and self.ablation == "counterfactual"

    @property
    def model_run(self) -> ModelSpec:
        """The model."""
        return self.model

    @property
    def tasks(self) -> tuple[str, ...]:
        """The task."""
        return (self.data.task,)

    @property
    def summary(self) -> dict[str, object]:
        """Model, task, method, seed, and which pairs are drawn."""
        drawn = {} if self.drawn is None else {"pairs": self.drawn}
        return {
            "model": self.model.name,
            "task": self.data.task,
            "method": self.method,
            "seed": self.data.seed,
            **drawn,
        }

    def workload(self, nodes: NodeSet) -> Workload:
        """The passes of the method."""
        method = METHODS[self.method]
        pairs = self.data.size if self.drawn is None else self.drawn.size(self.data.size)
        cost = method.cost(nodes, self.ig_steps, self.ablation)
        forward, backward = (method.pass_share * pairs * (one or 0) for one in cost)
        return Workload(forward, backward, (self.data,), self.batch_size, numbers=len(nodes))

    def run(self, store: Store) -> Result:
        """Attribute scores."""
        model, data = self.model.load(), self.data.tokens(self.model)
        if self.drawn is not None:
            data = _subset(data, self.drawn.indices(len(data), self.data.seed))
        scores = attribute(
            model,
            data,
            self.method,
            ig_steps=self.ig_steps,
            ablation=self.ablation,
            batch_size=self.batch_size,
            progress=False,
        )
        passes = METHODS[self.method].cost(model.nodes, self.ig_steps, self.ablation)
        return Result(scores_writer(scores), costs(passes.times(len(data)), {self.data.task: data}))


def _subset(data: PairDataset, indices: list[int]) -> PairDataset:
    assert data.tokens is not None
    return PairDataset((), name=data.name, tokens=data.tokens.rows(indices))


@dataclass(frozen=True, eq=False, kw_only=True)
class AlignJob(TrainingJob):
    """W from one model to another.

    Attributes:
        source: The model whose circuits W carries over to the target.
        config: How W is trained.
        scores: Source scores of each task: one vector, or several of bootstrapped pairs.
        stand_in: Name of the control whose stand-in takes the place of source scores.
    """

    kind: ClassVar[str] = "align"
    code_version: ClassVar[int] = 2

    source: ModelSpec
    config: AlignmentConfig
    scores: Mapping[str, tuple[AttributeJob, ...]] = field(default_factory=dict)
    stand_in: str | None = None

    @property
    def summary(self) -> dict[str, object]:
        """Models, tasks and seed."""
        return {
            "source": self.source.name,
            "target": self.target.name,
            "tasks": list(self.tasks),
            "seed": self.config.seed,
        }

    def workload(self, nodes: NodeSet) -> Workload:
        """The passes of training; W is taken to be square."""
        passes = self.config.passes(sample.size for sample in self.data)
        return self._training(passes, self.config.batch_size, len(nodes) ** 2)

    def run(self, store: Store) -> Result:
        """Train W."""
        target = self.target.load()
        scores: Any = {
            task: [job.load(store) for job in jobs] for task, jobs in self.scores.items()
        }
        if self.stand_in is not None:
            stand_in: Any = CONTROLS.find(self.stand_in).stand_in
            scores = stand_in(self.source.load().nodes, self.tasks, self.config.seed)
        data = self.tokens()
        alignment = align(scores, target, data, self.config, progress=False)
        return Result(
            lambda folder: alignment.save(folder / ALIGNMENT_FILE),
            costs(self.config.passes(map(len, data.values())), data),
        )

    def load(self, store: Store) -> Alignment:
        """Its result. Raises `FileFormatError` where that is missing or altered."""
        return Alignment.load(store.checked(self) / ALIGNMENT_FILE)


def load_W(jobs: Iterable[AlignJob], store: Store) -> Alignment | AlignmentChain:
    """The W of a pair of models: one, or a chain where there are models in between."""
    steps = tuple(job.load(store) for job in jobs)
    return steps[0] if len(steps) == 1 else AlignmentChain(steps)


def scores_writer(scores: NodeScores) -> Callable[[Path], None]:
    """What writes the scores into the folder of a result."""
    return lambda folder: scores.save(folder / SCORES_FILE)


def costs(passes: Passes, data: Mapping[str, PairDataset]) -> dict[str, Any]:
    """Passes of all pairs, and how many pairs of each task were used."""
    return {**passes._asdict(), "pairs": {task: len(pairs) for task, pairs in data.items()}}
