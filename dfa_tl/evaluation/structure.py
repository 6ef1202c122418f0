"""Structure: how similar two score vectors are.

    agreement        Pearson and Spearman of aligned with gold scores, over the target's nodes
    top-k overlap    |A ∩ G| / |A ∪ G| of the best int(k n) nodes of each (Jaccard)
    layer profile    share of layer l = sum of |score| over its heads and MLP / the same of all
    profiles         correlation over relative depth (l + 1/2) / n_layers, the profile of the model
                     with fewer layers linearly interpolated (and constant beyond its end points)

Correlations and overlaps are higher when more structure is kept; profiles ignore the signs of
scores. The chance level of the overlap is about k / (2 - k). A constant vector has no correlation:
the result is None, never nan.
"""

# scipy has no types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
from jaxtyping import Float
from scipy import stats

from dfa_tl.errors import ConfigError
from dfa_tl.evaluation.circuits import circuits_of
from dfa_tl.nodes import layer_shares
from dfa_tl.scores import NodeScores, check_nodes


@dataclass(frozen=True)
class Correlation:
    """Correlation of two vectors; both None where either vector is constant.

    Attributes:
        pearson: Correlation of the values.
        spearman: Correlation of the ranks; tied values get their mean rank.
    """

    pearson: float | None
    spearman: float | None


def score_correlation(aligned: NodeScores, gold: NodeScores) -> Correlation:
    """Correlation of two score vectors of one model over its nodes.

    Raises:
        ScoresError: the scores are of different nodes.
    """
    _check_same_nodes(aligned, gold)
    return _correlate(aligned.values.double().numpy(), gold.values.double().numpy())


def top_overlap(
    aligned: NodeScores, gold: NodeScores, k: float, *, absolute: bool = False
) -> float | None:
    """Jaccard overlap of the circuits that two score vectors keep at proportion `k`.

    Args:
        aligned: Scores of one model.
        gold: Other scores of it.
        k: Proportion of nodes kept, in [0, 1]; the best int(k n) nodes, ties in node order (as in
            `evaluate`, so constant scores keep the first nodes).
        absolute: Rank by absolute instead of signed score.

    Returns:
        The overlap, from 0 to 1, or None where int(k n) is 0.

    Raises:
        ScoresError: the scores are of different nodes.
        ConfigError: k outside [0, 1].
    """
    _check_same_nodes(aligned, gold)
    if not 0 <= k <= 1:
        raise ConfigError(f"k is a proportion of nodes in [0, 1], got {k}")
    ours, theirs = (
        circuits_of(scores, [k], "nodes", absolute=absolute).kept[0] for scores in (aligned, gold)
    )
    either = int((ours | theirs).sum())
    return int((ours & theirs).sum()) / either if either else None


def layer_profile(scores: NodeScores) -> Float[np.ndarray, " layer"] | None:
    """Each layer's share of the summed absolute score, heads and MLP together.

    Returns:
        Shares that sum to 1, or None where all scores are 0.
    """
    if not scores.values.any():
        return None
    return layer_shares(scores.values.double().abs(), scores.nodes.n_layers).numpy()


def profile_correlation(source: NodeScores, aligned: NodeScores) -> Correlation:
    """Correlation of two layer profiles over relative depth.

    The two may be of different models; the order does not matter.

    Returns:
        The correlation; None where a profile is flat (that of a model with one layer always is)
        or undefined because all scores are 0.
    """
    first, second = layer_profile(source), layer_profile(aligned)
    if first is None or second is None:
        return Correlation(None, None)
    depths = _depths(max(len(first), len(second)))
    return _correlate(
        np.interp(depths, _depths(len(first)), first),
        np.interp(depths, _depths(len(second)), second),
    )


def _depths(n_layers: int) -> Float[np.ndarray, " layer"]:
    return (np.arange(n_layers) + 0.5) / n_layers


def _correlate(
    first: Float[np.ndarray, " point"], second: Float[np.ndarray, " point"]
) -> Correlation:
    # Scores are float32: differences of a millionth of their size are rounding errors.
    if any(np.ptp(each) <= 1e-6 * abs(each).max() for each in (first, second)):
        return Correlation(None, None)
    ranks = cast("np.ndarray", stats.rankdata([first, second], axis=1))
    return Correlation(
        pearson=float(np.corrcoef(first, second)[0, 1]), spearman=float(np.corrcoef(ranks)[0, 1])
    )


def _check_same_nodes(aligned: NodeScores, gold: NodeScores) -> None:
    check_nodes(aligned, gold.nodes, gold.provenance.get("model", "the model compared with"))
