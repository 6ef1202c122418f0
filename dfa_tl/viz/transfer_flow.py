"""What contributes to the predicted score of a target node.

    predicted score of j = sum over source nodes i of s'_i W_ij  (+ bias of j)

so the links into a target node, with their signs, add up to its predicted score.
"""

from __future__ import annotations

import plotly.graph_objects as go
import torch
from jaxtyping import Float
from torch import Tensor

from dfa_tl.alignment.alignment import Alignment
from dfa_tl.alignment.linear_map import normalize
from dfa_tl.arguments import checked_arguments
from dfa_tl.errors import ConfigError
from dfa_tl.scores import NodeScores, check_nodes
from dfa_tl.viz.theme import NEGATIVE, POSITIVE, QUIET, Style, finished

POSITIVE_LINK, NEGATIVE_LINK = Style(POSITIVE).faint(0.55), Style(NEGATIVE).faint(0.35)


def contributions(alignment: Alignment, scores: NodeScores) -> Float[Tensor, "source target"]:
    """What each source node adds to each target node's predicted score: s'_i W_ij.

    Raises:
        ScoresError: the scores are not of the source model's nodes.
    """
    check_nodes(scores, alignment.source, "the alignment's source model")
    return normalize(scores.values, alignment.config.normalization)[:, None] * alignment.W


@checked_arguments
def transfer_flow(alignment: Alignment, scores: NodeScores, *, n: int = 12) -> go.Figure:
    """A Sankey diagram from the best source nodes into the best predicted target nodes.

    Every link into a target node is drawn, those from the remaining source nodes as one. The links
    add up to its predicted score: blue ones raise it, orange ones lower it.

    Args:
        alignment: One W.
        scores: Source scores, as given to `alignment.transfer`.
        n: How many source and how many target nodes, by signed score.

    Raises:
        ConfigError: `n` below 1, or a chain of alignments.
        ScoresError: the scores are not of the source model's nodes.
    """
    if n < 1:
        raise ConfigError(f"n={n}: draw at least one node")
    flow = contributions(alignment, scores)
    predicted = alignment.transfer(scores)
    left = sorted(scores.top(n), key=scores.nodes.index)
    right = sorted(predicted.top(n), key=predicted.nodes.index)
    rows = [scores.nodes.index(node) for node in left]
    columns = [predicted.nodes.index(node) for node in right]
    names = [node.name for node in left]
    parts = [flow[rows][:, columns]]
    others = flow[:, columns].sum(0) - parts[0].sum(0)
    if len(rows) < len(scores):
        names.append(f"{len(scores) - len(rows)} others")
        parts.append(others[None])
    if alignment.bias is not None:
        names.append("bias")
        parts.append(alignment.bias[columns][None])
    table = torch.cat(parts)
    values = table.flatten().tolist()
    signed = [f"{value:+.3g}" for value in values]
    figure = go.Figure(
        go.Sankey(
            arrangement="snap",
            node={
                "label": [*names, *(node.name for node in right)],
                "color": [*[QUIET] * len(names), *["#222222"] * len(right)],
                "customdata": [
                    *(f"score {scores[node]:.3g}" for node in left),
                    *("several nodes" for _ in names[len(left) :]),
                    *(f"predicted score {predicted[node]:.3g}" for node in right),
                ],
                "hovertemplate": "%{label}: %{customdata}<extra></extra>",
                "pad": 10,
                "thickness": 14,
                "line": {"width": 0},
            },
            link={
                "source": [row for row in range(len(names)) for _ in right],
                "target": [len(names) + column for _ in names for column in range(len(right))],
                "value": [abs(value) for value in values],
                "color": [POSITIVE_LINK if value >= 0 else NEGATIVE_LINK for value in values],
                "customdata": signed,
                "hovertemplate": "%{source.label} to %{target.label}: %{customdata}<extra></extra>",
            },
        )
    )
    for x, text in ((0, "source nodes"), (1, "target nodes")):
        figure.add_annotation(
            x=x,
            y=1,
            yshift=8,
            yanchor="bottom",
            text=text,
            showarrow=False,
            xref="paper",
            yref="paper",
        )
    from_best = float(flow[rows][:, columns].abs().sum() / table.abs().sum().clamp_min(1e-30))
    strongest = max(range(len(values)), key=lambda index: abs(values[index]))
    return finished(
        figure,
        alt=f"Flow from the {len(left)} best source nodes to the {len(right)} best target nodes: "
        f"they account for {from_best:.0%} of all absolute contributions to these; strongest "
        f"{names[strongest // len(right)]} to {right[strongest % len(right)]} "
        f"({signed[strongest]}).",
        title="Contributions to the predicted scores (blue raises, orange lowers)",
        width=820,
        height=140 + 36 * max(len(names), len(right)),
        margin={"t": 96, "l": 30, "r": 30, "b": 24},
    )
