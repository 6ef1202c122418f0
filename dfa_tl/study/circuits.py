"""`Circuit`: a score vector to be measured, told by the results of other jobs that it is made from.

What it is made from is data, so a circuit is part of what identifies an `evaluate` job. Roles of
what it needs: `made`, its scores as they are; `scores`, the source's scores of the test task;
`W0`, `W1`, ..; `source:task` and `gold:task`, scores of a training task.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dfa_tl.alignment.alignment import Alignment, AlignmentChain
from dfa_tl.alignment.config import AlignmentConfig
from dfa_tl.controls.control import Inputs
from dfa_tl.controls.registry import CONTROLS
from dfa_tl.nodes import NodeSet
from dfa_tl.scores import NodeScores
from dfa_tl.study.jobs import Job

Load = Callable[[str], Any]
"""From a role to the `NodeScores` or `Alignment` that its job made."""


@dataclass(frozen=True, eq=False)
class Circuit:
    """One score vector of one test task.

    Attributes:
        name: `gold`, a regime, a control, or `few-pairs`.
        needs: The jobs it is made from, by role.
        train_tasks: Tasks that W, or the control, was fitted to.
        variant: Name of the alignment settings; empty where none apply.
        draw: Number of the draw.
        pairs: Pairs per task that scores were attributed on.
        control: Name of the control that builds its scores; empty for gold and the regimes.
        options: What a control is built under; see `control_inputs`.
        all_views: Whether it is measured in every view, or in the headline's protocol, ranking and
            metric only.
    """

    name: str
    needs: Mapping[str, Job]
    train_tasks: tuple[str, ...] = ()
    variant: str = ""
    draw: int = 0
    pairs: int = 0
    control: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    all_views: bool = False

    @property
    def label(self) -> str:
        """A name that is unique among the circuits of a task, method and seed."""
        tasks = "+".join(self.train_tasks)
        return f"{self.name}|{self.variant}|{tasks}|{self.pairs}|{self.draw}"

    def to_dict(self) -> dict[str, Any]:
        """What identifies it, JSON-able."""
        return {
            "name": self.name,
            "needs": {role: job.key for role, job in self.needs.items()},
            "train_tasks": list(self.train_tasks),
            "variant": self.variant,
            "draw": self.draw,
            "pairs": self.pairs,
            "control": self.control,
            "options": dict(self.options),
            "all_views": self.all_views,
        }


@dataclass(frozen=True, eq=False)
class EvaluateJob(Job):
    """A job that measures circuits.

    Attributes:
        circuits: The circuits; `settings` holds what identifies them.
    """

    circuits: tuple[Circuit, ...] = ()


def made(circuit: Circuit, load: Load, target: NodeSet) -> NodeScores:
    """The scores of a circuit."""
    if "made" in circuit.needs:
        return load("made")
    if not circuit.control:
        return _alignment(circuit.needs, load).transfer(load("scores"))
    return CONTROLS.find(circuit.control).scores(
        control_inputs(circuit.options, circuit.needs, load, target)
    )


def control_inputs(
    options: Mapping[str, Any], roles: Iterable[str], load: Load, nodes: NodeSet, **more: Any
) -> Inputs:
    """What a control is built from.

    Args:
        options: JSON-able: test task, training tasks, seed, penalty, and settings of W.
        roles: Of the results that it needs.
        load: Loads them.
        nodes: Nodes of the target.
        more: Target and data, for one that is trained on them.
    """
    given: dict[str, Any] = {"config": AlignmentConfig(**options["config"])}
    if "scores" in roles:
        given["scores"] = load("scores")
    if "W0" in roles:
        given["alignment"] = _alignment(roles, load)
    for role in roles:
        kind, _, task = role.partition(":")
        if task:
            name = "training_scores" if kind == "source" else "training_gold"
            given.setdefault(name, {})[task] = load(role)
    tasks = tuple(options["train_tasks"])
    return Inputs(**{**options, "train_tasks": tasks, **given, **more}, nodes=nodes)


def _alignment(roles: Iterable[str], load: Load) -> Alignment | AlignmentChain:
    steps = tuple(load(role) for role in sorted(roles) if role.startswith("W"))
    return steps[0] if len(steps) == 1 else AlignmentChain(steps)
