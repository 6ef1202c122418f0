"""The attribution methods, one `Method` record each, with what they accept and cost.

A new method is a function and a record here, or a record given to `register_method`: `attribute`,
studies, `estimate_memory`, the command line and the tests find it in `METHODS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import get_args

from dfa_tl.arguments import checked_arguments
from dfa_tl.attribution.exact import exact
from dfa_tl.attribution.gradients import PairScores
from dfa_tl.attribution.ig_activations import nap_ig_activations
from dfa_tl.attribution.nap import nap, nap_at_corrupt
from dfa_tl.errors import ConfigError
from dfa_tl.models.ablation import AblatedValues, Ablation, check_ablation
from dfa_tl.models.node_model import NodeModel
from dfa_tl.nodes import NodeSet
from dfa_tl.passes import Passes
from dfa_tl.registry import Registry
from dfa_tl.tasks.batches import PairBatch
from dfa_tl.tasks.metrics import Metric


@dataclass(frozen=True, kw_only=True)
class Method:
    """An attribution method.

    Attributes:
        name: Its name for `attribute` and studies.
        description: What it computes, in a sentence.
        score: The scores of each pair of a batch: `score(model, batch, ablated, metric, ig_steps)`.
        score_at_corrupt: The same with the gradient at the corrupt run, for `at="corrupt"`; None
            for a method without that choice.
        has_steps: Whether its scores depend on `ig_steps`.
        ablations: The ablations that it takes; none for a method that ablates nothing, whose scores
            are the same under each.
        passes: Passes of one pair, from the model's nodes and `ig_steps`, with counterfactual
            ablation; None where they are unknown: tables then leave its cost empty.
        pass_share: The part of a whole pass that one of these takes on average; a half where runs
            start at the layer of a node.
        shares_prefix: Whether, under counterfactual ablation, all its runs have the clean prompt's
            activations before the first token in which the prompts of a pair differ, and its
            scores are 0 there. Its hooks then see only the later positions.
    """

    name: str
    description: str
    score: Callable[[NodeModel, PairBatch, AblatedValues, Metric, int], PairScores]
    score_at_corrupt: Callable[[NodeModel, PairBatch, Metric], PairScores] | None = None
    has_steps: bool = False
    ablations: tuple[str, ...] = get_args(Ablation)
    passes: Callable[[NodeSet, int], tuple[int, int]] | None = None
    pass_share: float = 1.0
    shares_prefix: bool = False

    def check_ablation(self, ablation: str) -> None:
        """Raise `ConfigError` for an unknown ablation, or one that the method does not take."""
        check_ablation(ablation)
        if self.ablations and ablation not in self.ablations:
            known = " or ".join(f"ablation={name!r}" for name in self.ablations)
            raise ConfigError(
                f"{self.name} ({self.description}) takes only {known}, not {ablation!r}"
            )

    def cost(self, nodes: NodeSet, ig_steps: int, ablation: str = "counterfactual") -> Passes:
        """Passes of one pair through the model that is attributed on."""
        if self.passes is None:
            return Passes()
        forward, backward = self.passes(nodes, ig_steps)
        # Zero ablation needs no corrupt run; the means are taken over one run of all pairs.
        return Passes(forward - (bool(self.ablations) and ablation == "zero"), backward)


def _site_runs(nodes: NodeSet, ig_steps: int) -> int:
    """Runs at the steps before the clean one, for the embedding and two sites per layer."""
    return (ig_steps - 1) * (2 * nodes.n_layers + 1)


METHODS: Registry[Method] = Registry(
    "method",
    (
        Method(
            name="nap",
            description="activation difference times the gradient at the clean run",
            score=lambda model, batch, ablated, metric, _: nap(model, batch, ablated, metric),
            score_at_corrupt=nap_at_corrupt,
            passes=lambda nodes, ig_steps: (2, 1),
            shares_prefix=True,
        ),
        Method(
            name="nap-ig-inputs",
            description="the gradient is averaged over inputs between the corrupt and the clean",
            score=nap,
            has_steps=True,
            ablations=("counterfactual",),  # it interpolates between the two prompts of a pair
            passes=lambda nodes, ig_steps: (ig_steps + 1, ig_steps),
            shares_prefix=True,
        ),
        Method(
            name="nap-ig-activations",
            description="the gradient is averaged over activations of one site at a time",
            score=nap_ig_activations,
            has_steps=True,
            passes=lambda nodes, ig_steps: (
                2 + _site_runs(nodes, ig_steps),
                1 + _site_runs(nodes, ig_steps),
            ),
            pass_share=0.5,
            shares_prefix=True,
        ),
        Method(
            name="exact",
            description="activation patching: the metric's change when this one node is left out",
            score=exact,
            passes=lambda nodes, ig_steps: (3 + len(nodes), 0),
            pass_share=0.5,
            shares_prefix=True,
        ),
    ),
)


@checked_arguments
def register_method(method: Method) -> Method:
    """Make a method known to `attribute` and to studies, in this process.

    Raises:
        ConfigError: there is a method of this name.
    """
    return METHODS.register(method)
