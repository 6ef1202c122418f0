"""`Drawing`: a plotly figure as a page takes it in, and the figures of a study.

A figure keeps its data and its look. Its width is left to the page; its title becomes a heading; a
slider becomes an `<input type="range">`, which works by keyboard and on a phone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from html import unescape
from typing import Any, NamedTuple

import plotly.graph_objects as go

from dfa_tl import viz
from dfa_tl.alignment.alignment import Alignment, AlignmentChain
from dfa_tl.errors import ConfigError, DFAError
from dfa_tl.scores import NodeScores
from dfa_tl.study.keys import CircuitKey
from dfa_tl.study.results import StudyResults
from dfa_tl.viz.attention import escaped_json

# In pixels. Narrower ones cannot be read; on a phone the next panel is seen to begin.
PANEL_WIDTH, LEAST_WIDTH = 290, 520
HEADING_HEIGHT, SLIDER_HEIGHT = 30, 90  # what they take of a figure's margins


@dataclass(frozen=True)
class Drawing:
    """A figure of a report.

    Attributes:
        id: Its anchor.
        title: Heading; plain text.
        alt: What it shows, in a sentence.
        caption: How to read it.
        data: Traces, layout, frames and slider steps as JSON that is safe inside `<script>`.
        min_width: Narrower than this in pixels, it is scrolled.
        height: In pixels.
        steps: What the slider's steps say; empty without a slider.
    """

    id: str
    title: str
    alt: str
    caption: str
    data: str
    min_width: int
    height: int
    steps: tuple[str, ...] = ()


@dataclass(frozen=True)
class NotDrawn:
    """A figure that could not be drawn, and why."""

    id: str
    title: str
    reason: str


def drawing(identifier: str, figure: go.Figure, heading: str, caption: str = "") -> Drawing:
    """A plotly figure as a drawing.

    Args:
        identifier: Its anchor.
        figure: The figure.
        heading: Used where the figure has no title of its own, or one that its slider changes.
        caption: How to read it.
    """
    plain: dict[str, Any] = json.loads(figure.to_json() or "{}")
    layout: dict[str, Any] = plain["layout"]
    title = _plain_text((layout.pop("title", None) or {}).get("text") or "")
    slider = (layout.pop("sliders", None) or [{"steps": []}])[0]
    steps = [_step(step) for step in slider["steps"]]
    for trace in plain["data"]:
        # Figures of a report are small: no need of a graphics card, which a browser may not have.
        trace["type"] = str(trace["type"]).removesuffix("gl")
    height = int(layout.get("height") or 450)
    margin = layout.setdefault("margin", {})
    for edge, room in (("t", HEADING_HEIGHT if title else 0), ("b", SLIDER_HEIGHT if steps else 0)):
        margin[edge] = int(margin.get(edge, 80)) - room
        height -= room
    layout.pop("width", None)
    layout["height"] = height
    data = {
        "data": plain["data"],
        "layout": layout,
        "frames": plain.get("frames", []),
        "steps": steps,
        "start": slider.get("active", 0),
    }
    return Drawing(
        id=identifier,
        title=heading if steps or not title else title,
        alt=str((layout.get("meta") or {}).get("alt") or title or heading),
        caption=caption,
        data=escaped_json(data),
        min_width=max(LEAST_WIDTH, PANEL_WIDTH * _columns(layout) + int(margin.get("r", 80))),
        height=height,
        steps=tuple(step["text"] for step in steps),
    )


def _step(step: Mapping[str, Any]) -> dict[str, Any]:
    """A slider's step; the title that it would set is what it says."""
    args = [dict(part) if isinstance(part, Mapping) else part for part in step.get("args", [])]
    texts = [
        part.pop("title.text") for part in args if isinstance(part, dict) and "title.text" in part
    ]
    text = _plain_text(str(texts[0] if texts else step["label"]))
    return {"text": text, "method": step.get("method", "restyle"), "args": args}


class _Maker(NamedTuple):
    heading: str
    caption: str
    make: Callable[[], go.Figure]


def of_all(results: StudyResults) -> Iterator[Drawing | NotDrawn]:
    """The figure that has every pair and method."""
    heading = "Recovery of gold CPR"
    caption = "What share of gold's CPR a carried-over circuit reaches."
    yield from _drawn({"recovery": _Maker(heading, caption, lambda: viz.recovery_bars(results))})


def of_study(
    results: StudyResults, pair: str, method: str, *, suffix: str = ""
) -> Iterator[Drawing | NotDrawn]:
    """Figures of what was measured, in the order of a report.

    Args:
        results: The study.
        pair: Name of a pair of models.
        method: Attribution method.
        suffix: Of their anchors.
    """
    makers = {
        "curves": _Maker(
            "Faithfulness by task",
            "Each circuit's faithfulness at every proportion of nodes kept; CPR is the area under "
            "the curve.",
            lambda: viz.study_curves(results, pair=pair, method=method),
        ),
        "controls": _Maker(
            "Controls by task",
            "The regime next to every control. A control that is as high as the regime accounts "
            "for its score.",
            lambda: viz.controls_by_task(results, pair=pair, method=method),
        ),
        "cross-task": _Maker(
            "CPR by train and test task",
            "W trained on one task (rows) and tested on another (columns).",
            lambda: viz.cross_task_heatmap(results, pair=pair, method=method),
        ),
        "cost": _Maker(
            "CPR and cost",
            "CPR against the passes through the target that it took to get there.",
            lambda: viz.cost_frontier(results, pair=pair, method=method),
        ),
    }
    yield from _drawn(makers, suffix)


def of_circuit(
    results: StudyResults, pair: str, method: str, task: str, regime: str
) -> Iterator[Drawing | NotDrawn]:
    """Figures of one task's circuit: where it sits in both models, and how W carries it over."""
    seed = results.config.seeds[0]

    def source() -> NodeScores:
        return results.source_scores(pair, task, method, seed)

    def alignment() -> Alignment:
        found = results.alignment(pair, task, method, seed, regime=regime)
        return found.steps[-1] if isinstance(found, AlignmentChain) else found

    def entering() -> NodeScores:
        """The scores that the last W of a chain carries over."""
        found, scores = results.alignment(pair, task, method, seed, regime=regime), source()
        for step in found.steps[:-1] if isinstance(found, AlignmentChain) else ():
            scores = step.transfer(scores)
        return scores

    def of(values: Mapping[CircuitKey, Any], name: str) -> Any:
        for key, value in values.items():
            if key.name == name:
                return value
        raise ConfigError(f"no {name} circuit of {task} was measured")

    def scores(name: str) -> NodeScores:
        return of(results.scores(pair, task, method, seed), name)

    makers = {
        "score-map": _Maker(
            f"Scores of {task}",
            "Scores by layer and head; the MLP is the last column. Of scores that were carried "
            "over only the order counts: their sign says nothing.",
            lambda: viz.score_map(
                {"source": source(), "gold": scores("gold"), regime: scores(regime)}
            ),
        ),
        "circuit-graph": _Maker(
            "Source and target circuit at each proportion of nodes kept",
            "Links are the largest contributions of kept source nodes to kept target nodes.",
            lambda: viz.circuit_graph(
                entering(),
                scores(regime),
                alignment(),
                curve=of(results.curves(pair, task, method, seed), regime),
            ),
        ),
        "ranks": _Maker(
            "Ranks of predicted and gold scores",
            "Rank of every target node by its predicted and by its gold score.",
            lambda: viz.rank_scatter(scores(regime), scores("gold")),
        ),
        "alignment-map": _Maker(
            "W",
            "W: source nodes down, target nodes across.",
            lambda: viz.alignment_map(alignment()),
        ),
        "transfer-flow": _Maker(
            "What the predicted scores are made of",
            "Which source nodes give the predicted scores.",
            lambda: viz.transfer_flow(alignment(), entering()),
        ),
        "training": _Maker(
            "Training of W",
            "Loss, its KL term and the mean mask at every step.",
            lambda: viz.training_history(alignment()),
        ),
    }
    yield from _drawn(makers)


def _drawn(makers: Mapping[str, _Maker], suffix: str = "") -> Iterator[Drawing | NotDrawn]:
    for name, (heading, caption, make) in makers.items():
        identifier = f"figure-{name}{suffix}"
        try:
            yield drawing(identifier, make(), heading, caption)
        except DFAError as error:
            yield NotDrawn(identifier, heading, str(error))


def _plain_text(text: str) -> str:
    return unescape(" ".join(re.sub(r"<[^<>]*>", " ", text).split()))


def _columns(layout: Mapping[str, Any]) -> int:
    """How many panels stand side by side."""
    lefts = {
        round((axis.get("domain") or [0.0])[0], 3)
        for name, axis in layout.items()
        if name.startswith("xaxis") and not axis.get("overlaying")
    }
    return max(1, len(lefts))
