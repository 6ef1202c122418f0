"""The training of W: loss, KL and mean mask by step."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dfa_tl.alignment.alignment import Alignment
from dfa_tl.alignment.history import AlignmentHistory
from dfa_tl.analysis.select import counted
from dfa_tl.arguments import checked_arguments
from dfa_tl.errors import ConfigError
from dfa_tl.viz.theme import INK, finished, style

QUANTITIES = {
    "loss": "loss",
    "kl": "KL to the clean run (nats)",
    "mean_mask": "mean mask",
}
WINDOWS = 8  # the line is a running mean over this fraction of the run


@checked_arguments
def training_history(alignment: Alignment | AlignmentHistory) -> go.Figure:
    """Loss, KL and mean mask at each training step: dots by task, and a running mean.

    Args:
        alignment: A trained alignment, or its history.

    Raises:
        ConfigError: the alignment was not trained, or has no steps.
    """
    history = alignment.history if isinstance(alignment, Alignment) else alignment
    if not isinstance(history, AlignmentHistory) or not len(history):
        raise ConfigError(
            "nothing to draw: this W has no training history (it is an untrained control or a "
            "chain); give one that `align` returned"
        )
    frame = history.to_frame()
    tasks = list(dict.fromkeys(history.tasks))
    figure = make_subplots(rows=len(QUANTITIES), shared_xaxes=True, vertical_spacing=0.04)
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
    figure.update_xaxes(title="training step", row=len(QUANTITIES), col=1)

    def ends(column: str) -> str:
        return f"{frame[column].iloc[0]:.3g} to {frame[column].iloc[-1]:.3g}"

    return finished(
        figure,
        alt=f"Training of W over {len(frame)} steps on {', '.join(tasks)}: from first to last step "
        f"loss {ends('loss')}, KL {ends('kl')} nats, mean mask {ends('mean_mask')}.",
        title=f"Training of W: {len(frame)} steps on {counted(len(tasks), 'task')}",
        width=820,
        height=620,
        margin={"t": 64, "l": 72},
    )
