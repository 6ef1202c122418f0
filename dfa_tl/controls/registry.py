"""The controls of a study: what a claim about W has to beat. One `Control` record each.

A control says what happens when part of W's information is taken away, or when more is given. A new
one is a function and a record here, or one that `register_control` is given: studies plan, measure,
tabulate, draw and explain what they find in `CONTROLS`, and the tests check it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from dfa_tl.alignment.alignment import Alignment, AlignmentChain
from dfa_tl.alignment.config import AlignmentConfig
from dfa_tl.arguments import checked_arguments
from dfa_tl.controls.regimes import COMPARED, FEW_PAIRS, GOLD, PLAIN, Regime, Style
from dfa_tl.controls.supervised import mean_gold, regression
from dfa_tl.controls.trained import free_mask_settings, target_only
from dfa_tl.controls.untrained import (
    depth_mean_paper_W,
    depth_mean_W,
    permuted_W,
    random_s,
    random_W,
    scrambled_s,
    uniform_s,
    untrained_W,
)
from dfa_tl.errors import ConfigError
from dfa_tl.models.node_model import NodeModel
from dfa_tl.nodes import NodeSet
from dfa_tl.passes import Passes, training_passes
from dfa_tl.registry import Registry
from dfa_tl.scores import NodeScores, check_nodes
from dfa_tl.seeds import seed_of
from dfa_tl.tasks.pairs import PairDataset


class Need(Enum):
    """What a control is built from, beside the target's nodes and a seed: fields of `Inputs`."""

    SCORES = "scores"
    TRAINING_SCORES = "training_scores"
    TRAINING_GOLD = "training_gold"
    ALIGNMENT = "alignment"
    TARGET = "target"


_NOT_GIVEN: Any = None


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What a control is built from. What it does not list among its needs is not there.

    Attributes:
        task: The test task.
        train_tasks: The tasks that it is fitted to.
        nodes: Nodes of the target.
        seed: Seed of this draw.
        config: The study's settings of W; their seed is the study's.
        penalty: The study's, of the ridge regression.
        scores: Source scores of the test task.
        training_scores: Source scores of the training tasks, by task.
        training_gold: Gold scores of the training tasks, by task.
        alignment: W, trained on the training tasks; a chain where there are models in between.
        target: The target model.
        data: Pairs to train on, by training task; there where the target is.
    """

    task: str
    train_tasks: tuple[str, ...] = ()
    nodes: NodeSet
    seed: int = 0
    config: AlignmentConfig = field(default_factory=AlignmentConfig)
    penalty: float = 1.0
    scores: NodeScores = _NOT_GIVEN
    training_scores: Mapping[str, NodeScores] = _NOT_GIVEN
    training_gold: Mapping[str, NodeScores] = _NOT_GIVEN
    alignment: Alignment | AlignmentChain = _NOT_GIVEN
    target: NodeModel = _NOT_GIVEN
    data: Mapping[str, PairDataset] = _NOT_GIVEN


StandIn = Callable[[NodeSet, tuple[str, ...], int], Mapping[str, NodeScores]]
"""From the nodes of the source, tasks and the study's seed to a score vector for each task."""


@dataclass(frozen=True, kw_only=True)
class Control:
    """A score vector of the target that a claim about W has to beat.

    Attributes:
        name: What studies, tables and figures call it.
        description: What it is, in a phrase; the report prints it.
        build: Its scores.
        needs: What it is made from.
        regimes: The regimes that it belongs to: in each it is fitted to the tasks that W is trained
            on there. None for a control that is compared with every regime: fitted to nothing or,
            with `Need.TARGET`, to the test task.
        stand_in: What W is trained on in the place of source scores.
        is_drawn: Whether it is random: a study makes `draws` of it per seed.
        is_main: Whether a study measures it in every view and the report shows it first.
        every_variant: Whether it is made for each of a study's settings of W, not the first only.
        takes_chains: Whether it makes sense with models between source and target.
        settings: From the study's settings of W to those that it uses; the same by default.
        passes: Passes of a training pair through the target, for what trains more than W; from
            the settings. Where they are not known, its cost is left empty.
        label: What sentences call it; by default its name with spaces.
        style: How it looks in figures.

    Raises:
        ConfigError: a name that studies use otherwise, or needs that do not go together.
    """

    name: str
    description: str
    build: Callable[[Inputs], NodeScores]
    needs: tuple[Need, ...] = ()
    regimes: tuple[Regime, ...] = ()
    stand_in: StandIn | None = None
    is_drawn: bool = False
    is_main: bool = False
    every_variant: bool = False
    takes_chains: bool = True
    settings: Callable[[AlignmentConfig], AlignmentConfig] = lambda settings: settings
    passes: Callable[[AlignmentConfig], Passes] = lambda settings: Passes()
    label: str = ""
    style: Style = PLAIN

    def __post_init__(self) -> None:
        object.__setattr__(self, "label", self.label or self.name.replace("_", " "))
        if self.name in (GOLD, FEW_PAIRS, *Regime):
            raise ConfigError(f"{self.name!r} cannot name a control: it names other circuits")
        of_training = [need for need in self.needs if need not in (Need.SCORES, Need.TARGET)]
        if of_training and not self.regimes:
            raise ConfigError(
                f"control {self.name}: it needs {_listed(of_training)}, so say which tasks these "
                "are: regimes=(Regime.ZERO_SHOT,), for instance"
            )
        if self.stand_in is not None and Need.ALIGNMENT not in self.needs:
            raise ConfigError(
                f"control {self.name}: W is trained on its stand_in, so Need.ALIGNMENT belongs to "
                "its needs"
            )

    @property
    def depends_on_method(self) -> bool:
        """Whether it depends on attributed scores, so that each attribution method has its own."""
        attributed = {Need.SCORES, Need.TRAINING_SCORES, Need.TRAINING_GOLD}
        if self.stand_in is None:
            attributed.add(Need.ALIGNMENT)
        return not attributed.isdisjoint(self.needs)

    def scores(self, inputs: Inputs) -> NodeScores:
        """Its scores of the target's nodes.

        Raises:
            ConfigError: something that it needs is not given.
            ScoresError: what it built are no scores of the target's nodes.
        """
        if missing := [need for need in self.needs if getattr(inputs, need.value) is None]:
            raise ConfigError(
                f"control {self.name} needs {_listed(missing)}: give its Inputs these"
            )
        scores = self.build(inputs)
        check_nodes(scores, inputs.nodes, f"the target, as control {self.name} must give")
        return scores

    def applies_to(self, regime: str) -> bool:
        """Whether a regime can be compared with it."""
        return not self.regimes or regime in self.regimes

    def name_in(self, regime: str) -> str:
        """What tables call the one that is fitted to the training tasks of a regime.

        Zero-shot's has the plain name, and so has a control that belongs to no regime.
        """
        if not self.regimes or regime == Regime.ZERO_SHOT:
            return self.name
        return f"{self.name} ({regime})"


def _listed(needs: Iterable[Need]) -> str:
    return ", ".join(need.value for need in needs)


def _uniform(source: NodeSet, tasks: tuple[str, ...], seed: int) -> dict[str, NodeScores]:
    return dict.fromkeys(tasks, uniform_s(source))


def _random(source: NodeSet, tasks: tuple[str, ...], seed: int) -> dict[str, NodeScores]:
    return {task: random_s(source, seed_of("random_s", seed, task)) for task in tasks}


def _through_W(inputs: Inputs, stand_in: StandIn) -> NodeScores:
    """A stand-in for the test task's source scores through the W that was trained on others."""
    W = inputs.alignment
    return W.transfer(stand_in(W.source, (inputs.task,), inputs.config.seed)[inputs.task])


def _through_permuted_W(inputs: Inputs) -> NodeScores:
    """Of a chain, the last W is permuted."""
    W = inputs.alignment
    *first, last = W.steps if isinstance(W, AlignmentChain) else (W,)
    return AlignmentChain((*first, permuted_W(last, inputs.seed))).transfer(inputs.scores)


def _random_W(inputs: Inputs) -> NodeScores:
    settings = AlignmentConfig.paper(seed=inputs.seed)
    return random_W(inputs.scores.nodes, inputs.nodes, settings).transfer(inputs.scores)


def _untrained_W(inputs: Inputs) -> NodeScores:
    W = untrained_W(inputs.scores.nodes, inputs.nodes, inputs.config)
    return W.transfer(inputs.scores)


def _regression(inputs: Inputs) -> NodeScores:
    W = regression(inputs.training_scores, inputs.training_gold, inputs.penalty)
    return W.transfer(inputs.scores)


GREY, DARK_GREY, BLUE = "#8A8A8A", "#5A5A5A", "#56B4E9"
ZERO_SHOT = (Regime.ZERO_SHOT,)
CONTROLS: Registry[Control] = Registry(
    "control",
    (
        Control(
            name="random_W",
            description="carried over by an untrained random W",
            build=_random_W,
            needs=(Need.SCORES,),
            is_drawn=True,
            is_main=True,
            label="random W",
            style=Style(GREY, "dot", "x-thin"),
        ),
        Control(
            name="untrained_W",
            description="carried over by W as it is before training",
            build=_untrained_W,
            needs=(Need.SCORES,),
            every_variant=True,
            takes_chains=False,
            style=Style(BLUE, "dot", "hexagon-open"),
        ),
        Control(
            name="scrambled_s",
            description="the source's scores in a random order",
            build=lambda given: given.alignment.transfer(scrambled_s(given.scores, given.seed)),
            needs=(Need.SCORES, Need.ALIGNMENT),
            regimes=ZERO_SHOT,
            is_drawn=True,
            style=Style(GREY, "dash", "triangle-down"),
        ),
        Control(
            name="permuted_W",
            description="the trained W with its target nodes in a random order",
            build=_through_permuted_W,
            needs=(Need.SCORES, Need.ALIGNMENT),
            regimes=ZERO_SHOT,
            is_drawn=True,
            style=Style(GREY, "dashdot", "triangle-left"),
        ),
        Control(
            name="depth_mean",
            description="each node gets the mean score of the source's nodes at its relative depth",
            build=lambda given: depth_mean_W(given.scores.nodes, given.nodes).transfer(
                given.scores
            ),
            needs=(Need.SCORES,),
            is_main=True,
            style=Style(BLUE, "longdash", "hexagon"),
        ),
        Control(
            name="depth_mean_paper",
            description="carried over by the paper's depth-mean heuristic",
            build=lambda given: depth_mean_paper_W(given.scores.nodes, given.nodes).transfer(
                given.scores
            ),
            needs=(Need.SCORES,),
            is_main=True,
            style=Style(BLUE, "longdashdot", "hexagon2"),
        ),
        Control(
            name="uniform_s",
            description="trained in the same way on the same tasks, but from a source that says "
            "nothing",
            build=lambda given: _through_W(given, _uniform),
            needs=(Need.ALIGNMENT,),
            regimes=COMPARED,
            stand_in=_uniform,
            is_main=True,
            every_variant=True,
            style=Style("#E69F00", "longdash", "cross"),
        ),
        Control(
            name="random_s",
            description="trained and carried over from random source scores",
            build=lambda given: _through_W(given, _random),
            needs=(Need.ALIGNMENT,),
            regimes=ZERO_SHOT,
            stand_in=_random,
            style=Style("#8C6D1F", "longdashdot", "star"),
        ),
        Control(
            name="target_only",
            description="a mask trained on the target and the test task, without a source",
            build=lambda given: target_only(given.target, given.data, given.config, progress=False),
            needs=(Need.TARGET,),
            settings=free_mask_settings,
            passes=lambda settings: training_passes(settings.epochs),
            is_main=True,
            label="target-only",
            style=Style(DARK_GREY, "solid", "pentagon"),
        ),
        Control(
            name="regression",
            description="a ridge regression from source to gold scores, fitted on the other tasks",
            build=_regression,
            needs=(Need.SCORES, Need.TRAINING_SCORES, Need.TRAINING_GOLD),
            regimes=ZERO_SHOT,
            style=Style(DARK_GREY, "dot", "bowtie"),
        ),
        Control(
            name="mean_gold",
            description="the mean of the other tasks' gold scores",
            build=lambda given: mean_gold(given.training_gold),
            needs=(Need.TRAINING_GOLD,),
            regimes=ZERO_SHOT,
            style=Style(DARK_GREY, "dash", "hourglass"),
        ),
    ),
)

RANDOM = CONTROLS["random_W"]
"""The random ranking, which recovery is measured from."""
NO_SOURCE = CONTROLS["uniform_s"]
"""The twin of W without a source: what the source accounts for is the difference from it."""
FREE_MASK = CONTROLS["target_only"]
"""What training on the test task itself gives without any source."""


@checked_arguments
def register_control(control: Control) -> Control:
    """Make a control known to studies, their tables, figures and report, in this process.

    Raises:
        ConfigError: there is a control of this name.
    """
    return CONTROLS.register(control)
