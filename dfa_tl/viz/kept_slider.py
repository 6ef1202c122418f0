"""The slider of a figure that draws circuits: the proportion k of nodes that are kept.

A figure opens at the smallest k whose circuit recovers most of the behaviour, f(k) >= 0.8, where
its faithfulness curve is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from dfa_tl.errors import ConfigError, ScoresError
from dfa_tl.evaluation.curve import FaithfulnessCurve
from dfa_tl.scores import NodeScores

KS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)
ENOUGH = 0.8  # the faithfulness of the circuit that is shown first
FIRST = 0.1  # the proportion that is shown first where there is no curve


class Steps(NamedTuple):
    """The proportions of the slider, and the position of the one that is shown first."""

    ks: list[float]
    active: int


def slider_steps(
    k: float | None, ks: Sequence[float] | None, curve: FaithfulnessCurve | None
) -> Steps:
    """The steps of a slider.

    Args:
        k: The proportion that is shown first; by default the smallest with f >= 0.8, or the largest
            where there is none. Without a curve it is 0.1.
        ks: All proportions; by default those of the curve, or `KS`.
        curve: The faithfulness curve of the circuit that is drawn.

    Raises:
        ConfigError: proportions outside (0, 1].
    """
    known = ks if ks is not None else [one for one in curve.ks if one > 0] if curve else KS
    if k is None and curve is None:
        k = FIRST
    steps = sorted({float(one) for one in (*known, *(() if k is None else (k,)))})
    if not steps or not 0 < steps[0] <= steps[-1] <= 1:
        raise ConfigError(f"k and ks are proportions of nodes in (0, 1], got {steps}")
    return Steps(steps, _opening(steps, curve) if k is None else steps.index(float(k)))


def _opening(steps: Sequence[float], curve: FaithfulnessCurve | None) -> int:
    for index, step in enumerate(steps):
        f = faithfulness_at(curve, step) if curve else None
        if f is not None and f >= ENOUGH:
            return index
    return len(steps) - 1


def faithfulness_at(curve: FaithfulnessCurve, k: float) -> float | None:
    """Faithfulness at a proportion, interpolated on the grid; None outside the grid."""
    values = curve.faithfulness
    for (low, start), (high, end) in pairwise(zip(curve.ks, values, strict=True)):
        if low <= k <= high:
            return float(start + (end - start) * (k - low) / (high - low))
    return None


def faithfulness_text(curve: FaithfulnessCurve | None, k: float) -> str:
    """What a title says about f(k); empty where it is unknown."""
    f = faithfulness_at(curve, k) if curve else None
    if curve is None or f is None:
        return ""
    return f", faithfulness {'=' if k in curve.ks else '≈'} {f:.2f}"


def check_curve(curve: FaithfulnessCurve | None, scores: NodeScores) -> None:
    """Check that a curve can be that of a circuit of these scores.

    Raises:
        ScoresError: it keeps more nodes than there are.
    """
    if curve is not None and max(curve.n_kept) > len(scores):
        raise ScoresError(
            f"the curve keeps up to {max(curve.n_kept)} nodes and the target scores are of "
            f"{scores.nodes}: give the curve of this target"
        )


def kept_slider(steps: Steps, titles: Sequence[str], always: int, per_step: int) -> dict[str, Any]:
    """A slider that shows the traces of one step at a time, as plotly's argument.

    Args:
        steps: The proportions.
        titles: The figure's title at each.
        always: How many traces come first and are always shown.
        per_step: How many traces each step has.
    """
    return {
        "active": steps.active,
        "currentvalue": {"prefix": "proportion of nodes kept, k = ", "font": {"size": 13}},
        "pad": {"t": 46},
        "steps": [
            {
                "label": f"{step:g}",
                "method": "update",
                "args": [
                    {
                        "visible": [
                            *[True] * always,
                            *(other == step for other in steps.ks for _ in range(per_step)),
                        ]
                    },
                    {"title.text": title},
                ],
            }
            for step, title in zip(steps.ks, titles, strict=True)
        ],
    }
