"""`FIGURES`: the figures of a report, one record each; `Drawing`: a figure as the page takes it in.

A drawing keeps the figure's data and look. Its width is left to the page, its title becomes a
heading, and a slider becomes an `<input type="range">`, which works by keyboard and on a phone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from html import unescape
from typing import Any, Literal

import plotly.graph_objects as go

from dfa_tl import viz
from dfa_tl.alignment.alignment import Alignment, AlignmentChain
from dfa_tl.controls.regimes import GOLD
from dfa_tl.errors import ConfigError, DFAError
from dfa_tl.scores import NodeScores
from dfa_tl.settings import check_choice
from dfa_tl.study.keys import CircuitKey
from dfa_tl.study.results import StudyResults
from dfa_tl.viz.attention import escaped_json

# In pixels. Narrower panels cannot be read; on a phone the next panel is seen to begin.
PANEL_WIDTH, LEAST_WIDTH = 290, 520
HEADING_HEIGHT, SLIDER_HEIGHT = 30, 90  # how much of a figure's margins they take


@dataclass(frozen=True)
class Subject:
    """What a report's figures are about: one pair of models, method, task and regime."""

    results: StudyResults
    pair: str
    method: str
    task: str
    regime: str

    @property
    def _circuit(self) -> tuple[str, str, str, int]:
        return self.pair, self.task, self.method, self.results.config.seeds[0]

    def source_scores(self) -> NodeScores:
        """Scores of the source's nodes."""
        return self.results.source_scores(*self._circuit)

    def scores(self, name: str) -> NodeScores:
        """Scores of the target's nodes: gold, or those of a regime."""
        return self._find(self.results.scores(*self._circuit), name)

    def curve(self) -> Any:
        """The faithfulness curve of the regime's circuit."""
        return self._find(self.results.curves(*self._circuit), self.regime)

    def alignment(self) -> Alignment:
        """The W that gives the target's scores: the last one of a chain."""
        return self._steps()[-1]

    def scores_into_alignment(self) -> NodeScores:
        """The scores that this W carries over: the source's, through the rest of a chain."""
        scores = self.source_scores()
        for step in self._steps()[:-1]:
            scores = step.transfer(scores)
        return scores

    def _steps(self) -> tuple[Alignment, ...]:
        found = self.results.alignment(*self._circuit, regime=self.regime)
        return found.steps if isinstance(found, AlignmentChain) else (found,)

    def _find(self, values: Mapping[CircuitKey, Any], name: str) -> Any:
        for key, value in values.items():
            if key.name == name:
                return value
        raise ConfigError(f"no {name} circuit of {self.task} was measured")


SECTIONS = ("faithfulness", "controls", "cross-task", "cost", "circuit", "robustness")


@dataclass(frozen=True)
class Figure:
    """A figure of a report.

    Attributes:
        name: Its anchor is `figure-NAME`.
        section: The section that shows it, one of `SECTIONS`.
        heading: Used where the figure has no title of its own, or one that its slider changes.
        caption: How to read it.
        draw: Draws it.
        per: What there is one of it for; those per pair and method are repeated, folded, for the
            others of the study. One of several pairs is left out where there is a single pair.

    Raises:
        ConfigError: there is no such section.
    """

    name: str
    section: str
    heading: str
    caption: str
    draw: Callable[[Subject], go.Figure]
    per: Literal["study", "several pairs", "pair and method", "circuit"]

    def __post_init__(self) -> None:
        check_choice("section", self.section, SECTIONS)


FIGURES = (
    Figure(
        "recovery",
        "faithfulness",
        "Recovery of gold CPR",
        "The share of gold's CPR that a transferred circuit reaches.",
        lambda one: viz.recovery_bars(one.results),
        "study",
    ),
    Figure(
        "recovery-by-gap",
        "faithfulness",
        "Recovery by size ratio",
        "The same share against how many times more nodes the target has than the source.",
        lambda one: viz.recovery_by_gap(one.results, method=one.method),
        "several pairs",
    ),
    Figure(
        "curves",
        "faithfulness",
        "Faithfulness by task",
        "Faithfulness of each circuit by proportion of nodes kept. CPR is the area under a curve.",
        lambda one: viz.study_curves(one.results, pair=one.pair, method=one.method),
        "pair and method",
    ),
    Figure(
        "controls",
        "controls",
        "Controls by task",
        "CPR of the regime and of every control. A control that does as well as the regime "
        "explains the regime's CPR.",
        lambda one: viz.controls_by_task(one.results, pair=one.pair, method=one.method),
        "pair and method",
    ),
    Figure(
        "cross-task",
        "cross-task",
        "CPR by training and test task",
        "W is trained on one task (rows) and tested on another (columns).",
        lambda one: viz.cross_task_heatmap(one.results, pair=one.pair, method=one.method),
        "pair and method",
    ),
    Figure(
        "cost",
        "cost",
        "CPR and cost",
        "CPR of each circuit against the passes through the target that it took.",
        lambda one: viz.cost_frontier(one.results, pair=one.pair, method=one.method),
        "pair and method",
    ),
    Figure(
        "score-map",
        "circuit",
        "Node scores",
        "Scores by layer and head; the MLP is the last column. Transferred scores are shown by "
        "rank: only their order has a meaning.",
        lambda one: viz.score_map(
            {
                "source": one.source_scores(),
                GOLD: one.scores(GOLD),
                one.regime: one.scores(one.regime),
            }
        ),
        "circuit",
    ),
    Figure(
        "circuit-graph",
        "circuit",
        "Source and target circuit at each proportion of nodes kept",
        "Links are the largest contributions of source nodes to the scores of kept target nodes.",
        lambda one: viz.circuit_graph(
            one.scores_into_alignment(),
            one.scores(one.regime),
            one.alignment(),
            curve=one.curve(),
        ),
        "circuit",
    ),
    Figure(
        "circuit-overlap",
        "circuit",
        "Gold and transferred circuit at each proportion of nodes kept",
        "Which nodes of the target are in both circuits, and which in only one of them.",
        lambda one: viz.circuit_overlap(
            one.scores(GOLD), one.scores(one.regime), curve=one.curve()
        ),
        "circuit",
    ),
    Figure(
        "ranks",
        "circuit",
        "Ranks of predicted and gold scores",
        "The rank of every target node by its predicted score and by its gold score.",
        lambda one: viz.rank_scatter(one.scores(one.regime), one.scores(GOLD)),
        "circuit",
    ),
    Figure(
        "alignment-map",
        "circuit",
        "W",
        "Source nodes are in rows, target nodes in columns.",
        lambda one: viz.alignment_map(one.alignment()),
        "circuit",
    ),
    Figure(
        "transfer-flow",
        "circuit",
        "Contributions to the predicted scores",
        "How much each source node contributes to the predicted scores.",
        lambda one: viz.transfer_flow(one.alignment(), one.scores_into_alignment()),
        "circuit",
    ),
    Figure(
        "training",
        "circuit",
        "Training of W",
        "The loss, its KL term and the mean mask at every step.",
        lambda one: viz.training_history(one.alignment()),
        "circuit",
    ),
)
"""Every figure of a report, in the order of the page."""


@dataclass(frozen=True)
class Drawing:
    """A figure as the page takes it in.

    Attributes:
        id: Its anchor.
        title: Heading; plain text.
        alt: What it shows, in a sentence.
        caption: How to read it.
        data: Traces, layout, frames and slider steps as JSON that is safe inside `<script>`.
        min_width: The page scrolls it where there are fewer pixels.
        height: In pixels.
        steps: The text of each step of the slider; empty without a slider.
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


def draw_section(section: str, subject: Subject) -> Iterator[Drawing | NotDrawn]:
    """The figures of a section."""
    absent = "several pairs" if len(subject.results.config.pairs) == 1 else ""
    shown = [one for one in FIGURES if one.section == section and one.per != absent]
    yield from (draw(figure, subject) for figure in shown)


def draw(figure: Figure, subject: Subject, suffix: str = "") -> Drawing | NotDrawn:
    """A figure of a report, or why it cannot be drawn; `suffix` ends its anchor."""
    identifier = f"figure-{figure.name}{suffix}"
    try:
        return drawing(identifier, figure.draw(subject), figure.heading, figure.caption)
    except DFAError as error:
        return NotDrawn(identifier, figure.heading, str(error))


def drawing(identifier: str, figure: go.Figure, heading: str, caption: str = "") -> Drawing:
    """A plotly figure as a drawing.

    Args:
        identifier: Its anchor.
        figure: The figure; it is not changed.
        heading: Used where the figure has no title of its own, or one that its slider changes.
        caption: How to read it.
    """
    content: dict[str, Any] = json.loads(figure.to_json() or "{}")
    layout: dict[str, Any] = content["layout"]
    title = _plain_text((layout.pop("title", None) or {}).get("text") or "")
    slider = (layout.pop("sliders", None) or [{"steps": []}])[0]
    steps = [_step(step) for step in slider["steps"]]
    for trace in content["data"]:
        # Figures of a report are small and need no graphics card, which a browser may not have.
        trace["type"] = str(trace["type"]).removesuffix("gl")
    height = int(layout.get("height") or 450)
    margin = layout.setdefault("margin", {})
    for edge, room in (("t", HEADING_HEIGHT if title else 0), ("b", SLIDER_HEIGHT if steps else 0)):
        margin[edge] = int(margin.get(edge, 80)) - room
        height -= room
    layout.pop("width", None)
    layout["height"] = height
    data = {
        "data": content["data"],
        "layout": layout,
        "frames": content.get("frames", []),
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
    """A slider's step; its text is the title that it would set."""
    args = [dict(part) if isinstance(part, Mapping) else part for part in step.get("args", [])]
    texts = [
        part.pop("title.text") for part in args if isinstance(part, dict) and "title.text" in part
    ]
    text = _plain_text(str(texts[0] if texts else step["label"]))
    return {"text": text, "method": step.get("method", "restyle"), "args": args}


def _plain_text(text: str) -> str:
    return unescape(" ".join(re.sub(r"<[^<>]*>", " ", text).split()))


def _columns(layout: Mapping[str, Any]) -> int:
    """How many panels are side by side."""
    lefts = {
        round((axis.get("domain") or [0.0])[0], 3)
        for name, axis in layout.items()
        if name.startswith("xaxis") and not axis.get("overlaying")
    }
    return max(1, len(lefts))
