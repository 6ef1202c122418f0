"""Recovery against how much larger the target is than the source.

gap = size of the target / size of the source
point = mean over tasks of CPR(aligned) / CPR(gold), whisker = standard deviation over tasks
"""

from __future__ import annotations

from collections.abc import Mapping
from math import log10
from statistics import fmean, stdev
from typing import Any

import plotly.graph_objects as go

from dfa_tl.analysis.select import Results, choose, measured_with, pair_names
from dfa_tl.arguments import checked_arguments
from dfa_tl.controls.regimes import COMPARED
from dfa_tl.errors import ConfigError
from dfa_tl.settings import check_number
from dfa_tl.viz.recovery_bars import recovery_means
from dfa_tl.viz.theme import INK, circuit_label, circuit_style, finished, log_ticks, points

DODGE = 1.03  # regimes of one pair stand side by side: by this factor of the gap


@checked_arguments
def recovery_by_gap(
    results: Results, *, sizes: Mapping[str, float] | None = None, method: str | None = None
) -> go.Figure:
    """Recovery of gold CPR by the ratio of target to source size: a point per pair and regime.

    Args:
        results: A study's results.
        sizes: The size of each model by its name in the study, such as its number of parameters;
            by default its number of nodes.
        method: Attribution method; the study's first by default.

    Raises:
        ConfigError: an unknown method, sizes that lack a model or are not above 0, or no recovery
            to draw.
    """
    method = choose("method", method, results.config.methods)
    bars = {key: bar for key, bar in recovery_means(results).items() if key[1] == method}
    pairs = [name for name in pair_names(results) if any(key[0] == name for key in bars)]
    if not pairs:
        raise ConfigError(f"nothing to draw: no recovery is defined for {method}")
    gaps = {name: _gap(results, name, method, sizes) for name in pairs}
    regimes = [name for name in COMPARED if any(key[2] == name for key in bars)]
    figure = go.Figure()
    for number, regime in enumerate(regimes):
        look = circuit_style(regime)
        known = sorted((gaps[key[0]], key[0]) for key in bars if key[2] == regime)
        found = [list(bars[name, method, regime].ratios.values()) for _, name in known]
        shift = DODGE ** (number - (len(regimes) - 1) / 2)
        figure.add_scatter(
            x=[gap * shift for gap, _ in known],
            y=[fmean(ratios) for ratios in found],
            customdata=[
                [name, gap, len(ratios)] for (gap, name), ratios in zip(known, found, strict=True)
            ],
            error_y={
                "array": [stdev(ratios) if len(ratios) > 1 else 0.0 for ratios in found],
                "color": look.color,
                "thickness": 1.2,
                "width": 3,
            },
            mode="lines+markers",
            line={"color": look.color, "dash": look.dash, "width": 1.2},
            marker=points(look, 9),
            name=circuit_label(regime),
            hovertemplate="%{customdata[0]}, gap %{customdata[1]:.3g}: recovery %{y:.3f}, mean of "
            "%{customdata[2]} tasks",
        )
    figure.add_hline(y=1, line={"color": INK, "dash": "dash", "width": 1.5})
    for gap in sorted(set(gaps.values())):
        names = [name for name in pairs if gaps[name] == gap]
        figure.add_annotation(
            x=log10(gap), y=0, yref="paper", yanchor="bottom", textangle=-90, showarrow=False,
            text="<br>".join(names), font={"size": 10},
        )  # fmt: skip
    what = "nodes" if sizes is None else "size"
    _draw_axis(figure, list(gaps.values()), f"target {what} / source {what}")
    figure.update_yaxes(title="recovery: transferred CPR / gold CPR", rangemode="tozero")
    parts = [
        f"{circuit_label(regime)} {bars[name, method, regime].mean:.2f} at {gaps[name]:.3g}"
        for name in sorted(pairs, key=gaps.__getitem__)
        for regime in regimes
        if (name, method, regime) in bars
    ]
    return finished(
        figure,
        alt=f"Recovery of gold CPR by the ratio of target to source {what}: {', '.join(parts)}.",
        title=f"{method}: recovery by size ratio ({measured_with(results)}; whiskers: standard "
        "deviation over tasks)",
        width=820,
        height=480,
        margin={"t": 64, "l": 70},
    )


def _gap(results: Any, pair: str, method: str, sizes: Mapping[str, float] | None) -> float:
    config = results.config
    spec = next(one for one in config.pairs if one.name == pair)
    if sizes is not None:
        for name in (spec.source, spec.target):
            if name not in sizes:
                raise ConfigError(f"sizes lacks the model {name!r}: give its size")
            check_number(f"sizes[{name!r}]", sizes[name], above=0)
        return sizes[spec.target] / sizes[spec.source]
    where = (pair, config.tasks[0], method, config.seeds[0])
    source = results.source_scores(*where)
    target = next(iter(results.scores(*where).values()))
    return len(target) / len(source)


def _draw_axis(figure: go.Figure, gaps: list[float], title: str) -> None:
    low, high = min(gaps) / 2, max(gaps) * 2
    figure.update_xaxes(
        type="log", range=[log10(low), log10(high)], title=title, **log_ticks([low, high])
    )
