"""`ControlJob`: scores of a control that is trained on the target.

`ControlInputs` is what any control is built from. A control that is not trained on the target has
no job of its own and is built where it is measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from dfa_tl.alignment.config import AlignmentConfig
from dfa_tl.controls.control import Inputs
from dfa_tl.controls.registry import CONTROLS
from dfa_tl.nodes import NodeSet
from dfa_tl.scores import NodeScores
from dfa_tl.study.job import Result, Workload
from dfa_tl.study.jobs import (
    AlignJob,
    AttributeJob,
    ScoresJob,
    TrainingJob,
    costs,
    load_W,
    scores_writer,
)
from dfa_tl.study.store import Store


@dataclass(frozen=True, eq=False, kw_only=True)
class ControlInputs:
    """What a control is built from; the jobs are those that it needs.

    Attributes:
        control: Name of the control.
        task: The test task.
        train_tasks: Tasks that it is fitted to.
        seed: Seed of this draw.
        penalty: The study's, of the ridge regression.
        config: The settings of W that it uses.
        scores: Source scores of the test task.
        alignments: The steps of W.
        training_scores: Source scores of the training tasks, by task.
        training_gold: Gold scores of the training tasks, by task.
        training_masks: Masks trained on the target alone, by training task.
    """

    control: str
    task: str
    train_tasks: tuple[str, ...]
    seed: int
    penalty: float
    config: AlignmentConfig
    scores: AttributeJob | None = None
    alignments: tuple[AlignJob, ...] = ()
    training_scores: Mapping[str, AttributeJob] = field(default_factory=dict)
    training_gold: Mapping[str, AttributeJob] = field(default_factory=dict)
    training_masks: Mapping[str, ScoresJob] = field(default_factory=dict)

    def load(self, store: Store, nodes: NodeSet, **training: Any) -> Inputs:
        """The inputs themselves.

        Args:
            store: Where the results of the jobs are.
            nodes: Nodes of the target.
            training: Target and data, for a control that is trained on them.
        """
        given: dict[str, Any] = dict(training)
        if self.scores is not None:
            given["scores"] = self.scores.load(store)
        if self.alignments:
            given["alignment"] = load_W(self.alignments, store)
        for name in ("training_scores", "training_gold", "training_masks"):
            if jobs := getattr(self, name):
                given[name] = {task: job.load(store) for task, job in jobs.items()}
        return Inputs(
            task=self.task,
            train_tasks=self.train_tasks,
            nodes=nodes,
            seed=self.seed,
            config=self.config,
            penalty=self.penalty,
            **given,
        )

    def build_scores(self, store: Store, nodes: NodeSet) -> NodeScores:
        """The control's scores of the target's nodes."""
        return CONTROLS.find(self.control).scores(self.load(store, nodes))


@dataclass(frozen=True, eq=False, kw_only=True)
class ControlJob(TrainingJob, ScoresJob):
    """Scores of a control that is trained on the target.

    Attributes:
        inputs: What it is built from, beside the target.
    """

    kind: ClassVar[str] = "control"
    code_version: ClassVar[int] = 3

    inputs: ControlInputs

    @property
    def summary(self) -> dict[str, object]:
        """Control, target, tasks and seed."""
        return {
            "control": self.inputs.control,
            "target": self.target.name,
            "tasks": list(self.tasks),
            "seed": self.data[0].seed,
        }

    def workload(self, nodes: NodeSet) -> Workload:
        """The passes of training."""
        settings = self.inputs.config
        sizes = [sample.size for sample in self.data]
        passes = CONTROLS.find(self.inputs.control).passes(settings, sizes)
        return self._training(passes, settings.batch_size, len(nodes))

    def run(self, store: Store) -> Result:
        """Train the control."""
        control, target = CONTROLS.find(self.inputs.control), self.target.load()
        data = self.tokens()
        inputs = self.inputs.load(store, target.nodes, target=target, data=data)
        scores = control.scores(inputs)
        return Result(
            scores_writer(scores),
            costs(control.passes(inputs.config, map(len, data.values())), data),
        )
