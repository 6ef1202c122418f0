"""The training of W by step: loss, KL, mean mask, and CPR and CMD on held-out pairs."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dfa_tl.alignment.alignment import Alignment
from dfa_tl.alignment.history import AlignmentHistory
from dfa_tl.analysis.select import counted
from dfa_tl.arguments import checked_arguments
from dfa_tl.errors import ConfigError
from dfa_tl.evaluation.held_out import HeldOut
from dfa_tl.viz.theme import INK, finished, style

QUANTITIES = {
    "loss": "loss",
    "kl": "KL to the clean run (nats)",
    "mean_mask": "mean mask",
}
HELD_OUT = {"cpr": "CPR, held out", "cmd": "CMD, held out"}
WINDOWS = 8  # the line is a running mean over this fraction of the run


@checked_arguments
def training_history(
    alignment: Alignment | AlignmentHistory, held_out: HeldOut | None = None
) -> go.Figure:
    """Loss, KL and mean mask at each training step: dots by task, and a running mean.

    Args:
        alignment: A trained alignment, or its history.
        held_out: What `align` was given as its check: two more panels show CPR and CMD of the
            circuits that W predicted, on held-out pairs.

    Raises:
        ConfigError: the alignment was not trained, or has no steps; or nothing was checked.
    """
    history = alignment.history if isinstance(alignment, Alignment) else alignment
    if not isinstance(history, AlignmentHistory) or not len(history):
        raise ConfigError(
            "nothing to draw: this W has no training history (it is an untrained control or a "
            "chain); give one that `align` returned"
        )
    frame = history.to_frame()
    tasks = list(dict.fromkeys(history.tasks))
    checks = None if held_out is None else held_out.to_frame()
    if checks is not None and checks.empty:
        raise ConfigError("held_out has no checks: give it to align(check=...) first")
    panels = len(QUANTITIES) + (0 if checks is None else len(HELD_OUT))
    figure = make_subplots(rows=panels, shared_xaxes=True, vertical_spacing=0.04)
    window = max(1, len(frame) // WINDOWS)
    for row, (column, name) in enumerate(QUANTITIES.items(), start=1):
        for number, task in enumerate(tasks, start=1):
            chosen, look = frame[frame["task"] == task], style(number)
            figure.add_trace(
                go.Scatter(
                    x=chosen["step"].tolist(),
                    y=chosen[column].tolist(),
                    name=task,
                    legendgroup=task,
                    showlegend=row == 1,
                    mode="markers",
                    marker={
                        "symbol": look.marker,
                        "size": 5,
                        "color": look.faint(0.65),
                    },
                    hovertemplate=f"step %{{x}}: {name} %{{y:.4g}}",
                ),
                row=row,
                col=1,
            )
        running = frame[column].rolling(window, center=True, min_periods=1).mean()
        figure.add_trace(
            go.Scatter(
                x=frame["step"].tolist(),
                y=running.tolist(),
                name=f"mean of {counted(window, 'step')}",
                legendgroup="mean",
                showlegend=row == 1,
                mode="lines",
                line={"color": INK, "width": 1.5},
                hoverinfo="skip",
            ),
            row=row,
            col=1,
        )
        figure.update_yaxes(title=name, rangemode="tozero", row=row, col=1)
    if checks is not None:
        tasks += [task for task in dict.fromkeys(checks["task"]) if task not in tasks]
        for row, (column, name) in enumerate(HELD_OUT.items(), start=len(QUANTITIES) + 1):
            for task in dict.fromkeys(checks["task"]):
                chosen, look = checks[checks["task"] == task], style(1 + tasks.index(task))
                figure.add_trace(
                    go.Scatter(
                        x=chosen["step"].tolist(),
                        y=chosen[column].tolist(),
                        name=task,
                        legendgroup=task,
                        showlegend=task not in history.tasks and row == len(QUANTITIES) + 1,
                        mode="lines+markers",
                        line={"color": look.color},
                        marker={"symbol": look.marker, "size": 7},
                        hovertemplate=f"step %{{x}}: {name} %{{y:.3f}}",
                    ),
                    row=row,
                    col=1,
                )
            figure.update_yaxes(title=name, rangemode="tozero", row=row, col=1)
    figure.update_xaxes(title="training step", row=panels, col=1)

    def ends(column: str) -> str:
        return f"{frame[column].iloc[0]:.3g} to {frame[column].iloc[-1]:.3g}"

    return finished(
        figure,
        alt=f"Training of W over {len(frame)} steps on {', '.join(tasks)}: from first to last step "
        f"loss {ends('loss')}, KL {ends('kl')} nats, mean mask {ends('mean_mask')}.",
        title=f"Training of W: {len(frame)} steps on {counted(len(tasks), 'task')}",
        width=820,
        height=140 + 160 * panels,
        margin={"t": 64, "l": 72},
    )
