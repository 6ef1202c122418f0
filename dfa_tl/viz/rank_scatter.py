"""The ranks of nodes in two score vectors of one model."""

from __future__ import annotations

import plotly.graph_objects as go

from dfa_tl.arguments import checked_arguments
from dfa_tl.evaluation.structure import score_correlation
from dfa_tl.scores import NodeScores
from dfa_tl.viz.theme import INK, QUIET, SEQUENTIAL, color_bar, finished

NAMED = 5


@checked_arguments
def rank_scatter(aligned: NodeScores, gold: NodeScores) -> go.Figure:
    """Rank among aligned against rank among gold scores, with Spearman's correlation in the title.

    Rank 1 is the best node, at the lower left; a point below the diagonal ranks higher among the
    aligned than among the gold scores. Circles are heads, diamonds MLPs, darker the later the
    layer. The best gold nodes are named.

    Args:
        aligned: Scores of the target's nodes.
        gold: Other scores of the same nodes.

    Raises:
        ScoresError: the scores are of different nodes.
    """
    spearman = score_correlation(aligned, gold).spearman
    ours, theirs = aligned.to_frame(), gold.to_frame()
    nodes = gold.nodes
    known = "undefined" if spearman is None else f"{spearman:.2f}"
    figure = go.Figure()
    for is_head, symbol, name in ((True, "circle", "heads"), (False, "diamond", "MLPs")):
        chosen = ours["head"].notna() == is_head
        figure.add_trace(
            go.Scatter(
                x=theirs["rank"][chosen].tolist(),
                y=ours["rank"][chosen].tolist(),
                customdata=list(
                    zip(
                        ours["node"][chosen],
                        theirs["score"][chosen],
                        ours["score"][chosen],
                        strict=True,
                    )
                ),
                name=name,
                mode="markers",
                marker={
                    "symbol": symbol,
                    "size": 8 if is_head else 10,
                    "color": ours["layer"][chosen].tolist(),
                    "coloraxis": "coloraxis",
                    "line": {"width": 0.8, "color": QUIET},
                },
                hovertemplate="%{customdata[0]}: gold rank %{x} (%{customdata[1]:.3g}), "
                "transferred rank %{y} (%{customdata[2]:.3g})<extra></extra>",
            )
        )
    best = theirs.nsmallest(NAMED, "rank")
    figure.add_trace(
        go.Scatter(
            x=best["rank"].tolist(),
            y=ours["rank"][best.index].tolist(),
            text=[f"  {name}" for name in best["node"]],
            mode="text",
            textposition="middle right",
            textfont={"size": 10, "color": INK},
            showlegend=False,
            hoverinfo="skip",
        )
    )
    last = len(nodes)
    figure.add_shape(
        type="line", x0=1, y0=1, x1=last, y1=last, line={"color": QUIET, "dash": "dot", "width": 1}
    )
    edge = 0.03 * last
    figure.update_xaxes(title="rank among gold scores", range=[1 - edge, last + edge])
    figure.update_yaxes(title="rank among transferred scores", range=[1 - edge, last + edge])
    figure.update_layout(
        coloraxis={
            "colorscale": SEQUENTIAL,
            "cmin": 0,
            "cmax": max(1, nodes.n_layers - 1),
            "colorbar": color_bar("layer", len=0.75, y=0.4),
        },
        legend={"x": 1.02, "y": 1},
    )
    kept = sum(ours["rank"][index] <= NAMED for index in best.index)
    return finished(
        figure,
        alt=f"Ranks of {last} nodes among transferred and among gold scores: Spearman {known}; "
        f"{kept} of the {len(best)} best gold nodes are among the {NAMED} best transferred ones.",
        title=f"Ranks of transferred and gold scores: Spearman {known}",
        width=660,
        height=580,
    )
