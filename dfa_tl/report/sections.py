"""The sections of a report: what stands in each, in the order of a paper."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
import yaml

from dfa_tl.controls.regimes import GOLD, Regime
from dfa_tl.controls.registry import CONTROLS, FREE_MASK, NO_SOURCE
from dfa_tl.errors import DFAError
from dfa_tl.evaluation.intervals import seed_spread
from dfa_tl.models.attention import AttentionPatterns
from dfa_tl.report.figures import Drawing, NotDrawn, of_all, of_circuit, of_study
from dfa_tl.report.findings import REGIMES, Headline
from dfa_tl.report.html_table import Grid, constant, facts, grid
from dfa_tl.report.phrases import arrow
from dfa_tl.study.config import StudyConfig
from dfa_tl.study.results import StudyResults
from dfa_tl.tasks.registry import load_task
from dfa_tl.viz.attention import AttentionView, attention_view, token_view

EXAMPLE = ("clean prompt", "answer", "corrupt prompt", "wrong answer")
SAID_ONCE = ("pair", "method", "direct method")
AVERAGE_NOTE = (
    "sd is the standard deviation over seeds of the average. The interval is Student's t over the "
    "tasks and bears on a further task; two rows share their tasks, so compare them by the "
    "intervals of their difference, not by whether these overlap."
)
NOTES: Mapping[str, str] = {
    "leaderboard": f"Mean over seeds; {AVERAGE_NOTE}",
    "ablations": f"Mean over seeds and draws; {AVERAGE_NOTE} Target-only has seen the test task; "
    "the other trained controls have not.",
    "overall": "Over pairs: tasks as they are, test pairs resampled. Over tasks: Student's t over "
    "the tasks' differences, which is what bears on a further task. Better: tasks above zero.",
    "scaling": "Recovery is CPR over gold CPR, above floor both less random W's. Where gold is "
    "close to random W the second is unstable, and left out where it has no meaning.",
    "break_even": "CPR of gold circuits attributed on so many target pairs, and the fewest that "
    "reach the regime's CPR; none (–) where no number tried does.",
    "sensitivity": "Mean CPR over tasks; a column is protocol, ranking, metric and grid.",
    "structure": "Correlation and overlap of the scores with gold's, and correlation of the mean "
    "score by depth with the source's; mean over tasks and seeds.",
}
EFFECT_NOTE = (
    "Test pairs resampled; p by permutation, adjusted by Holm. Sd over seeds says how far the "
    "difference moves when pairs, W and controls are drawn anew."
)
TERMS: Mapping[str, str] = {
    "node": "one attention head (a3.h1: layer 3, head 1) or one MLP block (m3)",
    "circuit": "the nodes with the highest scores; the rest take their values on the corrupt "
    "prompt",
    "faithfulness f": "(m(circuit) − m(corrupt)) / (m(clean) − m(corrupt)), for a metric m "
    "averaged over pairs: 1 is the whole model, 0 the corrupt run",
    "CPR": "the area under f against the kept proportion of nodes k; higher is better",
    "floor": "the CPR of a circuit that recovers nothing before all nodes are kept",
    "W": "the map from source to target scores that Differentiable Faithfulness Alignment (DFA, "
    "arXiv 2604.24302) learns: predicted target scores = s W",
    **{regime.value: f"W trained on {regime.trained_on}" for regime in REGIMES},
    GOLD: "circuits attributed on the target itself",
}


@dataclass(frozen=True)
class Section:
    """A section of a report.

    Attributes:
        id: Its anchor.
        title: Its heading.
        text: What it says before its figures.
        drawings, grids, views: Its figures, tables and attention views.
        further: Figures of further pairs and methods, each folded below its title.
        terms: Names and their meanings.
        code: Listings by heading.
    """

    id: str
    title: str
    text: str = ""
    drawings: tuple[Drawing | NotDrawn, ...] = ()
    further: tuple[Drawing | NotDrawn, ...] = ()
    grids: tuple[Grid, ...] = ()
    views: tuple[AttentionView, ...] = ()
    terms: tuple[tuple[str, str], ...] = ()
    code: tuple[tuple[str, str], ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing but its text."""
        return not (self.drawings or self.grids or self.views or self.terms or self.code)


def sections(
    results: StudyResults,
    head: Headline,
    tables: Mapping[str, pd.DataFrame],
    titles: Mapping[str, str],
    attention: Mapping[str, AttentionPatterns],
) -> Iterator[Section]:
    """All sections that have something to show.

    Args:
        results: The study.
        head: What the figures are about: a pair, a method and a regime.
        tables: Tables by name, those of `headline`.
        titles: Their titles.
        attention: Patterns by title.
    """
    shown = [
        *(_measured(results, head, tables, titles) if results.evaluations else ()),
        Section(
            "attention",
            "Attention",
            "What the heads of the circuits look at, on a clean prompt and its corrupt twin.",
            views=tuple(
                view
                for title, patterns in attention.items()
                for view in (
                    attention_view(patterns, title=title),
                    token_view(patterns, title=f"{title}: attention from the last token"),
                )
            ),
        ),
        _run(results),
        Section("terms", "Terms", terms=(*TERMS.items(), *_controls(results))),
        _reproduce(results),
    ]
    yield from (section for section in shown if not section.is_empty)


def _measured(
    results: StudyResults,
    head: Headline,
    tables: Mapping[str, pd.DataFrame],
    titles: Mapping[str, str],
) -> Iterator[Section]:
    pair, method, task = head.pair.name, head.method, results.config.tasks[0]
    whole = [*of_all(results), *of_study(results, pair, method)]

    def drawings(*names: str) -> tuple[Drawing | NotDrawn, ...]:
        wanted = {f"figure-{name}" for name in names}
        return tuple(one for one in whole if one.id in wanted)

    def grids(*names: str) -> tuple[Grid, ...]:
        return tuple(
            _grid(name, with_intervals(tables[name], results.config), titles[name])
            for name in names
            if name in tables
        )

    yield Section(
        "faithfulness",
        "Faithfulness",
        f"Figures are of {arrow(pair)} under {method}.",
        drawings("curves", "recovery"),
        grids=grids("leaderboard", "scaling"),
    )
    yield Section(
        "controls",
        "Controls",
        "What is left of the score when the source, the order of its nodes, or the training is "
        "taken away; and what supervision on the target gives.",
        drawings("controls"),
        grids=grids("overall", f"effect:{NO_SOURCE.name}", f"effect:{FREE_MASK.name}", "ablations"),
    )
    yield Section(
        Regime.CROSS_TASK.value,
        "From task to task",
        "",
        drawings(Regime.CROSS_TASK.value),
        grids=grids("cross_task"),
    )
    yield Section(
        "cost",
        "What it costs",
        "A transfer is worth its training where direct attribution on the target would need more "
        "pairs, or more passes, to do as well.",
        drawings("cost"),
        grids=grids("break_even"),
    )
    yield Section(
        "circuit",
        f"One circuit: {task}",
        f"The {head.regime} circuit of {task}, {arrow(pair)}, {method}, seed "
        f"{results.config.seeds[0]}.",
        tuple(of_circuit(results, pair, method, task, head.regime)),
    )
    yield Section(
        "robustness",
        "Ways of measuring, and structure",
        grids=grids("effect_by_way", "sensitivity", "structure"),
    )


def with_intervals(frame: pd.DataFrame, config: StudyConfig) -> pd.DataFrame:
    """A table with columns of tasks and their average, and the average's t interval over tasks."""
    if "average" not in frame:
        return frame
    limits: list[tuple[float | None, float | None]] = []
    for row in frame[[task for task in config.tasks if task in frame]].to_numpy(float):
        values = row[np.isfinite(row)]
        found = seed_spread(values, level=config.level).interval if len(values) else None
        limits.append((found.low, found.high) if found else (None, None))
    place = frame.columns.get_loc("average")
    after: Any = place + 1 if isinstance(place, int) else len(frame.columns)
    wider = frame.copy()
    wider.insert(after, "average low", [low for low, _ in limits])
    wider.insert(after + 1, "average high", [high for _, high in limits])
    return wider


def _grid(name: str, frame: pd.DataFrame, title: str) -> Grid:
    once = constant(frame, SAID_ONCE)
    said = "".join(
        f" {column.capitalize()}: {arrow(str(frame[column].iloc[0]))}." for column in once
    )
    note = EFFECT_NOTE if name.startswith("effect:") else NOTES.get(name, "")
    identifier = f"table-{name.replace(':', '-').replace('_', '-')}"
    return grid(identifier, frame, title, note=f"{note}{said}".strip(), leave_out=once)


def _run(results: StudyResults) -> Section:
    """What was run: tasks, settings, models and versions."""
    config = results.config
    examples = [_example(task, config) for task in config.tasks]
    settings = {
        name: value
        for name, value in config.to_dict().items()
        if name not in ("variants", "pairs", "tasks")
    }
    variants = pd.DataFrame(
        [{"settings": name} | asdict(value) for name, value in config.variants.items()]
    ).astype(object)
    return Section(
        "study",
        "What was run",
        "",
        grids=(
            grid("table-tasks", pd.DataFrame(examples), "Tasks, with a test pair of each"),
            facts("table-models", "Models", results.model_hashes),
            *_data(results),
            facts("table-settings", "Settings of the study", settings),
            grid("table-alignments", variants, "Settings of the alignments"),
            facts("table-versions", "Versions", results.versions),
        ),
    )


def _example(task: str, config: StudyConfig) -> dict[str, str]:
    try:
        pair = load_task(task, split=config.test_split, n=1, seed=config.test_seed).pairs[0]
    except DFAError:  # a study may be read where its data are not
        return {"task": task} | dict.fromkeys(EXAMPLE, "not at hand")
    texts = (pair.clean, str(pair.answer).strip(), pair.corrupt, str(pair.wrong_answer).strip())
    return {"task": task} | dict(zip(EXAMPLE, texts, strict=True))


def _data(results: StudyResults) -> tuple[Grid, ...]:
    hashes = {
        f"{task}, {split}": f"sha256 {value}"
        for task, by_split in results.data_hashes.items()
        for split, value in by_split.items()
    }
    return (facts("table-data", "Data from outside", hashes),) if hashes else ()


def _controls(results: StudyResults) -> list[tuple[str, str]]:
    return [(name, CONTROLS[name].description) for name in results.config.controls]


def _reproduce(results: StudyResults) -> Section:
    settings: Any = results.config.to_dict()
    return Section(
        "reproduce",
        "How to reproduce",
        "The same settings, models and versions give the same numbers; a study that was stopped "
        "goes on where it was.",
        code=(
            (
                "Commands",
                "dfa-tl study study.yaml --out study\ndfa-tl tables study\ndfa-tl report study",
            ),
            ("study.yaml", yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)),
        ),
    )
