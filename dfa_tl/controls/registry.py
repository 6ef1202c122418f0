"""The controls of a study: what a claim about W has to beat. One `Control` record each.

A control removes some of W's information, or adds to it. A new control is a function and a record
here, or a record given to `register_control`: studies plan, measure, tabulate, draw and explain
every control in `CONTROLS`, and the tests check it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import torch

from dfa_tl.alignment.align import align
from dfa_tl.alignment.alignment import Alignment, AlignmentChain
from dfa_tl.alignment.config import AlignmentConfig
from dfa_tl.arguments import checked_arguments
from dfa_tl.controls.control import Control, Inputs, Need, StandIn
from dfa_tl.controls.regimes import COMPARED, Regime, Style
from dfa_tl.controls.supervised import mean_scores, nearest_task, regression
from dfa_tl.controls.trained import target_only
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
from dfa_tl.nodes import NodeSet
from dfa_tl.passes import Passes
from dfa_tl.registry import Registry
from dfa_tl.scores import NodeScores
from dfa_tl.seeds import seed_of


def _uniform(source: NodeSet, tasks: tuple[str, ...], seed: int) -> dict[str, NodeScores]:
    return dict.fromkeys(tasks, uniform_s(source))


def _random(source: NodeSet, tasks: tuple[str, ...], seed: int) -> dict[str, NodeScores]:
    return {task: random_s(source, seed_of("random_s", seed, task)) for task in tasks}


def _through_W(inputs: Inputs, stand_in: StandIn) -> NodeScores:
    """A stand-in for the test task's source scores through the W that was trained on others."""
    W = inputs.alignment
    return W.transfer(stand_in(W.source, (inputs.task,), inputs.config.seed)[inputs.task])


def _through_permuted_W(inputs: Inputs) -> NodeScores:
    """Permutes W, or the last W of a chain."""
    W = inputs.alignment
    *first, last = W.steps if isinstance(W, AlignmentChain) else (W,)
    return AlignmentChain((*first, permuted_W(last, inputs.seed))).transfer(inputs.scores)


def _random_W(inputs: Inputs) -> NodeScores:
    settings = AlignmentConfig.paper(seed=inputs.seed)
    return random_W(inputs.scores.nodes, inputs.nodes, settings).transfer(inputs.scores)


def _through_layers(inputs: Inputs, W: Callable[[NodeSet, NodeSet], Alignment]) -> NodeScores:
    return W(inputs.scores.nodes, inputs.nodes).transfer(inputs.scores)


def _untrained_W(inputs: Inputs) -> NodeScores:
    W = untrained_W(inputs.scores.nodes, inputs.nodes, inputs.config)
    return W.transfer(inputs.scores)


def _regression(inputs: Inputs) -> NodeScores:
    W = regression(inputs.training_scores, inputs.training_gold, inputs.penalty)
    return W.transfer(inputs.scores)


def _regression_mask(inputs: Inputs) -> NodeScores:
    W = regression(inputs.training_scores, inputs.training_masks, inputs.penalty)
    return W.transfer(inputs.scores)


def _nearest(inputs: Inputs, of: Mapping[str, NodeScores]) -> NodeScores:
    return of[nearest_task(inputs.scores, inputs.training_scores)]


def _ensemble(inputs: Inputs) -> NodeScores:
    nearest = _nearest(inputs, inputs.training_masks)
    return mean_scores({"regression": _regression_mask(inputs), "nearest": nearest})


def _one_hot(source: NodeSet, tasks: tuple[str, ...], seed: int) -> dict[str, NodeScores]:
    if len(tasks) > len(source):
        raise ConfigError(
            f"task_identity has one source node for each task, and {len(tasks)} tasks are more "
            f"than {len(source)} nodes"
        )
    ones = torch.eye(len(source), dtype=torch.float32, device="cpu")
    return {task: NodeScores(source, values) for task, values in zip(tasks, ones, strict=False)}


def _task_identity(inputs: Inputs) -> NodeScores:
    W = inputs.alignment
    nearest = nearest_task(inputs.scores, inputs.training_scores)
    return W.transfer(_one_hot(W.source, inputs.train_tasks, inputs.config.seed)[nearest])


def _started_from_regression(inputs: Inputs) -> NodeScores:
    start = regression(inputs.training_scores, inputs.training_gold, inputs.penalty)
    settings = replace(inputs.config, normalization="centered", rank=None, learned="full")
    scores = dict(inputs.training_scores)
    W = align(scores, inputs.target, inputs.data, settings, start=start, progress=False)
    return W.transfer(inputs.scores)


def _target_only(inputs: Inputs) -> NodeScores:
    return target_only(inputs.target, inputs.data, inputs.config, start=FREE_STARTS, progress=False)


def _passes_of_starts(settings: AlignmentConfig, pairs: Iterable[int]) -> Passes:
    return settings.passes(pairs).times(len(FREE_STARTS))


GREY, DARK_GREY, BLUE, PURPLE = "#8A8A8A", "#5A5A5A", "#56B4E9", "#7B5EA7"
FREE_STARTS = (0.0, 2.0)
"""The logits that a mask without a source is trained from."""
ZERO_SHOT = (Regime.ZERO_SHOT,)
CONTROLS: Registry[Control] = Registry(
    "control",
    (
        Control(
            name="random_W",
            description="source scores mapped by an untrained random W",
            build=_random_W,
            needs=(Need.SCORES,),
            is_drawn=True,
            is_main=True,
            label="random W",
            style=Style(GREY, "dot", "x-thin"),
        ),
        Control(
            name="untrained_W",
            description="source scores mapped by W as it is before training",
            build=_untrained_W,
            needs=(Need.SCORES,),
            every_variant=True,
            takes_chains=False,
            style=Style(BLUE, "dot", "hexagon-open"),
        ),
        Control(
            name="scrambled_s",
            description="source scores in random order, mapped by the trained W",
            build=lambda given: given.alignment.transfer(scrambled_s(given.scores, given.seed)),
            needs=(Need.SCORES, Need.ALIGNMENT),
            regimes=ZERO_SHOT,
            is_drawn=True,
            style=Style(GREY, "dash", "triangle-down"),
        ),
        Control(
            name="permuted_W",
            description="the trained W with its target nodes in random order",
            build=_through_permuted_W,
            needs=(Need.SCORES, Need.ALIGNMENT),
            regimes=ZERO_SHOT,
            is_drawn=True,
            style=Style(GREY, "dashdot", "triangle-left"),
        ),
        Control(
            name="depth_mean",
            description="each node gets the mean score of the source's nodes at its relative depth",
            build=lambda given: _through_layers(given, depth_mean_W),
            needs=(Need.SCORES,),
            is_main=True,
            style=Style(BLUE, "longdash", "hexagon"),
        ),
        Control(
            name="depth_mean_paper",
            description="source scores mapped by the paper's depth-mean heuristic",
            build=lambda given: _through_layers(given, depth_mean_paper_W),
            needs=(Need.SCORES,),
            is_main=True,
            style=Style(BLUE, "longdashdot", "hexagon2"),
        ),
        Control(
            name="uniform_s",
            description="trained in the same way on the same tasks, but with constant source "
            "scores",
            build=lambda given: _through_W(given, _uniform),
            needs=(Need.ALIGNMENT,),
            regimes=COMPARED,
            stand_in=_uniform,
            is_main=True,
            every_variant=True,
            label="no source",
            style=Style("#E69F00", "longdash", "cross"),
        ),
        Control(
            name="random_s",
            description="trained and tested with random source scores",
            build=lambda given: _through_W(given, _random),
            needs=(Need.ALIGNMENT,),
            regimes=ZERO_SHOT,
            stand_in=_random,
            style=Style("#8C6D1F", "longdashdot", "star"),
        ),
        Control(
            name="target_only",
            description="a mask trained on the target and the test task without a source, from two "
            "starting points, of which the one with the lower training loss is kept",
            build=_target_only,
            needs=(Need.TARGET,),
            passes=_passes_of_starts,
            is_main=True,
            label="target only",
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
            build=lambda given: mean_scores(given.training_gold),
            needs=(Need.TRAINING_GOLD,),
            regimes=ZERO_SHOT,
            style=Style(DARK_GREY, "dash", "hourglass"),
        ),
        Control(
            name="nearest_gold",
            description="the gold scores of the training task whose source scores are most like "
            "the test task's",
            build=lambda given: _nearest(given, given.training_gold),
            needs=(Need.SCORES, Need.TRAINING_SCORES, Need.TRAINING_GOLD),
            regimes=ZERO_SHOT,
            style=Style(DARK_GREY, "longdash", "triangle-right"),
        ),
        Control(
            name="regression_mask",
            description="a ridge regression from source scores to masks trained on each of the "
            "other tasks",
            build=_regression_mask,
            needs=(Need.SCORES, Need.TRAINING_SCORES, Need.TRAINING_MASKS),
            regimes=ZERO_SHOT,
            style=Style(PURPLE, "dot", "bowtie-open"),
        ),
        Control(
            name="mean_mask",
            description="the mean of masks trained on each of the other tasks",
            build=lambda given: mean_scores(given.training_masks),
            needs=(Need.TRAINING_MASKS,),
            regimes=ZERO_SHOT,
            style=Style(PURPLE, "dash", "hourglass-open"),
        ),
        Control(
            name="nearest_mask",
            description="the mask trained on the training task whose source scores are most like "
            "the test task's",
            build=lambda given: _nearest(given, given.training_masks),
            needs=(Need.SCORES, Need.TRAINING_SCORES, Need.TRAINING_MASKS),
            regimes=ZERO_SHOT,
            style=Style(PURPLE, "longdash", "triangle-right-open"),
        ),
        Control(
            name="ensemble",
            description="the mean of regression_mask and nearest_mask, each standardised",
            build=_ensemble,
            needs=(Need.SCORES, Need.TRAINING_SCORES, Need.TRAINING_MASKS),
            regimes=ZERO_SHOT,
            style=Style(PURPLE, "solid", "star-open"),
        ),
        Control(
            name="task_identity",
            description="trained with one source node for each task, and tested as the training "
            "task whose source scores are most like the test task's",
            build=_task_identity,
            needs=(Need.SCORES, Need.TRAINING_SCORES, Need.ALIGNMENT),
            regimes=ZERO_SHOT,
            stand_in=_one_hot,
            settings={
                "normalization": "none",
                "initialization": "zero",
                "rank": None,
                "learned": "full",
            },
            style=Style("#8C6D1F", "dash", "cross-open"),
        ),
        Control(
            name="regression_start",
            description="trained like W, but starting from the regression instead of the "
            "depth-mean map",
            build=_started_from_regression,
            needs=(Need.SCORES, Need.TRAINING_SCORES, Need.TRAINING_GOLD, Need.TARGET),
            regimes=ZERO_SHOT,
            passes=AlignmentConfig.passes,
            style=Style(DARK_GREY, "solid", "bowtie"),
        ),
    ),
)

RANDOM = CONTROLS["random_W"]
"""The random ranking, which recovery is measured from."""
NO_SOURCE = CONTROLS["uniform_s"]
"""The counterpart of W without a source: the difference is what the source accounts for."""
FREE_MASK = CONTROLS["target_only"]
"""What training on the test task itself gives without any source."""


@checked_arguments
def register_control(control: Control) -> Control:
    """Make a control known to studies, their tables, figures and report, in this process.

    Raises:
        ConfigError: there is a control of this name.
    """
    return CONTROLS.register(control)
