"""`Control`: a score vector that a claim about W has to beat, and what it is built from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from dfa_tl.alignment.alignment import Alignment, AlignmentChain
from dfa_tl.alignment.config import AlignmentConfig
from dfa_tl.controls.regimes import FEW_PAIRS, GOLD, PLAIN, Regime, Style
from dfa_tl.errors import ConfigError
from dfa_tl.models.node_model import NodeModel
from dfa_tl.nodes import NodeSet
from dfa_tl.passes import Passes
from dfa_tl.scores import NodeScores, check_nodes
from dfa_tl.tasks.pairs import PairDataset


class Need(Enum):
    """What a control is built from besides the target's nodes and a seed: fields of `Inputs`."""

    SCORES = "scores"
    TRAINING_SCORES = "training_scores"
    TRAINING_GOLD = "training_gold"
    TRAINING_MASKS = "training_masks"
    ALIGNMENT = "alignment"
    TARGET = "target"


_NOT_GIVEN: Any = None


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What a control is built from. A field that is not among its needs may be None.

    Attributes:
        task: The test task.
        train_tasks: The tasks that the control is fitted to.
        nodes: Nodes of the target.
        seed: Seed of this draw.
        config: The study's settings of W, with the study's seed.
        penalty: Penalty of the study's ridge regression.
        scores: Source scores of the test task.
        training_scores: Source scores of the training tasks, by task.
        training_gold: Gold scores of the training tasks, by task.
        training_masks: Logits of masks trained on the target alone (`target_only`), one for each
            training task.
        alignment: W, trained on the training tasks; a chain where there are models in between.
        target: The target model.
        data: Pairs to train on, by training task; given together with the target.
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
    training_masks: Mapping[str, NodeScores] = _NOT_GIVEN
    alignment: Alignment | AlignmentChain = _NOT_GIVEN
    target: NodeModel = _NOT_GIVEN
    data: Mapping[str, PairDataset] = _NOT_GIVEN


StandIn = Callable[[NodeSet, tuple[str, ...], int], Mapping[str, NodeScores]]
"""Makes a score vector for each task, given the source's nodes, the tasks and the study's seed."""


@dataclass(frozen=True, kw_only=True)
class Control:
    """A score vector of the target that a claim about W has to beat.

    Attributes:
        name: Its name in studies, tables and figures.
        description: What it is, in a phrase that the report prints.
        build: Makes its scores.
        needs: The inputs that `build` reads.
        regimes: The regimes that it belongs to: in each it is fitted to the tasks that W is trained
            on there. Empty for a control that is compared with every regime: it is fitted to
            nothing or, with `Need.TARGET`, to the test task.
        stand_in: What W is trained on instead of source scores.
        settings: Settings of W that differ from the study's, for a control with a stand-in.
        is_drawn: Whether it is random: a study makes `draws` of it per seed.
        is_main: Whether a study measures it in every view.
        every_variant: Whether it is made for each of a study's settings of W, not the first only.
        takes_chains: Whether it makes sense with models between source and target.
        passes: Counts, from the settings and the number of pairs of each task, the passes of one
            pair through the target, for a control that trains more than W. If they are unknown,
            tables leave its cost empty.
        label: Its name in sentences; by default its name with spaces.
        style: How it looks in figures.

    Raises:
        ConfigError: a name that studies use for something else, or needs that contradict each
            other.
    """

    name: str
    description: str
    build: Callable[[Inputs], NodeScores]
    needs: tuple[Need, ...] = ()
    regimes: tuple[Regime, ...] = ()
    stand_in: StandIn | None = None
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    is_drawn: bool = False
    is_main: bool = False
    every_variant: bool = False
    takes_chains: bool = True
    passes: Callable[[AlignmentConfig, Iterable[int]], Passes] = lambda settings, pairs: Passes()
    label: str = ""
    style: Style = PLAIN

    def __post_init__(self) -> None:
        object.__setattr__(self, "label", self.label or self.name.replace("_", " "))
        if self.name in (GOLD, FEW_PAIRS, *Regime):
            raise ConfigError(f"{self.name!r} cannot name a control: it names other circuits")
        from_training = [need for need in self.needs if need not in (Need.SCORES, Need.TARGET)]
        if from_training and not self.regimes:
            raise ConfigError(
                f"control {self.name}: it needs {_listed(from_training)}, so say which tasks these "
                "are: regimes=(Regime.ZERO_SHOT,), for instance"
            )
        if self.stand_in is not None and Need.ALIGNMENT not in self.needs:
            raise ConfigError(
                f"control {self.name}: W is trained on its stand_in, so Need.ALIGNMENT belongs to "
                "its needs"
            )
        if self.settings and self.stand_in is None:
            raise ConfigError(
                f"control {self.name}: settings are those of a W that is trained on a stand_in, "
                "and it has none"
            )

    @property
    def depends_on_method(self) -> bool:
        """Whether it uses attributed scores, so that it differs between attribution methods."""
        attributed = {Need.SCORES, Need.TRAINING_SCORES, Need.TRAINING_GOLD}
        if self.stand_in is None:
            attributed.add(Need.ALIGNMENT)
        return not attributed.isdisjoint(self.needs)

    def scores(self, inputs: Inputs) -> NodeScores:
        """Its scores of the target's nodes.

        Raises:
            ConfigError: an input that it needs is missing.
            ScoresError: its scores are not those of the target's nodes.
        """
        if missing := [need for need in self.needs if getattr(inputs, need.value) is None]:
            raise ConfigError(f"control {self.name} needs {_listed(missing)}: give them in Inputs")
        scores = self.build(inputs)
        check_nodes(scores, inputs.nodes, f"the target, as control {self.name} must give")
        return scores

    def applies_to(self, regime: str) -> bool:
        """Whether a regime can be compared with it."""
        return not self.regimes or regime in self.regimes

    def name_in(self, regime: str) -> str:
        """Its name in tables when it is fitted to the training tasks of a regime.

        In zero-shot, and for a control that belongs to no regime, it is the name alone.
        """
        if not self.regimes or regime == Regime.ZERO_SHOT.value:
            return self.name
        return f"{self.name} ({regime})"


def _listed(needs: Iterable[Need]) -> str:
    return ", ".join(need.value for need in needs)
