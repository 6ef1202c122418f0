"""CPR of W trained on one task and tested on another, for every two tasks."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from dfa_tl.analysis.select import Results, choose_some, main_rows, measured_with, pair_names
from dfa_tl.arguments import checked_arguments
from dfa_tl.controls.regimes import GOLD, Regime
from dfa_tl.errors import ConfigError
from dfa_tl.viz.theme import INK, SEQUENTIAL, PanelLayout, broken, finished, panel_figure, span

CELL = 54  # pixels
BETWEEN = 110  # pixels between rows of matrices, with their axes and headings
DARK = 0.78  # from here on the colour scale, white text is easier to read than black
GAP = 0.3  # between the matrix and the row of gold, in cells


@checked_arguments
def cross_task_heatmap(
    results: Results, *, pair: str | None = None, method: str | None = None
) -> go.Figure:
    """CPR by train task (rows) and test task (columns), mean over seeds (Figures 4, 13 to 17).

    The diagonal, where W is trained and tested on the same task, is framed. The row below each
    matrix is the gold circuit of the test task, attributed on the target itself.

    Args:
        results: A study's results, with the `cross-task` regime.
        pair: Name of a pair of models; all by default, one row of matrices each.
        method: Attribution method; all by default, one matrix each.

    Raises:
        ConfigError: an unknown pair or method, or no `cross-task` circuits.
    """
    config, rows = results.config, main_rows(results)
    pairs = choose_some("pair", pair, pair_names(results))
    methods = choose_some("method", method, config.methods)
    tasks = [task for task in config.tasks if task in set(rows["test_task"])]
    if Regime.CROSS_TASK not in set(rows["regime"]):
        raise ConfigError(
            "nothing to draw: this study has no cross-task circuits; add the regime cross-task to "
            f"its {', '.join(config.regimes)}"
        )
    matrices = {(of, name): _matrix(rows, of, name, tasks) for of in pairs for name in methods}
    every = np.concatenate([each.ravel() for each in matrices.values()])
    every = every[np.isfinite(every)]
    width = CELL * len(tasks) * len(methods) + 30 * (len(methods) - 1)
    tall = CELL * (len(tasks) + 1 + GAP)
    height = round(tall * len(pairs) + BETWEEN * (len(pairs) - 1))
    layout = PanelLayout(len(pairs), len(methods))
    titles = [name if len(pairs) == 1 else f"{of}<br>{name}" for of, name in matrices]
    titles = titles if len(titles) > 1 else [""]  # the figure's title names a single panel
    figure = panel_figure(layout, titles, horizontal=30 / width, vertical=BETWEEN / height)
    low, high = min(0.0, float(every.min())), float(every.max())
    for index, matrix in enumerate(matrices.values()):
        where = layout.cell(index)
        _draw(figure, matrix, tasks, low + DARK * (high - low), where)
    figure.update_layout(
        coloraxis={
            "colorscale": SEQUENTIAL,
            "cmin": low,
            "cmax": high,
            "colorbar": {
                "title": {"text": "CPR"},
                "lenmode": "pixels",
                "len": 280,
                "y": 1,
                "yanchor": "top",
            },
        }
    )
    diagonal = [np.diagonal(each[:-1]) for each in matrices.values()]
    off = [each[:-1][~np.eye(len(tasks), dtype=bool)] for each in matrices.values()]
    alt = (
        f"CPR by training and test task of {', '.join(pairs)} with {', '.join(methods)}: "
        f"{_range(diagonal)} on the diagonal, where W was trained on the test task, "
        f"{_range(off)} off it, {_range([each[-1] for each in matrices.values()])} for gold."
    )
    shown = ["All pairs" if len(pairs) > 1 else pairs[0], *(methods if len(methods) == 1 else ())]
    return finished(
        figure,
        alt=alt,
        # On two lines, because a figure of one panel is narrow.
        title=f"{', '.join(shown)}<br>CPR by training and test task ({measured_with(results)})",
        width=width + 200,
        height=height + 166,
        margin={"l": 110, "r": 90, "t": 100, "b": 66},
    )


def _matrix(rows: Any, pair: str, method: str, tasks: list[str]) -> Float[np.ndarray, "row task"]:
    """One row per training task, and gold in the last row; nan where nothing was measured."""
    chosen = rows[(rows["pair"] == pair) & (rows["method"] == method)]
    crossed = chosen[chosen["regime"] == Regime.CROSS_TASK]
    cpr = crossed.pivot_table(index="train_tasks", columns="test_task", values="cpr")
    gold = chosen[chosen["regime"] == GOLD].groupby("test_task")["cpr"].mean()
    matrix = cpr.reindex(index=tasks, columns=tasks).to_numpy(float)
    return np.vstack([matrix, gold.reindex(tasks).to_numpy(float)])


def _draw(
    figure: go.Figure,
    matrix: Float[np.ndarray, "row task"],
    tasks: list[str],
    dark: float,
    where: Any,
) -> None:
    n = len(tasks)
    ys = [*range(n), n + GAP]
    trained = [f"trained on {task}" for task in tasks]
    for rows, labels in ((slice(0, n), trained), (slice(n, n + 1), ["gold"])):
        figure.add_trace(
            go.Heatmap(
                x=list(range(n)),
                y=ys[rows],
                z=matrix[rows],
                customdata=[[[label, task] for task in tasks] for label in labels],
                coloraxis="coloraxis",
                hovertemplate="%{customdata[0]}, tested on %{customdata[1]}: CPR %{z:.3f}"
                "<extra></extra>",
                xgap=1,
                ygap=1,
                hoverongaps=False,
            ),
            **where,
        )
    cells = [
        (x, y, value) for y, row in zip(ys, matrix, strict=True) for x, value in enumerate(row)
    ]
    cells = [cell for cell in cells if np.isfinite(cell[2])]
    figure.add_trace(
        go.Scatter(
            x=[x for x, _, _ in cells],
            y=[y for _, y, _ in cells],
            text=[f"{value:.2f}" for _, _, value in cells],
            textfont={
                "size": 11,
                "color": ["white" if value > dark else INK for _, _, value in cells],
            },
            mode="text",
            showlegend=False,
            hoverinfo="skip",
        ),
        **where,
    )
    for index in range(n):
        figure.add_shape(
            type="rect",
            x0=index - 0.48,
            x1=index + 0.48,
            y0=index - 0.48,
            y1=index + 0.48,
            line={"color": INK, "width": 2.5},
            **where,
        )
    figure.update_xaxes(
        tickvals=list(range(n)),
        ticktext=[broken(task) for task in tasks],
        tickangle=0,
        title="tested on",
        showgrid=False,
        ticks="",
        range=[-0.5, n - 0.5],
        **where,
    )
    figure.update_yaxes(
        tickvals=ys,
        ticktext=[*(broken(task) for task in tasks), "gold"],
        title="W trained on" if where["col"] == 1 else None,
        showgrid=False,
        ticks="",
        range=[n + GAP + 0.5, -0.5],
        **where,
    )


def _range(parts: list[np.ndarray]) -> str:
    values = np.concatenate([part.ravel() for part in parts])
    values = values[np.isfinite(values)]
    return span(values.tolist()) if len(values) else "nothing"
