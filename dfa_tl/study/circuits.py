"""`Circuit`: a score vector to be measured, as a recipe over the results of other jobs.

A recipe is data, so a circuit is part of what identifies an `evaluate` job. Recipes:

    scores        the scores of one job, as they are (gold, few pairs, target-only)
    transfer      source scores through one W, or through a chain of them
    random_W      through an untrained random W
    depth_mean    through the depth-mean W                  depth_mean_paper  through the paper's
    untrained_W   through W as it is before training
    regression    through a ridge fitted on other tasks     mean_gold    the mean of their gold

Roles of what a recipe needs: `scores`, `W0`, `W1`, .., `source:task`, `gold:task`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

from dfa_tl.alignment import controls
from dfa_tl.alignment.alignment import Alignment
from dfa_tl.alignment.config import AlignmentConfig
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
        recipe: How its scores are made; see above.
        needs: The jobs it is made from, by role.
        train_tasks: Tasks that W, or the control, was fitted to.
        variant: Name of the alignment settings; empty where none apply.
        draw: Number of the draw.
        pairs: Pairs per task that scores were attributed on.
        options: Further settings of the recipe.
        all_views: Whether it is measured in every view, or in the headline's protocol, ranking and
            metric only.
    """

    name: str
    recipe: str
    needs: Mapping[str, Job]
    train_tasks: tuple[str, ...] = ()
    variant: str = ""
    draw: int = 0
    pairs: int = 0
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
            "recipe": self.recipe,
            "needs": {role: job.key for role, job in self.needs.items()},
            "train_tasks": list(self.train_tasks),
            "variant": self.variant,
            "draw": self.draw,
            "pairs": self.pairs,
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


def seed_of(*parts: object) -> int:
    """A seed that depends on every part and is the same on every machine."""
    return int.from_bytes(hashlib.sha256("/".join(map(str, parts)).encode()).digest()[:4], "big")


def made(circuit: Circuit, load: Load, target: NodeSet) -> NodeScores:
    """The scores of a circuit."""
    options = circuit.options
    if circuit.recipe == "scores":
        return load("scores")
    if circuit.recipe == "mean_gold":
        return controls.mean_gold(_by_task(circuit, load, "gold"))
    if circuit.recipe == "regression":
        source, gold = _by_task(circuit, load, "source"), _by_task(circuit, load, "gold")
        fitted = controls.regression(source, gold, options["penalty"])
        return fitted.transfer(load("scores"))
    if circuit.recipe == "random_W":
        scores = load("scores")
        config = AlignmentConfig.paper(seed=options["seed"])
        return controls.random_W(scores.nodes, target, config).transfer(scores)
    if circuit.recipe == "depth_mean":
        scores = load("scores")
        return controls.depth_mean_W(scores.nodes, target).transfer(scores)
    if circuit.recipe == "depth_mean_paper":
        scores = load("scores")
        return controls.depth_mean_paper_W(scores.nodes, target).transfer(scores)
    if circuit.recipe == "untrained_W":
        scores = load("scores")
        config = AlignmentConfig(**options["config"])
        return controls.untrained_W(scores.nodes, target, config).transfer(scores)
    return _transferred(circuit, load)


def _transferred(circuit: Circuit, load: Load) -> NodeScores:
    options = circuit.options
    steps: list[Alignment] = [load(role) for role in sorted(circuit.needs) if role[0] == "W"]
    if "permuted" in options:
        steps[-1] = controls.permuted_W(steps[-1], options["permuted"])
    if "random" in options:
        scores = controls.random_s(steps[0].source, options["random"])
    elif "uniform" in options:
        scores = controls.uniform_s(steps[0].source)
    else:
        scores = load("scores")
    if "scrambled" in options:
        scores = controls.scrambled_s(scores, options["scrambled"])
    whole: Any = reduce(lambda first, second: first.then(second), steps)
    return whole.transfer(scores)


def _by_task(circuit: Circuit, load: Load, kind: str) -> dict[str, NodeScores]:
    return {task: load(f"{kind}:{task}") for task in circuit.train_tasks}
